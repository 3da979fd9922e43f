"""Gaussian processes of R runs as one batched program: few observations, many candidates.

Each run has its own observations and its own hyperparameters; the inputs (features of the candidates) are shared.  The
kernel is

    k(x, x') = a·exp(−|x − x'|² / 2l²) + b·x·x' + c·m(x)·m(x'),    and e more between an observation and itself,

with m a score per run and candidate that was measured or predicted elsewhere (left out where there is none).  The
hyperparameters are a maximum of the posterior (MAP): normal priors on their logarithms, Fisher scoring with a damping
of its own per run, so that a run is the same alone and in any block.  Written here and not taken from GPyTorch: its
batch mode fits one sum over all runs (L-BFGS of BoTorch couples them), Fisher scoring needs three steps from a warm
start where its optimisers need dozens, and it would bring seven packages.  Tested against scikit-learn's.

Axes: ``runs``, ``asked`` the observations of a run, ``candidates`` the rows of the features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

LENGTH, RBF, LINEAR, NOISE, SCORE = range(5)
"""Places of the hyperparameters' logarithms: l, a, b, e, c."""
FULL_DISTANCES = 2**25
"""Most candidates² whose distances are kept; of more, the rows are computed as they are needed."""
CHUNK_NUMBERS = {"cpu": 2**20, "cuda": 2**26}
"""Numbers in a chunk of (runs, asked, candidates) while candidates are scored: what stays in a core's cache, fills a GPU."""
JITTER = 1e-9
EQUAL = 1e-4
"""Log expected improvements (or means) that differ by less are ties: candidates that are alike differ by rounding."""


@dataclass(frozen=True)
class Priors:
    """Normal priors of the logarithms (l, a, b, e, c), for features of mean squared norm 1 and targets of variance 1."""

    mean: tuple[float, float, float, float, float] = (0.0, 0.0, -0.7, -2.0, 0.0)
    deviation: tuple[float, float, float, float, float] = (0.7, 1.0, 1.0, 0.5, 1.5)


class Inputs:
    """Features of the candidates, scaled to a mean squared norm of 1, and their squared distances.

    Without any feature that varies all candidates are alike, and a Gaussian process learns their mean.
    """

    def __init__(self, features: Float64[np.ndarray, "candidates features"], device: str = "cpu") -> None:
        norm = float(np.sqrt((features**2).sum(axis=1).mean())) if features.size else 0.0
        scaled = features / norm if norm > 0 else np.zeros((len(features), 1))
        self.values = torch.from_numpy(np.ascontiguousarray(scaled)).to(device)
        self.norms = (self.values**2).sum(dim=1)
        size = len(self.values)
        self._all = self._squared(torch.arange(size, device=device)) if size**2 <= FULL_DISTANCES else None

    def __len__(self) -> int:
        return len(self.values)

    def squared(self, rows: Int64[Tensor, "runs asked"]) -> Float[Tensor, "runs asked candidates"]:
        """Return squared distances, single precision."""
        return self._squared(rows) if self._all is None else self._all[rows]

    def between(self, rows: Int64[Tensor, "runs asked"]) -> Float64[Tensor, "runs asked asked"]:
        """Return squared distances among the rows of each run, double precision."""
        x = self.values[rows]
        return self._from_products(x @ x.transpose(1, 2), self.norms[rows])

    def _squared(self, rows: Tensor) -> Tensor:
        products = self.values[rows].float() @ self.values.float().T
        squared = self.norms[rows].float()[..., None] + self.norms.float() - 2 * products
        return squared.clamp_min_(0)

    @staticmethod
    def _from_products(products: Tensor, norms: Tensor) -> Tensor:
        squared = norms[:, :, None] + norms[:, None, :] - 2 * products
        squared.diagonal(dim1=1, dim2=2).zero_()
        return squared.clamp_min_(0)


@dataclass(frozen=True)
class Posterior:
    """Mean and standard deviation of the noiseless value of every candidate, and the best mean of an observed one."""

    mean: Float64[Tensor, "runs candidates"]
    deviation: Float64[Tensor, "runs candidates"]
    best: Float64[Tensor, " runs"]


