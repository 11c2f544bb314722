"""Faults: deliberate defects, put into a valid call one at a time.

A fault changes a `Call` (hyperparameters, input, state) and nothing else. Whether the result is really invalid is not
for this module to say: the judge looks at the changed call on its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnn_props.cases.case import Case, Fault, make_input, make_state
from rnn_props.contracts import Contract, Domain, Rules, ShapeRule, map_structure
from rnn_props.subjects import Tree, map_with_rules


@dataclass(frozen=True, slots=True)
class Call:
    """One concrete call: what the module is built with and what it is given."""

    hyperparameters: Mapping[str, Any]
    input: Any
    state: Tree
    lengths: Any = None


def make_call(case: Case, contract: Contract) -> Call:
    """The concrete call of a case, with its fault put in."""
    lengths = None
    if not case.packing and (case.lengths or contract.convention == "lengths"):
        lengths = torch.tensor(case.lengths or (case.seq_len,) * case.batch, dtype=torch.int64)
    call = Call(case.hyperparameters, make_input(case, contract), make_state(case, contract), lengths)
    return call if case.fault is None else apply_fault(case.fault, call, contract, batched=case.batched)


def apply_fault(fault: Fault, call: Call, contract: Contract, *, batched: bool = True) -> Call:
    """The call with the fault in it.

    Raises:
        KeyError: there is no fault of that name.
    """
    if fault.family == "hyperparameters":
        value = _bad_value(fault.name, call.hyperparameters, contract, fault.argument)
        return replace(call, hyperparameters={**call.hyperparameters, fault.argument: value})
    rules = contract.rules(call.hyperparameters, batched=batched)
    if fault.family == "lengths":
        if isinstance(call.input, PackedSequence):
            return replace(call, input=_BATCH_SIZES[fault.name](call.input))
        return replace(call, lengths=_LENGTHS[fault.name](call.lengths))
    if fault.family == "input":
        change = _INPUT[fault.name]
        if isinstance(call.input, PackedSequence):
            return replace(call, input=call.input._replace(data=change(call.input.data, rules.input)))
        return replace(call, input=change(call.input, rules.input))
    if fault.name in _WHOLE_STATE:
        return replace(call, state=_WHOLE_STATE[fault.name](call.state))
    change = _LEAF[fault.name]
    return replace(call, state=_change_leaf(change, call.state, rules.state, fault.leaf))


def faults_for(case: Case, contract: Contract, family: str) -> list[Fault]:
    """Every fault of a family that makes sense for a valid case, simplest first.

    The families are `input`, `state`, `lengths` and `hyperparameters`; `call` is the first two, `any` all of them, and
    `size` those of the first two that make one size wrong.
    """
    if family == "size":
        return [fault for fault in faults_for(case, contract, "call") if fault.name in SIZE_FAULTS]
    found: list[Fault] = []
    if family in ("input", "call", "any") and contract.vocabulary is None:
        found += [Fault(name) for name in _INPUT if not case.packing or name in _PACKED_INPUT]
    if family in ("lengths", "any") and case.lengths:
        found += [Fault(name) for name in (_BATCH_SIZES if case.packing else _LENGTHS)]
    if family in ("state", "call", "any") and contract.state is not None and case.state is not None:
        rules = contract.rules(case.hyperparameters).state
        count = len(_leaf_rules(rules))
        leaves = (-1, *range(count)) if count > 1 else (-1,)
        found += [Fault(name, leaf=leaf) for name in _LEAF for leaf in leaves]
        members = len(rules) if isinstance(rules, tuple | list) else 1
        if not isinstance(rules, Mapping) and " " not in contract.arguments.get("state", ""):
            found += [Fault(name) for name in _WHOLE_STATE if (name == "state.wrapped") == (members == 1)]
    if family in ("hyperparameters", "any"):
        for argument, domain in contract.hyperparameters.items():
            if isinstance(domain, Domain):
                found += [Fault(f"hyperparameters.{kind}", argument=argument) for kind in _VALUES[domain.kind]]
    return found


#: Makes of a valid tensor, given its rule, what goes in instead.
Change = Callable[[Tensor, ShapeRule], Tensor]


def register_fault(name: str) -> Callable[[Change], Change]:
    """Register a function as a fault in the input or in each tensor of the state.

    The function gets the valid tensor and its shape rule and returns what goes in instead. Whether that breaks the
    contract is not for it to say: the judge looks at shape, dtype and device, and only what is invalid is asserted on.

    Args:
        name: such as `input.doubled` or `state.doubled`.

    Raises:
        ValueError: the name is taken or malformed.
    """
    part, dot, rest = name.partition(".")
    table = {"input": _INPUT, "state": _LEAF}.get(part)
    if table is None or not dot or not rest.isidentifier():
        raise ValueError(f"a fault has a name such as 'input.doubled' or 'state.doubled' (got {name!r})")
    if name in table or name in _WHOLE_STATE:
        raise ValueError(f"there is a fault '{name}' already")

    def register(function: Change) -> Change:
        table[name] = function
        return function

    return register


def _grow(axis: int, by: int) -> Callable[[Tensor, ShapeRule], Tensor]:
    def change(leaf: Tensor, rule: ShapeRule) -> Tensor:
        place = axis % leaf.dim()
        if by < 0:
            return leaf.narrow(place, 0, max(leaf.shape[place] + by, 0))
        extra = leaf.new_zeros([by if index == place else size for index, size in enumerate(leaf.shape)])
        return torch.cat([leaf, extra], place)

    return change


def _feature_grow(by: int) -> Callable[[Tensor, ShapeRule], Tensor]:
    """More or fewer features; the last axis, where the rule has no letter for them."""

    def change(leaf: Tensor, rule: ShapeRule) -> Tensor:
        axis = rule.axis("I") if leaf.dim() == len(rule) else None
        return _grow(-1 if axis is None else axis, by)(leaf, rule)

    return change


def _last_grow(by: int) -> Callable[[Tensor, ShapeRule], Tensor]:
    """The last axis longer or shorter, unless that is the batch."""

    def change(leaf: Tensor, rule: ShapeRule) -> Tensor:
        return leaf if not rule.dimensions or rule.axis("B") == len(rule) - 1 else _grow(-1, by)(leaf, rule)

    return change


def _letter_grow(letter: str, by: int) -> Callable[[Tensor, ShapeRule], Tensor]:
    def change(leaf: Tensor, rule: ShapeRule) -> Tensor:
        axis = rule.axis(letter)
        return leaf if axis is None else _grow(axis, by)(leaf, rule)

    return change


def _letter_one(letter: str) -> Callable[[Tensor, ShapeRule], Tensor]:
    def change(leaf: Tensor, rule: ShapeRule) -> Tensor:
        axis = rule.axis(letter)
        return leaf if axis is None else leaf.narrow(axis, 0, 1)

    return change


def _first_names(rule: ShapeRule) -> frozenset[str]:
    return rule.dimensions[0].names if rule.dimensions else frozenset()


def _layers(by: int) -> Callable[[Tensor, ShapeRule], Tensor]:
    def change(leaf: Tensor, rule: ShapeRule) -> Tensor:
        return _grow(0, by)(leaf, rule) if "L" in _first_names(rule) else leaf

    return change


def _directions(leaf: Tensor, rule: ShapeRule) -> Tensor:
    """Rows for one direction where there are two, and for two where there is one."""
    if "D" not in _first_names(rule):
        return leaf
    rows = leaf.shape[0]
    return leaf[: rows // 2] if rows % 2 == 0 else torch.cat([leaf, leaf])


def _batch_first(leaf: Tensor, rule: ShapeRule) -> Tensor:
    axis = rule.axis("B")
    return leaf.transpose(0, axis).contiguous() if axis else leaf


def _unbatched(leaf: Tensor, rule: ShapeRule) -> Tensor:
    axis = rule.axis("B")
    return leaf if axis is None else leaf.select(axis, 0)


def _other_float(leaf: Tensor, rule: ShapeRule) -> Tensor:
    return leaf.to(torch.float64 if leaf.dtype != torch.float64 else torch.float32)


_INPUT: dict[str, Callable[[Tensor, ShapeRule], Any]] = {
    "input.features_more": _feature_grow(1),
    "input.features_less": _feature_grow(-1),
    "input.rank_0": lambda value, rule: value.sum(),
    "input.rank_1": lambda value, rule: value.reshape(-1, value.shape[-1])[0] if value.numel() else value,
    "input.rank_more": lambda value, rule: value.unsqueeze(0),
    "input.dtype_integer": lambda value, rule: value.to(torch.int64),
    "input.dtype_float": _other_float,
    "input.empty_sequence": _letter_grow("T", -1_000_000),
}

#: The faults of a dense input that make sense for the data of a packed one.
_PACKED_INPUT = frozenset(
    {"input.features_more", "input.features_less", "input.rank_more", "input.dtype_integer", "input.dtype_float"}
)


def _sizes(packed: PackedSequence, *sizes: int, rows: int | None = None) -> PackedSequence:
    """The packed sequence with other batch sizes, or with another number of rows of data."""
    data = packed.data if rows is None else torch.cat([packed.data, packed.data])[:rows]
    batch_sizes = torch.tensor(sizes, dtype=torch.int64) if sizes else packed.batch_sizes
    return packed._replace(data=data, batch_sizes=batch_sizes)


#: What a PackedSequence that was put together by hand can have wrong.
_BATCH_SIZES: Mapping[str, Callable[[PackedSequence], PackedSequence]] = {
    "lengths.rows_missing": lambda packed: _sizes(packed, rows=len(packed.data) - 1),
    "lengths.rows_more": lambda packed: _sizes(packed, rows=len(packed.data) + 1),
    "lengths.zero": lambda packed: _sizes(packed, *packed.batch_sizes.tolist(), 0),
    "lengths.negative": lambda packed: _sizes(packed, *packed.batch_sizes.tolist(), -1),
    "lengths.growing": lambda packed: _sizes(packed, *reversed(packed.batch_sizes.tolist())),
    "lengths.float": lambda packed: packed._replace(batch_sizes=packed.batch_sizes.to(torch.float64)),
}
#: What lengths beside a padded batch can have wrong.
_LENGTHS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "lengths.zero": lambda lengths: _first(lengths, 0),
    "lengths.negative": lambda lengths: _first(lengths, -1),
    "lengths.too_long": lambda lengths: _first(lengths, int(lengths.max()) + 1),
    "lengths.one_less": lambda lengths: lengths[:-1],
    "lengths.one_more": lambda lengths: torch.cat([lengths, lengths[:1]]),
    "lengths.float": lambda lengths: lengths.to(torch.float64) + 0.5,
}


def _first(lengths: Tensor, value: int) -> Tensor:
    changed = lengths.clone()
    changed[0] = value
    return changed


_LEAF: dict[str, Callable[[Tensor, ShapeRule], Tensor]] = {
    "state.batch_more": _letter_grow("B", 1),
    "state.batch_less": _letter_grow("B", -1),
    "state.batch_one": _letter_one("B"),
    "state.layers_more": _layers(1),
    "state.layers_less": _layers(-1),
    "state.directions": _directions,
    "state.batch_first": _batch_first,
    "state.hidden_more": _last_grow(1),
    "state.hidden_less": _last_grow(-1),
    "state.hidden_one": lambda leaf, rule: leaf[..., :1] if leaf.dim() else leaf,
    "state.rank_less": lambda leaf, rule: leaf[0] if leaf.dim() else leaf,
    "state.rank_more": lambda leaf, rule: leaf.unsqueeze(0),
    "state.unbatched": _unbatched,
    "state.dtype": _other_float,
}


def _stacked(state: Tree) -> Tree:
    """The members in one tensor, joined along the last axis if that differs; as they are where nothing joins them."""
    if not all(isinstance(member, Tensor) for member in state):
        return state
    shapes = {tuple(member.shape) for member in state}
    if len({shape[:-1] for shape in shapes}) > 1:
        return state
    return torch.stack(list(state)) if len(shapes) == 1 else torch.cat(list(state), -1)


_WHOLE_STATE: Mapping[str, Callable[[Tree], Tree]] = {
    "state.missing_member": lambda state: state[:1],
    "state.extra_member": lambda state: (*state, state[0]),
    "state.swapped_members": lambda state: tuple(reversed(state)),
    "state.first_member_alone": lambda state: state[0],
    "state.stacked": _stacked,
    "state.wrapped": lambda state: (state, state),
}

#: Faults that make one size wrong, and nothing else.
SIZE_FAULTS = frozenset(
    f"{family}_{change}"
    for family in ("input.features", "state.batch", "state.layers", "state.hidden")
    for change in ("more", "less")
)

#: Bad values by kind of hyperparameter.
_VALUES: Mapping[str, tuple[str, ...]] = {
    "size": ("zero", "negative", "float", "string", "none", "bool"),
    "count": ("negative", "too_big", "string"),
    "flag": ("string", "integer"),
    "probability": ("negative", "too_big", "nan", "string", "none"),
    "choice": ("unknown",),
    "free": (),
}

#: What stands for each kind of bad value; `too_big` and `unknown` depend on the hyperparameter.
_BAD: Mapping[str, Any] = {
    "zero": 0,
    "negative": -1,
    "float": 2.5,
    "string": "three",
    "none": None,
    "bool": True,
    "integer": 2,
    "nan": float("nan"),
    "unknown": "no_such_choice",
}


def _bad_value(name: str, hyperparameters: Mapping[str, Any], contract: Contract, argument: str) -> Any:
    kind = name.partition(".")[2]
    domain = contract.hyperparameters[argument]
    if kind == "too_big":
        if domain.kind == "probability":
            return 1.5
        return int(contract.role("hidden_size", hyperparameters, 100))
    if kind == "negative" and domain.kind == "probability":
        return -0.25
    return _BAD[kind]


def _leaf_rules(rules: Rules) -> list[ShapeRule]:
    found: list[ShapeRule] = []
    map_structure(found.append, rules)
    return found


def _change_leaf(change: Callable[[Tensor, ShapeRule], Tensor], state: Tree, rules: Rules, leaf: int) -> Tree:
    """The state with one leaf changed, by its number, or all of them for -1."""
    numbers = itertools.count()

    def changed(item: Tensor, rule: ShapeRule) -> Tensor:
        number = next(numbers)
        return change(item, rule) if leaf in (-1, number) else item

    return map_with_rules(changed, state, rules)
