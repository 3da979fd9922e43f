"""A small image set and short recipes for the tests of this room."""

from __future__ import annotations

import pytest
import torch

from snas import images, training
from snas.networks import native
from snas.training.recipes import Recipe
from tests.small_digits import small_digits


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def digits():
    """96 digits to train on and 60 to test on."""
    return small_digits()


@pytest.fixture(scope="session")
def share(digits):
    return images.draw_share(len(digits.train_labels), 0.5, 1)


@pytest.fixture
def code_recipe() -> Recipe:
    return training.recipe("smoke_code")


@pytest.fixture
def truth_recipe() -> Recipe:
    return training.recipe("smoke_truth")


@pytest.fixture(scope="session")
def compiled() -> bool:
    """Whether native kernels work here (the tests hold with and without)."""
    return native.load() is not None
