"""RP4xx: rejection of bad input. Every case has one fault, and runs in a worker process of its own kind."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

from rnn_props.cases import Needs
from rnn_props.checks import when
from rnn_props.checks.registry import BASICS, check
from rnn_props.checks.trial import Advice, Trial, Violation
from rnn_props.numerics import difference
from rnn_props.subjects import Result, clone

_AFTER = ("RP101", "RP102")


def _must_reject(t: Trial) -> None:
    """The faulty call must raise; what it must not do otherwise depends on how the judge read it."""
    verdict = t.verdict()
    outcome = t.attempt()
    if outcome.kind == "rejected":
        return
    if outcome.kind == "accidental":
        error = outcome.error
        raise Advice(
            f"{verdict.reason}: it stops by accident with {type(error).__name__}: {error}; "
            "a check of its own would say what is wrong",
            expected="a ValueError, TypeError or RuntimeError that says what is wrong",
            actual=type(error).__name__,
            kind="accidental",
        )
    kind: type[Violation] = Advice if verdict.advice else Violation
    raise kind(f"{verdict.reason}, and it was accepted", expected="an exception", actual="a result", kind="accepted")


@check(
    "RP401",
    "reject.input",
    needs=Needs(faults="input", batched=None, batches=(2, 3, 4), lengths=(2, 3, 4)),
    after=_AFTER,
    each_fault=True,
    hint="Compare the input's number of dimensions, its last dimension and its dtype with what the module was built "
    "for, and raise a ValueError that has both.",
)
def reject_input(t: Trial) -> None:
    """Every fault in the input raises an exception."""
    _must_reject(t)


@check(
    "RP402",
    "reject.state",
    when=when.has_state,
    needs=Needs(faults="state", batched=None, states=("random",), batches=(2, 3, 4), lengths=(2, 3, 4)),
    after=_AFTER,
    each_fault=True,
    hint="Compare every leaf of the given state with its rule before using it. A state of batch 1 broadcasts "
    "silently: every row then goes on from the same memory.",
)
def reject_state(t: Trial) -> None:
    """Every fault in the initial state raises an exception."""
    _must_reject(t)


def _has_constructor(contract: Any) -> str | None:
    return None if contract.hyperparameters else "it has no constructor argument that is known"


@check(
    "RP403",
    "reject.hyperparameters",
    when=_has_constructor,
    needs=Needs(faults="hyperparameters", batches=(2,), lengths=(3,), states=("none", "random")),
    after=_AFTER,
    share=0.5,
    each_fault=True,
    hint="Check the constructor's arguments where they come in: sizes are integers of at least 1, probabilities are "
    "in [0, 1], flags are bools.",
)
def reject_hyperparameters(t: Trial) -> None:
    """Every bad constructor argument raises, at construction or at the latest at first use."""
    _must_reject(t)


@check(
    "RP404",
    "reject.clean",
    needs=Needs(faults="call", batches=(2, 3, 4), lengths=(2, 3, 4), states=("random", "none"), picks=1),
    after=(*BASICS, "RP206"),
    hint="Check everything before changing anything: a rejected call must not leave a state, a cache or an argument "
    "half written.",
)
def reject_clean(t: Trial) -> None:
    """After a rejected call the arguments are untouched, and the module gives the results that it gave before."""
    t.verdict()
    # The call that comes first after the rejected one is the one that shows what was left behind.
    states = [t.state]
    if t.carries_state and t.contract.capabilities.optional_state and t.state is not None:
        states = [t.state, None] if t.pick(0, 2) else [None, t.state]
    before = [_kept(t.call(state=state)) for state in states]
    given = [clone(t.faulty.input), clone(t.faulty.state)]
    outcome = t.attempt(t.subject)
    if outcome.kind == "accepted":
        t.discard("the call was accepted, which another check holds against it")
    for what, now, was in (("input", t.faulty.input, given[0]), ("initial state", t.faulty.state, given[1])):
        gap = difference(now, was, what)
        if gap is not None:
            t.fail(f"the rejected call changed the caller's {gap.message}", expected=gap.expected, actual=gap.actual)
    for state, expected in zip(states, before, strict=True):
        t.same_result(t.call(state=state), expected, "the valid call after the rejected one")


def _kept(result: Result) -> Result:
    return Result(clone(result.output), clone(result.state))


@check(
    "RP405",
    "reject.message",
    needs=Needs(faults="size", batches=(2, 3, 4), lengths=(2, 3, 4), states=("random",)),
    after=_AFTER,
    share=0.5,
    advice=True,
    hint="Write both sizes into the message: expected input_size 3, got 4.",
)
def reject_message(t: Trial) -> None:
    """The message of a rejection names the size that was expected and the one that was given."""
    t.verdict()
    outcome = t.attempt()
    if outcome.kind != "rejected":
        t.discard("the call was not rejected")
    wanted, given = _sizes_at_fault(t)
    message = str(outcome.error)
    numbers = {int(number) for number in re.findall(r"\d+", message)}
    if not {wanted, given} <= numbers:
        raise Advice(
            f"the message does not name both sizes, {wanted} and {given}: "
            f"{type(outcome.error).__name__}: {message or '(no message)'}",
            expected=f"a message with {wanted} and {given}",
            actual=message,
        )


def _sizes_at_fault(t: Trial) -> tuple[int, int]:
    """The size that was right and the one that the fault made of it."""
    for valid, faulty in _pairs((t.input, t.state), (t.faulty.input, t.faulty.state)):
        for one, two in zip(valid.shape, faulty.shape, strict=False):
            if one != two:
                return one, two
    return t.discard("the fault changes no size")


def _pairs(one: Any, two: Any) -> list[tuple[Tensor, Tensor]]:
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        return [(one, two)]
    if isinstance(one, tuple | list) and isinstance(two, tuple | list):
        return [pair for first, second in zip(one, two, strict=False) for pair in _pairs(first, second)]
    return []


@check(
    "RP408",
    "reject.crash",
    needs=Needs(faults="any", batched=None, batches=(1, 2, 3, 4), lengths=(2, 3), states=("random",)),
    after=(),
    each_fault=True,
    share=3.0,
    hint="A kernel was reached with sizes that do not fit. Check shapes in Python before calling it: a crash takes the "
    "user's process and all its work with it.",
)
def reject_crash(t: Trial) -> None:
    """No bad input kills the process, or hangs it."""
    t.verdict()
    t.attempt()
