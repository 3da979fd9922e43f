"""Write the winner as an ONNX file and time it."""

from pathlib import Path

from _job import begin
from snas.export import description, onnx_file
from snas.export.weights import read_network

job = begin(snakemake)
folder = Path(snakemake.input.network).parent
network = description.read(folder)
onnx_file.write_onnx(snakemake.output.onnx, read_network(folder, network), network)
onnx_file.measure(folder, network).write(snakemake.output.latency)
