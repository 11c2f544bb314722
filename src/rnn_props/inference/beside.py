"""What goes in beside a dense batch, and what is kept from call to call: tried out on the simplest configuration."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

from rnn_props.contracts import Contract, map_structure
from rnn_props.inference.configure import FIRST, SECOND, SIZES
from rnn_props.inference.layout import ProbeError
from rnn_props.subjects import Result, Subject, TargetRaisedError, UnusableResultError, leaves


def probe_inputs(
    contract: Contract, hyperparameters: Mapping[str, Any], *, batch: int = SECOND, batched: bool = True
) -> Tensor:
    """Random numbers for an input, with sizes of their own in each axis."""
    rule = contract.rules(hyperparameters, batched=batched).input
    shape = rule.shape({"I": SIZES["input_size"], **contract.sizes(hyperparameters, FIRST, batch)})
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def probe_zeros(contract: Contract, hyperparameters: Mapping[str, Any], *, batch: int = SECOND) -> Any:
    """A state of zeros."""
    sizes = contract.sizes(hyperparameters, FIRST, batch)
    return map_structure(lambda rule: torch.zeros(rule.shape(sizes)), contract.rules(hyperparameters).state)


def _settle_reset(contract: Contract, subject: Subject, first: Result) -> Contract:
    """A reset method beside a state that is passed: called before each call, if it does nothing else."""
    state = None if contract.capabilities.optional_state else probe_zeros(contract, subject.hyperparameters)
    again = subject.call(probe_inputs(contract, subject.hyperparameters), state)
    pairs = zip(leaves([first.output, first.state]), leaves([again.output, again.state]), strict=True)
    if all(torch.equal(one, two) for (_, one), (_, two) in pairs):
        return contract.with_evidence(f"{contract.reset}() is called before each call")
    return replace(contract, reset="").with_evidence(
        f"{contract.reset}() is not called: results after it are others, so it does more than forget"
    )


def settle_spans(contract: Contract, subject: Subject) -> Contract:
    """Whether the time between steps is taken as a number for each row and step. One row shows it: that spans of
    several are taken rightly is for a check to hold."""
    name = contract.arguments["time_spans"]
    inputs, rule = (
        probe_inputs(contract, subject.hyperparameters, batch=1),
        contract.rules(subject.hyperparameters).input,
    )
    shape = [inputs.shape[axis] for axis, part in enumerate(str(rule).split()) if part in ("T", "B")]
    optional = contract.capabilities.optional_state
    state = None if optional else probe_zeros(contract, subject.hyperparameters, batch=1)
    pairs: list[Any] = []
    with contextlib.suppress(TargetRaisedError, UnusableResultError):
        plain = subject.call(inputs, state).kept()
        given = subject.call(inputs, state, time_spans=torch.full(shape, 0.25))
        pairs = list(zip(leaves([plain.output, plain.state]), leaves([given.output, given.state]), strict=False))
    if any(one.shape == two.shape and not torch.equal(one, two) for (_, one), (_, two) in pairs):
        return contract.with_evidence(f"its forward takes the time between steps as '{name}', {tuple(shape)}")
    arguments = {what: argument for what, argument in contract.arguments.items() if what != "time_spans"}
    return replace(contract, arguments=arguments)


def settle_packed(contract: Contract, subject: Subject) -> Contract:
    """Whether packed sequences are taken, and whether only sorted ones are."""
    batch_first = contract.rules(subject.hyperparameters).input.axis("B") == 0
    state = None if contract.capabilities.optional_state else probe_zeros(contract, subject.hyperparameters)
    lengths = [FIRST - row % 4 for row in range(SECOND)]
    taken: dict[bool, str] = {}
    for in_order in (True, False):
        packed = pack_padded_sequence(
            probe_inputs(contract, subject.hyperparameters),
            torch.tensor(sorted(lengths, reverse=True) if in_order else lengths),
            batch_first=batch_first,
            enforce_sorted=in_order,
        )
        try:
            subject.call(packed, state)
        except (TargetRaisedError, UnusableResultError) as error:
            taken[in_order] = str(error).partition("\n")[0]
    capabilities = replace(contract.capabilities, packed=True not in taken, sorted_only=list(taken) == [False])
    contract = replace(contract, capabilities=capabilities)
    if True in taken:
        return contract.with_evidence(f"packed sequences are not taken: {taken[True]}")
    return contract.with_evidence(
        "packed sequences are taken" + (f", sorted ones only: {taken[False]}" if taken else "")
    )


def settle_lengths(contract: Contract, subject: Subject) -> Contract:
    """Whether rows of length zero are taken, and whether the output is zero beyond a row's length."""
    rules = contract.rules(subject.hyperparameters)
    state = None if contract.capabilities.optional_state else probe_zeros(contract, subject.hyperparameters)
    lengths = [FIRST - row % 4 for row in range(SECOND)]
    refused: list[str] = []
    output: Any = None
    for rows in (lengths, sorted(lengths, reverse=True)):
        try:
            output = subject.call(probe_inputs(contract, subject.hyperparameters), state, lengths=rows).output
            break
        except TargetRaisedError as raised:
            refused.append(str(raised.error).partition("\n")[0])
    if len(refused) == 2:
        if contract.convention == "lengths":
            raise ProbeError(f"it refuses lengths that are not all equal: {refused[-1]}")
        without = {role: name for role, name in contract.arguments.items() if role != "lengths"}
        return replace(contract, arguments=without).with_evidence(f"lengths are not taken: {refused[-1]}")
    if refused:
        able = replace(contract.capabilities, sorted_only=True)
        contract = replace(contract, capabilities=able)
        contract = contract.with_evidence(f"lengths are taken in decreasing order only: {refused[0]}")
        lengths.sort(reverse=True)
    try:
        rows = [*lengths[1:], 0] if refused else [0, *lengths[1:]]
        found = subject.call(probe_inputs(contract, subject.hyperparameters), state, lengths=rows)
        zero_lengths = all(bool(leaf.isfinite().all()) for _, leaf in leaves([found.output, found.state]))
    except (TargetRaisedError, UnusableResultError):
        zero_lengths = False
    contract = replace(contract, capabilities=replace(contract.capabilities, zero_lengths=zero_lengths))
    contract = contract.with_evidence(f"rows of length zero are {'taken' if zero_lengths else 'not taken'}")
    assert rules.output is not None
    time, batch = rules.output.axis("T"), rules.output.axis("B")
    if time is None or batch is None:
        return contract
    output = output.movedim((batch, time), (0, 1))
    beyond = torch.cat([row[length:].flatten() for row, length in zip(output, lengths, strict=False)])
    if bool((beyond == 0).all()):
        return replace(contract, padding=0.0).with_evidence("beyond a row's length the output is zero")
    return contract.with_evidence("beyond a row's length the output is not zero: nothing is agreed on it")


def settle_memory(contract: Contract, subject: Subject) -> Contract:
    """Whether a module with a reset method keeps anything between calls."""
    inputs = probe_inputs(contract, subject.hyperparameters)
    state = None if contract.capabilities.optional_state else probe_zeros(contract, subject.hyperparameters)
    first, again = subject.call(inputs, state).kept(), subject.call(inputs, state, going_on=True)
    pairs = zip(leaves([first.output, first.state]), leaves([again.output, again.state]), strict=True)
    same = all(torch.equal(one, two) for (_, one), (_, two) in pairs)
    if contract.convention != "stateful":
        return _settle_reset(contract, subject, first)
    if same:
        return replace(contract, convention="model", reset="").with_evidence(
            f"{contract.reset}() changes nothing: two calls in turn give the same"
        )
    capabilities = replace(contract.capabilities, stateful=True)
    return replace(contract, capabilities=capabilities).with_evidence(
        f"it keeps its state between calls until {contract.reset}() is called, which is done before each sequence"
    )
