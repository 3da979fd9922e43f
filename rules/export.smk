# What a search on own images ends with: its winner trained to the end, measured once on the test images, ready for use.
localrules:
    best_page,


rule complete:
    """Train the winner on training and validation images, then open the test images: the one rule that does."""
    input:
        choice=rules.own_choice.output.choice,
        split=rules.split.output.split,
        selection=rules.split.output.selection,
        held_out=rules.split.output.held_out,
    output:
        network=f"{WINNER}/network.json",
        weights=f"{WINNER}/weights.safetensors",
        tested=f"{RUN}/export/tested.parquet",
        wrong=f"{RUN}/export/wrong.npz",
    log:
        f"{LOGS}/export/complete.log",
    benchmark:
        f"{BENCHMARKS}/export/complete.jsonl"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        **PLACE,
        gpu=GPU,
        mem_mb=memory(4000),
        runtime=minutes(1440),
    params:
        **named(
            compile=CONFIG.compile,
            space=CONFIG.space,
            width=CONFIG.width,
            openings=f"{RUN}/export/openings.jsonl",
            kept=f"{RUN}/training/winners",
        ),
        code=code_of(
            "complete.py",
            "snas.export.complete",
            "snas.export.weights",
            "snas.images.split",
            RECIPE,
            *NETWORKS,
        ),
    script:
        "../scripts/complete.py"


rule export_network:
    """The winner as an ONNX file, and how long it takes for an image on this machine."""
    input:
        network=rules.complete.output.network,
        weights=rules.complete.output.weights,
    output:
        onnx=f"{WINNER}/model.onnx",
        latency=f"{RUN}/export/latency.json",
    log:
        f"{LOGS}/export/export_network.log",
    benchmark:
        f"{BENCHMARKS}/export/export_network.jsonl"
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=minutes(10),
    params:
        code=code_of("export_network.py", "snas.export.onnx_file", "snas.export.weights", *NETWORKS),
    script:
        "../scripts/export_network.py"


rule best_page:
    """The network, its model card, and the page that shows the search: all of the folder that the user gets."""
    input:
        choice=rules.complete.input.choice,
        trained=rules.own_choice.output.trained,
        split=rules.complete.input.split,
        network=rules.complete.output.network,
        weights=rules.complete.output.weights,
        tested=rules.complete.output.tested,
        wrong=rules.complete.output.wrong,
        onnx=rules.export_network.output.onnx,
        latency=rules.export_network.output.latency,
    output:
        files=expand(f"{BEST}/{{name}}", name=["network.json", "weights.safetensors", "model.onnx"]),
        card=f"{BEST}/README.md",
        page=f"{BEST}/page.html",
        pictures=expand(f"{BEST}/{{name}}.png", name=["cell", "confusion"]),
    log:
        f"{LOGS}/export/best_page.log",
    conda:
        "../environment.yml"
    params:
        run=CONFIG.run,
        figures=f"{RUN}/export/figures",
        code=code_of("best_page.py", "snas.export.page"),
    script:
        "../scripts/best_page.py"


rule search:
    """Find the network for one's own images: one search on demand, and its winner ready for use."""
    input:
        rules.own_choice.output.choice,
        rules.best_page.output.page,
    localrule: True
