"""BRP-NAS: iterations, pairs, early stopping, ranking, and whole iterations against the plain version."""

from __future__ import annotations

import pytest
import torch

from snas import InputError
from snas.compiler import why_not
from snas.predictors.brp import BRPNAS, EarlyStopping, Iteration, _Training, draw_kept, ordered_pairs
from tests.predictors import toys
from tests.predictors.plain import PlainBRP


def build(runs=(3, 5), **options):
    small = {"hidden": 20, "epochs_each": 3, "dtype": torch.float64} | options
    return BRPNAS(toys.encoding(), runs, base_seed=toys.BASE_SEED, budget=30, **small)


def test_iterations_of_the_paper():
    iterations = [Iteration(i) for i in range(1, 6)]
    assert [i.epochs for i in iterations] == [50, 100, 150, 200, 250]
    assert [i.batch for i in iterations] == [12, 24, 36, 48, 60]
    assert [i.steps(6 * i.number) for i in iterations] == [3, 6, 9, 12, 15]
    assert BRPNAS(toys.encoding(), [0], base_seed=0, budget=30, hidden=8).epochs == 5


def test_the_learning_rate_is_torchs_cosine():
    optimiser = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=3.5e-4)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=100)
    for epoch in range(100):
        assert abs(Iteration(2).rate(epoch) - optimiser.param_groups[0]["lr"]) < 1e-12
        optimiser.step()
        cosine.step()


def test_pairs_are_all_ordered_pairs_of_different_members():
    for n in (2, 5):
        first, second = ordered_pairs(n)
        assert list(zip(first.tolist(), second.tolist(), strict=True)) == [
            (i, j) for i in range(n) for j in range(n) if i != j
        ]


def test_early_stopping_per_run():
    losses = torch.tensor([[3.0, 1, 5], [2, 1, 4], [2.5, 1, float("nan")], [2.5, 0.5, 0], [2.5, 0.6, 0]])
    stopping = EarlyStopping(3, patience=3)
    assert [stopping.stop(torch.arange(3), row).tolist() for row in losses] == [
        [False, False, False],
        [False, False, False],
        [False, False, True],
        [False, False, False],
        [True, False, False],
    ]


def assert_same_weights(predictor, row, plain):
    sizes = [entry.size for entry in predictor.layout.values()]
    mine = dict(zip(predictor.layout, predictor.weights[row].split(sizes), strict=True))
    for name, value in plain.p.items():
        torch.testing.assert_close(
            mine[name].view(value.shape), value.detach(), rtol=1e-7, atol=1e-9, msg=name
        )


def test_two_iterations_of_more_than_fifty_steps_equal_the_plain_version():
    """The second pool is so large that most batches lack a member, which is then not embedded."""
    predictor = build(epochs_each=4)
    assert 4 * Iteration(1).steps(6) + 8 * Iteration(2).steps(14) > 50
    ids, accuracy, _ = toys.pool(2, 14)
    plain = PlainBRP(predictor, 1, toys.encoding())
    for number, size in ((1, 6), (2, 14)):
        predictor.fit(ids[:, :size], accuracy[:, :size], None, start=number - 1, stop=number)
        plain.iterate(ids[1, :size], accuracy[1, :size], number=number, run=5, base_seed=toys.BASE_SEED)
    assert_same_weights(predictor, 1, plain)


def test_compiled_equals_eager():
    ids, accuracy, _ = toys.pool(2, 6)
    results = []
    for compile in (False, True):
        predictor = build(compile=compile, dtype=torch.float32)
        predictor.fit(ids, accuracy, None, start=0, stop=2)
        results.append(predictor.weights)
    assert predictor._adam.call is not predictor._adam.function or why_not(torch.device("cpu"))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-5)


