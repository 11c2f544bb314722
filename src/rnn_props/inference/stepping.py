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
    """The contract with its step method, where the first step gives what forward gives for a sequence of one step.

    A method that gives something else may be a part of forward, and not a second way to do the same.
    """
    name = signatures.step
    if contract.adapter is not None or contract.one_step or contract.output is None or contract.reset:
        return contract
    hyperparameters = simplest(contract)
    rule = contract.rules(hyperparameters).input
    sizes = contract.sizes(hyperparameters, 1, SECOND)
    inputs = torch.randn(
        rule.shape(contract.sizes(hyperparameters, _STEPS, SECOND)), generator=torch.Generator().manual_seed(0)
    )
    runs = False
    for step in _ways(contract, name, signatures.initial):
        found = replace(contract, step=step)
        try:
            subject = Factory(target, found).subject(hyperparameters, 0, dtype="float32")
            outputs = _outputs(subject, inputs, attempt, sizes)
            first = subject.call(cut(inputs, rule, "T", 0, 1), attempt.state(sizes, subject)).output
        except (TargetRaisedError, UnusableResultError):
            continue
        axis = contract.rules(hyperparameters).output.axis("T")  # type: ignore[union-attr]
        same_rank = "T" in step["input"].split()
        wanted = first if axis is None or same_rank else first.squeeze(axis)
        if outputs[0].shape != wanted.shape:
            continue
        runs = True
        if torch.allclose(outputs[0], wanted, rtol=1e-4, atol=1e-6):
            return found.with_evidence(f"{name}() makes one step: the first gave what forward gives for one step")
    reason = "its first step gives something else than forward" if runs else "no call of it worked"
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


def _outputs(subject: Subject, inputs: Tensor, attempt: Attempt, sizes: Mapping[str, int]) -> list[Tensor]:
    """The outputs of a few steps from the first state."""
    contract = subject.contract
    rule, shape = subject.rules().input, ShapeRule.parse(contract.step["input"]).shape({**sizes, "T": 1})
    if contract.state is None:
        state = subject.first_state(sizes["B"])
    else:
        state = subject.call(cut(inputs, rule, "T", 0, 1), attempt.state(sizes, subject)).state
        state = map_tree(torch.zeros_like, state)
    outputs = []
    for step in range(_STEPS):
        result = subject.step(cut(inputs, rule, "T", step, step + 1).reshape(shape), state)
        if not isinstance(result.output, Tensor):
            raise UnusableResultError("a step gave no tensor")
        outputs.append(result.output)
        state = result.state
    return outputs
