"""What goes in beside the input as a flag for each row and step: masks, and where an episode begins.

A name does not say whether true stands for a step or for padding, nor whether an episode ends before the flagged step
or after it. Calls do: what a mask keeps out has no effect, and nothing passes the beginning of an episode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rnn_props.contracts import Contract
from rnn_props.inference.names import CLEAR_MASKS, START_NAMES
from rnn_props.subjects import Subject, TargetRaisedError, UnusableResultError, leaves

if TYPE_CHECKING:
    from rnn_props.inference.calls import Roles

#: How sentences of the evidence begin that say what was not settled.
OPEN = "open: "
#: Changes of an input until one shows, as for influence.
_NUDGES = (1.0, 30.0)


def with_flags(base: Contract, roles: Roles) -> Iterator[Contract]:
    """Contracts under which the flags that forward needs go in, one for each way to read them."""
    name = roles.starts if roles.starts_required else roles.mask
    yield from flag_readings(base, name, roles)


def flag_readings(contract: Contract, name: str, roles: Roles) -> Iterator[Contract]:
    """Contracts under which a flag goes in, one for each way to read it."""
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
    return [f"{kind}{number}" for number in ("", " float") for kind in kinds]


def start_forms(name: str, *, one_step: bool) -> list[str]:
    """The ways in which flags of episodes may be meant, the likeliest by their name first."""
    kinds = ["start", "continue"] if one_step else ["start", "continue", "end"]
    if name in START_NAMES:
        kinds = ["start"]  # the name says it: a reset one step off is a bug, and no other convention
    elif "not" in name or "non" in name or name.startswith(("mask", "cont")):
        kinds = ["continue", *(kind for kind in kinds if kind != "continue")]
    return [f"{kind}{number}{last}" for last in ("", " column") for number in ("", " float") for kind in kinds]


def flags_fit(subject: Subject, inputs: Tensor, state: Any) -> bool:
    """Whether the flags of a contract do in a call what its form of them says."""
    contract = subject.contract
    try:
        if "lengths" in contract.forms:
            return _keeps_out(subject, inputs, state)
        if contract.arguments["starts"] in START_NAMES:
            return _changes_something(subject, inputs, state)
        return _begins_anew(subject, inputs, state)
    except (TargetRaisedError, UnusableResultError):
        return False


def named_mask_counts(subject: Subject, inputs: Tensor, state: Any) -> bool:
    """Whether a mask that is one by its name has any effect; that what it marks has none is then for checks to hold."""
    contract = subject.contract
    if "lengths" not in contract.forms or contract.arguments["lengths"] not in CLEAR_MASKS:
        return False
    rule = subject.rules().input
    time, batch = rule.axis("T"), rule.axis("B")
    assert time is not None
    assert batch is not None
    whole = [inputs.shape[time]] * inputs.shape[batch]
    try:
        one, two = (
            _results(subject.call_raw(inputs, state, lengths=lengths))
            for lengths in (whole, [length - 1 for length in whole])
        )
    except (TargetRaisedError, UnusableResultError):
        return False
    return _differs(one, two)


def misread_flags(contract: Contract) -> str:
    """Why no way to read the flags that forward needs is right."""
    what = "what stands at masked steps reaches the results" if "lengths" in contract.forms else (
        "what was before a flagged step reaches the results after it"
    )  # fmt: skip
    name = contract.arguments["lengths" if "lengths" in contract.forms else "starts"]
    return (
        f"its forward needs '{name}', and however that is read, true or false, {what}; if it is meant in another way, "
        "write an adapter that passes it ('rnn-props infer --adapter FILE' makes a stub)"
    )


def _keeps_out(subject: Subject, inputs: Tensor, state: Any) -> bool:
    """What stands beyond the rows' lengths has no effect on anything, and what stands before has one."""
    rule = subject.rules().input
    time, batch = rule.axis("T"), rule.axis("B")
    assert time is not None
    assert batch is not None
    steps, rows = inputs.shape[time], inputs.shape[batch]
    lengths = [steps - 1 - row % 3 for row in range(rows)]
    beyond = torch.arange(steps)[:, None] >= torch.tensor(lengths)[None, :]
    shape = [inputs.shape[axis] if axis in (time, batch) else 1 for axis in range(inputs.dim())]
    beyond = (beyond.T if batch < time else beyond).reshape(shape).expand(inputs.shape)

    def run(changed: Tensor) -> Mapping[str, Tensor]:
        return _results(subject.call_raw(changed, state, lengths=lengths))

    before = run(inputs)
    return any(
        _differs(before, run(torch.where(beyond, inputs, inputs + nudge)))
        and not _differs(before, run(torch.where(beyond, inputs + nudge, inputs)))
        for nudge in _NUDGES
    )


def _begins_anew(subject: Subject, inputs: Tensor, state: Any) -> bool:
    """Where an episode begins nothing that was before has an effect, and it has one where none begins."""
    rule = subject.rules().input
    time = rule.axis("T")
    if time is None:
        return _forgets_state(subject, inputs, state)
    boundary = inputs.shape[time] // 2
    starts = _none(subject, inputs)
    starts.select(0 if time == 0 else 1, boundary).fill_(True)

    def run(step: int, nudge: float, flags: Tensor) -> Mapping[str, Tensor]:
        changed = inputs.clone()
        changed.select(time, step).add_(nudge)
        found = _results(subject.call_raw(changed, state, starts=flags))
        return {name: _after(value, inputs.shape[time], boundary) for name, value in found.items()}

    nothing = _none(subject, inputs)
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
    everywhere = ~_none(subject, inputs)

    def run(given: Any, flags: Tensor) -> Mapping[str, Tensor]:
        return _results(subject.call_raw(inputs, given, starts=flags))

    forgotten = not _differs(run(state, everywhere), run(other, everywhere))
    return forgotten and _differs(run(state, ~everywhere), run(other, ~everywhere))


def _changes_something(subject: Subject, inputs: Tensor, state: Any) -> bool:
    """Whether flags have any effect."""
    flags = _none(subject, inputs)
    plain = _results(subject.call_raw(inputs, state, starts=flags))
    time = subject.rules().input.axis("T")
    if time is None and state is not None:
        state = _moved(state)
        plain = _results(subject.call_raw(inputs, state, starts=flags))
    return _differs(plain, _results(subject.call_raw(inputs, state, starts=~flags)))


def _moved(state: Any) -> Any:
    if isinstance(state, Tensor):
        return state + 1
    return type(state)(_moved(item) for item in state) if isinstance(state, tuple | list) else state


def _none(subject: Subject, inputs: Tensor) -> Tensor:
    rule = subject.rules().input
    axes = sorted(axis for letter in ("T", "B") if (axis := rule.axis(letter)) is not None)
    return torch.zeros([inputs.shape[axis] for axis in axes], dtype=torch.bool)


def _after(value: Tensor, steps: int, boundary: int) -> Tensor:
    """What of a result stands at a step or after it; all of it where it has no steps."""
    axis = next((axis for axis, size in enumerate(value.shape) if size == steps), None)
    return value if axis is None else value.narrow(axis, boundary, steps - boundary)


def _results(value: Any) -> dict[str, Tensor]:
    return {name: leaf.detach().clone() for name, leaf in leaves(value)}


def _differs(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> bool:
    """Whether two results differ by more than rounding; what is not a number differs from everything."""
    return any(
        value.shape != two[name].shape or not torch.allclose(value, two[name], rtol=1e-5, atol=1e-7)
        for name, value in one.items()
    )
