"""From shapes seen in a few runs to shape rules: a dimension is what it changes with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from rnn_props.contracts import Complex, Layers, Record, Structure
from rnn_props.inference.layout import ProbeError
from rnn_props.subjects import fields_of

#: The order of letters in a product.
_ORDER = "LDB"


@dataclass(frozen=True, slots=True)
class Variation:
    """One letter changed from a value to another, and what the run then gave."""

    before: int
    after: int
    seen: Any


def rule_of(value: Tensor, changes: Mapping[str, Variation], exact: Mapping[str, int], what: str) -> str:
    """The rule of a tensor's shape; `changes` has the same tensor under each variation.

    Raises:
        ProbeError: a dimension is no sum or product of what is known.
    """
    dimensions = []
    for axis, size in enumerate(value.shape):
        moves = {
            letter: (change.before, change.after, change.seen.shape[axis])
            for letter, change in changes.items()
            if isinstance(change.seen, Tensor) and change.seen.dim() == value.dim()
        }
        dimension = _dimension(size, moves, {name: known for name, known in exact.items() if name not in changes})
        if dimension is None:
            raise ProbeError(
                f"dimension {axis} of {what}, {size}, is no product of known sizes ({', '.join(changes)}); "
                "give a Contract with its rule"
            )
        dimensions.append(dimension)
    return " ".join(dimensions)


def _dimension(size: int, moves: Mapping[str, tuple[int, int, int]], exact: Mapping[str, int]) -> str | None:
    moved = {letter: move for letter, move in moves.items() if move[2] != size}
    if not moved:
        # What could not be varied is known by its size alone.
        return next((name for name, known in exact.items() if known == size), str(size))
    product = math.prod(before for before, _, _ in moved.values())
    if size % product == 0 and all(other * before == size * after for before, after, other in moved.values()):
        factor = size // product
        names = sorted(moved, key=lambda name: (_ORDER.find(name) % 9, name))
        return "*".join([*([str(factor)] if factor > 1 else []), *names])
    if len(moved) == 1:
        ((letter, (before, after, other)),) = moved.items()
        slope, rest = divmod(other - size, after - before)
        offset = size - slope * before
        if rest == 0 and slope > 0:
            text = letter if slope == 1 else f"{slope}*{letter}"
            return f"{text}{offset:+d}" if offset else text
    return None


def structure_of(
    value: Any, changes: Mapping[str, Variation], exact: Mapping[str, int], *, widths: str = "", what: str = "state"
) -> Structure:
    """The structure of a state, from the same state under each variation.

    Args:
        value: the state as the module returned it.
        changes: for each letter the state of a run with another value of it.
        exact: sizes that could not be varied.
        widths: the hyperparameter that lists each layer's size, if there is one.
        what: the path to the value.

    Raises:
        ProbeError: it has something that is no tensor in it, or a dimension that can't be told.
    """
    if value is None:
        return None
    if isinstance(value, Tensor):
        if not (value.is_floating_point() or value.is_complex()):
            raise ProbeError(f"{what} has a member of dtype {str(value.dtype).removeprefix('torch.')}")
        rule = rule_of(value, changes, exact, what)
        return Complex(rule) if value.is_complex() else rule
    fields = fields_of(value)
    if fields is not None:
        cls = type(value)
        if "<locals>" in cls.__qualname__:
            raise ProbeError(f"{what} is a {cls.__name__}, a class inside a function, which can't be imported")
        parts = _parts(fields, changes, fields_of, exact, widths, what)
        return Record(f"{cls.__module__}:{cls.__qualname__}", parts)
    if isinstance(value, Mapping):
        return _parts(dict(value), changes, _as_dict, exact, widths, what)
    if isinstance(value, tuple | list):
        return _sequence(value, changes, exact, widths, what)
    raise ProbeError(f"{what} has a member of type {type(value).__name__}")


def _as_dict(value: Any) -> dict[Any, Any] | None:
    return dict(value) if isinstance(value, Mapping) else None


def _parts(
    fields: Mapping[str, Any], changes: Mapping[str, Variation], read: Any, exact: Mapping[str, int], widths: str,
    what: str,
) -> dict[str, Structure]:  # fmt: skip
    found = {letter: read(change.seen) or {} for letter, change in changes.items()}
    return {
        name: structure_of(
            item,
            {
                letter: Variation(change.before, change.after, found[letter][name])
                for letter, change in changes.items()
                if name in found[letter]
            },
            exact,
            widths=widths,
            what=f"{what}[{name!r}]",
        )
        for name, item in fields.items()
    }


def _sequence(
    value: Any, changes: Mapping[str, Variation], exact: Mapping[str, int], widths: str, what: str
) -> Structure:
    layers = changes.get("L")
    grows = layers is not None and isinstance(layers.seen, tuple | list) and len(layers.seen) != len(value)
    if grows and layers is not None and len(value) == layers.before and len(layers.seen) == layers.after:
        others = {letter: change for letter, change in changes.items() if letter != "L"}
        inside = {letter: Variation(c.before, c.after, c.seen[0]) for letter, c in others.items() if _has(c.seen, 0)}
        item = structure_of(value[0], inside, exact, what=f"{what}[layer]")
        kind_name = "list" if isinstance(value, list) else "tuple"
        above = None if widths else _above(item, layers.seen, others, exact)
        if above is not None:
            return Layers(above, kind=kind_name, first=item)
        return Layers(_numbered(item, widths) if widths else item, kind=kind_name)
    kind = list if isinstance(value, list) else tuple
    return kind(
        structure_of(
            item,
            {
                letter: Variation(c.before, c.after, c.seen[index])
                for letter, c in changes.items()
                if _has(c.seen, index)
            },
            exact,
            widths=widths,
            what=f"{what}[{index}]",
        )
        for index, item in enumerate(value)
    )


def _above(first: Structure, seen: Any, others: Mapping[str, Variation], exact: Mapping[str, int]) -> Structure:
    """The structure of the layers above the first where those keep what is as wide as their input; else None.

    Nothing but that is learned from two layers: the first layer's part is `I` wide, and the one above `H` instead.
    """
    sizes = {**exact, **{letter: change.before for letter, change in others.items()}}
    if not isinstance(first, str) or "I" not in first.split() or not isinstance(seen[-1], Tensor):
        return None
    above = " ".join("H" if part == "I" else part for part in first.split())
    expected = tuple(sizes.get(part, 0) for part in above.split())
    return above if sizes.get("H") != sizes.get("I") and tuple(seen[-1].shape) == expected else None


def _has(seen: Any, index: int) -> bool:
    return isinstance(seen, tuple | list) and len(seen) > index


def _numbered(item: Structure, widths: str) -> Structure:
    """A layer's structure with its own width in place of the last layer's."""
    if isinstance(item, str):
        return " ".join(f"{widths}_{{k}}" if part == "H" else part for part in item.split())
    if isinstance(item, tuple | list):
        return type(item)(_numbered(part, widths) for part in item)
    return item


def letters_of(structure: Structure) -> set[str]:
    """Every word in the rules of a structure."""
    if isinstance(structure, str):
        return {part for dimension in structure.split() for part in dimension.split("*")}
    if isinstance(structure, Layers):
        return letters_of(structure.item) | letters_of(structure.first)
    if isinstance(structure, Record):
        return letters_of(dict(structure.fields))
    if isinstance(structure, Complex):
        return letters_of(structure.rule)
    items = structure.values() if isinstance(structure, Mapping) else structure or ()
    return set().union(*(letters_of(item) for item in items)) if items else set()
