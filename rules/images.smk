# Images: which they are, and the share of the training set that estimation codes are measured on, drawn once and written
# down.
localrules:
    labels,
    share,
    split,


rule labels:
    """Read the images once (and fetch them, where they may be fetched), and write down which they are.

    What hangs on the images alone hangs on this file, and is not made again for another share.
    """
    output:
        labels=f"{RUN}/images/labels.parquet",
    log:
        f"{LOGS}/images/labels.log",
    benchmark:
        f"{BENCHMARKS}/images/labels.jsonl"
    conda:
        "../environment.yml"
    resources:
        **IMAGES_AT,
    params:
        **named(
            images=IMAGES,
            **OWN_FILES,
        ),
        code=code_of("labels.py", "snas.images.labels", IMAGE_SETS.target(CONFIG.images)),
    script:
        "../scripts/labels.py"


rule share:
    """Draw the paper's tenth of the training images, once per base seed (section 3.1)."""
    input:
        labels=rules.labels.output.labels,
    output:
        share=f"{RUN}/images/share.parquet",
    log:
        f"{LOGS}/images/share.log",
    benchmark:
        f"{BENCHMARKS}/images/share.jsonl"
    conda:
        "../environment.yml"
    params:
        **named(
            share=CONFIG.code_share,
            seed=CONFIG.seed,
        ),
        code=code_of("share.py", "snas.images.share"),
    script:
        "../scripts/share.py"


rule split:
    """Draw train, validation and test part of own images; the test part lies in a file that no search reads."""
    output:
        split=f"{RUN}/images/split.parquet",
        selection=f"{RUN}/images/selection.parquet",
        held_out=f"{RUN}/images/held_out.parquet",
    log:
        f"{LOGS}/images/split.log",
    benchmark:
        f"{BENCHMARKS}/images/split.jsonl"
    conda:
        "../environment.yml"
    resources:
        **IMAGES_AT,
    params:
        **named(
            images={**IMAGES, "train_images": 0},
            # A search stays with the images that it began with, until another place is named.
            path=lambda wildcards: CONFIG.images_path,
            shares=[
                1 - CONFIG.validation_share - CONFIG.test_share,
                CONFIG.validation_share,
                CONFIG.test_share,
            ],
            seed=CONFIG.seed,
            resize=IMAGE_FILTER if CONFIG.image_side else "not at all",
        ),
        code=code_of("split.py", "snas.images.split", IMAGE_SETS.target(CONFIG.images)),
    script:
        "../scripts/split.py"
