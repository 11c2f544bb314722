"""RP356: flags that say where an episode begins."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from rnn_props.cases import Needs
from rnn_props.checks import when
from rnn_props.checks.registry import BASICS, check
from rnn_props.checks.trial import Trial
from rnn_props.contracts import Contract
from rnn_props.subjects import Result, Tree


def _has_starts(contract: Contract) -> str | None:
    if "starts" not in contract.arguments:
        return "it takes no flags of episodes"
    if not contract.capabilities.optional_state and contract.capabilities.nonzero_default_state:
        return "its fresh state is not zero by contract, and must be given"
    return None


@check(
    "RP356",
    "lengths.reset_mask",
    when=when.all_of(_has_starts, when.independent_rows),
    needs=Needs(batches=(2, 3, 4, 1), lengths=(2, 3, 4, 5, 6), states=("random", "none", "zeros")),
    after=(*BASICS, "RP301"),
    explained_by=("RP201", "RP202"),
    hint="Clear the state of the flagged rows alone, before the flagged step and not after it: "
    "h = torch.where(starts[t].unsqueeze(-1), fresh, h), then h = cell(x[t], h); and clear every part of it.",
)
def reset_mask(t: Trial) -> None:
    """A step flagged as the start of an episode behaves as a fresh state for that row only, at that step, not one off.

    Why: Rollouts hold several episodes in one batch. A state that crosses the border tells the policy of another
    episode; one that is cleared a step late or in every row makes it forget what it needs. Training goes on either way.
    Causes:
    - The state is cleared after the flagged step, or flags are shifted by one against the inputs.
    - `if done.any(): h = zeros`, which clears every row.
    - A flag `(B,)` multiplied with a state `(L, B, H)`: it lines up with H, and raises nothing where B equals H or 1.
    - h is cleared and c is not, or the state of one layer.
    - Flags of `(T, B)` read as `(B, T)`.
    Fix: At each step, first `h = torch.where(starts[t].view(1, -1, 1), fresh, h)` for every part of the state, then
    the step itself.
    """
    starts = _starts(t)
    result = t.call(starts=starts)
    time = t.rules.input.axis("T")
    for row in range(t.sizes["B"]):
        flags = starts if time is None else starts.movedim(0 if time < _batch(t) else 1, 0)
        own = [bool(flags[row])] if time is None else [bool(flag) for flag in flags[:, row]]
        alone = _in_pieces(t, row, own)
        where = [step for step, flag in enumerate(own) if flag]
        what = f"batch row {row} with an episode that begins at steps {where}" if where else (
            f"batch row {row}, where no episode begins"
        )  # fmt: skip
        t.same_result(t.rows_of(result, [row]), alone, f"{what}, against its episodes run one by one")


def _batch(t: Trial) -> int:
    axis = t.rules.input.axis("B")
    assert axis is not None
    return axis


def _starts(t: Trial) -> Tensor:
    """Flags in the layout of the input, about every third of them set, and one at least."""
    time = t.rules.input.axis("T")
    draw = random.Random(t.case.input.seed)
    steps, rows = (t.sizes["T"] if time is not None else 1), t.sizes["B"]
    form = t.contract.form("starts")
    ends = form is not None and form.kind == "end"
    flags = torch.zeros(steps, rows, dtype=torch.bool)
    for step in range(steps):
        for row in range(rows):
            # An episode that begins after the last step would show in the final state, on which nothing is agreed.
            flags[step, row] = draw.random() < 0.35 and not (ends and step == 0)
    if not bool(flags.any()):
        flags[steps - 1, draw.randrange(rows)] = True
    if ends and steps == 1:
        t.discard("an episode that ends at the only step has no step after it")
    if time is None:
        return flags[0]
    return flags if time < _batch(t) else flags.T.contiguous()


def _in_pieces(t: Trial, row: int, begins: list[bool]) -> Result:
    """One row, episode by episode, each from a fresh state; the first from the given one if it goes on."""
    inputs, state = t.rows_of_input(t.input, [row]), t.rows_of_state(t.state, [row])
    borders = [step for step, flag in enumerate(begins) if flag and step > 0]
    if begins[0]:
        state = _fresh(t, state)
    if t.rules.input.axis("T") is None:
        return t.call(inputs, state)
    outputs = []
    for start, stop in zip([0, *borders], [*borders, len(begins)], strict=True):
        if start:
            state = _fresh(t, state)
        piece = t.call(t.steps(inputs, start, stop), state)
        outputs.append(piece.output)
        state = piece.state
    axis = None if t.rules.output is None else t.rules.output.axis("T")
    return Result(outputs[-1] if axis is None else torch.cat(outputs, axis), state)


def _fresh(t: Trial, state: Tree) -> Tree:
    return None if t.contract.capabilities.optional_state else t.other_state(0, "zeros", B=1)