class GaussianProcesses:
    """R Gaussian processes over the same candidates.

    Args:
        inputs: the candidates.
        runs: R.
        priors: of the hyperparameters.
        precision: of the scoring of candidates; observations are always fitted in double precision.

    Attributes:
        logs: the hyperparameters' logarithms, ``(runs, 5)``; saved and set to go on (the last is unused without scores).
    """

    def __init__(
        self,
        inputs: Inputs,
        runs: int,
        *,
        priors: Priors | None = None,
        precision: torch.dtype = torch.float32,
    ) -> None:
        priors = priors or Priors()
        device = inputs.values.device
        self.inputs, self.precision = inputs, precision
        self._mean = torch.tensor(priors.mean, dtype=torch.float64, device=device)
        self._deviation = torch.tensor(priors.deviation, dtype=torch.float64, device=device)
        self.logs = self._mean.repeat(runs, 1)

    def fit(
        self,
        asked: Int64[Tensor, "runs asked"],
        targets: Float64[Tensor, "runs asked"],
        scores: Float64[Tensor, "runs candidates"] | None = None,
        *,
        steps: int,
    ) -> None:
        """Take the observations and improve the hyperparameters by ``steps`` steps of Fisher scoring, from where they are.

        A step that makes the posterior worse is not taken, and the next one is damped more.  0 keeps them as they are.
        """
        self._asked, self._targets, self._scores = asked, targets, scores
        data = _Data(
            self.inputs.between(asked),
            self.inputs.norms[asked],
            targets,
            None if scores is None else torch.gather(scores, 1, asked),
        )
        self._count = NOISE + 1 if scores is None else SCORE + 1
        logs = self.logs[:, : self._count].clone()
        now = self._posterior_of(logs, data)
        damping = torch.full_like(now.value, 1e-2)
        for _ in range(steps):
            curvature = now.information + torch.diag_embed(
                damping[:, None] * now.information.diagonal(dim1=1, dim2=2)
            )
            step = -torch.linalg.solve(curvature, now.gradient).clamp(-1, 1)
            trial = self._posterior_of(logs + step, data)
            better = trial.value <= now.value
            logs = torch.where(better[:, None], logs + step, logs)
            now = now.where(better, trial)
            damping = torch.where(better, damping * 0.3, damping * 10)
        self.logs[:, : self._count] = logs
        self.value, self.gradient = now.value, now.gradient
        eye = torch.eye(asked.shape[1], dtype=torch.float64, device=targets.device).expand_as(now.factor)
        self._inverse = torch.linalg.solve_triangular(now.factor, eye, upper=False)
        self._weights = (self._inverse @ targets[:, :, None])[:, :, 0]

    def _posterior_of(self, logs: Tensor, data: _Data) -> _Fit:
        """Return the negative log posterior of ``logs``, its gradient and its expected information.

        Gradient ½ tr(K⁻¹ ∂K) − ½ αᵀ ∂K α and information ½ tr(K⁻¹ ∂K K⁻¹ ∂K), Rasmussen & Williams (2006), section 5.4.1.
        """
        length, rbf, linear, noise = torch.exp(logs[:, : NOISE + 1]).T[:, :, None, None]
        smooth = rbf * torch.exp(-0.5 * data.squared / length**2)
        plain = linear * 0.5 * (data.norms[:, :, None] + data.norms[:, None, :] - data.squared)
        eye = torch.eye(data.squared.shape[1], dtype=torch.float64, device=logs.device)
        slopes = [smooth * data.squared / length**2, smooth, plain, noise * eye]
        if data.scores is not None:
            weight = torch.exp(logs[:, SCORE])[:, None, None]
            slopes.append(weight * data.scores[:, :, None] * data.scores[:, None, :])
        kernel = torch.stack(slopes[1:]).sum(dim=0) + JITTER * eye
        factor, failed = torch.linalg.cholesky_ex(kernel)
        alpha = torch.cholesky_solve(data.targets[:, :, None], factor)
        scaled = (logs - self._mean[: self._count]) / self._deviation[: self._count]
        value = (
            0.5 * (data.targets * alpha[:, :, 0]).sum(dim=1)
            + factor.diagonal(dim1=1, dim2=2).log().sum(dim=1)
            + 0.5 * (scaled**2).sum(dim=1)
        )
        value = torch.where((failed > 0) | value.isnan(), torch.inf, value)
        inverse = torch.cholesky_inverse(factor)
        rates = torch.stack([inverse @ slope for slope in slopes], dim=1)
        fits = torch.stack([(alpha * (slope @ alpha)).sum(dim=(1, 2)) for slope in slopes], dim=1)
        gradient = (
            0.5 * (rates.diagonal(dim1=2, dim2=3).sum(dim=2) - fits) + scaled / self._deviation[: self._count]
        )
        information = 0.5 * torch.einsum("rpij,rqji->rpq", rates, rates)
        information = information + torch.diag(self._deviation[: self._count] ** -2)
        return _Fit(value, gradient, information, factor)

    def posterior(self) -> Posterior:
        """Return the posterior of all candidates."""
        parts = [self._best_of(rows, *chunk.moments()) for rows, chunk in self._chunks()]
        mean, deviation, best = (torch.cat(part) for part in zip(*parts, strict=True))
        return Posterior(mean, deviation, best)

    def choose(
        self,
        count: int,
        taken: Bool[Tensor, "runs candidates"],
        ties: Int64[Tensor, "runs candidates"],
        *,
        greedy: bool = False,
    ) -> Int64[Tensor, "runs new"]:
        """Return ``count`` candidates per run that are not ``taken``, by expected improvement over the best posterior mean.

        After each choice the process goes on as if it had been observed at its mean (Ginsbourger's kriging believer):
        the means stay, the deviations shrink (a column added to the Cholesky factor), and the next one is chosen.
        ``greedy`` takes the largest mean instead.  Equal values go by ``ties``, the smaller first.
        """
        chosen = []
        for rows, chunk in self._chunks():
            free, order = ~taken[rows], ties[rows]
            picks: list[Tensor] = []
            for number in range(count):
                mean, deviation = chunk.moments()
                _, _, best = self._best_of(rows, mean, deviation)
                for pick in picks:
                    best = torch.maximum(best, mean.gather(1, pick[:, None])[:, 0])
                value = mean if greedy else log_expected_improvement(mean, deviation, best[:, None])
                pick = first_of_the_largest(value, free, order)
                picks.append(pick)
                free = free.scatter(1, pick[:, None], False)
                if number + 1 < count:
                    chunk.believe(pick)
            chosen.append(torch.stack(picks, dim=1))
        return torch.cat(chosen)

    def _best_of(self, rows: slice, mean: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return mean, deviation, mean.gather(1, self._asked[rows]).max(dim=1).values

    def _chunks(self) -> Iterator[tuple[slice, _Chunk]]:
        runs, asked = self._asked.shape
        size = max(1, CHUNK_NUMBERS[self.inputs.values.device.type] // (asked * len(self.inputs)))
        for start in range(0, runs, size):
            rows = slice(start, min(start + size, runs))
            yield rows, _Chunk(self, rows)


@dataclass(frozen=True)
class _Data:
    squared: Float64[Tensor, "runs asked asked"]
    norms: Float64[Tensor, "runs asked"]
    targets: Float64[Tensor, "runs asked"]
    scores: Float64[Tensor, "runs asked"] | None


@dataclass(frozen=True)
class _Fit:
    value: Float64[Tensor, " runs"]
    gradient: Float64[Tensor, "runs logs"]
    information: Float64[Tensor, "runs logs logs"]
    factor: Float64[Tensor, "runs asked asked"]

    def where(self, better: Tensor, other: _Fit) -> _Fit:
        """Return this fit, with the rows of ``other`` where it is better."""
        pick = lambda mine, theirs: torch.where(better.reshape(-1, *[1] * (mine.dim() - 1)), theirs, mine)
        return _Fit(
            pick(self.value, other.value),
            pick(self.gradient, other.gradient),
            pick(self.information, other.information),
            pick(self.factor, other.factor),
        )


class _Chunk:
    """Some runs while their candidates are scored: whitened covariances (L⁻¹ k) and the variances that are left."""

    def __init__(self, process: GaussianProcesses, rows: slice) -> None:
        kind, inputs = process.precision, process.inputs
        self.inputs = inputs
        self.constants = torch.exp(process.logs[rows]).to(kind)
        self.noise = self.constants[:, NOISE]
        self.scores = None if process._scores is None else process._scores[rows].to(kind)
        asked = process._asked[rows]
        self.white = torch.bmm(process._inverse[rows].to(kind), self.kernel(asked))
        self.mean = torch.bmm(process._weights[rows, None].to(kind), self.white)[:, 0]
        constant = self.constants[:, :, None]
        prior = constant[:, RBF] + constant[:, LINEAR] * inputs.norms.to(kind)
        if self.scores is not None:
            prior = prior + constant[:, SCORE] * self.scores**2
        # Cancellation in single precision could leave nothing, or less: what is known best still has a spread.
        self.floor = 1e-6 * prior
        self.variance = prior - (self.white**2).sum(dim=1)

    def kernel(self, asked: Int64[Tensor, "runs asked"]) -> Float[Tensor, "runs asked candidates"]:
        """Return the covariances of observations with all candidates."""
        kind, inputs = self.white_kind, self.inputs
        length, rbf, linear = (self.constants[:, k, None, None] for k in (LENGTH, RBF, LINEAR))
        squared = inputs.squared(asked).to(kind)
        kernel = squared.mul(-0.5 / length**2).exp_().mul_(rbf)
        norms = inputs.norms.to(kind)
        half = 0.5 * linear
        kernel.sub_(squared.mul_(half)).add_(norms[asked][:, :, None] * half).add_(norms * half)
        if self.scores is not None:
            here = self.scores.gather(1, asked)
            kernel.baddbmm_((self.constants[:, SCORE, None] * here)[:, :, None], self.scores[:, None, :])
        return kernel

    @property
    def white_kind(self) -> torch.dtype:
        """Precision of the scoring."""
        return self.constants.dtype

    def moments(self) -> tuple[Float64[Tensor, "runs candidates"], Float64[Tensor, "runs candidates"]]:
        """Return mean and standard deviation."""
        return self.mean.double(), torch.maximum(self.variance, self.floor).double().sqrt()

    def believe(self, pick: Int64[Tensor, " runs"]) -> None:
        """Go on as if ``pick`` had been observed at its mean: one more row of L⁻¹ k."""
        column = self.white.gather(2, pick[:, None, None].expand(-1, self.white.shape[1], 1))
        rest = self.kernel(pick[:, None])[:, 0] - torch.bmm(column.transpose(1, 2), self.white)[:, 0]
        here = torch.maximum(self.variance, self.floor).gather(1, pick[:, None]) + self.noise[:, None]
        row = rest / here.sqrt()
        self.white = torch.cat([self.white, row[:, None]], dim=1)
        self.variance = self.variance - row**2


def log_expected_improvement(
    mean: Float64[Tensor, "runs candidates"],
    deviation: Float64[Tensor, "runs candidates"],
    best: Float64[Tensor, "runs 1"],
) -> Float64[Tensor, "runs candidates"]:
    """Return log E[max(f − best, 0)] for f normal; finite where the expectation itself would underflow.

    log σ + log φ(u) + log(1 + u·Φ(u)/φ(u)) with u = (mean − best)/σ (Ament et al., 2023), and φ(u)/u² far below.
    """
    u = (mean - best) / deviation
    log_density = -0.5 * u**2 - 0.5 * math.log(2 * math.pi)
    low = u.clamp(max=0)
    ratio = math.sqrt(math.pi / 2) * torch.special.erfcx(-low / math.sqrt(2))  # Φ(u)/φ(u)
    near = log_density + torch.log1p(low * ratio)
    far = log_density - 2 * torch.log(-u.clamp(max=-1))
    high = torch.log(u.clamp(min=0) * torch.special.ndtr(u) + torch.exp(log_density))
    return deviation.log() + torch.where(u > 0, high, torch.where(u > -20, near, far))


def first_of_the_largest(
    values: Float64[Tensor, "runs candidates"],
    free: Bool[Tensor, "runs candidates"],
    ties: Int64[Tensor, "runs candidates"],
) -> Int64[Tensor, " runs"]:
    """Return the free candidate with the largest value of each row; among equal ones (up to :data:`EQUAL`) that with
    the smallest ``ties``.

    NaN counts as the smallest value.
    """
    values = torch.where(values.isnan(), -torch.inf, values).masked_fill(~free, -torch.inf)
    largest = values.max(dim=1, keepdim=True).values
    last = ties.max() + 1
    return torch.where((values >= largest - EQUAL) & free, ties, last).argmin(dim=1)


def normal_scores(values: Float64[np.ndarray, "runs asked"]) -> Float64[np.ndarray, "runs asked"]:
    """Return Φ⁻¹((rank − ½)/n) of each value in its row: outliers at chance count no more than any other last place.

    Equal values share their average rank (all equal: all 0).  A missing value has no place among the others and 0.
    """
    import pandas as pd
    from scipy.special import ndtri  # as scipy.stats.norm.ppf, whose import takes half a second

    missing = np.isnan(values)
    ranks = pd.DataFrame(np.where(missing, np.inf, values)).rank(axis=1).to_numpy()
    known = np.maximum((~missing).sum(axis=1, keepdims=True), 1)
    return np.where(missing, 0.0, ndtri(np.minimum((ranks - 0.5) / known, 1 - 1e-9)))


def spread_out(
    features: Float64[np.ndarray, "candidates features"],
    first: Sequence[int] | np.ndarray,
    count: int,
    generators: Sequence[np.random.Generator],
) -> Int64[np.ndarray, "runs start"]:
    """Return ``count`` candidates per run as k-means++ seeds its centres (Arthur & Vassilvitskii, 2007).

    After ``first``, each next one is drawn with a probability that grows with its squared distance to the nearest so
    far; where all that are left lie on those that are there, among all left alike.
    """
    rows = []
    for start, generator in zip(first, generators, strict=True):
        chosen = [int(start)]
        nearest = ((features - features[start]) ** 2).sum(axis=1)
        left = np.ones(len(features))
        left[start] = 0
        while len(chosen) < count:
            weight = nearest * left
            total = weight.sum()
            weight = weight if total > 0 else left
            draw = int(generator.choice(len(features), p=weight / weight.sum()))
            chosen.append(draw)
            left[draw] = 0
            nearest = np.minimum(nearest, ((features - features[draw]) ** 2).sum(axis=1))
        rows.append(chosen)
    return np.array(rows, dtype=np.int64)
