"""What a figure says of where its numbers come from."""

from pathlib import Path

import pandas as pd
import pytest

from snas.figures.sources import Source

FACTS = {"space": "nasbench201", "dataset": "cifar100", "architectures": 15_625, "code_price": 0.025}


@pytest.mark.parametrize(
    ("seconds", "price"),
    [
        ({"code_seconds": 2.04, "truth_seconds": 81.6}, "2.5 % of a complete training (2.04 s beside 81.6 s, mean of the"),
        ({"truth_seconds": 3655.9}, "2.5 % of a complete training (about 91.4 s of 3,656 s, mean of the networks)."),
        ({"truth_seconds": 3655.9, "code_price": 0.0}, "0 % of a complete training."),
        ({"code_seconds": 2.04}, "2.5 % of a complete training."),
        ({}, "2.5 % of a complete training."),
    ],
)  # fmt: skip
def test_a_code_s_price_is_said_in_trainings_and_in_seconds_as_far_as_they_are_known(seconds, price):
    source = Source(pd.DataFrame({"arch": [0]}), {**FACTS, **seconds}, Path("points.parquet"))
    assert source.sources().partition("one code costs ")[2].startswith(price)
