"""The batched Gaussian process against scikit-learn's, Monte Carlo, numerical slopes and itself one run at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

from snas.predictors import gaussian
from snas.predictors.gaussian import (
    NOISE,
    GaussianProcesses,
    Inputs,
    Priors,
    first_of_the_largest,
    log_expected_improvement,
    normal_scores,
    spread_out,
)

RUNS, ASKED, CANDIDATES = 3, 14, 60


def problem(seed=0, runs=RUNS, asked=ASKED):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((CANDIDATES, 5))
    truth = features[:, 0] - features[:, 1] ** 2 + 0.1 * rng.standard_normal(CANDIDATES)
    rows = np.stack([rng.permutation(CANDIDATES)[:asked] for _ in range(runs)])
    targets = normal_scores(truth[rows])
    scores = truth + 0.3 * rng.standard_normal((runs, CANDIDATES))
    return features, torch.from_numpy(rows), torch.from_numpy(targets), torch.from_numpy(scores)


def fitted(features, rows, targets, scores=None, *, steps=10, precision=torch.float64, **options):
    process = GaussianProcesses(Inputs(features), len(rows), precision=precision, **options)
    process.fit(rows, targets, scores, steps=steps)
    return process


def sklearn_process(process, r):
    length, rbf, linear, noise, _ = np.exp(process.logs[r].numpy())
    kernel = (
        ConstantKernel(rbf) * RBF(length)
        + ConstantKernel(linear) * DotProduct(sigma_0=0)
        + WhiteKernel(noise + gaussian.JITTER)
    )
    return GaussianProcessRegressor(kernel, alpha=0, optimizer=None)


@pytest.mark.filterwarnings("ignore:divide by zero encountered in log")  # sigma_0 = 0
def test_posterior_is_that_of_scikit_learn_at_the_same_hyperparameters():
    features, rows, targets, _ = problem()
    process = fitted(features, rows, targets)
    x = process.inputs.values.numpy()
    found = process.posterior()
    for r in range(RUNS):
        reference = sklearn_process(process, r).fit(x[rows[r]], targets[r].numpy())
        mean, deviation = reference.predict(x, return_std=True)
        noise = np.exp(process.logs[r, NOISE].item()) + gaussian.JITTER
        # distances of candidates are kept in single precision
        assert np.allclose(found.mean[r], mean, atol=3e-5)
        assert np.allclose(found.deviation[r] ** 2, deviation**2 - noise, atol=3e-5)
        assert found.best[r].item() == pytest.approx(mean[rows[r]].max(), abs=3e-5)


@pytest.mark.filterwarnings("ignore:divide by zero encountered in log")  # sigma_0 = 0
def test_objective_is_scikit_learn_s_marginal_likelihood_and_the_prior():
    features, rows, targets, _ = problem(1)
    priors = Priors()
    process = fitted(features, rows, targets, steps=4)
    x = process.inputs.values.numpy()
    for r in range(RUNS):
        reference = sklearn_process(process, r).fit(x[rows[r]], targets[r].numpy())
        prior = -sum(
            norm(m, d).logpdf(v) - norm(m, d).logpdf(m)
            for v, m, d in zip(
                process.logs[r, :4].numpy(), priors.mean[:4], priors.deviation[:4], strict=True
            )
        )
        likelihood = reference.log_marginal_likelihood_value_ + 0.5 * ASKED * np.log(2 * np.pi)
        assert process.value[r].item() == pytest.approx(-likelihood + prior, rel=1e-8)


@pytest.mark.parametrize("with_scores", [False, True])
def test_gradient_is_the_slope_and_vanishes_at_the_end(with_scores):
    features, rows, targets, scores = problem(2)
    scores = scores if with_scores else None
    process = fitted(features, rows, targets, scores, steps=0)
    start, gradient = process.logs.clone(), process.gradient.clone()
    for k in range(gradient.shape[1]):
        values = []
        for step in (1e-5, -1e-5):
            process.logs = start.clone()
            process.logs[:, k] += step
            process.fit(rows, targets, scores, steps=0)
            values.append(process.value)
        assert torch.allclose((values[0] - values[1]) / 2e-5, gradient[:, k], atol=1e-5)
    before = process.value.clone()
    process.fit(rows, targets, scores, steps=60)
    assert process.gradient.abs().max() < 1e-4
    assert (process.value < before).all()


def test_scores_are_a_linear_feature():
    """Of a kernel with m·m' added: the same as scikit-learn's with m as a further column of its own weight."""
    features, rows, targets, scores = problem(3)
    process = fitted(features, rows, targets, scores)
    x = process.inputs.values.numpy()
    found = process.posterior()
    for r in range(RUNS):
        length, rbf, linear, noise, score = np.exp(process.logs[r].numpy())
        squared = ((x[:, None] - x[None]) ** 2).sum(-1)
        m = scores[r].numpy()
        kernel = rbf * np.exp(-squared / 2 / length**2) + linear * x @ x.T + score * np.outer(m, m)
        asked = rows[r].numpy()
        inner = kernel[np.ix_(asked, asked)] + (noise + gaussian.JITTER) * np.eye(ASKED)
        solved = np.linalg.solve(inner, kernel[asked])
        assert np.allclose(found.mean[r], targets[r].numpy() @ solved, atol=1e-4)
        variance = np.diag(kernel) - (kernel[asked] * solved).sum(axis=0)
        assert np.allclose(found.deviation[r] ** 2, variance, atol=1e-4)


@pytest.mark.parametrize("with_scores", [False, True])
def test_all_runs_at_once_are_the_runs_one_at_a_time(with_scores, monkeypatch):
    features, rows, targets, scores = problem(4, runs=7)
    taken = torch.zeros(7, CANDIDATES, dtype=torch.bool).scatter_(1, rows, True)
    ties = torch.from_numpy(np.stack([np.random.default_rng(r).permutation(CANDIDATES) for r in range(7)]))
    scores = scores if with_scores else None
    monkeypatch.setattr(gaussian, "CHUNK_NUMBERS", {"cpu": 2 * ASKED * CANDIDATES})  # several chunks
    together = fitted(features, rows, targets, scores)
    everything = together.choose(4, taken, ties)
    for r in range(7):
        part = slice(r, r + 1)
        alone = fitted(features, rows[part], targets[part], None if scores is None else scores[part])
        assert torch.allclose(alone.logs, together.logs[part], atol=1e-10)
        assert torch.allclose(alone.posterior().mean, together.posterior().mean[part], atol=1e-10)
        assert alone.choose(4, taken[part], ties[part]).tolist() == everything[part].tolist()


def test_a_run_that_breaks_down_leaves_the_others_alone():
    features, rows, targets, _ = problem(5)
    good = fitted(features, rows, targets)
    broken = targets.clone()
    broken[1] = torch.nan
    other = fitted(features, rows, broken)
    for r in (0, 2):
        assert torch.equal(other.logs[r], good.logs[r])
        assert torch.equal(other.posterior().mean[r], good.posterior().mean[r])
    taken = torch.zeros(RUNS, CANDIDATES, dtype=torch.bool).scatter_(1, rows, True)
    ties = torch.arange(CANDIDATES).repeat(RUNS, 1)
    chosen = other.choose(1, taken, ties)
    assert not taken.gather(1, chosen).any(), "a run without a posterior still asks for something new"


def test_single_precision_scores_like_double():
    features, rows, targets, _ = problem(6)
    single = fitted(features, rows, targets, precision=torch.float32).posterior()
    double = fitted(features, rows, targets).posterior()
    assert torch.allclose(single.mean, double.mean, atol=2e-5)
    assert torch.allclose(single.deviation, double.deviation, atol=2e-4)


def test_distances_on_demand_are_those_that_are_kept(monkeypatch):
    features, rows, targets, _ = problem(7)
    kept = fitted(features, rows, targets).posterior()
    monkeypatch.setattr(gaussian, "FULL_DISTANCES", 0)
    computed = fitted(features, rows, targets)
    assert computed.inputs._all is None
    assert torch.allclose(computed.posterior().mean, kept.mean, atol=1e-5)


@pytest.mark.parametrize("with_scores", [False, True])
def test_believing_is_a_full_fit_with_the_means_as_observations(with_scores):
    """Batches: the column added to the factor against a process fitted anew, choice by choice."""
    features, rows, targets, scores = problem(8)
    scores = scores if with_scores else None
    taken = torch.zeros(RUNS, CANDIDATES, dtype=torch.bool).scatter_(1, rows, True)
    ties = torch.arange(CANDIDATES).repeat(RUNS, 1)
    process = fitted(features, rows, targets, scores)
    batch = process.choose(5, taken, ties)
    for number in range(5):
        single = process.choose(1, taken, ties)
        assert single.tolist() == batch[:, number : number + 1].tolist()
        mean = process.posterior().mean.gather(1, single)
        rows, targets = torch.cat([rows, single], dim=1), torch.cat([targets, mean], dim=1)
        taken = taken.scatter(1, single, True)
        process.fit(rows, targets, scores, steps=0)
    assert len(set(batch[0].tolist())) == 5


def test_expected_improvement_against_monte_carlo():
    draws = torch.randn(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean = torch.tensor([[-1.5, -0.5, 0.0, 0.3, 2.0]], dtype=torch.float64)
    deviation = torch.tensor([[1.0, 0.5, 2.0, 0.1, 0.7]], dtype=torch.float64)
    best = torch.tensor([[0.2]], dtype=torch.float64)
    found = log_expected_improvement(mean, deviation, best).exp()
    for k in range(5):
        gain = (mean[0, k] + deviation[0, k] * draws - best).clamp(min=0)
        assert found[0, k].item() == pytest.approx(gain.mean().item(), rel=0.03)


def test_expected_improvement_far_below_is_finite_continuous_and_rising():
    u = torch.linspace(-60, 10, 20_001, dtype=torch.float64)[None]
    value = log_expected_improvement(u, torch.ones_like(u), torch.zeros(1, 1, dtype=torch.float64))
    assert value.isfinite().all()
    steps = value.diff(dim=1)
    assert (steps > 0).all()
    assert steps.diff(dim=1).abs().max() < 0.01
    exact = norm.pdf(-5.0) - 5 * norm.sf(5.0)
    at = log_expected_improvement(
        torch.tensor([[-5.0]], dtype=torch.float64),
        torch.ones(1, 1, dtype=torch.float64),
        torch.zeros(1, 1, dtype=torch.float64),
    )
    assert at.item() == pytest.approx(np.log(exact), rel=1e-6)


def test_ties_go_by_the_shuffle_and_nan_is_last():
    values = torch.tensor([[1.0, 3.0, 3.0, torch.nan, 3.0], [torch.nan] * 5], dtype=torch.float64)
    free = torch.tensor([[True, True, True, True, False], [False, True, False, True, True]])
    ties = torch.tensor([[0, 4, 2, 3, 1], [0, 4, 2, 3, 1]])
    assert first_of_the_largest(values, free, ties).tolist() == [2, 4]


def test_normal_scores_by_hand_with_ties_and_missing_values():
    values = np.array([[0.1, 0.3, 0.2, 0.9], [0.5] * 4, [np.nan, 0.3, 0.1, 0.2], [np.nan] * 4])
    found = normal_scores(values)
    assert found[0] == pytest.approx(norm.ppf([0.125, 0.625, 0.375, 0.875]))
    assert found[1].tolist() == [0] * 4
    assert found[2] == pytest.approx([0, norm.ppf(5 / 6), norm.ppf(1 / 6), 0])
    assert found[3].tolist() == [0] * 4


def test_spread_out_start_is_k_means_plus_plus():
    """Each further draw follows the squared distance to the nearest so far; alike candidates last."""
    features = np.array([[0.0], [0.0], [1.0], [3.0]])
    counts = np.zeros(4)
    for seed in range(3000):
        chosen = spread_out(features, [0], 2, [np.random.default_rng(seed)])
        assert chosen[0, 0] == 0
        counts[chosen[0, 1]] += 1
    assert counts[:2].tolist() == [0, 0]
    assert counts[3] / counts[2] == pytest.approx(9, rel=0.2)
    everything = spread_out(features, [1, 3], 4, [np.random.default_rng(r) for r in (0, 1)])
    assert np.sort(everything, axis=1).tolist() == [[0, 1, 2, 3]] * 2
    assert everything[0, 3] == 0, "the twin of the first comes last"


@pytest.mark.parametrize("features", [np.zeros((CANDIDATES, 0)), np.zeros((CANDIDATES, 3)), None])
@pytest.mark.parametrize("scores", [None, torch.zeros(RUNS, CANDIDATES, dtype=torch.float64)])
def test_nothing_to_tell_apart_is_no_nan(features, scores):
    """No feature varies, targets are all ties, scores are constant: finite, and the choice goes by the shuffle."""
    given, rows, targets, _ = problem(9)
    features = given if features is None else features
    process = fitted(features, rows, torch.zeros_like(targets), scores, steps=15, precision=torch.float32)
    found = process.posterior()
    assert found.mean.abs().max() < 1e-9
    assert found.deviation.isfinite().all()
    assert (found.deviation > 0).all()
    assert process.logs.isfinite().all()
    taken = torch.zeros(RUNS, CANDIDATES, dtype=torch.bool).scatter_(1, rows, True)
    ties = torch.from_numpy(np.stack([np.random.default_rng(r).permutation(CANDIDATES) for r in range(RUNS)]))
    chosen = process.choose(1, taken, ties)
    assert not taken.gather(1, chosen).any()
    if not features.any():
        free = ties.masked_fill(taken, CANDIDATES)
        assert chosen[:, 0].tolist() == free.argmin(dim=1).tolist()
