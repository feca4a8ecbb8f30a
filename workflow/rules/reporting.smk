# Figures and tables of all trained and evaluated models.
rule figures:
    input:
        code("figures"),
        "data/prepared",
        [path for path in MODELS if path.split("/")[1] in ("afigan", "extractors", "detectors")],
    output:
        FIGURES,
        directory(FOR_PAGE),
    threads: PARAMS.threads
    resources:
        **asks(gpus=1, gigabytes=16, hours=4),
    params:
        watch(
            "seed",
            "threads",
            "data",
            "model",
            "input",
            "evaluate",
            "figures",
            "experiments.afigan",
            "experiments.extractors",
            "experiments.detectors",
            "experiments.evaluations",
        ),
    shell:
        "python workflow/scripts/figures.py"


rule tables:
    input:
        code("tables"),
        sorted(map(str, Path("afigan/reporting/paper").glob("*.csv"))),
        sorted(map(str, Path("afigan/reporting/page/template").iterdir())),
        "data/prepared",
        METRICS,
        "results/benchmark.json",
        FIGURES,
        FOR_PAGE,
    output:
        directory("results/tables"),
        REPORT,
    resources:
        **asks(gigabytes=4, hours=3),
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
