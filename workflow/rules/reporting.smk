# Figures and tables of all trained and evaluated models.
rule figures:
    input:
        code("figures"),
        PREPARED,
        all_outputs(PARAMS, "afigan", "extractors", "detectors"),
    output:
        directory(outputs("figures")[0]),
        outputs("figures")[1:],
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
        PREPARED,
        all_outputs(PARAMS, "evaluations"),
        outputs("benchmark"),
        outputs("figures"),
    output:
        directory(outputs("tables")[0]),
        outputs("tables")[1:],
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
            "figures",
            "experiments",
            "tables",
        ),
    shell:
        "python workflow/scripts/tables.py"
