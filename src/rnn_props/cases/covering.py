"""Covering pairs: a deterministic table of cases in which every pair of values of two dimensions stands together."""

from __future__ import annotations

import random
from typing import Any

from allpairspy import AllPairs

from rnn_props.cases.case import Case
from rnn_props.cases.space import MAX_SEED, Space

#: The most values of one dimension that the table covers; sizes have more, and random drawing takes the rest.
_MOST_VALUES = 4
_SPREAD = {"T": (1, 2, 5, 13), "B": (1, 2, 3, 4)}


def covering_cases(space: Space, seed: int, limit: int) -> list[Case]:
    """The table for a space, at most `limit` rows of it; values that are not covered follow from the seed.

    Opaque hyperparameters (a user's own strategy) cannot be tabled: such a space has no table.
    """
    if space.opaque or space.empty_dimension is not None:
        return []
    draw = random.Random(f"covering:{seed}")
    names = sorted(space.dimensions, key=lambda name: -len(_covered(space, name)))
    columns = [_covered(space, name) for name in names]
    wide = [index for index, column in enumerate(columns) if len(column) > 1]
    if len(wide) < 2:
        rows: Any = [[columns[wide[0]][row]] for row in range(len(columns[wide[0]]))] if wide else [[]]
    else:
        rows = AllPairs([columns[index] for index in wide], filter_func=_allowed(space, [names[i] for i in wide]))
    cases: list[Case] = []
    for row in rows:
        point = {name: column[0] for name, column in zip(names, columns, strict=True)}
        point.update({names[index]: value for index, value in zip(wide, row, strict=True)})
        if len(cases) % 2 == 0:
            point["coincidence"] = "none"
        case = space.case(
            point,
            seeds=(draw.randint(0, MAX_SEED), draw.randint(0, MAX_SEED), draw.randint(0, MAX_SEED)),
            splits=tuple(draw.randint(0, 20) for _ in range(draw.randint(1, 3))) if space.needs.splits else (),
            picks=tuple(draw.randint(0, 11) for _ in range(space.needs.picks)),
        )
        if space.contract.broken_constraint(case.hyperparameters) is None:
            cases.append(case)
        if len(cases) == limit:
            break
    return cases


def _covered(space: Space, name: str) -> list[Any]:
    values = list(space.dimensions[name])
    if name in _SPREAD:
        spread = [value for value in _SPREAD[name] if value in values]
        values = spread if len(spread) > 1 else values
    elif name.startswith("hp:") and len(values) > _MOST_VALUES:
        values = [values[1], values[0], values[len(values) // 2], values[-1]]
    return values[: max(_MOST_VALUES, 6)]


def _allowed(space: Space, names: list[str]) -> Any:
    """A filter for partial rows: constraints between hyperparameters hold as far as they are known."""

    def allowed(row: list[Any]) -> bool:
        known = {name[3:]: value for name, value in zip(names, row, strict=False) if name.startswith("hp:")}
        return space.contract.broken_constraint(known) is None

    return allowed