def test_runs_stop_early_each_for_itself_as_the_plain_version_does():
    options = {"patience": 1, "epochs_each": 40, "hidden": 8}
    block = build(runs=(0, 1, 2, 3), **options)
    ids, accuracy, _ = toys.pool(4, 3)
    plain = [PlainBRP(block, run, toys.encoding()) for run in range(4)]
    epochs = [
        each.iterate(ids[run], accuracy[run], number=1, run=run, base_seed=toys.BASE_SEED)
        for run, each in enumerate(plain)
    ]
    block.fit(ids, accuracy, None, start=0, stop=1)
    assert len(set(epochs)) > 1  # or the test would show nothing
    for run in range(4):
        assert_same_weights(block, run, plain[run])
        alone = build(runs=(run,), **options)
        alone.fit(ids[run : run + 1], accuracy[run : run + 1], None, start=0, stop=1)
        torch.testing.assert_close(block.weights[run], alone.weights[0], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("size", [12, 27])
def test_only_the_members_of_a_batch_are_embedded(size, monkeypatch):
    """It changes nothing: with more embedded, or all, dropout in its place, runs apart or together, the training is the same."""
    ids, accuracy, _ = toys.pool(2, size)
    embedded, results = [], []
    for way in ("apart", "together", "everything"):
        predictor = build()
        training = _Training(predictor, Iteration(1, 2), slice(0, 2), ids)
        assert training.slots == min(size, 24)
        assert training.apart == (size == 27)
        training.apart = way == "apart"
        if way == "everything":
            _embed_all(training, monkeypatch)
        gradient = training._gradient
        monkeypatch.setattr(
            training,
            "_gradient",
            lambda *a, g=gradient: embedded[-1].append(a[3].shape[1]) or g(*a),
        )
        embedded.append([])
        training.run(accuracy)
        results.append(predictor.weights.clone())
    assert set(embedded[1]) == {training.slots}
    assert set(embedded[2]) == {size}
    assert sum(embedded[0]) < 0.95 * training.slots * len(embedded[0])
    torch.testing.assert_close(results[0], results[1])
    torch.testing.assert_close(results[0], results[2])


def _embed_all(training, monkeypatch):
    """Make every member of the pool be embedded in every step; those that occur keep the dropout that they have else."""
    select, keep = training._members, training._keep

    def members(first, second):
        training.occurring = select(first, second)
        return torch.arange(training.count).expand(len(first), -1), first, second

    def kept(generators, _):
        occurring, nodes = training.occurring[0], training.owner.nodes
        out = []
        for layer, part in enumerate(keep(generators, occurring)):
            width = nodes if layer < 3 else 1
            full = torch.ones(len(occurring), training.count, width, part.shape[-1], dtype=part.dtype)
            for run, places in enumerate(occurring):
                full[run, places] = part[run].view(len(places), width, -1)
            out.append(full.flatten(1, 2))
        return out

    monkeypatch.setattr(training, "_members", members)
    monkeypatch.setattr(training, "_keep", kept)


def test_how_many_members_occur_in_a_step():
    iteration, drawn = Iteration(2), torch.Generator().manual_seed(0)
    first, second = ordered_pairs(30)
    seen = [
        len(torch.cat([first[p], second[p]]).unique())
        for p in (torch.randperm(len(first), generator=drawn)[: iteration.batch] for _ in range(500))
    ]
    assert abs(sum(seen) / len(seen) - iteration.members(30)) < 0.2


def test_the_score_is_the_antisymmetric_log_odds():
    predictor = build()
    ids, accuracy, _ = toys.pool(2, 8)
    predictor.fit(ids, accuracy, None, start=0, stop=1)
    scores, plain = predictor.coarse(), PlainBRP(predictor, 1, toys.encoding())
    with torch.no_grad():
        x = {arch: plain.embed(arch) for arch in (0, 1, 7, 30, 39, 12)}
        logits = {(a, b): plain.logits(x[a], x[b]) for a in x for b in x}
    odds = lambda a, b: float(logits[a, b][0] - logits[a, b][1])
    for a, b in ((0, 1), (7, 30), (39, 12)):
        expected = (odds(a, b) - odds(b, a)) / 2
        assert abs(float(scores[1, a] - scores[1, b]) - expected) < 1e-9


@pytest.mark.parametrize("wrong", [91.5, -0.1, float("nan")])
def test_what_is_no_accuracy_is_refused_and_teaches_nothing(wrong):
    predictor = build()
    before = predictor.weights.clone()
    ids, accuracy, _ = toys.pool(2, 6)
    accuracy[1, 3] = wrong
    with pytest.raises(InputError, match="must be fractions in"):
        predictor.fit(ids, accuracy, None, start=0, stop=1)
    assert torch.equal(predictor.weights, before)
    assert predictor.reached == 0


def test_a_pool_of_one_has_no_pair_and_changes_nothing():
    predictor = build()
    before = predictor.weights.clone()
    ids, accuracy, _ = toys.pool(2, 1)
    predictor.fit(ids, accuracy, None, start=0, stop=1)
    assert torch.equal(predictor.weights, before)


def test_dropout_keeps_its_share_in_every_place_and_without_correlation():
    kept = draw_kept((3001, 7), 0.8, torch.Generator().manual_seed(1)).double()
    assert kept.shape == (3001, 7)
    assert abs(float(kept.mean()) - 0.8) < 0.01
    assert bool(((kept.mean(0) - 0.8).abs() < 0.04).all())
    off_diagonal = torch.corrcoef(kept.T) - torch.eye(7, dtype=torch.float64)
    assert float(off_diagonal.abs().max()) < 0.08
