"""RPAxx: oracles. What a module computes is held to torch.nn's module, or to a reference of the user's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from rnn_props.cases import Case, Needs
from rnn_props.checks.reference import reference_of
from rnn_props.checks.registry import check
from rnn_props.checks.trial import Trial
from rnn_props.contracts import Contract
from rnn_props.contracts.presets import CELL_ARGUMENTS, SEQUENCE_ARGUMENTS, cell_contract, sequence_contract
from rnn_props.subjects import Factory, Result, Subject, TargetRaisedError

#: Every check that looks at what a module computes. An oracle fails at nearly every such bug and says less of its
#: cause, so it comes last.
_SAYS_MORE = ("RP[1-35-9]*",)

Gradients = Mapping[str, Tensor | None]


def _as_torch(contract: Contract) -> str | None:
    if contract.torch_module is None:
        return "its contract is not that of a module of torch.nn"
    return None if contract.capabilities.torch_weights else "its parameters are not named as torch.nn's"


@check(
    "RPA01",
    "oracle.torch",
    when=_as_torch,
    needs=Needs(batched=None, rows=("full", "mixed", "sorted"), packed=True),
    explained_by=_SAYS_MORE,
    share=0.6,
    hint="Compare one step with the formula in torch.nn's documentation, bias by bias: the order of the gates, where "
    "the reset gate multiplies, which of z and 1-z keeps the old state. A module that differs on purpose should give "
    "its parameters other names.",
)
def as_torch(t: Trial) -> None:
    """With the same weights and hyperparameters, results and gradients are those of torch.nn's module.

    Why: parameters with torch.nn's names and shapes are an offer to load torch.nn's weights. A module that takes them
    and computes something else ruins a trained model without any error.
    Causes:
    - gates in another order than torch.nn's, which is r, z, n in GRU and i, f, g, o in LSTM
    - GRU's reset gate multiplies h before the matrix, W(r*h) in place of r*(W h + b), or leaves b_hn out
    - z and 1-z are exchanged
    - a bias of one is added to the forget gate at each call, or one of the two biases is used twice
    - nonlinearity is ignored, or an approximation stands for tanh or sigmoid
    Fix: follow the formulas in torch.nn's documentation. A published variant that differs on purpose needs other names
    for its parameters, so that nobody loads torch.nn's weights into it.
    """
    reference = _torch_subject(t)
    what = f"against torch.nn.{t.contract.torch_module} with the same weights"
    try:
        expected = t.call(subject=reference)
    except TargetRaisedError as raised:
        t.discard(f"torch.nn.{t.contract.torch_module} does not take this call: {raised}")
    t.same_result(t.call(), expected, what)
    with _training(t.subject, reference):
        trained = t.call()
        if not _random(t, trained, expected):
            t.same_result(trained, expected, f"in training mode, {what}")
            _gradients_agree(t, reference, f"in training mode, {what}")
            return
    _gradients_agree(t, reference, what)


def _torch_subject(t: Trial) -> Subject:
    """torch.nn's module with the case's hyperparameters and the subject's parameters."""
    assert t.contract.torch_module is not None
    factory = Factory(
        getattr(nn, t.contract.torch_module), replace(t.contract, fixed={}, keywords={}), t.factory.stopwatch
    )
    reference = factory.subject(_torch_arguments(t), 0, dtype=t.case.dtype)
    theirs, own = reference.parameters_of(), t.subject.parameters_of()
    if {name: value.shape for name, value in theirs.items()} != {name: value.shape for name, value in own.items()}:
        t.discard(f"its parameters are not those of torch.nn.{t.contract.torch_module}")
    with torch.no_grad():
        for name, value in theirs.items():
            value.copy_(own[name])
    return reference


def _torch_arguments(t: Trial) -> dict[str, Any]:
    """The case's constructor arguments that torch.nn's module has, by the names that they have there."""
    name = t.contract.torch_module
    assert name is not None
    cell = name.endswith("Cell")
    known = (
        cell_contract(name, CELL_ARGUMENTS, full=True)
        if cell
        else sequence_contract(name, SEQUENCE_ARGUMENTS, full=True)
    )
    given = {**t.contract.fixed, **t.case.hyperparameters}
    given |= {role: given[argument] for role, argument in t.contract.roles.items() if argument in given}
    return {argument: given[argument] for argument in known.hyperparameters if argument in given}


def _random(t: Trial, trained: Result, expected: Result) -> bool:
    """Whether training mode is random, by dropout or otherwise (RP503): then only eval mode can be compared."""
    if t.contract.role("dropout", {**t.contract.fixed, **t.case.hyperparameters}, 0):
        return True
    if not t.changed([trained.output, trained.state], [expected.output, expected.state]):
        return False
    again = t.call(seed=1)
    return t.changed([trained.output, trained.state], [again.output, again.state])


@contextmanager
def _training(*subjects: Subject) -> Iterator[None]:
    for subject in subjects:
        subject.module.train()
    try:
        yield
    finally:
        for subject in subjects:
            subject.module.eval()


def _gradients_agree(t: Trial, reference: Subject, what: str) -> None:
    if _differentiable(t.case):
        _same_gradients(t, t.gradients(), t.gradients(subject=reference), what)


def _differentiable(case: Case) -> bool:
    """Whether no value is zero on purpose: there a ReLU has a kink, where any slope between 0 and 1 is right."""
    drawn = [case.input] if case.state is None else [case.input, case.state]
    return all(source.fill in ("normal", "large", "tiny", "ones") for source in drawn)


def _same_gradients(t: Trial, actual: Gradients, expected: Gradients, what: str) -> None:
    """Gradients agree, where none counts as zero: a term that is zero may be left out."""

    def filled(own: Gradients, other: Gradients) -> Gradients:
        pairs = {name: (own.get(name), other.get(name)) for name in expected}
        return {
            name: torch.zeros_like(two) if one is None and two is not None else one
            for name, (one, two) in pairs.items()
        }

    t.same_gradients(filled(actual, expected), filled(expected, actual), what)


def _has_reference(contract: Contract) -> str | None:
    return None if contract.reference is not None else "its contract names no reference"


@check(
    "RPA02",
    "oracle.reference",
    when=_has_reference,
    explained_by=(*_SAYS_MORE, "RPA01"),
    hint="Run both on the case and compare what they compute, step by step: the case is the smallest that shows the "
    "difference.",
)
def as_reference(t: Trial) -> None:
    """Results and gradients equal those of the contract's reference, a module with the same weights or a function.

    Why: a fast module is written to replace a slow one that is known to be right. Many mistakes of such a rewrite leave
    every general property of recurrent modules intact; the slow module alone can tell.
    Causes:
    - a fused weight is split in another order than it was joined
    - gates or biases are exchanged, or an approximation stands for tanh or sigmoid
    - the last, partial block of a kernel is computed differently
    - the backward pass that was written by hand leaves out a term
    Fix: correct whichever of the two is wrong; the reference is only as good as its own tests.
    """
    reference = reference_of(t)
    what = f"against {reference.name}"
    result = t.call()
    t.same_result(result, reference.result(like=result), what)
    if _differentiable(t.case):
        expected = reference.gradients()
        if any(value is not None for value in expected.values()):
            _same_gradients(t, t.gradients(), expected, what)
