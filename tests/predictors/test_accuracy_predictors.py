"""Whole trainings against the plain version of :mod:`tests.predictors.plain`, and the schedule."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from snas import InputError, seeds
from snas.predictors import REGISTRY, kinds
from snas.predictors import parameters as par
from snas.predictors.graphs import Graphs
from snas.predictors.schedule import Schedule, draw_batches
from tests import shapes
from tests.predictors import toys
from tests.predictors.plain import Plain

KINDS = {
    "neural_predictor": ({}, 0.0),
    "neural_predictor with NSAM": ({"nsam": True}, 0.0),
    "siamese": ({}, 0.0),
    "siamese with a shared q/v layer and another momentum": ({"shared_qv": True, "bn_momentum": 0.1}, 0.0),
    "siamese+nsam": ({}, 0.0),
    "siamese+nsam where many codes are missing": ({}, 0.7),
}


def build(kind, *, runs=(3, 5), dtype=torch.float64, budget=80, epochs=5):
    options, missing = KINDS[kind]
    kwargs = {"base_seed": toys.BASE_SEED, "budget": budget, "epochs": epochs, "dtype": dtype, **options}
    return REGISTRY.load(kind.split()[0])(toys.encoding(), runs, **kwargs), toys.pool(
        len(runs), 12, missing=missing
    )


@pytest.mark.parametrize("kind", KINDS)
def test_fifty_steps_equal_the_plain_version(kind):
    """Ten steps in each of five epochs: Adam is new at epochs 1 and 4, where the learning rate falls."""
    predictor, (ids, accuracy, codes) = build(kind)
    options = predictor.options
    plain = Plain(predictor, 1, nsam=options["nsam"], shared_qv=options.get("shared_qv", False))
    predictor.fit(ids, accuracy, codes, start=0, stop=5)
    plain.train(ids[1], accuracy[1], codes[1], epochs=5, budget=80, run=5, base_seed=toys.BASE_SEED)
    coarse = predictor.coarse()
    for arch in (0, 7, 39):
        torch.testing.assert_close(coarse[1, arch], plain.coarse(arch), rtol=1e-7, atol=1e-8)
        if predictor.uses_code:
            code = codes[~codes.isnan().any(-1)][arch % 2]
            fine = predictor.fine(torch.tensor([[arch], [arch]]), code.expand(2, 1, 3))
            torch.testing.assert_close(fine[1, 0], plain.fine(arch, code), rtol=1e-7, atol=1e-8)


def test_single_precision_stays_close_to_double():
    kind = "siamese+nsam"
    results = []
    for dtype in (torch.float64, torch.float32):
        predictor, (ids, accuracy, codes) = build(kind, dtype=dtype)
        predictor.fit(ids, accuracy, codes, start=0, stop=5)
        results.append(predictor.coarse().double())
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=2e-4)


def test_fine_is_nan_where_the_code_is_and_only_there():
    predictor, _ = build("siamese")
    codes = torch.ones(2, 3, 3, dtype=torch.float64)
    codes[1, 2, 0] = float("nan")
    fine = predictor.fine(torch.tensor([[0, 1, 2], [3, 4, 5]]), codes)
    assert fine.isnan().tolist() == [[False, False, False], [False, False, True]]


def test_without_any_code_the_basic_branch_trains_as_the_neural_predictor_does():
    """Same layer names, same start, same batches; the estimation branch keeps its start."""
    siamese, (ids, accuracy, _) = build("siamese")
    neural, _ = build("neural_predictor")
    before = {k: v.clone() for k, v in siamese.leaves.items() if k.startswith("efm")}
    for predictor in (siamese, neural):
        predictor.fit(ids, accuracy, None, start=0, stop=2)
    torch.testing.assert_close(siamese.coarse(), neural.coarse())
    assert all(torch.equal(siamese.leaves[k], v) for k, v in before.items())
    assert bool((siamese.running["efm.code.mean"] == 0).all())


def test_a_part_of_the_space_is_predicted_as_the_whole_is():
    predictor, (ids, accuracy, codes) = build("siamese+nsam")
    predictor.fit(ids, accuracy, codes, start=0, stop=1)
    whole, some = predictor.coarse(), torch.tensor([[5, 0, 39], [1, 1, 30]])
    torch.testing.assert_close(predictor.coarse(some), whole.gather(1, some))


def test_chunks_do_not_show(monkeypatch):
    predictor, _ = build("siamese+nsam")
    whole = predictor.coarse()
    monkeypatch.setattr("snas.predictors.accuracy.ROWS_AT_ONCE", {"cpu": 2 * 5 * 9})
    torch.testing.assert_close(predictor.coarse(), whole)


def test_distinct_rows_are_the_rows():
    encoding = toys.encoding(archs=200)
    graphs = Graphs(encoding, device=torch.device("cpu"), dtype=torch.float64)
    one_hot = np.eye(4)[encoding.operations]
    np.testing.assert_array_equal(graphs.out[graphs.rows], encoding.adjacency @ one_hot)
    np.testing.assert_array_equal(graphs.into[graphs.rows], encoding.adjacency.transpose(0, 2, 1) @ one_hot)
    assert len(np.unique(np.concatenate([graphs.out, graphs.into], 1), axis=0)) == len(graphs.out)


@pytest.mark.parametrize(("budget", "steps"), [(5, 1), (8, 1), (15, 1), (30, 3), (100, 12), (200, 25)])
def test_schedule_of_the_paper(budget, steps):
    schedule = Schedule(200, budget)
    assert schedule.steps == steps
    assert schedule.fresh_adam == (0, 40, 140)
    assert [schedule.rate(e) for e in (0, 139, 140, 199)] == [1e-3, 1e-3, 1e-4, 1e-4]


def test_adam_is_new_at_a_fifth_and_at_seven_tenths():
    schedule = Schedule(10, budget=80)
    rows = schedule.optimiser(range(10))
    assert rows.shape == (100, 4)
    assert np.flatnonzero(rows[:, 3]).tolist() == [0, 20, 70]
    assert rows[:, 0].tolist() == [1e-3] * 70 + [1e-4] * 30
    for place, step in ((0, 1), (19, 20), (20, 1), (69, 50), (99, 30)):
        assert rows[place, 1:3].tolist() == [1 - 0.9**step, (1 - 0.999**step) ** 0.5]
    parts = [schedule.optimiser(range(a, b)) for a, b in ((0, 1), (1, 1), (1, 8), (8, 10))]
    np.testing.assert_array_equal(np.concatenate(parts), rows)


@pytest.mark.parametrize(
    ("epochs", "fresh"), [(1, (0, 0, 1)), (13, (0, 3, 9)), (5, (0, 1, 4)), (7, (0, 1, 5))]
)
def test_a_short_schedule_has_its_parts_at_the_nearest_epochs(epochs, fresh):
    assert Schedule(epochs, 8).fresh_adam == fresh


@pytest.mark.parametrize(("epochs", "budget"), [(0, 8), (5, 0), (-1, 8)])
def test_no_epoch_or_no_architecture_is_no_schedule(epochs, budget):
    with pytest.raises(InputError, match="must be at least 1"):
        Schedule(epochs, budget)


def test_batches_are_the_runs_own_and_reach_the_whole_pool():
    together = draw_batches(0, [4, 9], 3, steps=50, pool=6)
    assert together.shape == (50, 2, 8)
    np.testing.assert_array_equal(together[:, 1:], draw_batches(0, [9], 3, steps=50, pool=6))
    assert np.unique(together).tolist() == list(range(6))
    assert (together[:, 0] != together[:, 1]).any()


@pytest.mark.parametrize("pool", [1, 7, 100, 15625])
def test_batches_are_what_torch_draws(pool):
    expected = [
        torch.randint(pool, (9, 8), generator=seeds.generator(5, "batches", run, 199)) for run in (0, 77)
    ]
    drawn = draw_batches(5, [0, 77], 199, steps=9, pool=pool)
    assert torch.equal(torch.from_numpy(drawn), torch.stack(expected, 1))


@pytest.mark.parametrize("kind", [kinds.NEURAL, kinds.SIAMESE_NSAM])
def test_weights_start_as_torch_draws_them(kind):
    layout = kind.layout(kind.defaults, nodes=7, vocabulary=5)
    views = par.views(layout, torch.from_numpy(par.initial(layout, [3], 11)))
    for name, entry in layout.items():
        if entry.limit:
            generator = seeds.generator(11, "predictor", 3, name)
            expected = torch.empty(entry.shape).uniform_(-entry.limit, entry.limit, generator=generator)
        else:
            expected = torch.full(entry.shape, entry.value)
        assert torch.equal(views[name][0], expected), name


def test_percent_and_nan_accuracies_are_refused():
    predictor, (ids, accuracy, codes) = build("siamese")
    for bad in (accuracy * 100, torch.where(ids == ids[0, 0], float("nan"), accuracy)):
        with pytest.raises(InputError, match=r"fractions in \[0, 1\]"):
            predictor.fit(ids, bad, codes, start=0, stop=1)


def test_defaults_are_those_of_the_definitions():
    """docs/definitions.md, section 4."""
    accuracy = {"epochs": 200, "bn_momentum": 0.003}
    coded = accuracy | {"shared_qv": False}
    assert {name: dict(options) for name, options in kinds.OPTIONS.items()} == {
        "brp_nas": {"hidden": 600, "dropout": 0.2, "patience": 35, "epochs_each": 50},
        "neural_predictor": accuracy | {"nsam": False},
        "neural_predictor+nsam": accuracy | {"nsam": True},
        "siamese": coded | {"nsam": False},
        "siamese+nsam": coded | {"nsam": True},
    }


@pytest.mark.parametrize(
    ("predictor", "good", "bad"),
    [
        ("siamese", {"epochs": [1, 200], "bn_momentum": [1, 1.0, 1e-6], "nsam": [True, False]}, {"epochs": [0, 1.5, True], "bn_momentum": [0, 0.0, 1.01, True, "0.1"], "nsam": [1, "yes"]}),
        ("brp_nas", {"dropout": [0, 0.0, 0.99], "patience": [1], "hidden": [1], "epochs_each": [1]}, {"dropout": [1, -0.1], "patience": [0], "hidden": [0], "epochs_each": [0]}),
    ],
)  # fmt: skip
def test_options_are_taken_within_their_ranges_and_refused_outside(predictor, good, bad):
    for option, values in good.items():
        for value in values:
            kinds.check_options(predictor, {option: value})
    for option, values in bad.items():
        for value in values:
            with pytest.raises(InputError, match=f"option '{option}' is .* expected"):
                kinds.check_options(predictor, {option: value})
    kinds.check_options(predictor, {"dtype": torch.float64} if predictor == "siamese" else {})
    kinds.check_options("a_predictor_of_a_user", {"anything": 1})


def test_the_variant_is_named_by_its_options():
    assert build("siamese with a shared q/v layer and another momentum")[0].variant == (
        "siamese[epochs=5,bn_momentum=0.1,shared_qv=True]"
    )


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda a, o: (a[:, :4], o), "do not fit"),
        (lambda a, o: (a, o + 1), "0 to 3 would be right"),
        (lambda a, o: (a - np.eye(5, dtype=np.float32), o), "identity"),
    ],
)
def test_a_wrong_encoding_is_refused(spoil, says):
    good = toys.encoding()
    adjacency, operations = spoil(good.adjacency, good.operations)
    with shapes.unchecked():
        bad = type(good)(adjacency=adjacency, operations=operations, vocabulary=good.vocabulary)
    with pytest.raises(InputError, match=says):
        Graphs(bad, device=torch.device("cpu"), dtype=torch.float32)
