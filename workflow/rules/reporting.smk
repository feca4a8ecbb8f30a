# Figures and tables of everything that was trained and evaluated.
rule figures:
    input:
        "workflow/scripts/figures.py",
        modules("evaluation/features", "reporting/figures"),
        LOADER,
        ENGINE,
        DETECTOR,
        "data/prepared",
        MODELS,
    output:
        FIGURES,
    threads: PARAMS.threads
    resources:
        gpu=GPU,
    params:
        watch(
            "seed",
            "threads",
            "data",
            "model",
            "input",
            "figures",
            "experiments.afigan",
            "experiments.extractors",
            "experiments.detectors",
        ),
    shell:
        "python workflow/scripts/figures.py"


rule tables:
    input:
        "workflow/scripts/tables.py",
        modules(
            "lineage",
            "reporting/markdown",
            "reporting/metrics",
            "reporting/paper",
            "reporting/report",
            "reporting/summary",
            "reporting/tables",
            "schema",
        ),
        expand("afigan/reporting/paper/table{number}.csv", number=(4, 6, 7, 8, 9)),
        "data/prepared",
        METRICS,
        FIGURES,
    output:
        directory("results/tables"),
        "results/README.md",
    params:
        watch(
            "seed",
            "threads",
            "data",
            "model",
            "input",
            "train_backbone",
            "train_afigan",
            "train_extractor",
            "train_detector",
            "evaluate",
            "experiments",
            "tables",
        ),
    shell:
        "python workflow/scripts/tables.py"
