"""Many Tiny-NanoBench networks as one program: layer by layer together (layout: :mod:`snas.networks.nano_layout`).

Activations are (rows, height, width, batch) with the batch innermost: a row is one channel of one network, concatenation
and splitting are row ranges, and what acts channel by channel (depthwise convolution, BN, mish) takes all networks of a
step in one call, whatever their widths.  1×1 convolutions of equal shapes are one batched product.  The stem is one
product for all networks, since they see the same images.

The backward pass is written out step by step as the forward pass is, and is one node of autograd's graph.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from snas import seeds
from snas.networks import kernels as fused
from snas.networks.kernels import Affine, Halved, Inputs, Kernels, Parts, Ranges, Rows, Shapes, Slopes, whole
from snas.networks.nano import SMALLEST_SIDE, NanoNetwork
from snas.networks.nano_layout import (
    ATTENTION,
    CELL_INPUT,
    DEPTHWISE,
    EXPAND,
    OUTPUT_READ,
    CellLayout,
    Step,
    lay_out,
)
from snas.networks.populations import Population
from snas.networks.sizes import check_size
from snas.spaces.nanobench import CELLS_PER_STAGE, STAGES, cell_widths, plan, stage_widths
from snas.spaces.space import Cell


@dataclass(frozen=True)
class Place:
    """Where a tensor of a plain network lies: ``shape`` values from ``start`` of the flat buffer."""

    network: int
    name: str
    start: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def slice(self) -> slice:
        """The place in the flat buffer."""
        return slice(self.start, self.start + self.size)


class Book:
    """Deals out places in the flat buffers: of parameters, and of BN's statistics (one mean and variance per row)."""

    def __init__(self) -> None:
        self.parameters = 0
        self.statistics = 0
        self.places: list[Place] = []
        self.norms: list[Place] = []
        self.pixels: list[tuple[int, int]] = []

    def parameter(self, rows: Sequence[tuple[int, str, tuple[int, ...]]]) -> slice:
        """Return the place of the parameters (network, name, shape), one after the other."""
        start = self.parameters
        for network, name, shape in rows:
            place = Place(network, name, self.parameters, shape)
            self.places.append(place)
            self.parameters += place.size
        return slice(start, self.parameters)

    def norm(self, rows: Sequence[tuple[int, str, int]], pixels: int) -> Norm:
        """Return the place of a BN over the channels of (network, name, channels), at ``pixels`` per image."""
        gamma = self.parameter([(network, f"{name}.weight", (c,)) for network, name, c in rows])
        beta = self.parameter([(network, f"{name}.bias", (c,)) for network, name, c in rows])
        start = self.statistics
        for network, name, channels in rows:
            self.norms.append(Place(network, name, self.statistics, (channels,)))
            self.statistics += channels
        self.pixels.append((self.statistics - start, pixels))
        return Norm(gamma, beta, slice(start, self.statistics))


@dataclass(frozen=True)
class Norm:
    """Places of a BN's scale, shift (in the flat parameters) and row statistics."""

    gamma: slice
    beta: slice
    statistics: slice


class Pass:
    """What one forward pass keeps for the backward pass, and the buffers that both work on."""

    def __init__(
        self, kernels: Kernels, parameters: Tensor, statistics: Tensor, training: bool, keep: bool
    ) -> None:
        self.kernels, self.parameters, self.training = kernels, parameters, training
        self.mean, self.variance = statistics
        self.gradient: Tensor = parameters  # replaced when a backward pass begins
        self._kept: list[Any] | None = [] if keep else None

    def keep(self, *things: Any) -> None:
        """Keep something for the backward pass, which takes it in the opposite order."""
        if self._kept is not None:
            self._kept.append(things)

    def take(self) -> Any:
        """Return what was kept last."""
        assert self._kept, "there is no forward pass in training mode to go back through"
        return self._kept.pop()

    def affine(self, norm: Norm) -> Affine:
        """Return a BN's scale, shift and statistics."""
        return Affine(
            self.parameters[norm.gamma],
            self.parameters[norm.beta],
            self.mean[norm.statistics],
            self.variance[norm.statistics],
        )

    def slopes(self, weight: slice, norm: Norm) -> Slopes:
        """Return where the gradients of a weight and its BN go."""
        return Slopes(self.gradient[weight], self.gradient[norm.gamma], self.gradient[norm.beta])


