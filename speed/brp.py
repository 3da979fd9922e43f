"""BRP-NAS: the product's training and ranking against a plain PyTorch loop of one run; rows of ``speed.predictors``.

*Plain* embeds both architectures of every pair of a batch, as the predictor's definition reads; the product embeds each
architecture of the batch once.  It is checked to prefer what the product prefers with the same weights.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snas import spaces
from snas.predictors import parameters as par
from snas.predictors.brp import BRPNAS, LAYERS, RATE, Iteration, _Training
from speed.record import Record
from speed.timing import Rows, product_seconds, seconds

BUDGET, LAST, CHUNK = 100, 5, 256
FLOOR = (
    "the matrix products by the weights alone at this machine's torch.bmm, every architecture that occurs in a batch once (60 "
    "pairs of 100 hold 70 of them on average): forward, gradients by "
    "input and by weight in training; adjacency, layer norm, dropout and AdamW for nothing"
)


class PlainBRP(nn.Module):
    """The binary relation predictor with torch.nn, one model for one run."""

    def __init__(self, symbols: int, hidden: int = 600) -> None:
        super().__init__()
        self.linears = nn.ModuleList([nn.Linear(hidden if i else symbols, hidden) for i in range(LAYERS)])
        self.norms = nn.ModuleList([nn.LayerNorm(hidden) for _ in range(LAYERS)])
        self.dropout = nn.Dropout(0.2)
        self.last = nn.Linear(2 * hidden, 2)

    def embed(self, a: Tensor, x: Tensor) -> Tensor:
        """Return the global nodes' features after all layers; ``a``: (batch, n, n), ``x``: (batch, n, symbols)."""
        for linear, norm in zip(self.linears, self.norms, strict=True):
            x = self.dropout(torch.relu(norm(linear(a @ x))))
        return x[:, 0]

    def forward(self, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
        """Return the log-probabilities that the first and that the second is better."""
        return torch.log_softmax(self.last(torch.cat([self.embed(*first), self.embed(*second)], 1)), 1)

    @torch.no_grad()
    def take(self, predictor: BRPNAS) -> None:
        """Copy the weights of a block's first run."""
        pieces = {k: v[0] for k, v in par.views(predictor.layout, predictor.weights).items()}
        for i, (linear, norm) in enumerate(zip(self.linears, self.norms, strict=True)):
            name = f"brp.gcn{i + 1}"
            linear.weight.copy_(pieces[f"{name}.weight"].T)
            linear.bias.copy_(pieces[f"{name}.bias"])
            norm.weight.copy_(pieces[f"{name}.scale"])
            norm.bias.copy_(pieces[f"{name}.shift"])
        self.last.weight.copy_(pieces["brp.last.weight"].T)
        self.last.bias.copy_(pieces["brp.last.bias"])


class Bench:
    """A space, pools to train on, and the plain model's tensors of it."""

    def __init__(self, space: str) -> None:
        self.encoding = spaces.load(space).encoding()
        fresh = self.block(1)
        self.size, self.nodes, self.adjacency = fresh.size, fresh.nodes, fresh.adjacency
        symbols = torch.as_tensor(self.encoding.operations).long()
        # The global node stands first and has a symbol of its own, the last one.
        self.one_hot = F.one_hot(
            F.pad(symbols, (1, 0), value=len(self.encoding.vocabulary)), fresh.inputs.shape[-1]
        ).float()
        generator = torch.Generator().manual_seed(0)
        self.pools = torch.stack([torch.randperm(self.size, generator=generator)[:BUDGET] for _ in range(8)])
        self.accuracy = torch.rand(8, BUDGET, generator=generator) * 0.1 + 0.8

    def block(self, runs: int) -> BRPNAS:
        """Return R runs with their first weights."""
        return BRPNAS(self.encoding, range(runs), base_seed=0, budget=BUDGET, compile=True)

    def plain(self) -> PlainBRP:
        """Return the plain model, after checking which of two architectures it prefers, and by how much, against the product."""
        fresh, model = self.block(1), PlainBRP(self.one_hot.shape[-1])
        model.take(fresh)
        model.eval()
        first, second = (self.graph(self.pools[0, part]) for part in (slice(0, 8), slice(8, 16)))
        with torch.no_grad():
            odds = [both[:, 0] - both[:, 1] for both in (model(first, second), model(second, first))]
        score = fresh.coarse(self.pools[:1, :16])[0]
        torch.testing.assert_close((odds[0] - odds[1]) / 2, score[:8] - score[8:], rtol=1e-3, atol=1e-5)
        return model.train()

    def graph(self, archs: Tensor) -> tuple[Tensor, Tensor]:
        """Return adjacency and one-hot operations of architectures."""
        return self.adjacency[archs], self.one_hot[archs]


def plain_steps(bench: Bench, steps: int) -> Callable[[], None]:
    """Return a function that trains the plain model for some steps of the last iteration."""
    model = bench.plain()
    adam = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=5e-4)

    def train() -> None:
        for _ in range(steps):
            first, second = torch.randint(BUDGET, (2, Iteration(LAST).batch))
            truth = bench.accuracy[0][torch.stack([first, second], 1)]
            out = model(bench.graph(bench.pools[0, first]), bench.graph(bench.pools[0, second]))
            loss = F.kl_div(out, torch.log_softmax(truth, 1), reduction="sum", log_target=True)
            adam.zero_grad()
            loss.backward()
            adam.step()

    return train


