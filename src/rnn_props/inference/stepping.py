"""A `step` method beside a forward that takes whole sequences: how it is called, and whether it is meant to agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rnn_props.contracts import OPEN, Contract, ShapeRule
from rnn_props.inference.calls import Attempt
from rnn_props.inference.configure import SECOND, simplest
from rnn_props.inference.signature import Signatures
from rnn_props.subjects import Factory, Subject, TargetRaisedError, UnusableResultError, cut, map_tree

#: Steps that are tried in a row.
_STEPS = 3


def with_step(target: Any, contract: Contract, signatures: Signatures, attempt: Attempt) -> Contract:
    """The contract with its step method, where the first step gives what forward gives for a sequence of one step, or
    a few steps what forward gives for a whole sequence.

    A method that gives something else may be a part of forward, and not a second way to do the same.
    """
    name = signatures.step
    if contract.adapter is not None or contract.one_step or contract.output is None or contract.reset:
        return contract
    reason = "no call of it worked"
    if not contract.capabilities.causal:
        reason = "forward's outputs depend on later inputs"
    for step in _ways(contract, name, signatures.initial) if contract.capabilities.causal else ():
        found = replace(contract, step=step)
        try:
            subject = Factory(target, found).subject(simplest(contract), 0, dtype="float32")
            differs = _differs(subject, attempt)
        except (TargetRaisedError, UnusableResultError):
            continue
        if not differs:
            return found.with_evidence(f"{name}() makes one step: the first gave what forward gives for one step")
        reason = differs
    return contract.with_evidence(
        f"{OPEN}{name}() is not checked: {reason}; where they are to agree, give a Contract with "
        f"step={{'method': '{name}', ...}}"
    )


def _ways(contract: Contract, name: str, initial: str) -> Iterator[Mapping[str, str]]:
    """Ways to call the method, the plainest first."""
    parts = contract.input.split()
    alone = " ".join(part for part in parts if part != "T")
    for rule in (alone, contract.input):
        for result in ("output, state", "output, *state", "state, output"):
            base = {"method": name, "input": rule, "result": result}
            if contract.state is None:
                if initial:
                    yield {**base, "initial": initial}
                yield base
            else:
                yield base


def _differs(subject: Subject, attempt: Attempt) -> str:
    """How what the first steps give differs from what forward gives; "" where it does not.

    That later outputs agree is for checks to hold. Where forward has one output for a sequence, it may be of another
    kind than that of a step, such as a mean over all: there a few steps must agree.

    Raises:
        TargetRaisedError, UnusableResultError: the step does not work.
    """
    contract, rules = subject.contract, subject.rules()
    assert rules.output is not None
    one, several = (contract.sizes(subject.hyperparameters, steps, SECOND) for steps in (1, _STEPS))
    inputs = torch.randn(rules.input.shape(several), generator=torch.Generator().manual_seed(0))
    first_state = attempt.state(one, subject)
    outputs = _outputs(subject, inputs, first_state, one)
    axis = rules.output.axis("T")
    if axis is None:
        wanted, found = subject.call(inputs, first_state).output, outputs[-1]
        reason = f"{_STEPS} of its steps do not end in the one output of forward"
    else:
        wanted, found = subject.call(cut(inputs, rules.input, "T", 0, 1), first_state).output, outputs[0]
        reason = "its first step gives something else than forward"
        if "T" not in contract.step["input"].split():
            wanted = wanted.squeeze(axis)
    if found.shape != wanted.shape:
        raise UnusableResultError(f"a step gave {tuple(found.shape)}, not {tuple(wanted.shape)}")
    return "" if torch.allclose(found, wanted, rtol=1e-4, atol=1e-6) else reason


def _outputs(subject: Subject, inputs: Tensor, first_state: Any, sizes: Mapping[str, int]) -> list[Tensor]:
    """The outputs of a few steps from the first state."""
    contract = subject.contract
    rule, shape = subject.rules().input, ShapeRule.parse(contract.step["input"]).shape({**sizes, "T": 1})
    if contract.state is None:
        state = subject.first_state(sizes["B"])
    else:
        state = map_tree(torch.zeros_like, subject.call(cut(inputs, rule, "T", 0, 1), first_state).state)
    outputs = []
    for step in range(_STEPS):
        result = subject.step(cut(inputs, rule, "T", step, step + 1).reshape(shape), state)
        if not isinstance(result.output, Tensor):
            raise UnusableResultError("a step gave no tensor")
        outputs.append(result.output)
        state = result.state
    return outputs
