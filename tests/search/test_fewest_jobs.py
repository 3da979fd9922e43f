"""Which searches a configuration asks for."""

import pytest

from snas import InputError, config
from snas.search.jobs import Entry, fewest_jobs, flat


def jobs(*entries, **values):
    return fewest_jobs(config.load({"fewest": list(entries), "block": 50, **values}))


def test_a_study_is_every_entry_on_every_bench_with_and_without_its_best(tmp_path):
    (tmp_path / "table.parquet").touch()
    found = jobs(
        {"method": "gp", "budgets": [20, 30], "removed": [0, 4]},
        {"method": "random", "budgets": [20], "runs": 70, "spaces": ["nasbench201"]},
        nasbench201=str(tmp_path / "table.parquet"),
        tiny_nasbench201=False,
    )
    process = [j for j in found if j.entry.method == "gp"]
    assert len(process) == 3 * 2 * 2 * 2, "benches, budgets, variants, blocks"
    assert {(j.first, j.stop) for j in process} == {(0, 50), (50, 100)}
    random = [j for j in found if j.entry.method == "random"]
    assert {j.bench for j in random} == {"nasbench201-cifar10", "nasbench201-cifar100"}
    assert {(j.block, j.first, j.stop) for j in random} == {(0, 0, 50), (1, 50, 70)}


def test_the_same_search_twice_is_one_with_the_more_runs():
    entry = {"method": "gp", "budgets": [20]}
    found = jobs({**entry, "runs": 30}, {**entry, "runs": 60}, {**entry, "runs": 10})
    assert [(j.first, j.stop) for j in found] == [(0, 50), (50, 60)]


def test_options_and_labels_have_files_of_their_own():
    plain, batch = Entry("gp", 20), Entry("gp", 20, options={"batch": 4, "predictor": {"epochs": 3}})
    fair = Entry("gp", 20, labels="accuracy_select")
    assert plain.stem == "gp_n020_k000"
    assert batch.stem == "gp_n020_k000_batch=4_predictor.epochs=3"
    assert fair.stem == "gp_n020_k000_accuracy_select"
    assert flat({"b": {"d": 1, "c": {"e": 2}}, "a": 0}) == ["a=0", "b.c.e=2", "b.d=1"]


def test_options_of_a_part_may_be_whole_or_none():
    whole = {
        "method": "siamese+bts",
        "budgets": [20],
        "options": {"sampler": {"share": 1}, "predictor": None},
    }
    assert jobs(whole)


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        (
            {"options": {"strat": 3}},
            "key 'fewest.0': the Gaussian process has no option 'strat'; known: start",
        ),
        (
            {"method": "siamese", "options": {"predictor": {"bn_momentumm": 0.1}}},
            "key 'fewest.0': predictor 'siamese' has no option 'bn_momentumm'; known: epochs, bn_momentum",
        ),
        (
            {"method": "brp_nas", "options": {"predictor": {"widht": 9}}},
            "key 'fewest.0': predictor 'brp_nas' has no option 'widht'; known: hidden",
        ),
        (
            {"method": "gp+rerank", "options": {"predictor": {"epoch": 9}}},
            "key 'fewest.0': predictor 'siamese\\+nsam' has no option 'epoch'; known: epochs",
        ),
        (
            {"method": "siamese", "options": {"predictor": {"epochs": "many"}}},
            "key 'fewest.0': predictor 'siamese': option 'epochs' is 'many'; a whole number is expected",
        ),
        (
            {"method": "siamese", "options": {"predictor": {"nsam": 1}}},
            "key 'fewest.0': predictor 'siamese': option 'nsam' is 1; true or false is expected",
        ),
        (
            {"method": "gp+rerank", "options": {"predictor": 20}},
            "key 'fewest.0': option 'predictor' is 20; a mapping of its options to values is expected",
        ),
        (
            {"method": "siamese+bts", "options": {"sampler": "fts"}},
            "key 'fewest.0': option 'sampler' is 'fts'; a mapping of its options to values is expected",
        ),
        (
            {"method": "siamese+bts", "options": {"sampler": {"updates": 2.5}}},
            "key 'fewest.0': sampler 'bts': option 'updates' is 2.5; a whole number is expected",
        ),
        (
            {"method": "siamese+bts", "options": {"sampler": {"share": "half"}}},
            "key 'fewest.0': sampler 'bts': option 'share' is 'half'; a number is expected",
        ),
        (
            {"method": "brp_nas", "options": {"sampler": {"iterations": 0}}},
            "key 'fewest.0': number of iterations is 0; expected 1 or more",
        ),
        (
            {"method": "brp_nas", "options": {"sampler": {"iterations": 30}}},
            "key 'fewest.0': budget 20 leaves no architecture to start on \\(30 iterations\\)",
        ),
        (
            {"options": {5: 1, "batch": 2}},
            "key 'fewest.0.options' has the name 5 \\(int\\); string is expected",
        ),
        ({"budgets": [1]}, "key 'fewest.0': budget 1 is too small for a Gaussian process; the smallest is 2"),
    ],
)
def test_what_a_method_refuses_is_said_before_anything_runs(entry, sentence):
    with pytest.raises(InputError, match=sentence):
        jobs({"method": "gp", "budgets": [20], **entry})
