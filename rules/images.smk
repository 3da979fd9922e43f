# Images: the share of the training set that estimation codes are measured on, drawn once and written down.
localrules:
    share,


rule share:
    """Draw the paper's tenth of the training images, once per base seed (section 3.1)."""
    output:
        share=f"{RUN}/images/share.parquet",
    log:
        f"{LOGS}/images/share.log",
    benchmark:
        f"{BENCHMARKS}/images/share.jsonl"
    conda:
        "../environment.yml"
    params:
        images=IMAGES,
        share=CONFIG.code_share,
        seed=CONFIG.seed,
        code=snas.provenance.code_hash("snas.images.share", IMAGE_SETS.module(CONFIG.images)),
    script:
        "../scripts/share.py"