class Depthwise:
    """Depthwise 3×3, BN, mish of many networks."""

    def __init__(self, members: Sequence[tuple[int, str, int]], pixels: int, book: Book) -> None:
        self.weight = book.parameter([(m, f"{name}.conv.weight", (c, 1, 3, 3)) for m, name, c in members])
        self.norm = book.norm([(m, f"{name}.norm", c) for m, name, c in members], pixels)

    def forward(self, x: Parts, run: Pass, skip: Parts | None = None) -> Rows:
        """Return mish(BN(conv(x))), plus ``skip``."""
        run.keep(x)
        weight = run.parameters[self.weight]
        return run.kernels.depthwise(x, weight, run.affine(self.norm), training=run.training, skip=skip)

    def backward(self, go: Parts, run: Pass, *plus: Parts) -> Rows:
        """Return the gradient by x, plus further gradients."""
        (x,) = run.take()
        slopes = run.slopes(self.weight, self.norm)
        return run.kernels.depthwise_backward(
            go, x, run.parameters[self.weight], run.affine(self.norm), slopes, plus
        )


class Expand:
    """x₁ = dw(x) + x, x₂ = dw(x₁) + x, x₃ = dw(x₂) + x of many networks; the three are told apart by ranges."""

    def __init__(self, step: Step, names: str, pixels: int, book: Book) -> None:
        self.chain = [
            Depthwise(
                [(m.network, f"{names}.{m.node}.chain.{t}", m.in_channels) for m in step.members],
                pixels,
                book,
            )
            for t in range(3)
        ]

    def forward(self, x: Parts, run: Pass) -> tuple[Rows, Rows, Rows]:
        """Return x₁, x₂ and x₃."""
        first = self.chain[0].forward(x, run, skip=x)
        second = self.chain[1].forward(whole(first), run, skip=x)
        return first, second, self.chain[2].forward(whole(second), run, skip=x)

    def backward(self, go: tuple[Parts, Parts, Parts], run: Pass) -> Rows:
        """Return the gradient by x."""
        g_second = whole(self.chain[2].backward(go[2], run, go[1]))
        g_first = whole(self.chain[1].backward(g_second, run, go[0]))
        return self.chain[0].backward(g_first, run, g_first, g_second, go[2])


class Matmul:
    """1×1 convolution, BN and, where ``mish``, mish of many networks; networks of equal shapes are one product."""

    def __init__(self, step: Step, names: str, pixels: int, book: Book) -> None:
        self.mish = step.mish
        self.shapes = Shapes([(m.in_channels, m.out_channels) for m in step.members])
        self.weight = book.parameter(
            [
                (m.network, f"{names}.{m.node}.conv.weight", (m.out_channels, m.in_channels, 1, 1))
                for m in step.members
            ]
        )
        self.norm = book.norm(
            [(m.network, f"{names}.{m.node}.norm", m.out_channels) for m in step.members], pixels
        )

    def forward(self, x: Parts, run: Pass) -> Rows:
        """Return BN(W x), or its mish."""
        weight, affine = run.parameters[self.weight], run.affine(self.norm)
        out, y = run.kernels.matmul(x, self.shapes, weight, affine, training=run.training, mish=self.mish)
        run.keep(x, y)
        return out

    def backward(self, go: Parts, run: Pass) -> Rows:
        """Return the gradient by x."""
        x, y = run.take()
        weight, affine = run.parameters[self.weight], run.affine(self.norm)
        slopes = run.slopes(self.weight, self.norm)
        return run.kernels.matmul_backward(go, x, y, self.shapes, weight, affine, slopes, mish=self.mish)


