"""The invalidity judge: looks at a concrete call and at the contract, and says whether the call must be rejected.

It knows nothing of faults. What can be read two ways is `unspecified`, and nothing is asserted on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnn_props.cases.faults import Call
from rnn_props.contracts import Contract, Domain, Rules, ShapeRule
from rnn_props.subjects import DTYPES, Tree


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge says of a call.

    Attributes:
        kind: `invalid` (must be rejected), `valid`, or `unspecified`.
        reason: what is wrong, naming the dimension; or why nothing can be said.
        advice: accepting the call is worth a warning and no more, since the contract is not torch's own and the call
            has a reading that makes sense (a state of batch 1 that is broadcast, a dtype that is promoted).
    """

    kind: Literal["invalid", "valid", "unspecified"]
    reason: str = ""
    advice: bool = False


_VALID = Verdict("valid")


def judge(call: Call, contract: Contract, dtype: str) -> Verdict:
    """Whether a call is invalid under a contract, for a module in the given dtype."""
    verdict = _judge_hyperparameters(call.hyperparameters, contract)
    if verdict is not None:
        return verdict
    verdict = _judge_input(call, contract, dtype)
    if verdict is not None:
        return verdict
    if call.state is None or contract.state is None:
        return _VALID
    return _judge_state(call, contract, dtype) or _VALID


def _judge_hyperparameters(values: Mapping[str, Any], contract: Contract) -> Verdict | None:
    unspecified: Verdict | None = None
    for name, domain in contract.hyperparameters.items():
        if isinstance(domain, Domain):
            verdict = _judge_value(name, values[name], domain, contract)
            if verdict is not None and verdict.kind == "invalid":
                return verdict
            unspecified = unspecified or verdict
    if unspecified is not None:
        return unspecified
    broken = contract.broken_constraint(values)
    return None if broken is None else Verdict("invalid", f"the constructor's arguments break {broken}")


def _judge_value(name: str, value: Any, domain: Domain, contract: Contract) -> Verdict | None:
    """None where the value is a valid one."""
    strict = contract.capabilities.torch_contract
    if domain.kind == "free" or any(value is item or (value == item and type(value) is type(item)) for item in
                                    domain.values):  # fmt: skip
        return None
    if domain.kind == "choice":
        return Verdict("invalid", f"{name}={value!r} is none of {', '.join(repr(item) for item in domain.values)}")
    if domain.kind == "probability":
        if isinstance(value, int | float) and not isinstance(value, bool):
            if 0 <= value <= 1:
                return None
            return Verdict("invalid", f"{name}={value!r} is no probability: it must be in [0, 1]")
        if value is None and not strict:
            return Verdict("unspecified", f"{name}=None may stand for no dropout")
        return Verdict("invalid", f"{name}={value!r} is not a number")
    if domain.kind == "flag":
        if strict:
            return Verdict("invalid", f"{name}={value!r} is not a bool")
        return Verdict("unspecified", f"{name}={value!r} has a truth value")
    return _judge_integer(name, value, domain, contract)


def _judge_integer(name: str, value: Any, domain: Domain, contract: Contract) -> Verdict | None:
    strict = contract.capabilities.torch_contract
    least = 1 if domain.kind == "size" else 0
    if isinstance(value, bool):
        return Verdict("invalid" if strict else "unspecified", f"{name}={value!r} is a bool, and a bool is an integer")
    if isinstance(value, float):
        if value.is_integer():
            return Verdict("unspecified", f"{name}={value!r} is a whole number")
        return Verdict("invalid", f"{name}={value!r} is not an integer")
    if not isinstance(value, int):
        if value is None and not strict:
            return Verdict("unspecified", f"{name}=None may stand for a default")
        return Verdict("invalid", f"{name}={value!r} is not an integer")
    if value >= least:
        return None
    if value == 0 and not strict:
        return Verdict("unspecified", f"{name}=0 may be a layer of width zero")
    # range(-1) is empty: a stack of no layers that is built from it may be meant.
    advice = not strict and name == contract.roles.get("num_layers")
    return Verdict("invalid", f"{name}={value!r}: it must be at least {least}", advice=advice)


