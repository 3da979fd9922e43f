"""Shapes in signatures are checked while the tests run, and only then."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

import snas
from snas import InputError
from snas.images.augment import plain_batches
from snas.networks.kernels import Affine
from snas.predictors.layers import huber, product
from snas.predictors.parameters import views
from snas.search.ranking import Ranking, order
from snas.spaces.accuracies import check_fractions
from tests import shapes

ROOT = Path(__file__).parent.parent
PLACES = np.zeros((2, 3), np.int64)
Row = Float[Tensor, " features"]


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (order, (np.zeros((2, 3)), np.zeros((2, 4), np.int64)), "ties"),
        (order, (np.zeros((2, 3), np.int64), PLACES), "values"),  # numbers of another kind
        (product, (torch.zeros(2, 5, 3), torch.zeros(2, 4, 6)), "weight"),
        (views, ({}, torch.zeros(2, 3, 4)), "flat"),  # its module has no Tensor but for types
        (Ranking, (PLACES, PLACES[:, :2]), "levels"),
        (Ranking(PLACES, PLACES).take, (PLACES[0],), "candidates"),
        (Affine, (torch.zeros(2), torch.zeros(2), torch.zeros(3), torch.zeros(2)), "mean"),
    ],
)
def test_a_wrong_shape_is_named(function, arguments, name):
    with pytest.raises(shapes.ShapeError, match=rf"snas\.\S+: {name} is "):
        function(*arguments)


def test_nothing_is_checked_outside_the_tests():
    program = """
import sys, numpy as np, torch
from snas.predictors.parameters import views
from snas.search.ranking import Ranking
places = np.zeros((2, 3), np.int64)
assert Ranking(places, places[:, :2]).levels.shape == (2, 2)
assert views({}, torch.zeros(2, 3, 4)) == {}
assert not hasattr(views, "__shapes__") and not [name for name in sys.modules if name.startswith("tests")]
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, env=environment)


def checked(function):
    return shapes.checked(function, globals())


def test_a_name_is_one_size_in_arguments_and_result():
    @checked
    def cut(x: Float[Tensor, "runs features"], more: Row | None = None) -> tuple[Row, int]:
        return x[0, :2], 1

    assert cut(torch.zeros(4, 2))[1] == 1
    assert cut(torch.zeros(4, 2), torch.zeros(2))[1] == 1
    with pytest.raises(shapes.ShapeError, match=r"return is \(Tensor float32\[2\], a int\)"):
        cut(torch.zeros(4, 3))
    with pytest.raises(shapes.ShapeError, match=r"more is Tensor float32\[3\]"):
        cut(torch.zeros(4, 2), torch.zeros(3))
    with pytest.raises(TypeError, match="missing"):
        cut()


def test_all_of_several_arguments_and_what_is_in_mappings_and_lists_is_checked():
    @checked
    def total(*rows: Row, named: dict[str, Row], listed: list[Row], **more: Row) -> None: ...

    two, three = torch.zeros(2), torch.zeros(3)
    total(two, two, named={"a": two}, listed=[two], b=two)
    for wrong in (
        lambda: total(two, three, named={}, listed=[]),
        lambda: total(two, named={"a": two, "b": three}, listed=[]),
        lambda: total(two, named={}, listed=[two, three]),
        lambda: total(two, named={}, listed=[], b=three),
    ):
        with pytest.raises(shapes.ShapeError):
            wrong()


def test_each_yielded_value_is_checked_with_the_arguments_alone():
    @checked
    def parts(x: Float[Tensor, "all features"], most: int) -> Iterator[Float[Tensor, "batch features"]]:
        yield from x.split(most)
        yield x.T

    batches = parts(torch.zeros(5, 2), 4)
    assert [len(next(batches)), len(next(batches))] == [4, 1]
    with pytest.raises(shapes.ShapeError, match="yield is"):
        next(batches)
    assert [len(part) for part in plain_batches(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), 4)] == [4, 1]


def test_what_the_function_refuses_itself_it_refuses_itself():
    with pytest.raises(InputError, match="it looks like percent"):
        check_fractions(np.array([50, 60]), "accuracy", "a table")

    @checked
    def stumble(x: Row) -> float:
        return float(x[9])

    with pytest.raises(IndexError):
        stumble(torch.zeros(2))
    with pytest.raises(shapes.ShapeError) as refused:
        stumble(torch.zeros(2, 2))
    assert isinstance(refused.value.__cause__, IndexError)


def test_the_first_calls_are_checked_and_no_more(monkeypatch):
    monkeypatch.setattr(shapes, "CALLS", 2)

    @checked
    def same(x: Row) -> Row:
        return x

    wrong = torch.zeros(2, 2)
    with shapes.unchecked():
        same(wrong)
    for _ in range(2):
        with pytest.raises(shapes.ShapeError):
            same(wrong)
    assert same(wrong) is wrong
    shapes.begin()
    with pytest.raises(shapes.ShapeError):
        same(wrong)


def test_a_compiled_function_is_traced_as_it_is_written():
    calls = huber.__shapes__.calls
    compiled = torch.compile(huber, backend="eager", fullgraph=True)
    assert torch.equal(compiled(torch.ones(3)), huber(torch.ones(3)))
    assert huber.__shapes__.calls <= calls + 1


def test_no_shape_goes_by_a_name_that_is_there_for_types_only():
    """Whether a function states shapes is asked while its module is imported, when such a name means nothing."""
    for path in sorted((ROOT / "snas").rglob("*.py")):
        names = shapes.only_for_types(path)
        assert not [name for name, value in names.items() if shapes.has_shape(value)], path


def test_every_signature_with_a_shape_can_be_read():
    """An annotation that means nothing would be found by a call alone, and not every function is called in one process."""
    for module in pkgutil.walk_packages(snas.__path__, "snas."):
        importlib.import_module(module.name)
    stated = [found for found in shapes.STATED if found.module["__name__"].startswith("snas.")]
    assert len(stated) > 300
    for found in stated:
        assert any(map(shapes.has_shape, found.hints.values())), found.function
