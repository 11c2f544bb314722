"""What goes in beside the input as a flag for each row and step: masks, and where an episode begins.

A name does not say whether true stands for a step or for padding, nor whether an episode ends before the flagged step
or after it. Calls do: what a mask keeps out has no effect, and nothing passes the beginning of an episode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rnn_props.contracts import Contract, Form
from rnn_props.inference.names import CLEAR_MASKS, START_NAMES
from rnn_props.subjects import (
    Subject,
    TargetRaisedError,
    UnusableResultError,
    beyond_lengths,
    cut,
    leaves,
    map_tree,
    no_starts,
)

if TYPE_CHECKING:
    from rnn_props.inference.calls import Roles

#: Changes of an input until one shows, as for influence.
_NUDGES = (1.0, 30.0)


def flag_readings(contract: Contract, names: Sequence[str], roles: Roles) -> Iterator[Contract]:
    """Contracts under which flags go in, one for each way to read them."""
    if not names:
        yield contract
        return
    for found in _readings(contract, names[0], roles):
        yield from flag_readings(found, names[1:], roles)


def _readings(contract: Contract, name: str, roles: Roles) -> Iterator[Contract]:
    if name == roles.starts and "starts" not in contract.arguments:
        yield from (of_starts(contract, name, form) for form in start_forms(name, one_step=contract.one_step))
    if name == roles.mask and "lengths" not in contract.arguments and "T" in contract.input.split():
        yield from (of_mask(contract, name, form) for form in mask_forms(name))


def of_mask(contract: Contract, name: str, form: str) -> Contract:
    arguments, forms = {**contract.arguments, "lengths": name}, {**contract.forms, "lengths": form}
    return replace(contract, convention="lengths", arguments=arguments, forms=forms)


def of_starts(contract: Contract, name: str, form: str) -> Contract:
    return replace(contract, arguments={**contract.arguments, "starts": name}, forms={**contract.forms, "starts": form})


def mask_forms(name: str) -> list[str]:
    """The ways in which a mask may be meant, the likeliest by its name first."""
    kinds = ["mask", "padding mask"]
    if "pad" in name and "non" not in name and "attention" not in name:
        kinds.reverse()
    return _in_all_forms(kinds)


def start_forms(name: str, *, one_step: bool) -> list[str]:
    """The ways in which flags of episodes may be meant, the likeliest by their name first."""
    kinds = ["start", "continue"] if one_step else ["start", "continue", "end"]
    if name in START_NAMES:
        kinds = ["start"]  # the name says it: a reset one step off is a bug, and no other convention
    elif "not" in name or "non" in name or name.startswith(("mask", "cont")):
        kinds = ["continue", *(kind for kind in kinds if kind != "continue")]
    return _in_all_forms(kinds)


def _in_all_forms(kinds: Sequence[str]) -> list[str]:
    return [str(Form(kind, numbers, column)) for column in (False, True) for numbers in (False, True) for kind in kinds]


def flags_fit(subject: Subject, inputs: Tensor, state: Any) -> bool:
    """Whether the flags of a contract do in a call what its form of them says."""
    contract = subject.contract
    try:
        if "lengths" in contract.forms and not _keeps_out(subject, inputs, state):
            return False
        if "starts" not in contract.forms:
            return True
        if contract.arguments["starts"] in START_NAMES:
            return _changes_something(subject, inputs, state)
        return _begins_anew(subject, inputs, state)
    except (TargetRaisedError, UnusableResultError):
        return False


def named_mask_counts(subject: Subject, inputs: Tensor, state: Any) -> bool:
    """Whether a mask that is one by its name has any effect; that what it marks has none is then for checks to hold.

    One that is meant for padding before the sequences counts for nothing: lengths say where they end.
    """
    contract = subject.contract
    if "lengths" not in contract.forms or contract.arguments["lengths"] not in CLEAR_MASKS:
        return False
    rule = subject.rules().input
    steps, rows = (inputs.shape[rule.axis(letter) or 0] for letter in ("T", "B"))
    try:
        one, two = (
            _results(subject.call_raw(inputs, state, lengths=lengths))
            for lengths in ([steps] * rows, [steps - 1] * rows)
        )
        return _differs(one, two) and not _keeps_out_before(subject, inputs, state)
    except (TargetRaisedError, UnusableResultError):
        return False


def misread_flags(contract: Contract) -> str:
    """Why no way to read the flags that forward needs is right."""
    what = "masked steps are not as though they were not there" if "lengths" in contract.forms else (
        "what was before a flagged step reaches the results after it"
    )  # fmt: skip
    name = contract.arguments["lengths" if "lengths" in contract.forms else "starts"]
    return (
        f"its forward needs '{name}', and however that is read, true or false, {what}; if it is meant in another way, "
        "write an adapter that passes it ('rnn-props infer --adapter FILE' makes a stub)"
    )


def _keeps_out(subject: Subject, inputs: Tensor, state: Any) -> bool:
    """What stands beyond the rows' lengths has no effect on anything, and what stands before has one.

    Where the name may mean another kind of mask, one of inputs that are missing, steps that are masked must be as
    though they were not there.
    """
    rule = subject.rules().input
    steps, rows = (inputs.shape[rule.axis(letter) or 0] for letter in ("T", "B"))
    lengths = [steps - 1 - row % 3 for row in range(rows)]
    beyond = beyond_lengths(lengths, rule, inputs)

    def run(changed: Tensor) -> Mapping[str, Tensor]:
        return _results(subject.call_raw(changed, state, lengths=lengths))

    if subject.contract.arguments["lengths"] not in CLEAR_MASKS and not _as_if_shorter(subject, inputs, state):
        return False
    before = run(inputs)
    return any(
        _differs(before, run(torch.where(beyond, inputs, inputs + nudge)))
        and not _differs(before, run(torch.where(beyond, inputs + nudge, inputs)))
        for nudge in _NUDGES
    )


def _keeps_out_before(subject: Subject, inputs: Tensor, state: Any) -> bool:
    """Whether what stands at the first steps has no effect where the mask, turned round in time, marks them."""
    rule = subject.rules().input
    time, batch = (rule.axis(letter) or 0 for letter in ("T", "B"))
    lengths = [inputs.shape[time] - 2] * inputs.shape[batch]
    beginning = beyond_lengths(lengths, rule, inputs).flip(time)
    name = subject.contract.arguments["lengths"]

    def run(changed: Tensor) -> Mapping[str, Tensor]:
        arguments, keywords = subject.call_arguments(changed, state, lengths)
        keywords[name] = keywords[name].flip(0 if time < batch else 1)
        with subject.doing("calling it with padding before its sequences") as module, torch.no_grad():
            return _results(module(*arguments, **keywords))

    before = run(inputs)
    return not any(_differs(before, run(torch.where(beginning, inputs + nudge, inputs))) for nudge in _NUDGES)


def _as_if_shorter(subject: Subject, inputs: Tensor, state: Any) -> bool:
    """Whether sequences of which the last steps are masked give what shorter ones give."""
    rule = subject.rules().input
    time, batch = (rule.axis(letter) or 0 for letter in ("T", "B"))
    steps = inputs.shape[time] - 2
    masked = _results(subject.call_raw(inputs, state, lengths=[steps] * inputs.shape[batch]))
    short = _results(subject.call_raw(cut(inputs, rule, "T", 0, steps), state))
    if masked.keys() != short.keys():
        return False
    begun = {name: _narrowed(value, tuple(short[name].shape)) for name, value in masked.items()}
    return not _differs(begun, short, rtol=1e-4, atol=1e-5)


def _narrowed(value: Tensor, shape: Sequence[int]) -> Tensor:
    """The beginning of a tensor along each axis, as long as another tensor is."""
    for axis, (size, wanted) in enumerate(zip(value.shape, shape, strict=False)):
        value = value.narrow(axis, 0, min(size, wanted))
    return value


def _begins_anew(subject: Subject, inputs: Tensor, state: Any) -> bool:
    """Where an episode begins nothing that was before has an effect, and it has one where none begins."""
    rule = subject.rules().input
    time = rule.axis("T")
    if time is None:
        return _forgets_state(subject, inputs, state)
    boundary = inputs.shape[time] // 2
    starts = no_starts(subject.rules().input, inputs)
    starts.select(0 if time == 0 else 1, boundary).fill_(True)

    def run(step: int, nudge: float, flags: Tensor) -> Mapping[str, Tensor]:
        changed = inputs.clone()
        changed.select(time, step).add_(nudge)
        found = _results(subject.call_raw(changed, state, starts=flags))
        return {name: _after(value, inputs.shape[time], boundary) for name, value in found.items()}

    nothing = no_starts(subject.rules().input, inputs)
    for nudge in _NUDGES:
        cut = not _differs(run(boundary - 1, 0.0, starts), run(boundary - 1, nudge, starts))
        carried = _differs(run(boundary - 1, 0.0, nothing), run(boundary - 1, nudge, nothing))
        within = _differs(run(boundary, 0.0, starts), run(boundary, nudge, starts))
        if cut and carried and within:
            return True
    return False


def _forgets_state(subject: Subject, inputs: Tensor, state: Any) -> bool:
    if state is None:
        state = subject.unpack(subject.call_raw(inputs)).state
    other = _moved(state)
    everywhere = ~no_starts(subject.rules().input, inputs)

    def run(given: Any, flags: Tensor) -> Mapping[str, Tensor]:
        return _results(subject.call_raw(inputs, given, starts=flags))

    forgotten = not _differs(run(state, everywhere), run(other, everywhere))
    return forgotten and _differs(run(state, ~everywhere), run(other, ~everywhere))


def _changes_something(subject: Subject, inputs: Tensor, state: Any) -> bool:
    """Whether flags have any effect."""
    flags = no_starts(subject.rules().input, inputs)
    plain = _results(subject.call_raw(inputs, state, starts=flags))
    time = subject.rules().input.axis("T")
    if time is None and state is not None:
        state = _moved(state)
        plain = _results(subject.call_raw(inputs, state, starts=flags))
    return _differs(plain, _results(subject.call_raw(inputs, state, starts=~flags)))


def _moved(state: Any) -> Any:
    return map_tree(lambda leaf: leaf + 1, state)


def _after(value: Tensor, steps: int, boundary: int) -> Tensor:
    """What of a result stands at a step or after it; all of it where it has no steps."""
    axis = next((axis for axis, size in enumerate(value.shape) if size == steps), None)
    return value if axis is None else value.narrow(axis, boundary, steps - boundary)


def _results(value: Any) -> dict[str, Tensor]:
    return {name: leaf.detach().clone() for name, leaf in leaves(value)}


def _differs(one: Mapping[str, Tensor], two: Mapping[str, Tensor], *, rtol: float = 1e-5, atol: float = 1e-7) -> bool:
    """Whether two results differ by more than rounding; what is not a number differs from everything."""
    return any(
        value.shape != two[name].shape or not torch.allclose(value, two[name], rtol=rtol, atol=atol)
        for name, value in one.items()
    )
