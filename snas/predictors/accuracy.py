"""What the accuracy predictors share: training by Huber loss on batches of 8, coarse and fine prediction, saving."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from snas.predictors import parameters as par
from snas.predictors.adam import adam
from snas.predictors.compiling import Compiled
from snas.predictors.fused import Kernels
from snas.predictors.graphs import Graphs, checked
from snas.predictors.kinds import RANGES, Kind, checked_options, statistics_layout
from snas.predictors.layers import Norms, evaluate_products, graph_convolution, head, huber, nsam, product
from snas.predictors.native_predictor import (
    BUFFERS,
    NativePredictor,
    check_shapes,
    check_state,
    check_training,
    made,
)
from snas.predictors.predictor import Predictor
from snas.predictors.schedule import Schedule, draw_batches

if TYPE_CHECKING:
    from snas.spaces.space import Encoding

ROWS_AT_ONCE = {"cpu": 2**13, "cuda": 2**18}
"""Node rows (runs × architectures × nodes) of one chunk of a ranking: what stays in a core's cache, what fills a GPU."""


class AccuracyPredictor(Predictor):
    """The basic branch GC(64) → GC(64) → (NSAM) → GC(64) → head, and the training that its kinds share.

    A subclass names its ``kind``.  With ``compile`` on a CPU everything is native code's (``native``), in the same buffers.

    Options (a variant is named by them, see ``variant``):
        epochs: length of the schedule; the paper's: 200.
        bn_momentum: of the running statistics, in torch's sense; the paper's: 0.003.
        nsam: whether NSAM stands between the second and the third GC.
        dtype: arithmetic, float32 or float64 (tests).

    Weights start Glorot-uniform and biases at zero, Keras' default and so the authors' program's.
    """

    kind: ClassVar[Kind]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.name, cls.uses_code = cls.kind.name, cls.kind.uses_code
        cls.defaults = {**cls.kind.defaults, "dtype": torch.float32}

    def __init__(
        self,
        encoding: Encoding,
        runs: Sequence[int],
        *,
        base_seed: int,
        budget: int,
        device: str | torch.device = "cpu",
        compile: bool = False,
        **options: Any,
    ) -> None:
        self.options = checked_options(self.name, self.defaults, options, ranges=RANGES)
        self.runs, self.base_seed, self.budget = tuple(runs), base_seed, budget
        self.device, self.dtype = torch.device(device), self.options["dtype"]
        self.epochs = self.options["epochs"]
        self.schedule = Schedule(self.epochs, budget)
        self.encoding = encoding
        checked(encoding)
        self.layout = self.kind.layout(
            self.options, nodes=encoding.nodes, vocabulary=len(encoding.vocabulary)
        )
        self.statistics_layout = statistics_layout(self.layout)
        self.native = self._native() if compile else None
        if self.native is None:
            start = (
                par.initial(layout, self.runs, base_seed) for layout in (self.layout, self.statistics_layout)
            )
            self.weights, self.statistics = (
                torch.from_numpy(part).to(self.device, self.dtype) for part in start
            )
            self.first, self.second = torch.zeros_like(self.weights), torch.zeros_like(self.weights)
        else:
            self.weights, self.statistics, self.first, self.second = (
                torch.from_numpy(getattr(self.native, name)) for name in BUFFERS
            )
        self.reached = 0
        inductor = compile and self.device.type != "cpu"
        self.kernels = Kernels(self.device, compile=inductor)
        self._adam = Compiled(_adam, self.device, enabled=inductor)
        # Views into the buffers, made once: the optimiser works on the buffer, the network on the views.
        self.running = par.views(self.statistics_layout, self.statistics)
        self.leaves = {
            k: v.detach().requires_grad_() for k, v in par.views(self.layout, self.weights).items()
        }

    def _native(self) -> NativePredictor | None:
        """Return the native predictors where they can serve; where one could expect it and they cannot, one line says why."""
        if self.device.type != "cpu" or self.dtype != torch.float32:
            return None
        options = {k: v for k, v in self.options.items() if k != "dtype"}
        return made(
            self.kind, self.encoding, self.runs, base_seed=self.base_seed, budget=self.budget, **options
        )

    @cached_property
    def graphs(self) -> Graphs:
        """Return the space on the device; native code needs none of it."""
        return Graphs(self.encoding, device=self.device, dtype=self.dtype)

    @property
    def variant(self) -> str:
        """Name with the options that are not the default, as ``siamese[bn_momentum=0.1]``."""
        changed = [f"{k}={v}" for k, v in self.options.items() if v != self.defaults[k] and k != "dtype"]
        return self.name + (f"[{','.join(changed)}]" if changed else "")

    # --- the network -------------------------------------------------------------------------------------------------

    def _features(
        self,
        p: Mapping[str, Tensor],
        norms: Norms,
        adjacency: Float[Tensor, "runs batch nodes nodes"],
        one_hot: Float[Tensor, "runs batch nodes vocabulary"],
    ) -> Float[Tensor, "runs batch nodes features"]:
        """Return the node features of the basic branch."""
        x = graph_convolution("gc1", p, norms, adjacency, one_hot)
        return self._above_second(p, norms, adjacency, graph_convolution("gc2", p, norms, adjacency, x))

    def _above_second(
        self,
        p: Mapping[str, Tensor],
        norms: Norms,
        adjacency: Float[Tensor, "runs batch nodes nodes"],
        x: Float[Tensor, "runs batch nodes features"],
    ) -> Float[Tensor, "runs batch nodes features"]:
        """Return the node features of the basic branch from the second GC's."""
        if self.options["nsam"]:
            x = nsam(p, norms, adjacency, x)
        return graph_convolution("gc3", p, norms, adjacency, x)

    @abstractmethod
    def _loss(
        self,
        p: Mapping[str, Tensor],
        norms: Norms,
        adjacency: Float[Tensor, "runs batch nodes nodes"],
        one_hot: Float[Tensor, "runs batch nodes vocabulary"],
        accuracy: Float[Tensor, "runs batch"],
        code: Float[Tensor, "runs batch code"],
        has_code: Float[Tensor, "runs batch"] | None,
    ) -> Float[Tensor, " runs"]:
        """Return the training loss of each run."""

    def _coarse_loss(
        self,
        p: Mapping[str, Tensor],
        x: Float[Tensor, "runs batch nodes features"],
        accuracy: Float[Tensor, "runs batch"],
    ) -> Float[Tensor, " runs"]:
        return huber(head(p, x) - accuracy).mean(1)

    # --- training ----------------------------------------------------------------------------------------------------

    def gradient(self, *batch: Any) -> tuple[Float[Tensor, "runs parameters"], Norms, Float[Tensor, " runs"]]:
        """Return the gradient, the noted batch statistics and the loss of a batch (the arguments of ``_loss`` after ``norms``)."""
        norms = Norms(self.kernels, self.running, training=True)
        with torch.enable_grad():
            loss = self._loss(self.leaves, norms, *batch)
            # The sum over runs only starts the backward pass: nothing of one run enters the gradient of another.
            found = torch.autograd.grad(
                loss.sum(), list(self.leaves.values()), allow_unused=True, materialize_grads=True
            )
        return torch.cat([g.flatten(1) for g in found], 1), norms, loss.detach()

    def step(self, optimiser: Float[Tensor, " 3"], *batch: Any) -> Float[Tensor, " runs"]:
        """Do one training step in place and return its loss; ``optimiser``: learning rate and Adam's bias corrections."""
        gradient, norms, loss = self.gradient(*batch)
        self._adam(self.weights, gradient, self.first, self.second, optimiser)
        noted = torch.cat([norms.batch.get(k, self.running[k]) for k in self.statistics_layout], 1)
        self.statistics.lerp_(noted, self.options["bn_momentum"])
        return loss

    @torch.no_grad()
    def fit(
        self,
        pool: Int64[Tensor, "runs pool"],
        accuracy: Float[Tensor, "runs pool"],
        codes: Float[Tensor, "runs pool code"] | None,
        *,
        start: int,
        stop: int,
    ) -> None:
        """Train epochs ``start`` .. ``stop`` - 1; see :meth:`Predictor.fit`."""
        check_shapes(len(self.runs), pool, accuracy=accuracy, codes=codes)
        check_training(accuracy, start, stop, reached=self.reached, epochs=self.epochs)
        if codes is None or not self.uses_code:
            codes = torch.full((*pool.shape, 3), float("nan"))
        if self.native is not None:
            self.native.tell = self.tell
            self.native.fit(*(part.cpu().numpy() for part in (pool, accuracy, codes)), start=start, stop=stop)
        else:
            pool = pool.to(self.device)
            accuracy, codes = (part.to(self.device, self.dtype) for part in (accuracy, codes))
            for epoch in range(start, stop):
                self._epoch(epoch, pool, accuracy, codes)
                if self.tell:
                    self.tell((epoch + 1 - start) / (stop - start))
        self.reached = stop

    def _epoch(
        self,
        epoch: int,
        pool: Int64[Tensor, "runs pool"],
        accuracy: Float[Tensor, "runs pool"],
        codes: Float[Tensor, "runs pool code"],
    ) -> None:
        """Train one epoch: its batches are gathered at once, then taken step by step."""
        if epoch in self.schedule.fresh_adam:
            self.first.zero_()
            self.second.zero_()
        steps = self.schedule.steps
        drawn = draw_batches(self.base_seed, self.runs, epoch, steps=steps, pool=pool.shape[1])
        draws = torch.from_numpy(drawn).to(self.device)
        rows = torch.arange(len(self.runs), device=self.device)[None, :, None]
        archs, code = pool[rows, draws], codes[rows, draws]
        has_code = ~code.isnan().any(-1, keepdim=True)
        batches = (
            self.graphs.adjacency[archs],
            self.graphs.one_hot(archs),
            accuracy[rows, draws],
            torch.where(has_code, code, 0.0),
            None if bool(has_code.all()) else has_code[..., 0].to(self.dtype),
        )
        rates = self.schedule.optimiser(range(epoch, epoch + 1))[:, :3]
        optimiser = torch.from_numpy(rates).to(self.device, self.dtype)
        for s in range(steps):
            self.step(optimiser[s], *(None if part is None else part[s] for part in batches))

    # --- prediction --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def coarse(self, archs: Int64[Tensor, "runs archs"] | None = None) -> Float[Tensor, "runs archs"]:
        """Predict accuracies with the basic branch and running BN statistics, in chunks of bounded size.

        The first GC and the second one's products are computed once per distinct row of the space, then looked up.
        """
        if self.native is not None:
            return torch.from_numpy(self.native.coarse(None if archs is None else archs.cpu().numpy()))
        if archs is None:
            archs = torch.arange(self.graphs.size)[None].expand(len(self.runs), -1)
        check_shapes(len(self.runs), archs)
        p, norms = self.leaves, Norms(self.kernels, self.running, training=False)
        tables = self._tables(p, norms)
        run = torch.arange(len(self.runs), device=self.device)[:, None, None]

        def predict(adjacency: Tensor, rows: Tensor) -> Tensor:
            x = evaluate_products("gc2", p, norms, adjacency, *(table[run, rows] for table in tables))
            return head(p, self._above_second(p, norms, adjacency, x))

        return self._chunks(predict, archs, lambda ids: (self.graphs.adjacency[ids], self.graphs.rows[ids]))

    def _tables(
        self, p: Mapping[str, Tensor], norms: Norms
    ) -> tuple[Float[Tensor, "runs distinct features"], Float[Tensor, "runs distinct features"]]:
        """Return the second GC's products X·W and X·W' for every distinct row that the first GC can give."""
        out = norms("gc1.out", p, self.graphs.out @ p["gc1.out.weight"])
        x = (out + norms("gc1.in", p, self.graphs.into @ p["gc1.in.weight"])) * 0.5
        return product(x, p["gc2.out.weight"]), product(x, p["gc2.in.weight"])

    def _chunks(
        self,
        predict: Callable[..., Tensor],
        archs: Int64[Tensor, "runs archs"],
        inputs: Callable[[Tensor], tuple[Tensor, ...]],
        *more: Tensor,
    ) -> Float[Tensor, "runs archs"]:
        """Predict in chunks of one fixed shape (the last one filled up), so that memory and compiled graphs are bounded."""
        runs, asked = archs.shape
        chunk = max(ROWS_AT_ONCE[self.device.type] // (runs * self.graphs.nodes), 8)
        out = torch.empty(runs, asked, dtype=self.dtype)
        for at in range(0, asked, chunk):
            places = torch.arange(at, at + min(chunk, asked)).clamp(max=asked - 1)
            ids = archs[:, places].to(self.device)
            values = predict(*inputs(ids), *(part[:, places].to(self.device, self.dtype) for part in more))
            out[:, at : at + chunk] = values[:, : asked - at].cpu()
        return out

    # --- saving ------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of weights, running statistics, Adam's moments and the epoch reached."""
        parts = {name: getattr(self, name).detach().cpu().clone() for name in BUFFERS}
        return parts | {"counters": torch.tensor([self.reached])}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up what :meth:`state_dict` gave for the same runs, space and options; raises ``InputError`` otherwise."""
        check_state(self.name, {name: getattr(self, name).shape for name in BUFFERS}, state)
        for name in BUFFERS:
            getattr(self, name).copy_(state[name])
        self.reached = int(state["counters"][0])
        if self.native is not None:
            self.native.reached = self.reached


def _adam(weights: Tensor, gradient: Tensor, first: Tensor, second: Tensor, optimiser: Tensor) -> None:
    """Adam as Keras sets it: epsilon 1e-7."""
    adam(weights, gradient, first, second, *optimiser.unbind(), epsilon=1e-7)
