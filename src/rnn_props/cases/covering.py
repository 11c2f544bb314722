"""Covering pairs: a deterministic table of cases in which every pair of values of two dimensions stands together."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import Any

from allpairspy import AllPairs

from rnn_props.cases.case import Case
from rnn_props.cases.space import MAX_SEED, Space

#: A value for some dimensions.
Point = dict[str, Any]
#: The most values of one dimension that the table covers; sizes have more, and random drawing takes the rest.
_MOST_VALUES = 4
_SPREAD = {"T": (1, 2, 5, 13), "B": (1, 2, 3, 4)}


def covering_cases(space: Space, seed: int, limit: int) -> list[Case]:
    """The table for a space, at most `limit` rows of it; values that are not covered follow from the seed.

    Every other row has sizes made equal on purpose. Where that takes a value from a row that it was there to cover, the
    row stands once more, as it was, at the end of the table.

    Opaque hyperparameters (a user's own strategy) cannot be tabled: such a space has no table.
    """
    if space.opaque or space.empty_dimension is not None:
        return []
    draw = random.Random(f"covering:{seed}")
    names = sorted(space.dimensions, key=lambda name: -len(_covered(space, name)))
    columns = [_covered(space, name) for name in names]
    wide = [index for index, column in enumerate(columns) if len(column) > 1]
    varied = {names[index]: columns[index] for index in wide}
    cases: list[Case] = []
    displaced: list[Case] = []
    for row in _rows(varied, _allowed(space)):
        point = {**{name: column[0] for name, column in zip(names, columns, strict=True)}, **row}
        if len(cases) % 2 == 0:
            point["coincidence"] = "none"
        rest: dict[str, Any] = {
            "seeds": (draw.randint(0, MAX_SEED), draw.randint(0, MAX_SEED), draw.randint(0, MAX_SEED)),
            "splits": tuple(draw.randint(0, 20) for _ in range(draw.randint(1, 3))) if space.needs.splits else (),
            "picks": tuple(draw.randint(0, 11) for _ in range(space.needs.picks)),
        }
        case = space.case(point, **rest)
        plain = space.case({**point, "coincidence": "none"}, **rest)
        if space.contract.broken_constraint(case.hyperparameters) is None:
            cases.append(case)
        if plain != case and space.contract.broken_constraint(plain.hyperparameters) is None:
            displaced.append(plain)
        if len(cases) >= limit:
            break
    return (cases + displaced)[:limit]


def _covered(space: Space, name: str) -> list[Any]:
    values = list(space.dimensions[name])
    if name in _SPREAD:
        spread = [value for value in _SPREAD[name] if value in values]
        values = spread if len(spread) > 1 else values
    elif name == "state_layout" and len(values) > 1 and "none" in space.dimensions["state"]:
        values = [None, *values]  # no state has no layout
    elif name.startswith("hp:") and len(values) > _MOST_VALUES:
        values = [values[1], values[0], values[len(values) // 2], values[-1]]
    return values[: max(_MOST_VALUES, 6)]


def _rows(columns: Mapping[str, list[Any]], allowed: Callable[[Point], bool]) -> Iterator[Point]:
    """Rows in which every pair of values stands together, as far as that is allowed."""
    if len(columns) < 2:
        yield from ({name: value} for name, column in columns.items() for value in column)
        if not columns:
            yield {}
        return
    names = list(columns)
    covered: set[frozenset[tuple[str, Any]]] = set()

    def note(row: Point) -> Point:
        covered.update(map(frozenset, combinations(row.items(), 2)))
        return row

    for values in AllPairs(
        list(columns.values()), filter_func=lambda row: allowed(dict(zip(names, row, strict=False)))
    ):
        yield note(dict(zip(names, values, strict=True)))
    # With a filter AllPairs ends at the first row that brings nothing new, and leaves some pairs out.
    for one, two in combinations(names, 2):
        for pair in ({one: first, two: second} for first in columns[one] for second in columns[two]):
            if frozenset(pair.items()) not in covered and allowed(pair):
                row = _filled(pair, columns, allowed, covered)
                if row is not None:
                    yield note(row)


def _filled(
    point: Point, columns: Mapping[str, list[Any]], allowed: Callable[[Point], bool], covered: set[Any]
) -> Point | None:
    """The point with a value for every column, those first that make new pairs; None where none is allowed."""
    name = next((name for name in columns if name not in point), None)
    if name is None:
        return point

    def known(value: Any) -> int:
        return sum(frozenset([item, (name, value)]) in covered for item in point.items())

    for value in sorted(columns[name], key=known):
        candidate = {**point, name: value}
        if allowed(candidate):
            row = _filled(candidate, columns, allowed, covered)
            if row is not None:
                return row
    return None


def _allowed(space: Space) -> Callable[[Point], bool]:
    """A filter for partial points, so that no row is to cover a value that its case could not have.

    Constraints between hyperparameters hold as far as they are known; a call without batch dimension has but one batch
    size, and one without state no layout of it.
    """
    first_batch = _covered(space, "B")[0]

    def allowed(point: Point) -> bool:
        if point.get("batched") is False and point.get("B", first_batch) != first_batch:
            return False
        if {"state", "state_layout"} <= set(point) and (point["state"] == "none") != (point["state_layout"] is None):
            return False
        known = {name[3:]: value for name, value in point.items() if name.startswith("hp:")}
        return space.contract.broken_constraint(known) is None

    return allowed
