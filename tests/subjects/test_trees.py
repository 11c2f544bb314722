"""Trees of tensors: leaves by name, axes by letter."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from rnn_props.contracts import ShapeRule, parse_structure
from rnn_props.subjects import clone, cut, join, leaves, map_tree, select, state_leaves


class Pair(NamedTuple):
    h: Any
    c: Any


def _names(found: Any) -> list[str]:
    return [name for name, _ in found]


def test_leaves_are_named_by_their_path() -> None:
    one = torch.zeros(1)
    tree = {"h": one, "layers": [one, (one, None)], "n": 3}
    assert _names(leaves(tree, "state")) == ["state['h']", "state['layers'][0]", "state['layers'][1][0]"]


def test_the_leaves_of_a_state_have_the_names_of_torchs_documentation() -> None:
    one = torch.zeros(1)
    assert _names(state_leaves(one)) == ["h_n"]
    assert _names(state_leaves((one, one))) == ["h_n", "c_n"]
    assert _names(state_leaves([one, one])) == ["h_n", "c_n"]
    assert _names(state_leaves((one, one, one))) == ["state[0]", "state[1]", "state[2]"]
    assert _names(state_leaves({"h": one})) == ["state['h']"]
    assert state_leaves(None) == []


def test_mapping_keeps_the_structure_and_what_is_no_tensor() -> None:
    one = torch.ones(2)
    tree = {"a": [one, None], "b": Pair(one, (one, 3))}
    doubled = map_tree(lambda leaf: 2 * leaf, tree)
    assert isinstance(doubled["b"], Pair)
    assert doubled["a"][1] is None
    assert doubled["b"].c[1] == 3
    assert all(torch.equal(leaf, torch.full((2,), 2.0)) for _, leaf in leaves(doubled))


def test_a_copy_has_memory_of_its_own_and_no_graph() -> None:
    leaf = torch.ones(2, requires_grad=True)
    copied = clone((leaf * 2,))[0]
    copied[0] = 9
    assert leaf.tolist() == [1, 1]
    assert not copied.requires_grad


def test_rows_are_picked_along_the_batch_of_each_leaf() -> None:
    rules = parse_structure(("L B H", "B H", "H"))
    state = (torch.arange(24.0).reshape(2, 4, 3), torch.arange(12.0).reshape(4, 3), torch.arange(3.0))
    picked = select(state, rules, "B", [2, 0])
    assert torch.equal(picked[0], state[0][:, [2, 0]])
    assert torch.equal(picked[1], state[1][[2, 0]])
    assert picked[2] is state[2]
    assert select(None, None, "B", [0]) is None


@pytest.mark.parametrize("rule", ["T B I", "B T I"])
def test_pieces_that_were_cut_join_to_the_whole(rule: str) -> None:
    parsed = ShapeRule.parse(rule)
    tensor = torch.arange(60.0).reshape(5, 4, 3)
    length = tensor.shape[parsed.axis("T") or 0]
    pieces = [cut(tensor, parsed, "T", start, stop) for start, stop in ((0, 1), (1, 3), (3, length))]
    assert torch.equal(join(pieces, parsed, "T"), tensor)


@pytest.mark.parametrize("use", [lambda t, r: cut(t, r, "T", 0, 1), lambda t, r: join([t], r, "T")])
def test_an_axis_that_a_rule_lacks_is_named(use: Any) -> None:
    rule, tensor = ShapeRule.parse("B H"), torch.zeros(2, 3)
    with pytest.raises(ValueError, match="the rule 'B H' has no axis T"):
        use(tensor, rule)


def test_a_tensor_stands_for_itself() -> None:
    tensor = torch.zeros(2)
    mapped: Tensor = map_tree(lambda leaf: leaf, tensor)
    assert mapped is tensor
