"""RP354, RP355 and RP407: lengths, beside a padded batch or in a packed one."""

from __future__ import annotations

import torch
from torch import Tensor

from rnn_props.cases import Needs
from rnn_props.checks import when
from rnn_props.checks.registry import BASICS, check
from rnn_props.checks.rejection import must_reject
from rnn_props.checks.trial import Trial
from rnn_props.contracts import Contract
from rnn_props.subjects import Result, beyond_lengths, cut


def _padded_input(t: Trial, value: float) -> Tensor:
    """The input with a value beyond each row's length."""
    return t.input.masked_fill(beyond_lengths(t.case.lengths, t.rules.input, t.input), value)


def _alone(t: Trial, row: int) -> Result:
    """One row at its own length, as a batch of one."""
    length = t.case.lengths[row]
    inputs = cut(t.rows_of_input(t.input, [row]), t.rules.input, "T", 0, length)
    return t.call(inputs, t.rows_of_state(t.state, [row]), lengths=[length])


def _row_output(t: Trial, output: Tensor, row: int, length: int) -> Tensor:
    """One row of an output, up to a length where it has a time axis."""
    assert t.rules.output is not None
    picked = t.rows_of(Result(output, None), [row]).output
    return picked if t.rules.output.axis("T") is None else cut(picked, t.rules.output, "T", 0, length)


@check(
    "RP354",
    "lengths.padding",
    when=when.all_of(when.has_lengths, when.independent_rows),
    needs=Needs(rows=("mixed", "increasing", "decreasing", "one_short", "equal"), batches=(1, 2, 3, 4, 5)),
    after=(*BASICS,),
    explained_by=("RP301", "RP303"),
    hint="What stands behind a row's end reached a result: look at output[:, -1] where each row's own last step is "
    "meant, the backward direction, means and maxima over time, and masks that are multiplied in.",
)
def padding(t: Trial) -> None:
    """What stands in the padding has no effect, a row equals itself run alone, and the padded length is kept.

    Why: padding is whatever the data loader put there. A model that reads it gives other answers for the same sentence
    in another batch, and learns the batch's composition.
    Causes:
    - output[:, -1] or h of the last step of the batch is taken for a row's last step
    - the backward direction runs through the padding before it meets the row
    - a mean, maximum or softmax over time counts the padding; a mask multiplied in leaves NaN and bias behind
    - rows are sorted by length inside and one of the results is not put back into the caller's order
    - pad_packed_sequence without total_length gives fewer steps than came in
    Fix: pack with enforce_sorted=False, or gather each row's own last step with lengths - 1, and mask with
    torch.where or masked_fill instead of a product.
    """
    assert t.rules.output is not None
    result = t.call()
    t.shaped(result.output, t.rules.output, f"output for lengths {list(t.case.lengths)}")
    for value in (1000, -7.5):
        changed = t.call(_padded_input(t, value), lengths=t.lengths)
        t.same_result(changed, result, f"after writing {value} into the padding of lengths {list(t.case.lengths)}")
    for row, length in enumerate(t.case.lengths):
        alone = _alone(t, row)
        what = f"row {row} of lengths {list(t.case.lengths)} against the same row alone"
        t.same(_row_output(t, result.output, row, length), alone.output, f"{what}: output", t.rules.output)
        if t.carries_state:
            t.same(t.rows_of_state(result.state, [row]), alone.state, f"{what}: final state", t.rules.state)
    _padded_with(t, result.output)


def _padded_with(t: Trial, output: Tensor) -> None:
    """Beyond each row's length the output is the contract's padding, where one is agreed."""
    assert t.rules.output is not None
    if t.contract.padding is None or t.rules.output.axis("T") is None:
        return
    found = output[beyond_lengths(t.case.lengths, t.rules.output, output)]
    wanted = torch.full_like(found, t.contract.padding)
    t.same(found, wanted, f"output beyond lengths {list(t.case.lengths)} (expected {t.contract.padding:g})")


