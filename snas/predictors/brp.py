"""BRP-NAS (Dudziak et al. 2020): a binary relation predictor, "which of two architectures is better".

What docs/definitions.md leaves open (section 4) is decided as follows, after the published program of its authors where that says something.

* A global node is added that sees all nodes (its row of A is ones); the others do not see it, and it has a symbol of its own.  A layer
  is A·X·W + b (A directed, with the identity, not normalised), then LayerNorm (eps 1e-5), ReLU and dropout.  Weights and biases of the
  graph layers start uniform in ±1/√600, those of the last layer in ±1/√1200.
* The loss of a batch is the *sum* over its pairs of KL(softmax of the two accuracies ‖ prediction).  An epoch is every ordered pair of
  two different pool members once, in random order, the last batch may be smaller.  An architecture that occurs in a batch is embedded
  once, so its pairs share its dropout; the others are not embedded.
* Every iteration has its own AdamW (decay on every parameter) and its own cosine from 3.5e-4 to 0 over its 50·i epochs.
* Early stopping looks at the loss over all pairs of the pool without dropout, after each epoch from the 22nd on (the authors' warm-up):
  35 epochs without a new minimum end the iteration, and so does a NaN.  No validation set is used, because true accuracies of other
  architectures would be queries.  The last weights are kept.
* The ranking: the last layer is linear in both embeddings, so the log-odds that a is better than b are u·x_a + v·x_b + c.  Averaged
  over both orders of the pair they are s(a) − s(b) with s(x) = (u − v)·x / 2: the relation is a total order, and s is the score.
  No comparison sort, and nothing depends on the order in which architectures are compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from snas import InputError, seeds
from snas.predictors import parameters as par
from snas.predictors.adam import adam
from snas.predictors.compiling import Compiled
from snas.predictors.graphs import Graphs
from snas.predictors.kinds import BRP_OPTIONS, RANGES, checked_options
from snas.predictors.layers import product
from snas.predictors.predictor import Predictor
from snas.predictors.schedule import corrections

if TYPE_CHECKING:
    from snas.spaces.space import Encoding

LAYERS = 4
RATE, DECAY, EPSILON = 3.5e-4, 5e-4, 1e-8
ROWS_AT_ONCE = {
    "cpu": 4_096,
    "cuda": 262_144,
}  # node rows that are embedded together; 600 floats each and layer


@dataclass(frozen=True)
class Iteration:
    """Iteration i = 1, 2, …: 50·i epochs at most, batches of 12·i ordered pairs.

    >>> Iteration(3).epochs, Iteration(3).batch, Iteration(3).steps(12), round(Iteration(3).members(60), 1)
    (150, 36, 4, 42.3)
    """

    number: int
    epochs_each: int = 50

    @property
    def epochs(self) -> int:
        """Most epochs of the iteration."""
        return self.epochs_each * self.number

    @property
    def batch(self) -> int:
        """Ordered pairs of a step."""
        return 12 * self.number

    def steps(self, pool: int) -> int:
        """Steps of an epoch: all ordered pairs of a pool once."""
        return math.ceil(pool * (pool - 1) / self.batch)

    def members(self, pool: int) -> float:
        """Return how many members of a pool occur in a step, on average: about N·(1 − (1 − 2/N)^(12·i))."""
        return pool * (1 - (1 - 2 / max(pool, 2)) ** self.batch)

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, a cosine from 3.5e-4 to 0."""
        return RATE * (1 + math.cos(math.pi * epoch / self.epochs)) / 2


def ordered_pairs(pool: int) -> tuple[Int64[Tensor, " pairs"], Int64[Tensor, " pairs"]]:
    """Return both positions of all pool·(pool − 1) ordered pairs of different members."""
    first = torch.arange(pool).repeat_interleave(pool - 1)
    second = torch.arange(pool - 1).repeat(pool)
    return first, second + (second >= first)


def divergence(
    first: Float[Tensor, "runs pairs 2"],
    second: Float[Tensor, "runs pairs 2"],
    accuracies: Float[Tensor, "runs pairs 2"],
) -> Float[Tensor, "runs pairs"]:
    """Return KL(softmax of the two accuracies ‖ softmax(first + second)) of each pair."""
    target = torch.log_softmax(accuracies, -1)
    return (target.exp() * (target - torch.log_softmax(first + second, -1))).sum(-1)