class Attention:
    """Scales each row by relu6(W v' + 3)/6, where v' is the attention of the globally pooled image with itself."""

    def __init__(self, step: Step, names: str, book: Book) -> None:
        sizes = [(m, m.in_channels, max(m.in_channels // 4, 1)) for m in step.members]
        self.shapes = Shapes([(c, hidden) for _, c, hidden in sizes])
        self.weight = book.parameter(
            [
                (m.network, f"{names}.{m.node}.{name}.weight", shape)
                for m, c, hidden in sizes
                for name, shape in (
                    *((name, (hidden, c, 1, 1)) for name in ("query", "key", "value")),
                    ("back", (c, hidden, 1, 1)),
                )
            ]
        )

    def forward(self, x: Parts, run: Pass) -> Rows:
        """Return x times its gates."""
        out, kept = run.kernels.attention(x, self.shapes, run.parameters[self.weight])
        run.keep(x, kept)
        return out

    def backward(self, go: Parts, run: Pass) -> Rows:
        """Return the gradient by x."""
        x, kept = run.take()
        weight, g_weight = run.parameters[self.weight], run.gradient[self.weight]
        return run.kernels.attention_backward(go, x, kept, self.shapes, weight, g_weight)


class CellProgram:
    """One cell of all networks."""

    def __init__(self, layout: CellLayout, name: str, pixels: int, book: Book) -> None:
        self.residual = layout.residual
        self.steps = [
            (_operation(step, f"{name}.nodes", pixels, book), step.values, Ranges(step.reads),
             [Ranges(part) for part in step.gradients], step.last_reads)
            for step in layout.steps
        ]  # fmt: skip
        self.output, self.input_gradient = Ranges(layout.output), Ranges(layout.input_gradient)

    def forward(self, x: Inputs, run: Pass, *plus: Rows) -> Rows:
        """Return the cell's output of all networks, in their order, plus another tensor."""
        values = {CELL_INPUT: x}
        for operation, numbers, reads, _, last_reads in self.steps:
            result = operation.forward(reads.of(values), run)
            values.update(zip(numbers, result if len(numbers) > 1 else (result,), strict=True))
            for number in last_reads:
                del values[number]
        return run.kernels.gather(self.output.of(values), *([x] if self.residual else []), *plus)

    def backward(self, go: Rows, run: Pass, *plus: Inputs) -> Inputs:
        """Return the gradient by the cell's input, plus another tensor."""
        reads = {OUTPUT_READ: go}
        for index in range(len(self.steps) - 1, -1, -1):
            operation, numbers, _, gradients, _ = self.steps[index]
            results = tuple(ranges.of(reads) for ranges in gradients)
            reads[index] = operation.backward(results if len(numbers) > 1 else results[0], run)
        return run.kernels.gather(self.input_gradient.of(reads), *([go] if self.residual else []), *plus)


def _operation(step: Step, names: str, pixels: int, book: Book) -> Any:
    """Return the program of a step."""
    if step.operation == DEPTHWISE:
        rows = [(m.network, f"{names}.{m.node}", m.in_channels) for m in step.members]
        return Depthwise(rows, pixels, book)
    if step.operation == EXPAND:
        return Expand(step, names, pixels, book)
    if step.operation == ATTENTION:
        return Attention(step, names, book)
    return Matmul(step, names, pixels, book)


class Stem:
    """3×3 convolution of the images, BN and mish of all networks: products with the same 3×3 windows."""

    def __init__(self, networks: int, channels: int, width: int, pixels: int, book: Book) -> None:
        self.networks = networks
        self.weight = book.parameter(
            [(m, "stem.conv.weight", (width, channels, 3, 3)) for m in range(networks)]
        )
        self.norm = book.norm([(m, "stem.norm", width) for m in range(networks)], pixels)

    def forward(self, images: Float[Tensor, "batch channels side side"], run: Pass) -> Rows:
        """Return the stem's output of all networks."""
        batch, channels, side, _ = images.shape
        windows = F.unfold(images, 3, padding=1).permute(1, 2, 0).contiguous()
        windows = windows.view(9 * channels, side, side, batch)
        weight, affine = run.parameters[self.weight], run.affine(self.norm)
        out, y = run.kernels.stem(windows, self.networks, weight, affine, training=run.training)
        run.keep(windows, y)
        return out

    def backward(self, go: Rows, run: Pass) -> None:
        """Write the gradients of the stem's parameters."""
        windows, y = run.take()
        weight, affine = run.parameters[self.weight], run.affine(self.norm)
        slopes = run.slopes(self.weight, self.norm)
        run.kernels.stem_backward(go, windows, y, self.networks, weight, affine, slopes)


class Classifier:
    """Global average pool and a linear layer with a bias for each network."""

    def __init__(self, networks: int, features: int, classes: int, book: Book) -> None:
        self.shape = (networks, classes, features)
        self.weight = book.parameter([(m, "classifier.weight", (classes, features)) for m in range(networks)])
        self.bias = book.parameter([(m, "classifier.bias", (classes,)) for m in range(networks)])

    def forward(self, x: Rows, run: Pass) -> Float[Tensor, "networks batch classes"]:
        """Return the logits."""
        networks, classes, features = self.shape
        pooled = x.mean(dim=(1, 2)).view(networks, features, -1)
        run.keep(x.shape, pooled)
        bias = run.parameters[self.bias].view(networks, classes, 1)
        return torch.baddbmm(bias, run.parameters[self.weight].view(self.shape), pooled).transpose(1, 2)

    def backward(self, g_logits: Float[Tensor, "networks batch classes"], run: Pass) -> Rows:
        """Return the gradient by x."""
        shape, pooled = run.take()
        go = g_logits.transpose(1, 2)
        torch.bmm(go, pooled.transpose(1, 2), out=run.gradient[self.weight].view(self.shape))
        torch.sum(go, dim=2, out=run.gradient[self.bias].view(self.shape[:2]))
        g_pooled = torch.bmm(run.parameters[self.weight].view(self.shape).transpose(1, 2), go)
        rows, height, width, batch = shape
        return (g_pooled / (height * width)).view(rows, 1, 1, batch).expand(shape).contiguous()


def _halve(x: Rows) -> Halved:
    """Return the 2×2 average pool; a last odd row or column is left out."""
    height, width = x.shape[1:3]
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    pairs = x[:, 0::2] + x[:, 1::2]
    return (pairs[:, :, 0::2] + pairs[:, :, 1::2]).mul_(0.25)


def _halve_backward(go: Halved, shape: torch.Size) -> Rows:
    """Return the gradient of :func:`_halve` by its input of ``shape``."""
    gx = go.new_zeros(shape)
    height, width = go.shape[1:3]
    unpooled = gx[:, : 2 * height, : 2 * width].unflatten(2, (width, 2)).unflatten(1, (height, 2))
    unpooled.copy_((go * 0.25)[:, :, None, :, None])
    return gx


class _Run(torch.autograd.Function):
    """The whole program as one node of autograd's graph."""

    @staticmethod
    def forward(ctx: Any, parameters: Tensor, images: Tensor, population: NanoPopulation) -> Tensor:
        run, logits = population._run(images, keep=True)
        ctx.run, ctx.population = run, population
        return logits

    @staticmethod
    def backward(ctx: Any, *g_logits: Tensor) -> tuple[Tensor, None, None]:
        return ctx.population._run_back(g_logits[0], ctx.run), None, None


class NanoPopulation(Population):
    """Networks of Tiny-NanoBench cells as one program.  Weights are zero until :meth:`initialise` or :meth:`load`."""

    def __init__(
        self,
        cells: Sequence[Cell],
        *,
        width: int = 32,
        channels: int = 3,
        side: int = 32,
        classes: int = 10,
        bn_momentum: float = 0.003,
        device: torch.device | str = "cpu",
        compile: bool = True,
    ) -> None:
        check_size(width=width, channels=channels, side=side, classes=classes, smallest_side=SMALLEST_SIDE)
        self.cells, self.size, self.momentum = list(cells), len(cells), bn_momentum
        self.options = {"width": width, "channels": channels, "side": side, "classes": classes}
        self.device = torch.device(device)
        self._kernels = fused.choose(self.device, compile)
        # Networks whose cells begin alike stand side by side: their channels stay together from step to step.
        self._order = sorted(range(self.size), key=lambda m: (self.cells[m].operations, self.cells[m].edges))
        self._ranked = torch.tensor(self._order).to(self.device)
        self._rank = self._ranked.argsort()
        book = Book()
        self._build(book)
        self._places = _by_network(book.places, self.size)
        self._norms = _by_network(book.norms, self.size)
        # whole vectors: so no value is worked on by the scalar code at an odd end, whatever the group
        self.parameters = torch.zeros(-(-book.parameters // 64) * 64, device=self.device, requires_grad=True)
        self.running = torch.zeros(2, book.statistics, device=self.device)
        self.running[1] = 1
        counts, pixels = zip(*book.pixels, strict=True)
        self._pixels = torch.repeat_interleave(torch.tensor(pixels), torch.tensor(counts)).to(self.device)

    def _build(self, book: Book) -> None:
        width, channels, side, classes = self.options.values()
        self._stem = Stem(self.size, channels, width, side * side, book)
        self._programs = []
        layouts: dict[tuple[int, int], CellLayout] = {}
        for index, (stage, in_channels, f) in enumerate(cell_widths(width)):
            if (in_channels, f) not in layouts:
                layouts[in_channels, f] = lay_out([plan(self.cells[m], in_channels, f) for m in self._order])
            pixels = (side // 2**stage) ** 2
            self._programs.append(CellProgram(layouts[in_channels, f], f"cells.{index}", pixels, book))
        self._classifier = Classifier(self.size, stage_widths(width)[-1], classes, book)

    @property
    def kernels(self) -> str:
        """What the networks run on, in words."""
        return self._kernels.name

    def settle(self) -> None:
        """See :class:`Population`."""
        self._kernels.settle()

    def forward(
        self, images: Float[Tensor, "batch channels side side"]
    ) -> Float[Tensor, "networks batch classes"]:
        """Return the logits of all networks; in training, batch statistics are used and the running ones updated."""
        asked = tuple(self.options[what] for what in ("channels", "side", "side"))
        if tuple(images.shape[1:]) != asked:  # native code would read beyond the end of what it took them for
            raise ValueError(f"images are {tuple(images.shape)}; (any number, {str(asked)[1:]} is expected")
        if self.training and torch.is_grad_enabled():
            return _Run.apply(self.parameters, images, self)
        return self._run(images, keep=False)[1]

    @torch.no_grad()
    def _run(self, images: Tensor, keep: bool) -> tuple[Pass, Tensor]:
        statistics = torch.empty_like(self.running) if self.training else self.running
        run = Pass(self._kernels, self.parameters.detach(), statistics, self.training, keep)
        x = self._stem.forward(images, run)
        for stage in range(STAGES):
            if stage:
                run.keep(x.shape)
                x = _halve(x)
            first, second, third = self._programs[CELLS_PER_STAGE * stage : CELLS_PER_STAGE * (stage + 1)]
            x = first.forward(x, run)
            x = third.forward(second.forward(x, run), run, x)
        logits = self._classifier.forward(x, run)
        if self.training:
            count = self._pixels * len(images)
            statistics = torch.stack([statistics[0], statistics[1] * (count / (count - 1).clamp(min=1))])
            self.running.lerp_(statistics, self.momentum)
        return run, logits.index_select(0, self._rank)

    @torch.no_grad()
    def _run_back(self, g_logits: Tensor, run: Pass) -> Tensor:
        run.gradient = torch.empty_like(self.parameters)
        go = self._classifier.backward(g_logits.index_select(0, self._ranked), run)
        for stage in range(STAGES - 1, -1, -1):
            first, second, third = self._programs[CELLS_PER_STAGE * stage : CELLS_PER_STAGE * (stage + 1)]
            go = second.backward(third.backward(go, run), run, go)
            go = first.backward(go, run)
            if stage:
                go = _halve_backward(go, *run.take())
        self._stem.backward(go, run)
        return run.gradient

    def owners(self, network: int) -> list[slice]:
        """Return where the parameters of a network lie in the flat buffer."""
        return [place.slice for place in self._places[self._order.index(network)]]

    def set_momentum(self, momentum: float) -> None:
        """Set the weight of a batch in the running statistics of BN (in the sense of torch)."""
        self.momentum = momentum

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.parameters.grad = None

    @torch.no_grad()
    def initialise(self, base_seed: int) -> NanoPopulation:
        """Draw the initial weights, each network's from its own generator, as :func:`snas.networks.build` does."""
        values = torch.zeros(self.parameters.shape)
        for rank, network in enumerate(self._order):
            generator = seeds.generator(base_seed, "weights", self.cells[network].name)
            for place in self._places[rank]:  # in the order of the plain network's own parameters
                if len(place.shape) > 1:
                    nn.init.xavier_uniform_(values[place.slice].view(place.shape), generator=generator)
                elif place.name.endswith("norm.weight"):
                    values[place.slice] = 1
        self.parameters.copy_(values)
        self.running[0], self.running[1] = 0, 1
        return self

    @torch.no_grad()
    def load(self, modules: Sequence[nn.Module]) -> None:
        """Take over weights and running statistics of plain networks of the same cells."""
        for rank, network in enumerate(self._order):
            state = modules[network].state_dict()
            for place in self._places[rank]:
                self.parameters[place.slice] = state[place.name].reshape(-1).to(self.device)
            for place in self._norms[rank]:
                for row, name in enumerate(("running_mean", "running_var")):
                    self.running[row, place.slice] = state[f"{place.name}.{name}"].to(self.device)

    @torch.no_grad()
    def module(self, network: int) -> NanoNetwork:
        """Return a network as a plain module of its own, on the CPU, with the current weights and statistics."""
        module = NanoNetwork(self.cells[network], bn_momentum=self.momentum, **self.options)
        rank = self._order.index(network)
        state = module.state_dict()
        for place in self._places[rank]:
            state[place.name] = self.parameters[place.slice].view(place.shape)
        for place in self._norms[rank]:
            for row, name in enumerate(("running_mean", "running_var")):
                state[f"{place.name}.{name}"] = self.running[row, place.slice]
        module.load_state_dict(state)
        return module

    @staticmethod
    def activation_bytes(cell: Cell, *, width: int, side: int, batch: int) -> int:
        """Return about how much memory one network takes in a training step, activations of all layers together."""
        rows, most = side * side * width * 2, 0
        for stage, in_channels, f in cell_widths(width):
            pixels = (side // 2**stage) ** 2
            nodes = plan(cell, in_channels, f).nodes
            matmuls = sum(n.out_channels for n in nodes if n.operation == "conv1x1" or n.projects)
            kept = (
                sum(n.out_channels for n in nodes if n.operation not in ("split", "output")) + 2 * matmuls + f
            )
            rows += pixels * kept
            most = max(most, pixels * kept)
        return 4 * batch * (rows + most)


def _by_network(places: Sequence[Place], networks: int) -> list[list[Place]]:
    """Return the places of each network, in their order."""
    lists: list[list[Place]] = [[] for _ in range(networks)]
    for place in places:
        lists[place.network].append(place)
    return lists
