# Evaluation of trained detectors: metrics, pseudo-labels, submissions, times.


rule evaluate:
    input:
        code("evaluate"),
        "data/prepared",
        weights("evaluations"),
    output:
        "results/metrics/{key}.matches.npz",
        "results/metrics/{key}.json",
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
        "data/prepared",
        weights("pseudo_labels"),
    output:
        "data/pseudo/{key}.json",
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
        "data/prepared",
        weights("submissions"),
    output:
        directory("results/submissions/{key}"),
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
        "data/prepared",
        METRICS,
    output:
        "results/benchmark.json",
    # all cores, because it measures time and must run alone; elsewhere a profile ensures that. A function, because
    # --unlock has no cores
    threads: PARAMS.threads if ELSEWHERE else (lambda wildcards: workflow.cores)
    resources:
        **asks(gpus=1, gigabytes=16, hours=4),
    params:
        watch("seed", "threads", "data", "model", "input", "evaluate", "benchmark", "experiments.evaluations"),
    shell:
        "python workflow/scripts/benchmark.py"