def floors(bench: Bench) -> tuple[float, float]:
    """Return the seconds of the products of a step of a run, and of a ranking."""
    hidden, symbols = 600, bench.one_hot.shape[-1]
    members = round(Iteration(LAST).members(BUDGET))
    step = ranking = 0.0
    for i in range(LAYERS):
        inputs, nodes = hidden if i else symbols, bench.nodes if i < LAYERS - 1 else 1
        x, w = torch.randn(1, members * nodes, inputs), torch.randn(1, inputs, hidden)
        y = torch.randn(1, members * nodes, hidden)
        forward = product_seconds(x, w)
        step += forward + product_seconds(x.transpose(1, 2), y)
        step += product_seconds(y, w.transpose(1, 2)) if i else 0.0
        ranking += forward * bench.size / members
    return step, ranking


def rows(record: Record, space: str, repeats: int) -> None:
    """Add training in the last iteration, with all N = 100 in the pool, and the ranking of the space."""
    bench = Bench(space)
    plain, model, steps = plain_steps(bench, 20), bench.plain().eval(), Iteration(LAST).steps(BUDGET)
    blocks = {runs: bench.block(runs) for runs in (1, 4)}

    def epoch(runs: int) -> float:
        members = slice(0, runs)
        training = _Training(blocks[runs], Iteration(LAST), members, bench.pools[members])
        state = [training.weights.clone(), *(torch.zeros_like(training.weights) for _ in range(2))]
        each = lambda: training._epoch(0, torch.arange(runs), state, bench.accuracy[members], 0)
        return 1e3 * seconds(each) / steps / runs

    @torch.no_grad()
    def rank() -> None:
        for at in range(0, bench.size, CHUNK):
            model.embed(*bench.graph(torch.arange(at, min(at + CHUNK, bench.size))))

    training = Rows(
        {
            "plain, one run": lambda: 1e3 * seconds(plain) / 20,
            "block of 1": lambda: epoch(1),
            "block of 4": lambda: epoch(4),
            "floor": lambda: 1e3 * floors(bench)[0],
        },
        repeats,
    )
    training.record(record, f"brp_nas, {space}: training, pool of {BUDGET}, {Iteration(LAST).batch} pairs",
                    "ms per run and step", plain="plain, one run", floor="floor", assumes=FLOOR)  # fmt: skip
    ranking = Rows(
        {
            f"plain, chunks of {CHUNK}": lambda: seconds(rank),
            "product": lambda: seconds(blocks[1].coarse),
            "floor": lambda: floors(bench)[1],
        },
        repeats,
    )
    ranking.record(record, f"brp_nas, {space}: ranking of {bench.size:,}", "s per run",
                   plain=f"plain, chunks of {CHUNK}", floor="floor", assumes=FLOOR)  # fmt: skip
