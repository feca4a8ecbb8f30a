# Evaluation of trained detectors: metrics, pseudo-labels, submissions, times.


rule evaluate:
    input:
        code("evaluate"),
        PREPARED,
        parents("evaluations"),
    output:
        outputs("evaluations/{key}"),
    threads: PARAMS.threads
    resources:
        **asks(gpus=1, gigabytes=16, hours=4),
    params:
        watch("evaluate", "experiments.evaluations.{key}"),
    shell:
        "python workflow/scripts/evaluate.py --key {wildcards.key}"


rule pseudo_labels:
    input:
        code("pseudo_labels"),
        PREPARED,
        parents("pseudo_labels"),
    output:
        outputs("pseudo_labels/{key}"),
    threads: PARAMS.threads
    resources:
        **asks(gpus=1, gigabytes=16, hours=24),
    params:
        watch("evaluate", "experiments.pseudo_labels.{key}"),
    shell:
        "python workflow/scripts/pseudo_labels.py --key {wildcards.key}"


rule submit:
    input:
        code("submit"),
        PREPARED,
        parents("submissions"),
    output:
        directory(outputs("submissions/{key}")),
    threads: PARAMS.threads
    resources:
        **asks(gpus=1, gigabytes=16, hours=24),
    params:
        watch("evaluate", "experiments.submissions.{key}"),
    shell:
        "python workflow/scripts/submit.py --key {wildcards.key}"


rule benchmark:
    input:
        code("benchmark"),
        PREPARED,
        all_outputs(PARAMS, *TRAINED),
    output:
        outputs("benchmark"),
    # all cores, because it measures time and must run alone; elsewhere a profile ensures that. A function, because
    # --unlock has no cores
    threads: PARAMS.threads if ELSEWHERE else (lambda wildcards: workflow.cores)
    resources:
        **asks(gpus=1, gigabytes=16, hours=4),
    params:
        watch("seed", "threads", "data", "model", "input", "evaluate", "benchmark", "experiments.evaluations"),
    shell:
        "python workflow/scripts/benchmark.py"
