"""What a check needs drawn: the part of the space of cases that means something to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Values of the input, simplest first; `values` (single elements) is drawn by Hypothesis only.
INPUT_FILLS = ("normal", "integers", "impulse", "ones", "large", "tiny")
#: Sequence lengths that most checks draw from; the last one is there for bugs that only longer sequences show.
LENGTHS = (1, 2, 3, 4, 5, 6, 7, 8, 13)
BATCHES = (1, 2, 3, 4, 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The cases that a check wants.

    Attributes:
        lengths, batches: the sizes T and B to draw from, simplest first.
        states: of `none`, `zeros` and `random`, those that make sense.
        dtypes: `logic` for the contract's logic dtype alone, or `each` for every dtype that it promises.
        fills: kinds of values of the input.
        batched: with the batch dimension (True), without it (False), or either (None; with it alone where
            the contract has no unbatched input).
        rows: how long the rows of a batch are: `full` (all steps), `equal` and `sorted` (decreasing) packed with
            enforce_sorted, and `decreasing`, `increasing`, `mixed`, `one_short` (one row of length 1), `empty_row` (one
            row of length 0) and `all_empty` in any order. What is not `full` has lengths.
        packed: rows with lengths are packed where the module takes packed sequences, not padded.
        story: whether steps of the state machine are drawn.
        splits: whether split points are drawn (lengths are then at least 2).
        layouts: memory layouts of input and state.
        scales: factors for the parameters.
        roles: for some roles the only values that make sense, such as `{"bidirectional": (False,)}`; a constructor
            without the argument is taken to have the first.
        picks: how many small integers the check wants for its own choices.
        faults: the family of faults to put in, or "" for valid cases; `call` is input and state, `any` all
            families, `size` the faults of one wrong size, `lengths` those of a batch's lengths.
    """

    lengths: tuple[int, ...] = LENGTHS
    batches: tuple[int, ...] = BATCHES
    states: tuple[str, ...] = ("none", "zeros", "random")
    dtypes: str = "logic"
    fills: tuple[str, ...] = INPUT_FILLS
    batched: bool | None = True
    splits: bool = False
    rows: tuple[str, ...] = ("full",)
    packed: bool = False
    story: bool = False
    layouts: tuple[str, ...] = ("contiguous",)
    scales: tuple[float, ...] = (1.0,)
    roles: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    picks: int = 0
    faults: str = ""

    @property
    def key(self) -> str:
        """Two checks with the same key share their cases."""
        return repr(self)