def draw_kept(
    shape: tuple[int, int], share: float, generator: torch.Generator
) -> Bool[Tensor, "rows hidden"]:
    """Draw what dropout keeps: true with probability ``share``, to 1/65536.

    Sixteen random bits per entry, nine times faster than ``bernoulli_``, which would be a fifth of a training step.
    """
    words = torch.empty(math.ceil(math.prod(shape) / 4), dtype=torch.int64).random_(
        -(2**63), None, generator=generator
    )
    return words.view(torch.int16)[: math.prod(shape)].view(shape) < round(share * 65536) - 32768


def norm_relu(
    x: Float[Tensor, "runs rows hidden"],
    p: tuple[Tensor, Tensor, Tensor],
    keep: Float[Tensor, "runs rows hidden"] | None,
) -> Float[Tensor, "runs rows hidden"]:
    """Return dropout(relu(LayerNorm(x + bias)·scale + shift)); ``keep`` is 0 or 1/(1 − dropout), ``None``: no dropout."""
    bias, scale, shift = (part[:, None] for part in p)
    y = torch.relu(F.layer_norm(x + bias, x.shape[-1:]) * scale + shift)
    return y if keep is None else y * keep


class BRPNAS(Predictor):
    """Four graph convolutions of 600, read out at a global node; a linear layer over two embeddings says which is better.

    The schedule unit is the iteration: ``fit(start=i - 1, stop=i)`` continues the weights with the pool of iteration i.

    Options: ``hidden`` (600), ``dropout`` (0.2), ``patience`` (35), ``epochs_each`` (50: iteration i has 50·i), ``dtype``.
    """

    name: ClassVar[str] = "brp_nas"
    uses_code: ClassVar[bool] = False
    defaults: ClassVar[Mapping[str, Any]] = {**BRP_OPTIONS, "dtype": torch.float32}
    warm_up = 21  # epochs before early stopping looks

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
        self.runs, self.base_seed, self.budget, self.epochs = tuple(runs), base_seed, budget, 5
        self.device, self.dtype = torch.device(device), self.options["dtype"]
        graphs = Graphs(encoding, device=self.device, dtype=self.dtype)
        self.size, self.nodes = graphs.size, graphs.nodes + 1
        self.adjacency = _with_global_node(graphs.adjacency)
        self.inputs = self.adjacency @ _with_global_symbol(graphs)
        self.layout = self._layout(graphs.vocabulary + 1)
        start = torch.from_numpy(par.initial(self.layout, self.runs, base_seed))
        self.weights = start.to(self.device, self.dtype)
        self.reached = 0
        self._adam = Compiled(_adamw, self.device, enabled=compile)

    def _layout(self, symbols: int) -> dict[str, par.Initial]:
        hidden = self.options["hidden"]
        limit = 1 / math.sqrt(hidden)
        out: dict[str, par.Initial] = {}
        for layer in range(LAYERS):
            name = f"brp.gcn{layer + 1}"
            out[f"{name}.weight"] = par.Initial((hidden if layer else symbols, hidden), limit)
            out[f"{name}.bias"] = par.Initial((hidden,), limit)
            out |= {
                f"{name}.scale": par.Initial((hidden,), value=1.0),
                f"{name}.shift": par.Initial((hidden,)),
            }
        limit = 1 / math.sqrt(2 * hidden)
        return out | {
            "brp.last.weight": par.Initial((2 * hidden, 2), limit),
            "brp.last.bias": par.Initial((2,), limit),
        }

    # --- the network -------------------------------------------------------------------------------------------------

    def embed(
        self,
        p: Mapping[str, Tensor],
        archs: Int64[Tensor, "runs archs"],
        keep: Sequence[Float[Tensor, "runs _ hidden"]] | None = None,
    ) -> Float[Tensor, "runs archs hidden"]:
        """Return the embedding of each architecture: the global node after four layers; ``keep`` is the dropout per layer."""
        runs, count = archs.shape
        adjacency = self.adjacency[archs].view(runs * count, self.nodes, self.nodes)
        x = self.inputs[archs].view(runs, count * self.nodes, -1)
        for layer in range(LAYERS):
            name = f"brp.gcn{layer + 1}"
            if layer:
                rows = (
                    adjacency if layer < LAYERS - 1 else adjacency[:, :1]
                )  # the last one is asked at the global node only
                x = torch.bmm(rows, x.view(runs * count, self.nodes, -1)).view(
                    runs, count * rows.shape[1], -1
                )
            affine = (p[f"{name}.bias"], p[f"{name}.scale"], p[f"{name}.shift"])
            x = norm_relu(product(x, p[f"{name}.weight"]), affine, None if keep is None else keep[layer])
        return x

    def _logits(
        self, p: Mapping[str, Tensor], x: Float[Tensor, "runs archs hidden"]
    ) -> tuple[Float[Tensor, "runs archs 2"], Float[Tensor, "runs archs 2"]]:
        """Return what an architecture adds to the two logits as first and as second of a pair (the latter with the bias)."""
        top, bottom = p["brp.last.weight"].split(x.shape[-1], 1)
        return product(x, top), product(x, bottom) + p["brp.last.bias"][:, None]

    # --- training ----------------------------------------------------------------------------------------------------

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
        """Train iterations ``start`` + 1 .. ``stop`` on the pool; codes play no part.  See :meth:`Predictor.fit`."""
        if start != self.reached or not start <= stop <= self.epochs:
            raise ValueError(
                f"iterations {start}..{stop}: training stands at {self.reached} of {self.epochs}"
            )
        pool, accuracy = pool.to(self.device), accuracy.to(self.device, self.dtype)
        if not bool(((accuracy >= 0) & (accuracy <= 1)).all()):
            raise InputError("accuracies to train on must be fractions in [0, 1], not percent and not NaN")
        at_once = max(ROWS_AT_ONCE[self.device.type] // (pool.shape[1] * self.nodes), 1)
        groups = range(0, len(self.runs), at_once)
        for number in range(start + 1, stop + 1):
            for place, at in enumerate(groups):
                members = slice(at, at + at_once)
                training = _Training(
                    self, Iteration(number, self.options["epochs_each"]), members, pool[members]
                )
                before = number - 1 - start + place / len(groups)
                training.run(accuracy[members], self._teller(before, 1 / len(groups), stop - start))
        self.reached = stop

    def _teller(self, before: float, part: float, total: int) -> Callable[[float], None] | None:
        """Return what turns the share of an iteration of some runs into that of the call of ``fit``."""
        tell = self.tell
        return None if tell is None else lambda share: tell((before + part * share) / total)

    def work(self, stop: int) -> float:
        """Return the share of the embeddings that all iterations compute, were none to stop early: steps times members."""
        each = []
        for number in range(1, self.epochs + 1):
            iteration, pool = (
                Iteration(number, self.options["epochs_each"]),
                self.budget * number // self.epochs,
            )
            each.append(iteration.epochs * iteration.steps(pool) * iteration.members(pool))
        return sum(each[:stop]) / max(sum(each), 1)

    # --- prediction --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def coarse(self, archs: Int64[Tensor, "runs archs"] | None = None) -> Float[Tensor, "runs archs"]:
        """Return the score s whose differences are the log-odds of being better; see the module's text."""
        if archs is None:
            archs = torch.arange(self.size)[None].expand(len(self.runs), -1)
        chunk = max(ROWS_AT_ONCE[self.device.type] // self.nodes, 8)
        out = torch.empty(archs.shape, dtype=self.dtype)
        for run in range(len(self.runs)):
            p = par.views(self.layout, self.weights[run : run + 1])
            top, bottom = p["brp.last.weight"].split(self.options["hidden"], 1)
            direction = (top[..., 0] - top[..., 1] - bottom[..., 0] + bottom[..., 1])[..., None] / 2
            for at in range(0, archs.shape[1], chunk):
                x = self.embed(p, archs[run : run + 1, at : at + chunk].to(self.device))
                out[run, at : at + chunk] = product(x, direction)[0, :, 0].cpu()
        return out

    # --- saving ------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of the weights and the iteration reached; AdamW starts anew with each iteration."""
        return {"weights": self.weights.detach().cpu().clone(), "counters": torch.tensor([self.reached])}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up what :meth:`state_dict` gave for the same runs and space; raises ``InputError`` otherwise."""
        if "weights" not in state or state["weights"].shape != self.weights.shape:
            found = tuple(state["weights"].shape) if "weights" in state else "nothing"
            raise InputError(
                f"saved {self.name}: weights is {found}; {tuple(self.weights.shape)} would be right"
            )
        self.weights.copy_(state["weights"])
        self.reached = int(state["counters"][0])


class _Training:
    """One iteration of some runs of a block.  Runs that have stopped early are taken out, so they neither change nor cost."""

    def __init__(
        self, owner: BRPNAS, iteration: Iteration, members: slice, pool: Int64[Tensor, "runs pool"]
    ) -> None:
        self.owner, self.iteration, self.pool = owner, iteration, pool
        self.weights = owner.weights[members]  # a view: what is written here is written there
        self.runs = owner.runs[members]
        self.count = pool.shape[1]
        self.pairs = ordered_pairs(self.count)
        # Dropout is drawn for as many architectures as can occur in a batch of 12·i pairs: by their position in the pool,
        # beyond 24·i members by their place among those that occur.
        self.slots = min(self.count, 2 * iteration.batch)
        # Where many members are missing in a batch, a CPU takes one run after the other, with as many rows as its own batch
        # has: what a run gets must not depend on the others of its block, not even in the last digit.  Else, and on a device,
        # all runs are taken at once, with a place for every slot, which saves a sixth where few are missing.
        few = iteration.members(self.count) < 0.85 * self.slots
        self.apart = few and owner.device.type == "cpu"

    def run(self, accuracy: Float[Tensor, "runs pool"], tell: Callable[[float], None] | None = None) -> None:
        """Train until every run has stopped or the epochs are over; ``tell`` hears the share of the epochs that are done."""
        if self.count < 2:
            return  # no pair to learn from
        stopping = EarlyStopping(len(self.runs), self.owner.options["patience"])
        active = torch.arange(len(self.runs))
        state = [self.weights.clone(), torch.zeros_like(self.weights), torch.zeros_like(self.weights)]
        step = 0
        for epoch in range(self.iteration.epochs):
            step = self._epoch(epoch, active, state, accuracy, step)
            if tell:
                tell((epoch + 1) / self.iteration.epochs)
            if epoch < self.owner.warm_up or epoch == self.iteration.epochs - 1:
                continue
            going = ~stopping.stop(active, self._loss(active, state[0], accuracy))
            if not bool(going.all()):
                self.weights[active] = state[0]
                active, state = active[going], [part[going.to(part.device)] for part in state]
                if not len(active):
                    return
        self.weights[active] = state[0]

    def _epoch(
        self, epoch: int, active: Int64[Tensor, " active"], state: list[Tensor], accuracy: Tensor, step: int
    ) -> int:
        """Train one epoch of the active runs in place; returns Adam's step count."""
        device, number = self.owner.device, self.iteration.number
        keys = [(self.runs[int(a)], number, epoch) for a in active]
        orders = [
            torch.randperm(len(self.pairs[0]), generator=seeds.generator(self.owner.base_seed, "pairs", *key))
            for key in keys
        ]
        dropouts = [seeds.generator(self.owner.base_seed, "dropout", *key) for key in keys]
        batches = torch.stack(orders).split(self.iteration.batch, 1)
        rate, known = self.iteration.rate(epoch), accuracy[active.to(device)]
        together = [slice(a, a + 1) for a in range(len(active))] if self.apart else [slice(None)]
        for chosen in batches:
            step += 1
            gradients = []
            for part in together:
                first, second = self.pairs[0][chosen[part]], self.pairs[1][chosen[part]]
                members, first, second = self._members(first, second)
                keep = self._keep(dropouts[part], members)
                members, first, second = members.to(device), first.to(device), second.to(device)
                gradients.append(
                    self._gradient(active[part], state[0][part], known[part], members, first, second, keep)
                )
            gradient = gradients[0] if len(gradients) == 1 else torch.cat(gradients)
            optimiser = torch.tensor([rate, *corrections(step)], dtype=self.owner.dtype, device=device)
            self.owner._adam(state[0], gradient, state[1], state[2], optimiser)
        return step

    def _members(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the pool positions that are embedded, and both sides of the pairs as places among them.

        Those that occur in the batch, in the pool's order; of several runs at once as many as can occur, and then some of
        these do not and add nothing to the loss.
        """
        both = torch.cat([first, second], 1)
        occurs = torch.zeros(len(first), self.count, dtype=torch.bool).scatter_(1, both, True)
        width = int(occurs.sum()) if self.apart else self.slots
        members = torch.argsort(occurs, dim=1, descending=True, stable=True)[:, :width]
        places = (occurs.cumsum(1) - 1).gather(1, both)
        return members, *places.split(first.shape[1], 1)

    def _gradient(
        self,
        active: Int64[Tensor, " active"],
        weights: Float[Tensor, "active parameters"],
        accuracy: Float[Tensor, "active pool"],
        members: Int64[Tensor, "active members"],
        first: Int64[Tensor, "active pairs"],
        second: Int64[Tensor, "active pairs"],
        keep: Sequence[Float[Tensor, "active _ hidden"]] | None,
    ) -> Float[Tensor, "active parameters"]:
        """Return the gradient of the summed divergence of a batch of pairs."""
        archs = self.pool[active.to(self.pool.device)].gather(1, members)
        known = accuracy.gather(1, members)
        truth = torch.stack([known.gather(1, first), known.gather(1, second)], -1)
        leaves = {k: v.detach().requires_grad_() for k, v in par.views(self.owner.layout, weights).items()}
        with torch.enable_grad():
            a, b = self.owner._logits(leaves, self.owner.embed(leaves, archs, keep))
            pick = lambda side, places: side.gather(1, places[..., None].expand(-1, -1, 2))
            loss = divergence(pick(a, first), pick(b, second), truth).sum()
            return torch.cat([g.flatten(1) for g in torch.autograd.grad(loss, list(leaves.values()))], 1)

    def _keep(
        self, generators: Sequence[torch.Generator], members: Int64[Tensor, "active members"]
    ) -> list[Float[Tensor, "active _ hidden"]] | None:
        """Draw the dropout of a step: 0, or 1/(1 − dropout), per layer; each run from its own generator.

        What is drawn does not depend on the other runs of the block, so it is drawn for all slots, and the members' is taken.
        """
        rest = 1 - self.owner.options["dropout"]
        if rest == 1:
            return None
        rows = [self.slots * self.owner.nodes] * (LAYERS - 1) + [self.slots]
        shape = (sum(rows), self.owner.options["hidden"])
        draws = torch.stack([draw_kept(shape, rest, g) for g in generators])
        positions = members if self.slots == self.count else torch.arange(members.shape[1]).expand_as(members)
        run = torch.arange(len(members))[:, None]
        keep = []
        for layer in draws.split(rows, 1):
            chosen = layer.view(len(members), self.slots, -1, shape[1])[run, positions].flatten(1, 2)
            # One byte an entry goes to the device; a conversion on the way would be made on the host.
            keep.append(chosen.to(self.owner.device).to(self.owner.dtype) / rest)
        return keep

    def _loss(self, active: Tensor, weights: Tensor, accuracy: Tensor) -> Float[Tensor, " active"]:
        """Return the mean divergence over all ordered pairs of the pool, without dropout."""
        active = active.to(self.pool.device)
        p = par.views(self.owner.layout, weights)
        a, b = self.owner._logits(p, self.owner.embed(p, self.pool[active]))
        first, second = (side.to(a.device) for side in self.pairs)
        known = accuracy[active]
        truth = torch.stack([known[:, first], known[:, second]], -1)
        return divergence(a[:, first], b[:, second], truth).mean(1).cpu()


class EarlyStopping:
    """Says per run when the loss has not reached a new minimum for ``patience`` epochs, or is NaN."""

    def __init__(self, runs: int, patience: int) -> None:
        self.best = torch.full((runs,), math.inf, dtype=torch.float64)
        self.bad = torch.zeros(runs, dtype=torch.int64)
        self.patience = patience

    def stop(
        self, active: Int64[Tensor, " active"], loss: Float[Tensor, " active"]
    ) -> Bool[Tensor, " active"]:
        """Take the losses of the active runs and return which of them stop."""
        better = loss.double() < self.best[active]
        self.bad[active] = torch.where(better, 0, self.bad[active] + 1)
        self.best[active] = torch.where(better, loss.double(), self.best[active])
        return (self.bad[active] >= self.patience) | loss.isnan()


def _adamw(weights: Tensor, gradient: Tensor, first: Tensor, second: Tensor, optimiser: Tensor) -> None:
    adam(weights, gradient, first, second, *optimiser.unbind(), epsilon=EPSILON, decay=DECAY)


def _with_global_node(
    adjacency: Float[Tensor, "space nodes nodes"],
) -> Float[Tensor, "space more more"]:
    """Return the adjacency with a node 0 that sees every node and that no other node sees."""
    out = F.pad(adjacency, (1, 0, 1, 0))
    out[:, 0] = 1
    return out


def _with_global_symbol(graphs: Graphs) -> Float[Tensor, "space more symbols"]:
    """Return the one-hot operations with the global node's own symbol, the last one, in front."""
    one_hot = F.pad(graphs.eye[graphs.operations], (0, 1, 1, 0))
    one_hot[:, 0, -1] = 1
    return one_hot
