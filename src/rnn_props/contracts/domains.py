"""Domains: which values a hyperparameter may take, simplest first, and of what kind they are.

The kind is what the invalidity judge goes by: a size that is zero is wrong, a flag that is a string is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Value = int | float | bool | str | None | tuple[int, ...]
Kind = Literal["size", "count", "flag", "probability", "choice", "free"]


@dataclass(frozen=True, slots=True)
class Domain:
    """The values that a hyperparameter is drawn from, simplest first (the order in which cases shrink).

    Attributes:
        kind: `size` (an integer of at least 1), `count` (an integer of at least 0), `flag`, `probability` (a number
            in [0, 1]), `choice` (one of the values), `free` (nothing is known about other values).
        values: the values to draw, simplest first.
    """

    kind: Kind
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("a domain needs at least one value")


def integers(low: int, high: int) -> Domain:
    """All integers from `low` to `high`; a size where `low` is at least 1, else a count."""
    if low > high:
        raise ValueError(f"integers({low}, {high}): the lower bound is above the upper one")
    return Domain("size" if low >= 1 else "count", tuple(range(low, high + 1)))


def booleans(*, simplest: bool = False) -> Domain:
    """True and False, the simplest one first."""
    return Domain("flag", (simplest, not simplest))


def probabilities(*values: float) -> Domain:
    """Some probabilities, simplest first."""
    return Domain("probability", values)


def choices(*values: Value) -> Domain:
    """One of the given values, simplest first; no other value is valid."""
    return Domain("choice", values)


def free(*values: Value) -> Domain:
    """Some values that are known to work, simplest first; nothing is known about others."""
    return Domain("free", values)
