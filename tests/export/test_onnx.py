"""The ONNX file gives what the torch module gives, for every kind of cell and any batch."""

import json

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from snas import InputError, spaces
from snas.export import description as described
from snas.export.description import Description
from snas.export.onnx_file import measure, session, write_onnx

NANO = [
    "",
    "split>2,attention",
    "conv1x1,split>4,expand,attention",
    "split>6,expand,attention,dwconv3x3,conv1x1,dwconv3x3",
]
NB201 = [
    "|nor_conv_3x3~0|+|skip_connect~0|avg_pool_3x3~1|+|nor_conv_1x1~0|none~1|nor_conv_3x3~2|",
    "|none~0|+|none~0|none~1|+|avg_pool_3x3~0|skip_connect~1|none~2|",
]
LABELS = ("a", "b", "c")


def cells():
    """Cells with every operation of both spaces, with odd channels for the split, at different sizes of image."""
    names = [cell.name for cell in spaces.load("tiny_nanobench").cells()]
    chosen = [name for name in NANO if name in names] + [max(names, key=len)]
    nano = [
        ("tiny_nanobench", name, *size) for name in dict.fromkeys(chosen) for size in ((5, 1, 8), (4, 3, 11))
    ]
    return nano + [("nasbench201", name, *size) for name in NB201 for size in ((4, 1, 8), (3, 4, 10))]


def roused(module: nn.Module) -> nn.Module:
    """Give BN's statistics and weights values that do something."""
    drawn = torch.Generator().manual_seed(5)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.running_var, layer.weight.data):
                tensor.copy_(torch.rand(tensor.shape, generator=drawn) + 0.5)
            for tensor in (layer.running_mean, layer.bias.data):
                tensor.copy_(torch.randn(tensor.shape, generator=drawn))
    return module.eval()


@pytest.mark.parametrize(("space", "cell", "width", "channels", "side"), cells())
def test_onnx_runtime_gives_what_torch_gives(tmp_path, space, cell, width, channels, side):
    network = Description(space, cell, width, channels, side, LABELS)
    module = roused(network.build())
    write_onnx(tmp_path / "model.onnx", module, network)
    running = session(tmp_path, threads=1)
    drawn = torch.Generator().manual_seed(1)
    for batch in (1, 2, 5):
        images = torch.rand(batch, *network.image, generator=drawn)
        (logits,) = running.run([described.OUTPUT], {described.INPUT: images.numpy()})
        with torch.no_grad():
            wanted = module(images)
        assert logits.shape == (batch, len(LABELS))
        assert torch.allclose(torch.from_numpy(logits), wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max())
        assert wanted.std() > 0
    for node in onnx.load(str(tmp_path / "model.onnx")).graph.node:
        if node.op_type == "AveragePool":
            said = {attribute.name: attribute.i for attribute in node.attribute}
            both = said.get("ceil_mode", 0) and said.get("count_include_pad", 0)
            assert not both, "older versions of the runtime compute it otherwise"


def test_the_file_states_its_opset_its_labels_and_a_free_batch(best):
    model = onnx.load(str(best.folder / "model.onnx"))
    assert {o.domain: o.version for o in model.opset_import} == {"": described.OPSET}
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(said["labels"]) == [str(i) for i in range(10)]
    assert json.loads(said["preprocessing"])["side"] == 8
    (given,) = model.graph.input
    batch, *shape = given.type.tensor_type.shape.dim
    assert batch.dim_param == "batch"
    assert [d.dim_value for d in shape] == [1, 8, 8]


def test_trained_network_and_file_agree_on_every_test_image(best):
    """And with the network as its weights and description alone give it."""
    from snas.export.weights import read_network

    images = best.images.test_images.float() / 255
    with torch.no_grad():
        wanted = best.module(images)
        assert torch.equal(read_network(best.folder, described.read(best.folder))(images), wanted)
    running = onnxruntime.InferenceSession(str(best.folder / "model.onnx"))
    logits = torch.from_numpy(running.run(None, {"images": images.numpy()})[0])
    assert torch.allclose(logits, wanted, rtol=1e-4, atol=1e-4)
    assert torch.equal(logits.argmax(1), wanted.argmax(1))


def test_latency_is_a_median_of_the_stated_number_of_images(best):
    found = measure(best.folder, best.description, runs=7)
    assert found.runs == 7
    assert found.threads == 1
    assert 0 < found.low_ms <= found.median_ms <= found.high_ms
    assert found.processor
    assert onnxruntime.__version__ in found.runtime


def test_what_is_no_network_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        session(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"not a network")
    with pytest.raises(InputError, match="not a network that ONNX Runtime can run"):
        session(tmp_path)
