"""RP351 to RP353: packed sequences. Every row of a packed batch is a sequence of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from rnn_props.cases import Needs
from rnn_props.checks import when
from rnn_props.checks.registry import BASICS, check
from rnn_props.checks.trial import Trial
from rnn_props.subjects import Result, cut

#: Kinds of rows, those that need no sorting first.
_ROWS = ("equal", "sorted", "mixed", "increasing", "one_short", "decreasing")
_NEEDS = Needs(rows=_ROWS, packed=True, batches=(1, 2, 3, 4, 5), lengths=(1, 2, 3, 4, 5, 6, 7, 8, 13))


@check(
    "RP353",
    "packed.structure",
    when=when.has_packed,
    needs=_NEEDS,
    share=0.5,
    hint="Build the result as PackedSequence(data, batch_sizes, sorted_indices, unsorted_indices), the last three "
    "taken from the input.",
)
def structure(t: Trial) -> None:
    """A PackedSequence goes in and a PackedSequence comes out, with the same batch_sizes and indices.

    Why: the caller unpacks the result with pad_packed_sequence, which restores the rows' order and lengths from these
    fields alone. With other ones it puts the rows in a wrong order, or fails.
    Causes:
    - the result is made with two arguments, PackedSequence(data, batch_sizes), and the indices are lost
    - the padded output is returned, or is packed again with lengths in sorted order
    - data of steps that were skipped are left out
    Fix: keep the four fields of the input and replace its data alone: input._replace(data=output).
    """
    output = t.call().output
    if not isinstance(output, PackedSequence):
        t.fail(
            f"a PackedSequence went in, a {type(output).__name__} came out",
            expected="PackedSequence",
            actual=type(output).__name__,
        )
    given = t.given
    assert isinstance(given, PackedSequence)
    for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        wanted, got = _text(getattr(given, name)), _text(getattr(output, name))
        if wanted != got:
            t.fail(f"{name}: expected {wanted} as in the input, got {got}", expected=wanted, actual=got)
    assert t.rules.output is not None
    width = t.rules.output.shape(t.sizes)[-1]
    expected = (len(given.data), width)
    if tuple(output.data.shape) != expected:
        t.fail(
            f"data: expected shape {expected}, got {tuple(output.data.shape)}",
            expected=str(expected),
            actual=str(tuple(output.data.shape)),
        )


def _text(value: Tensor | None) -> str:
    return "None" if value is None else str(value.tolist())


def _rows(t: Trial, packed: PackedSequence) -> list[Tensor]:
    """The rows of a packed result in the caller's order: tensors `(T_i, F)`."""
    padded, lengths = pad_packed_sequence(packed, batch_first=True)
    return [padded[row, :length] for row, length in enumerate(lengths.tolist())]


def _alone(t: Trial, row: int) -> tuple[Tensor, Result]:
    """One row of the padded input, at its own length and as a batch of one: its output `(T_i, F)` and its result."""
    inputs = cut(t.rows_of_input(t.input, [row]), t.rules.input, "T", 0, t.case.lengths[row])
    result = t.call(inputs, t.rows_of_state(t.state, [row]))
    assert t.rules.output is not None
    axis = t.rules.output.axis("B")
    assert axis is not None
    return result.output.squeeze(axis), result


def _held_to_alone(t: Trial, result: Result, lengths: Sequence[int]) -> None:
    """Each row of a packed result equals that sequence run alone: its output and its final state."""
    for row, (output, length) in enumerate(zip(_rows(t, result.output), lengths, strict=True)):
        expected, alone = _alone(t, row)
        t.same(output, expected, f"row {row} of lengths {list(lengths)}: output")
        t.same(
            t.rows_of_state(result.state, [row]),
            alone.state,
            f"row {row} of lengths {list(lengths)}: final state",
            t.rules.state,
        )
        assert len(output) == length


@check(
    "RP351",
    "packed.rows",
    when=when.all_of(when.has_packed, when.independent_rows),
    needs=_NEEDS,
    after=(*BASICS, "RP353"),
    explained_by=("RP105", "RP201", "RP202", "RP203", "RP205", "RP301", "RP303", "RP304", "RP305", "RP352"),
    hint="Rows end at different steps: look at the state that a row keeps after its end, where the backward direction "
    "begins, and rows cut off the state ([:, :batch_size]) and not put back.",
)
def rows(t: Trial) -> None:
    """A packed batch equals each of its sequences run alone: outputs and final state, with and without a given state.

    Why: packing is only a way to save work. A row whose result depends on the longer rows beside it trains on noise,
    and gives another answer in production, where it comes alone.
    Causes:
    - the final state is taken at the last step of the batch, not at each row's own end
    - the backward direction begins at the end of the longest row, in the padding of the others
    - the state of rows that have ended is overwritten by zeros or goes on being updated
    - the given state's rows are matched with the sorted rows by position
    Fix: at each step update the rows that are still running, batch_sizes[t] of them, and keep the others as they are.
    """
    _held_to_alone(t, t.call(), t.case.lengths)


@check(
    "RP352",
    "packed.order",
    when=when.all_of(when.has_packed, when.lacks("sorted_only", "it takes sorted sequences only by contract")),
    needs=Needs(
        rows=("increasing", "mixed", "decreasing"),
        packed=True,
        states=("random", "none"),
        batches=(2, 3, 4, 5),
        lengths=(2, 3, 4, 5, 6, 7, 8, 13),
    ),
    after=(*BASICS, "RP353"),
    explained_by=("RP301", "RP302"),
    hint="Inside, the rows of a packed batch stand in the order of sorted_indices: put the given state into that order "
    "on the way in, and the final state back with unsorted_indices.",
)
def order(t: Trial) -> None:
    """With enforce_sorted=False, states go in and come out in the caller's order.

    Why: the caller's rows are sentences or users. A state that comes back in sorted order is given to another user at
    the next call, without any error.
    Causes:
    - hx is used without index_select(1, sorted_indices)
    - h_n is returned without index_select(1, unsorted_indices), or c_n is forgotten
    - sorted_indices and unsorted_indices are exchanged, which shows with three rows or more only
    Fix: hx = hx.index_select(1, input.sorted_indices) before the first step, and
    h_n.index_select(1, input.unsorted_indices) for every leaf at the end.
    """
    by_length = sorted(range(len(t.case.lengths)), key=lambda row: -t.case.lengths[row])
    lengths = torch.tensor([t.case.lengths[row] for row in by_length])
    padded = t.rows_of_input(t.input, by_length)
    batch_first = t.rules.input.axis("B") == 0
    in_order = torch.nn.utils.rnn.pack_padded_sequence(padded, lengths, batch_first=batch_first, enforce_sorted=True)
    expected = t.call(in_order, t.rows_of_state(t.state, by_length))
    actual = t.call()
    outputs, wanted = _rows(t, actual.output), _rows(t, expected.output)
    for place, row in enumerate(by_length):
        what = f"row {row} of lengths {list(t.case.lengths)} against the same rows sorted by hand"
        t.same(outputs[row], wanted[place], f"{what}: output")
        t.same(
            t.rows_of_state(actual.state, [row]),
            t.rows_of_state(expected.state, [place]),
            f"{what}: final state",
            t.rules.state,
        )
