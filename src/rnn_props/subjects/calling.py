"""From an input and a state to the arguments of forward, and from what it returned to output and state.

Checks see a state as tuples, lists and dicts of real tensors. What the module itself takes and returns may be a named
tuple, a dataclass or complex numbers; both directions of that are here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnn_props.contracts import Complex, Contract, Form, Layers, Record, ShapeRule, Structure, read_result
from rnn_props.subjects.trees import like
from rnn_props.targets import load, parse

Tree = Any


class UnusableResultError(Exception):
    """The target returned something that its convention does not know."""


def native(tree: Tree, structure: Structure) -> Tree:
    """A state as the module takes it; what does not fit its structure (a fault may be in it) stays as it is."""
    if isinstance(structure, Complex):
        return torch.view_as_complex(tree.contiguous()) if _is_pairs(tree) else tree
    if isinstance(structure, Layers) and isinstance(tree, tuple | list):
        return like(tree, (native(item, structure.part(index)) for index, item in enumerate(tree)))
    if isinstance(structure, Record) and isinstance(tree, Mapping):
        cls = load(parse(structure.cls))
        return cls(**{name: native(item, structure.fields.get(name)) for name, item in tree.items()})
    if isinstance(structure, Mapping) and isinstance(tree, Mapping):
        return {name: native(item, structure.get(name)) for name, item in tree.items()}
    if isinstance(structure, tuple | list) and isinstance(tree, tuple | list) and len(tree) == len(structure):
        return like(tree, (native(item, part) for item, part in zip(tree, structure, strict=True)))
    return tree


def canonical(value: Any, structure: Structure = None) -> Tree:
    """What a module returned, as checks see it: records of the structure as dicts, complex numbers as pairs of real
    ones; the rest stays as it is."""
    if isinstance(value, Tensor):
        return torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
    if isinstance(structure, Record) and (fields := fields_of(value)) is not None:
        return {name: canonical(item, structure.fields.get(name)) for name, item in fields.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return value  # a packed sequence, or a named tuple that nothing is agreed on
    if isinstance(value, Mapping):
        parts = structure if isinstance(structure, Mapping) else {}
        return {name: canonical(item, parts.get(name)) for name, item in value.items()}
    if isinstance(value, tuple | list):
        if isinstance(structure, Layers):
            return type(value)(canonical(item, structure.part(index)) for index, item in enumerate(value))
        parts_of = structure if isinstance(structure, tuple | list) and len(structure) == len(value) else ()
        return type(value)(canonical(item, parts_of[index] if parts_of else None) for index, item in enumerate(value))
    return value


def fields_of(value: Any) -> dict[str, Any] | None:
    """The fields of a named tuple or a dataclass; None of anything else."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    return None


def named_parts(value: Any) -> Mapping[str, Any] | None:
    """The fields of a named tuple or a dataclass, or a mapping as it is; None of anything else."""
    return value if isinstance(value, Mapping) else fields_of(value)


def _is_pairs(tree: Tree) -> bool:
    return isinstance(tree, Tensor) and tree.dim() > 0 and tree.shape[-1] == 2 and tree.dtype in _COMPLEX


_COMPLEX = (torch.float64, torch.float32, torch.float16)


def token_ids(values: Any, count: int) -> Any:
    """Token ids in place of real numbers: the same number gives the same id, and numbers that are one apart give two.

    The id 0 is left out where there are others, since many a module treats it as padding. Integers stay as they are.

    Args:
        values: a tensor of any shape, or packed.
        count: how many ids there are.
    """
    if isinstance(values, PackedSequence):
        return values._replace(data=token_ids(values.data, count))
    if not isinstance(values, Tensor) or not values.is_floating_point():
        return values
    others = max(count - 1, 1)
    factor = next(number for number in (3, 2, 5, 7, 11, 13, 1) if math.gcd(number, others) == 1)
    # No usual number lies where rounding noise could change the id.
    ids = (values.detach().double().nan_to_num() * factor + 0.1234).round().long() % others
    return ids + 1 if count > 1 else ids


