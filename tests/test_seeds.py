"""Seeds: a function of (base seed, purpose, id) alone."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from snas import seeds


def test_seeds_differ_in_every_part_and_are_stable():
    parts = list(itertools.product([0, 1, 2], ["weights", "batches"], [0, 1, 12, "1,2"]))
    found = {seeds.seed(base, purpose, i) for base, purpose, i in parts}
    assert len(found) == len(parts)
    assert seeds.seed(0, "weights", 1, 23) != seeds.seed(0, "weights", 12, 3)
    # A number in a test, so that a change of the rule, which changes every result, cannot pass unseen.
    assert seeds.seed(0, "weights", 1) == 2476067419637349219


def test_generators_do_not_touch_global_state():
    before = torch.random.get_rng_state()
    a = torch.rand(3, generator=seeds.generator(0, "a"))
    b = torch.rand(3, generator=seeds.generator(0, "a"))
    assert torch.equal(a, b)
    assert torch.equal(before, torch.random.get_rng_state())
    assert seeds.numpy_generator(0, "a").random() == seeds.numpy_generator(0, "a").random()


def test_words_are_what_torch_would_draw():
    """Below 2³² torch takes one word for a number and leaves the rest of its division."""
    words = seeds.words(2000, 3, "batches", "x", 7)
    drawn = torch.randint(1000, (2000,), generator=seeds.generator(3, "batches", "x", 7))
    assert [int(word) % 1000 for word in words] == drawn.tolist()


def test_words_do_not_hang_on_what_was_drawn_before_or_elsewhere():
    """The twister is used again, and seeded anew: an odd number of words and another thread leave no trace."""
    asked = [(800, run) for run in range(50)] + [(7, run) for run in range(50)]
    alone = [np.random.RandomState(seeds.seed(3, "batches", run) & 0xFFFFFFFF) for _, run in asked]
    wanted = [
        state.randint(0, 2**32, count, dtype=np.uint32).tolist()
        for state, (count, _) in zip(alone, asked, strict=True)
    ]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda one: seeds.words(one[0], 3, "batches", one[1]).tolist(), asked)
        assert list(found) == wanted


def test_numpys_generators_differ_in_every_part():
    parts = list(itertools.product([0, 1], ["split", "shares"], [0, 1, "1"]))
    drawn = {part: seeds.numpy_generator(*part).random() for part in parts}
    assert len(set(drawn.values())) == 2 * 2 * 2, "the number 1 is its text"
    assert seeds.numpy_generator(np.int64(1), "split", 1).random() == drawn[1, "split", 1]


def test_two_threads_that_draw_at_once_have_a_twister_each(monkeypatch):
    both = threading.Barrier(2, timeout=60)

    class Slow(np.random.RandomState):
        """Is seeded, and waits until the other one is, too."""

        def seed(self, number):
            super().seed(number)
            both.wait()

    wanted = [[seeds.words(5, 0, "batches", run, turn).tolist() for turn in range(3)] for run in range(2)]
    monkeypatch.delattr(seeds._REUSED, "twister")
    monkeypatch.setattr(np.random, "RandomState", Slow)
    draw = lambda run: [seeds.words(5, 0, "batches", run, turn).tolist() for turn in range(3)]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(draw, range(2))) == wanted
