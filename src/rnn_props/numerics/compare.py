"""Comparing nested results: the first difference in structure, or the worst element, named."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnn_props.contracts import Rules, ShapeRule

#: Half the distance from 1 to the next number: the unit roundoff of each dtype.
UNIT_ROUNDOFF: Mapping[torch.dtype, float] = {
    torch.float64: 2.0**-53,
    torch.float32: 2.0**-24,
    torch.float16: 2.0**-11,
    torch.bfloat16: 2.0**-8,
}


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two results differ most.

    Attributes:
        message: the leaf and the element, with both values.
        expected, actual: both values as text.
        size: the largest absolute difference; infinite for one in structure, shape or finiteness.
    """

    message: str
    expected: str
    actual: str
    size: float


def difference(actual: Any, expected: Any, what: str, rules: Rules = None) -> Difference | None:
    """The largest difference between two trees of tensors, or None where they are equal to the bit.

    Args:
        actual, expected: tensors, or trees of them.
        what: what the results are called in the message.
        rules: the shape rules of the leaves, by which an element's place is named.
    """
    if isinstance(expected, Tensor) and isinstance(actual, Tensor):
        return _leaf_difference(actual, expected, what, rules if isinstance(rules, ShapeRule) else None)
    if isinstance(expected, Mapping) and isinstance(actual, Mapping) and set(expected) == set(actual):
        pairs = [(f"{what}[{key!r}]", actual[key], expected[key], _child(rules, key)) for key in expected]
    elif isinstance(expected, tuple | list) and isinstance(actual, tuple | list) and len(expected) == len(actual):
        pairs = [
            (name, one, two, _child(rules, index))
            for index, (name, one, two) in enumerate(zip(_names(what, expected), actual, expected, strict=True))
        ]
    elif expected is None and actual is None:
        return None
    else:
        return _structural(what, _describe(expected), _describe(actual))
    found = [item for item in (difference(one, two, name, rule) for name, one, two, rule in pairs) if item is not None]
    return max(found, key=lambda item: item.size, default=None)


def largest(tree: Any) -> float:
    """The largest finite magnitude in a tree of tensors; 0 where there is none."""
    if isinstance(tree, Tensor):
        if tree.numel() == 0:
            return 0.0
        finite = torch.nan_to_num(tree.detach().to(torch.float64), nan=0.0, posinf=0.0, neginf=0.0)
        return float(finite.abs().max())
    items = tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, tuple | list) else ()
    return max((largest(item) for item in items), default=0.0)


def typical(actual: Tensor, expected: Tensor) -> float:
    """The typical difference of two tensors of one shape: the root mean square over elements finite in both."""
    gap = actual.detach().to(torch.float64) - expected.detach().to(torch.float64)
    gap = gap[torch.isfinite(gap)]
    return float(gap.square().mean().sqrt()) if gap.numel() else 0.0


def _names(what: str, items: Any) -> list[str]:
    if what.endswith("state") and len(items) == 2:
        return [f"{what} h", f"{what} c"]
    return [f"{what}[{index}]" for index in range(len(items))]


def _child(rules: Rules, key: Any) -> Rules:
    return rules[key] if isinstance(rules, Mapping | tuple | list) else None


def _leaf_difference(actual: Tensor, expected: Tensor, what: str, rule: ShapeRule | None) -> Difference | None:
    if actual.shape != expected.shape:
        return _structural(what, f"shape {tuple(expected.shape)}", f"shape {tuple(actual.shape)}")
    one, two = actual.detach().to(torch.float64), expected.detach().to(torch.float64)
    if torch.equal(one, two) or one.numel() == 0:
        return None
    gap = (one - two).abs()
    both_nan = one.isnan() & two.isnan()
    gap = torch.where(both_nan | (one == two), torch.zeros_like(gap), gap)
    gap = torch.nan_to_num(gap, nan=math.inf, posinf=math.inf)
    size = float(gap.max())
    if size == 0.0:
        return None
    place = _indices(int(gap.argmax()), tuple(gap.shape))
    got, wanted = float(one[tuple(place)]), float(two[tuple(place)])
    digits = 9 if f"{wanted:.9g}" != f"{got:.9g}" else 17
    wanted_text, got_text = f"{wanted:.{digits}g}", f"{got:.{digits}g}"
    message = f"{what}{_place(place, rule)}: expected {wanted_text}, got {got_text}"
    return Difference(message, wanted_text, got_text, size)


def _indices(flat: int, shape: tuple[int, ...]) -> list[int]:
    """The indices of an element by its number (torch.unravel_index takes a second at its first call)."""
    place: list[int] = []
    for size in reversed(shape):
        flat, index = divmod(flat, size)
        place.append(index)
    return place[::-1]


def _place(place: list[int], rule: ShapeRule | None) -> str:
    if not place:
        return ""
    if rule is None or len(rule) != len(place):
        return f"[{', '.join(map(str, place))}]"
    return f"[{', '.join(f'{item.text}={index}' for item, index in zip(rule.dimensions, place, strict=True))}]"


def _structural(what: str, expected: str, actual: str) -> Difference:
    return Difference(f"{what}: expected {expected}, got {actual}", expected, actual, math.inf)


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple | list | Mapping):
        return f"a {type(value).__name__} of {len(value)}"
    return repr(value)
