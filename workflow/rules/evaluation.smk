# One file of metrics an evaluation.
rule evaluate:
    input:
        "workflow/scripts/evaluate.py",
        modules("evaluation/coco"),
        LOADER,
        ENGINE,
        DETECTOR,
        "data/prepared",
        weights("evaluations"),
    output:
        "results/metrics/{key}.json",
    threads: PARAMS.threads
    resources:
        gpu=GPU,
    params:
        watch("seed", "threads", "data", "model", "input", "evaluate", "experiments.evaluations.{key}"),
    shell:
        "python workflow/scripts/evaluate.py --key {wildcards.key}"
