"""Numbers with their nouns, as people say them."""

from __future__ import annotations


def counted(number: int, one: str, more: str = "") -> str:
    """Return a number with its noun, whose plural has an s where ``more`` is not given.

    >>> counted(1, "round"), counted(1200, "round"), counted(0, "class", "classes")
    ('1 round', '1,200 rounds', '0 classes')
    """
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def percent(share: float) -> str:
    """Return a share in percent to three digits.

    >>> percent(0.375), percent(0.0015), percent(1)
    ('37.5 %', '0.15 %', '100 %')
    """
    return f"{100 * share:.3g} %"