def _judge_packed(call: Call, contract: Contract, dtype: str) -> Verdict | None:
    """A packed input: its data and its batch sizes. What PackedSequence itself promises holds for every module."""
    data, batch_sizes = call.input.data, call.input.batch_sizes
    if data.dim() != 2:
        return Verdict("invalid", f"the packed input's data have {data.dim()} dimensions, not 2")
    sizes = contract.sizes(call.hyperparameters, 1, 1)
    if "I" in sizes and data.shape[1] != sizes["I"]:
        return Verdict("invalid", f"the packed input has {data.shape[1]} features, not {sizes['I']}")
    if data.dtype != DTYPES[dtype]:
        text = f"the packed input is {_name(data.dtype)}, the module {dtype}"
        return Verdict("invalid", text, advice=not contract.capabilities.torch_contract)
    if batch_sizes.dtype != torch.int64:
        return Verdict("invalid", f"batch_sizes is {_name(batch_sizes.dtype)}, not int64")
    counts = batch_sizes.tolist()
    if min(counts) < 1:
        return Verdict("invalid", f"batch_sizes has {min(counts)}: every step has at least one row")
    if counts != sorted(counts, reverse=True):
        return Verdict("invalid", f"batch_sizes {counts} grows: rows end, and none begins later")
    if sum(counts) != len(data):
        return Verdict("invalid", f"batch_sizes sums to {sum(counts)}, and len(data) is {len(data)}")
    return None


def _judge_lengths(call: Call, contract: Contract) -> Verdict | None:
    """Lengths beside a padded batch. What a mask makes sense of is worth a warning and no more."""
    if call.lengths is None:
        return None
    rule = _input_rule(call, contract)
    steps, batch = _size(call.input, rule, "T"), _size(call.input, rule, "B")
    lengths = call.lengths
    if lengths.dtype != torch.int64:
        return Verdict("invalid", f"lengths is {_name(lengths.dtype)}, not an integer type", advice=True)
    if tuple(lengths.shape) != (batch,):
        return Verdict("invalid", f"len(lengths) is {len(lengths)}, and there are {batch} rows")
    if int(lengths.min()) < 0:
        return Verdict("invalid", f"a length is {int(lengths.min())}")
    if int(lengths.min()) == 0:
        kind: Literal["invalid", "valid"] = "valid" if contract.capabilities.zero_lengths else "invalid"
        return Verdict(kind, "a length is 0", advice=True)
    if int(lengths.max()) > steps:
        return Verdict("invalid", f"a length is {int(lengths.max())}, and there are {steps} steps", advice=True)
    return None


def _judge_input(call: Call, contract: Contract, dtype: str) -> Verdict | None:
    given, capabilities = call.input, contract.capabilities
    strict = capabilities.torch_contract
    if isinstance(given, PackedSequence):
        return _judge_packed(call, contract, dtype)
    if not isinstance(given, Tensor):
        return Verdict("invalid", f"the input is a {type(given).__name__}, not a tensor")
    ranks = {len(contract.rules(call.hyperparameters).input)}
    if capabilities.unbatched:
        ranks.add(len(contract.rules(call.hyperparameters, batched=False).input))
    if given.dim() not in ranks:
        wanted = " or ".join(f"{rank}" for rank in sorted(ranks))
        return Verdict("invalid", f"the input has {given.dim()} dimensions, not {wanted}", advice=not strict)
    rule = _input_rule(call, contract)
    sizes = contract.sizes(call.hyperparameters, _size(given, rule, "T"), _size(given, rule, "B"))
    if rule.names <= set(sizes) and not capabilities.any_width:
        wrong = rule.mismatch(tuple(given.shape), sizes, "input")
        if wrong is not None:
            broadcasts = given.numel() == 0 or _broadcasts(tuple(given.shape), rule.shape(sizes))
            return Verdict("invalid", wrong, advice=broadcasts and not strict)
    if given.dtype != DTYPES[dtype]:
        text = f"the input is {_name(given.dtype)}, the module {dtype}"
        return Verdict("invalid", text, advice=not strict)
    if rule.axis("T") is not None and sizes["T"] == 0:
        return Verdict("invalid" if strict else "unspecified", "the sequence has no step")
    return _judge_lengths(call, contract)


