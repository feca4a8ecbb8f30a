# The backbones' weights, the three stages of Algorithm 1, and self-training.


rule backbone:
    input:
        code("backbone"),
        PREPARED,
    output:
        outputs("backbones/{key}"),
    threads: PARAMS.threads * PARAMS.processes
    resources:
        **training("train_backbone"),
    params:
        watch("seed", "threads", "processes", "data", "model", "train_backbone", "experiments.backbones.{key}"),
    shell:
        "python workflow/scripts/backbone.py --key {wildcards.key}"


rule train_afigan:
    input:
        code("train_afigan"),
        PREPARED,
        pairs("afigan"),
        parents("afigan"),
    output:
        outputs("afigan/{key}"),
    threads: PARAMS.threads * PARAMS.processes
    resources:
        **training("train_afigan"),
    params:
        watch("seed", "train_afigan", "experiments.afigan.{key}"),
    shell:
        "python workflow/scripts/train_afigan.py --key {wildcards.key}"


rule train_extractor:
    input:
        code("train_extractor"),
        PREPARED,
        pairs("extractors"),
        parents("extractors"),
    output:
        outputs("extractors/{key}"),
    threads: PARAMS.threads * PARAMS.processes
    resources:
        **training("train_extractor"),
    params:
        watch("seed", "train_extractor", "experiments.extractors.{key}"),
    shell:
        "python workflow/scripts/train_extractor.py --key {wildcards.key}"


rule train_detector:
    input:
        code("train_detector"),
        PREPARED,
        parents("detectors"),
    output:
        outputs("detectors/{key}"),
    threads: PARAMS.threads * PARAMS.processes
    resources:
        **training("train_detector"),
    params:
        watch("seed", "input", "train_detector", "experiments.detectors.{key}"),
    shell:
        "python workflow/scripts/train_detector.py --key {wildcards.key}"


rule train_student:
    input:
        code("train_student"),
        PREPARED,
        parents("students"),
    output:
        outputs("students/{key}"),
    threads: PARAMS.threads * PARAMS.processes
    resources:
        **training("train_detector"),
    params:
        watch("seed", "train_detector", "experiments.students.{key}"),
    shell:
        "python workflow/scripts/train_student.py --key {wildcards.key}"
