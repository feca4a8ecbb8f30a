# The data set, checked, and the low-resolution images.


rule prepare:
    input:
        code("prepare"),
        list(PARAMS.data.annotation_files.values()),
    output:
        directory(PREPARED),
    threads: PARAMS.threads
    resources:
        **asks(cpus=PARAMS.pairs.workers, gigabytes=8, hours=4),
    params:
        watch("seed", "data"),
    shell:
        "python workflow/scripts/prepare.py"


rule pairs:
    input:
        code("pairs"),
        PREPARED,
    output:
        directory(outputs("pairs/{degradation}")),
    threads: PARAMS.pairs.workers
    resources:
        **asks(cpus=PARAMS.pairs.workers, gigabytes=4 + PARAMS.pairs.workers, hours=4),
    params:
        watch("pairs.format", "pairs.shard_size"),
    shell:
        "python workflow/scripts/pairs.py --degradation {wildcards.degradation}"