def _judge_state(call: Call, contract: Contract, dtype: str) -> Verdict | None:
    if isinstance(call.input, PackedSequence):
        batched, steps, batch = True, len(call.input.batch_sizes), int(call.input.batch_sizes[0])
    else:
        rule = _input_rule(call, contract)
        steps, batch = _size(call.input, rule, "T"), _size(call.input, rule, "B")
        batched = rule.axis("B") is not None
    sizes = contract.sizes(call.hyperparameters, steps, batch)
    rules = contract.rules(call.hyperparameters, batched=batched).state
    return _judge_leaf_tree(call.state, rules, sizes, contract, dtype, "state")


def _judge_leaf_tree(
    given: Tree, rules: Rules, sizes: Mapping[str, int], contract: Contract, dtype: str, name: str
) -> Verdict | None:
    if isinstance(rules, ShapeRule):
        if not isinstance(given, Tensor):
            return Verdict("invalid", f"{name} is a {type(given).__name__}, not a tensor")
        return _judge_leaf(given, rules, sizes, contract, dtype, name)
    if isinstance(rules, tuple | list):
        if isinstance(given, Tensor):
            if given.dim() > 0 and given.shape[0] == len(rules) and not contract.capabilities.torch_contract:
                return Verdict("unspecified", f"{name} is one tensor that unpacks into {len(rules)}")
            return Verdict("invalid", f"{name} is one tensor, not a {type(rules).__name__} of {len(rules)}")
        if not isinstance(given, tuple | list) or len(given) != len(rules):
            count = len(given) if isinstance(given, tuple | list) else type(given).__name__
            return Verdict("invalid", f"{name} has {count} members, not {len(rules)}")
        names = ("h", "c") if len(rules) == 2 else tuple(f"{name}[{index}]" for index in range(len(rules)))
        verdicts = [
            _judge_leaf_tree(item, rule, sizes, contract, dtype, label)
            for item, rule, label in zip(given, rules, names, strict=True)
        ]
        return _worst(verdicts)
    if isinstance(rules, Mapping) and isinstance(given, Mapping) and set(given) == set(rules):
        return _worst(
            [_judge_leaf_tree(given[key], rules[key], sizes, contract, dtype, f"{name}[{key!r}]") for key in rules]
        )
    return Verdict("unspecified", f"nothing is agreed on {name}")


def _judge_leaf(
    given: Tensor, rule: ShapeRule, sizes: Mapping[str, int], contract: Contract, dtype: str, name: str
) -> Verdict | None:
    strict = contract.capabilities.torch_contract
    wrong = rule.mismatch(tuple(given.shape), sizes, name)
    if wrong is not None:
        expected = rule.shape(sizes)
        broadcasts = _broadcasts(tuple(given.shape), expected)
        # One step without the batch axis, and a state that has it: the step is broadcast over the rows.
        broadcasts |= rule.axis("B") is None and given.dim() == len(rule) + 1 and tuple(given.shape[1:]) == expected
        # One unit: what the module computes for it is broadcast over the units of a wider state.
        broadcasts |= len(expected) > 1 and expected[-1] == 1 and tuple(given.shape[:-1]) == expected[:-1]
        return Verdict("invalid", wrong, advice=broadcasts and not strict)
    if given.dtype != DTYPES[dtype]:
        return Verdict("invalid", f"{name} is {_name(given.dtype)}, the module {dtype}", advice=not strict)
    return None


def _broadcasts(given: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether the shape broadcasts to the expected one with the elements that it has."""
    if len(given) > len(expected):
        given = given[len(given) - len(expected) :] if math.prod(given[: len(given) - len(expected)]) == 1 else given
    if len(given) > len(expected):
        return False
    padded = (1,) * (len(expected) - len(given)) + given
    return all(one in (1, two) for one, two in zip(padded, expected, strict=True))


def _worst(verdicts: list[Verdict | None]) -> Verdict | None:
    """The verdict of the members together: one that is plainly invalid outweighs what is only advice."""
    found = [verdict for verdict in verdicts if verdict is not None]
    plain = [verdict for verdict in found if verdict.kind == "invalid" and not verdict.advice]
    return next(iter([*plain, *found]), None)


def _input_rule(call: Call, contract: Contract) -> ShapeRule:
    rules = contract.rules(call.hyperparameters)
    if call.input.dim() == len(rules.input):
        return rules.input
    return contract.rules(call.hyperparameters, batched=False).input


def _size(given: Tensor, rule: ShapeRule, letter: str) -> int:
    axis = rule.axis(letter)
    return 1 if axis is None else given.shape[axis]


def _name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")