def _takes_empty_rows(contract: Contract) -> str | None:
    return None if contract.capabilities.zero_lengths else "it takes no row of length zero"


@check(
    "RP355",
    "lengths.empty_rows",
    when=when.all_of(when.has_lengths, _takes_empty_rows, when.independent_rows),
    needs=Needs(rows=("empty_row", "all_empty"), batches=(2, 3, 4, 1), states=("random", "zeros", "none")),
    after=(*BASICS, "RP354"),
    share=0.5,
    hint="A row of length zero has no last step: lengths - 1 is -1, which is the last step of the padding; and it is "
    "often left out of the packed batch and put back at the wrong place.",
)
def empty_rows(t: Trial) -> None:
    """A row of length zero keeps its own initial state and gives padding, alone or among others.

    Why: filtered or not yet arrived sequences come as rows of length zero. Where they take another row's state, users
    are mixed up without any error.
    Causes:
    - lengths - 1 indexes the last step of the padding for an empty row
    - empty rows are clamped to length 1, so that one step of padding changes their state
    - masked_scatter or boolean indexing gives them the state of row 0
    - a batch of empty rows only takes another path
    Fix: leave empty rows out of the computation, and write their initial state and padding back by index.
    """
    assert t.rules.output is not None
    result = t.call()
    empty = [row for row, length in enumerate(t.case.lengths) if length == 0]
    what = f"empty rows {empty} of lengths {list(t.case.lengths)}"
    if t.carries_state:
        given = t.state if t.state is not None else t.other_state(0, "zeros")
        t.same(
            t.rows_of_state(result.state, empty),
            t.rows_of_state(given, empty),
            f"{what}: final state against the initial state",
            t.rules.state,
        )
    changed = t.call(_padded_input(t, 1000), lengths=t.lengths)
    t.same_result(changed, result, f"{what}: after writing 1000 into the padding")
    others = [row for row, length in enumerate(t.case.lengths) if length > 0]
    for row in others:
        alone = _alone(t, row)
        length = t.case.lengths[row]
        t.same(
            _row_output(t, result.output, row, length),
            alone.output,
            f"row {row} beside {what} against the same row alone: output",
            t.rules.output,
        )
    _padded_with(t, result.output)


def _some_lengths(contract: Contract) -> str | None:
    if contract.capabilities.packed:
        return None
    if "lengths" in contract.forms:
        return "it takes a mask, in which no length can be wrong"
    if "lengths" in contract.arguments:
        return None
    return "it takes neither packed sequences nor lengths"


@check(
    "RP407",
    "reject.lengths",
    when=_some_lengths,
    needs=Needs(
        faults="lengths",
        batches=(2, 3, 4),
        lengths=(2, 3, 4),
        states=("random", "none"),
        rows=("mixed", "decreasing", "equal", "sorted"),
        packed=True,
    ),
    after=("RP101", "RP102"),
    explained_by=("RP408",),
    each_fault=True,
    hint="Look at lengths before using them: one for each row, an integer type, from 1 to the number of steps; in a "
    "packed sequence batch_sizes are positive, never grow, and sum to the rows of data.",
)
def reject_lengths(t: Trial) -> None:
    """Lengths that are zero, negative, too long, of a wrong number or type raise, and so do malformed batch sizes.

    Why: a wrong length gives plausible numbers for a part of the sequence, or reads memory that is not there.
    Causes:
    - lengths go straight into arange(T) < lengths, which takes any number
    - a PackedSequence put together by hand or cut by DataParallel is trusted
    - `pack_padded_sequence(..., enforce_sorted=False)` drops the rows that have no length; what torch itself takes is
      advice
    Fix: check lengths.shape, lengths.dtype, lengths.min() and lengths.max() before the first step, and
    batch_sizes against data.size(0) for packed input.
    """
    must_reject(t)
