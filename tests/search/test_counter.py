import numpy as np
import pytest

from snas.search.counter import BudgetExceeded, Look, NotAsked, QueryCounter

CODES = np.arange(30, dtype=np.float32).reshape(10, 3)


@pytest.fixture
def counter():
    return QueryCounter(2, 10, limit=4, failed=0.1, looks={"code": Look(CODES, 0.01, 5)})


def test_distinct_architectures_are_counted_per_run(counter):
    first = counter.ask(np.array([[1, 2, 1], [3, 4, 5]]))
    assert first.tolist() == [[True, True, True], [True, True, True]]
    assert counter.trainings().tolist() == [2, 3]
    again = counter.ask(np.array([[2, 7], [3, 4]]))
    assert again.tolist() == [[False, True], [False, False]]
    assert counter.trainings().tolist() == [3, 3]


def test_accuracies_only_of_what_the_same_run_asked_for_and_was_told(counter):
    counter.ask(np.array([[1, 2], [3, 4]]))
    with pytest.raises(NotAsked):
        counter.accuracies(np.array([[1, 2], [3, 4]]))  # asked, not answered
    assert counter.waiting().tolist() == [1, 2, 3, 4]
    counter.deliver(np.array([1, 2, 3, 4]), np.array([0.5, np.nan, 0.7, 0.8]))
    assert counter.accuracies(np.array([[2, 1], [3, 4]])).tolist() == [
        [0.1, 0.5],
        [0.7, 0.8],
    ]  # a failure is chance
    with pytest.raises(NotAsked, match="row 0 of the block read the accuracy of architecture 3"):
        counter.accuracies(np.array([[1, 3], [3, 4]]))  # the other run has paid for it, not this one


def test_a_budget_is_not_exceeded_and_a_refused_ask_charges_nothing(counter):
    counter.ask(np.array([[1, 2, 3], [1, 2, 3]]))
    with pytest.raises(
        BudgetExceeded, match="row 1 of the block asked for 5 complete trainings; its budget is 4"
    ):
        counter.ask(np.array([[4, 1], [5, 4]]))
    assert counter.trainings().tolist() == [3, 3]
    counter.ask(np.array([[4], [4]]))


def test_codes_are_counted_and_limited(counter):
    codes = counter.codes(np.array([[0, 1], [1, 2]]))
    assert (codes == CODES[[[0, 1], [1, 2]]]).all()
    counter.codes(np.array([[0, 1], [3, 4]]))
    assert counter.looks("code").tolist() == [2, 4]
    assert counter.price().tolist() == pytest.approx([0.02, 0.04])
    with pytest.raises(BudgetExceeded, match="looks at 'code'"):
        counter.codes(np.array([[0, 0], [5, 6]]))
    assert counter.looks("code").tolist() == [2, 4]


def test_what_was_not_declared_cannot_be_looked_at(counter):
    with pytest.raises(NotAsked, match="'select' to look at; declared: code"):
        counter.look("select", np.array([[0], [0]]))
    assert counter.looks("select").tolist() == [0, 0]


def test_of_losses_the_smaller_are_the_better_ones():
    looks = {"code": Look(CODES, 0.01, 5, loss=True), "select": Look(CODES[:, 0], 0.06, 5)}
    counter = QueryCounter(2, 10, limit=4, failed=0.1, looks=looks)
    assert [counter.is_loss(name) for name in ("code", "select", "unheard of")] == [True, False, False]


def test_nothing_unpaid_stands_in_an_attribute(counter):
    for value in vars(counter).values():
        assert not any(
            isinstance(v, np.ndarray) and v.dtype.kind == "f" and np.isfinite(v).any()
            for v in (value.values() if isinstance(value, dict) else [value])
        )


def test_state_goes_on(counter):
    counter.ask(np.array([[1, 2], [3, 4]]))
    counter.deliver(np.array([1, 2, 3, 4]), np.array([0.5, np.nan, 0.7, 0.8]))
    counter.codes(np.array([[1], [9]]))
    other = QueryCounter(2, 10, limit=4, failed=0.1, looks={"code": Look(CODES, 0.01, 5)})
    other.restore(counter.state())
    assert (
        other.accuracies(np.array([[1, 2], [3, 4]])) == counter.accuracies(np.array([[1, 2], [3, 4]]))
    ).all()
    assert other.price().tolist() == counter.price().tolist()
    with pytest.raises(BudgetExceeded):
        other.ask(np.array([[5, 6, 7], [3, 3, 3]]))