def call_arguments(
    contract: Contract,
    inputs: Any,
    state: Tree,
    *,
    lengths: Tensor | None = None,
    starts: Tensor | None = None,
    rule: ShapeRule | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What forward is called with.

    Args:
        inputs, state, lengths, starts: as checks have them; a state, lengths and starts of None are left out.
        rule: the input's, where there are lengths.
        dtype: the module's, for flags that go in as numbers.
    """
    keywords: dict[str, Any] = dict(contract.keywords)
    if lengths is not None:
        keywords[contract.arguments["lengths"]] = _given_lengths(lengths, inputs, contract, rule, dtype)
    if starts is not None:
        keywords[contract.arguments["starts"]] = _given_starts(
            starts, contract.form("starts") or Form("start"), None if rule is None else rule.axis("T"), dtype
        )
    if state is None:
        return (inputs,), keywords
    given = native(state, contract.state)
    names = contract.arguments.get("state", "").split()
    if not names:
        return (inputs, given), keywords
    if len(names) == 1:
        return (inputs,), {**keywords, names[0]: given}
    members = list(given.values()) if isinstance(given, Mapping) else given
    if not isinstance(members, tuple | list) or len(members) != len(names):
        # A fault in the number of members: there is one argument for each, so the call is made as Python allows it.
        members = members if isinstance(members, tuple | list) else (members,)
        return (inputs, *members), keywords
    return (inputs,), {**keywords, **dict(zip(names, members, strict=True))}


def _given_lengths(
    lengths: Tensor, inputs: Any, contract: Contract, rule: ShapeRule | None, dtype: torch.dtype
) -> Tensor:
    """Lengths as the module takes them: numbers of steps, parts of the longest, or a mask."""
    form = contract.form("lengths")
    if rule is None or not isinstance(inputs, Tensor) or not (form or contract.capabilities.relative_lengths):
        return lengths
    time = rule.axis("T")
    if time is None or time >= inputs.dim():
        return lengths  # a fault has taken the axis
    if form is None:
        return lengths.to(torch.get_default_dtype()) / inputs.shape[time]
    within = within_lengths(lengths, rule, inputs.shape[time])
    return _in_form(~within if form.kind == "padding mask" else within, form, dtype).to(inputs.device)


def _given_starts(starts: Tensor, form: Form, time: int | None, dtype: torch.dtype) -> Tensor:
    """Where episodes begin, as the module takes it."""
    flags = ~starts if form.kind == "continue" else starts
    if form.kind == "end" and time is not None:  # an episode ends one step before the next one begins
        axis = min(time, starts.dim() - 1)
        flags = starts.roll(-1, axis)
        flags.select(axis, -1).fill_(False)
    return _in_form(flags, form, dtype)


def _in_form(flags: Tensor, form: Form, dtype: torch.dtype) -> Tensor:
    flags = flags.to(dtype) if form.numbers else flags
    return flags.unsqueeze(-1) if form.column else flags


def within_lengths(lengths: Tensor, rule: ShapeRule, steps: int) -> Tensor:
    """Which steps are within their row's length: bools `(T, B)` or `(B, T)`, as in a rule that has both."""
    within = torch.arange(steps, device=lengths.device)[:, None] < lengths[None, :]
    time, batch = rule.axis("T"), rule.axis("B")
    return within.T if time is not None and batch is not None and batch < time else within


def beyond_lengths(lengths: Sequence[int], rule: ShapeRule, tensor: Tensor) -> Tensor:
    """Where a tensor whose rule has T and B is beyond its rows' lengths: bools of the tensor's shape."""
    axes = (rule.axis("T"), rule.axis("B"))
    beyond = ~within_lengths(torch.tensor(lengths), rule, tensor.shape[axes[0] or 0])
    shape = [size if axis in axes else 1 for axis, size in enumerate(tensor.shape)]
    return beyond.reshape(shape).expand(tensor.shape)


def no_starts(rule: ShapeRule, inputs: Tensor) -> Tensor:
    """Flags under which no episode begins: bools in the layout of the input's rule without its features."""
    axes = sorted(axis for letter in ("T", "B") if (axis := rule.axis(letter)) is not None)
    shape = [inputs.shape[axis] for axis in axes if axis < inputs.dim()]  # a fault may have taken an axis
    return torch.zeros(shape, dtype=torch.bool, device=inputs.device)


def split(contract: Contract, value: Any) -> tuple[Any, Tree]:
    """The output (None for a cell) and the state (None for a model) in what a call returned.

    Raises:
        UnusableResultError: the convention knows nothing of the kind.
    """
    if contract.result:
        return _split_parts(read_result(contract.result), value)
    if contract.convention == "cell":
        return None, value
    if contract.convention in ("model", "stateful") or (contract.convention == "lengths" and contract.state is None):
        return main_output(value), None
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise UnusableResultError(f"the call gave {kind_of_value(value)}; expected a pair (output, state)")
    return value[0], value[1]


def main_output(value: Any) -> Any:
    """The output among what a model returns: the first of a tuple, the last of a list (one for each layer)."""
    while isinstance(value, tuple | list) and value and not hasattr(value, "_fields"):
        value = value[0] if isinstance(value, tuple) else value[-1]
    return value


def _split_fields(parts: tuple[str, ...], value: Any) -> tuple[Any, Tree]:
    fields = named_parts(value)
    names = {kind: name for name, _, kind in (part.partition("=") for part in parts)}
    missing = next((name for name in names.values() if fields is None or name not in fields), None)
    if fields is None or missing is not None:
        raise UnusableResultError(f"the call gave {kind_of_value(value)} without a field '{missing}'")
    return (fields[names["output"]] if "output" in names else None), (
        fields[names["state"]] if "state" in names else None
    )


def _split_parts(parts: tuple[str, ...], value: Any) -> tuple[Any, Tree]:
    if "=" in parts[0]:
        return _split_fields(parts, value)
    if len(parts) == 1 and not parts[0].startswith("*"):
        return (value, None) if parts[0] == "output" else (None, value)
    fixed = len(parts) - any(part.startswith("*") for part in parts)
    wanted = f"({', '.join(parts)})"
    if not isinstance(value, tuple | list) or len(value) < fixed or (fixed == len(parts) != len(value)):
        raise UnusableResultError(f"the call gave {kind_of_value(value)}; expected {wanted}")
    rest = list(value)
    found: dict[str, Any] = {}
    for index, part in enumerate(parts):
        if part.startswith("*"):
            count = len(value) - fixed
            found[part.removeprefix("*")] = tuple(rest[index : index + count])
            rest[index : index + count] = [None]
        else:
            found[part] = rest[index]
    return found.get("output"), found.get("state")


def kind_of_value(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"an object of type {type(value).__name__}"
