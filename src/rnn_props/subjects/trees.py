"""Pytrees of tensors beside their shape rules: leaves by name, axes by letter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rnn_props.contracts import Rules, ShapeRule

Tree = Any

#: Names of leaves in messages, by the structure of the state: torch's documentation has h_n and c_n.
_PAIR = ("h_n", "c_n")


def leaves(tree: Tree, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor in a tree, with its name."""
    for path, leaf in _walk(tree, name):
        if isinstance(leaf, Tensor):
            yield path, leaf


def state_leaves(state: Tree) -> list[tuple[str, Tensor]]:
    """The leaves of a state; a single tensor is `h_n`, a pair is `h_n` and `c_n`."""
    if isinstance(state, Tensor):
        return [("h_n", state)]
    if isinstance(state, tuple | list) and len(state) == 2 and all(isinstance(item, Tensor) for item in state):
        return list(zip(_PAIR, state, strict=True))
    return list(leaves(state, "state"))


def _walk(tree: Tree, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        for key, item in tree.items():
            yield from _walk(item, f"{name}[{key!r}]")
    elif isinstance(tree, tuple | list):
        for index, item in enumerate(tree):
            yield from _walk(item, f"{name}[{index}]")
    else:
        yield name, tree


def map_tree(function: Callable[[Tensor], Any], tree: Tree) -> Tree:
    """Apply a function to every tensor of a tree; what is no tensor stays."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return {key: map_tree(function, item) for key, item in tree.items()}
    if isinstance(tree, tuple | list):
        return like(tree, (map_tree(function, item) for item in tree))
    return tree


def like(tree: Any, items: Iterable[Any]) -> Any:
    """A tuple, named tuple or list of the same type as another, with other items."""
    return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)


def map_with_rules(function: Callable[[Tensor, ShapeRule], Any], tree: Tree, rules: Rules) -> Tree:
    """Apply a function to every tensor and its rule."""
    if rules is None:
        return None
    if isinstance(rules, ShapeRule):
        return function(tree, rules)
    if isinstance(rules, Mapping):
        return {key: map_with_rules(function, tree[key], rule) for key, rule in rules.items()}
    return type(rules)(map_with_rules(function, item, rule) for item, rule in zip(tree, rules, strict=True))


def clone(tree: Tree) -> Tree:
    """A copy with storage of its own, strides kept."""
    return map_tree(lambda leaf: leaf.detach().clone(), tree)


def select(tree: Tree, rules: Rules, letter: str, indices: Sequence[int]) -> Tree:
    """The given indices along the axis of a letter, in every leaf that has that axis."""
    index = torch.tensor(list(indices), dtype=torch.long)

    def pick(leaf: Tensor, rule: ShapeRule) -> Tensor:
        axis = rule.axis(letter)
        return leaf if axis is None else leaf.index_select(axis, index.to(leaf.device))

    return map_with_rules(pick, tree, rules)


def cut(tensor: Tensor, rule: ShapeRule, letter: str, start: int, stop: int) -> Tensor:
    """A slice along the axis of a letter."""
    axis = rule.axis(letter)
    if axis is None:
        raise ValueError(f"the rule '{rule}' has no axis {letter}")
    return tensor.narrow(axis, start, stop - start)


def join(tensors: Sequence[Tensor], rule: ShapeRule, letter: str) -> Tensor:
    """Tensors joined along the axis of a letter."""
    axis = rule.axis(letter)
    if axis is None:
        raise ValueError(f"the rule '{rule}' has no axis {letter}")
    return torch.cat(list(tensors), axis)
