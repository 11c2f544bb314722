"""RP3xx: batch, time, layout."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from rnn_props.cases import LAYOUTS, Needs, input_spec, make_state
from rnn_props.checks import when
from rnn_props.checks.life import write
from rnn_props.checks.registry import BASICS, check
from rnn_props.checks.trial import Trial, Violation
from rnn_props.numerics import largest
from rnn_props.subjects import Result, cut, map_tree, registered_tensors


@check(
    "RP301",
    "batch.independence",
    when=when.independent_rows,
    needs=Needs(batches=(2, 3, 4, 5), picks=1),
    after=(*BASICS, "RP206", "RP303"),
    hint="Rows of the batch are mixed: look for view or reshape where transpose is meant, statistics over the batch "
    "axis, squeeze or broadcasting that lines up the wrong axes, and batch run as time.",
)
def independence(t: Trial) -> None:
    """Each row run alone equals that row in the batch, and a change in one row leaves the others as they were.

    Why: A prediction that depends on who else is in the batch changes with batch size and shuffling, lets padding rows
    alter real ones, and leaks one sequence's data into another. The model trains, only worse, and nothing raises.
    Causes:
    - `x.view(T, B, -1)` or `x.reshape(T, B, -1)` on a tensor `(B, T, F)` where `x.transpose(0, 1)` is meant: elements
      stay where they are in memory, so rows get each other's steps.
    - The batch run as time: a batch-first tensor given to `nn.LSTM(...)` without `batch_first=True`, or to `for step in
      x`.
    - `h_n.view(B, -1)` on a state `(L*D, B, H)`, which joins layers of different rows: `h_n.transpose(0, 1).reshape(B,
      -1)` is meant.
    - A reduction over the batch axis: `x.mean(0)`, `x.std()`, `x.max()`, `softmax(dim=0)`, batch normalisation with
      batch statistics.
    - A gate `(B,)` multiplied with `(B, H)`: it lines up with H, and raises nothing where B equals H.
    Fix: Exchange axes by `transpose` or `permute`, never by `view`. Name the dimension of each reduction and keep it
    (`keepdim=True`, `unsqueeze(-1)`). Batch statistics that are meant are declared in
    the contract: `Capabilities(batch_statistics=True)`.
    """
    together = t.call()
    size = t.sizes["B"]
    for row in range(size):
        alone = t.call(t.rows_of_input(t.input, [row]), t.rows_of_state(t.state, [row]))
        try:
            t.same_result(alone, t.rows_of(together, [row]), f"batch row {row} alone")
        except Violation:
            if _stands_in(t, together, alone) or _only_place_matters(t, row, alone, together):
                t.discard(_ORDER)
            raise
    row = t.pick(0, size)
    others = [other for other in range(size) if other != row]
    axis = t.rules.input.axis("B")
    assert axis is not None
    changed = t.input.clone()
    changed.select(axis, row).add_(1.0)
    after = t.call(changed)
    try:
        t.same_result(t.rows_of(after, others), t.rows_of(together, others), f"other rows after a change in row {row}")
    except Violation:
        if all(_stands_in(t, after, t.rows_of(together, [other])) for other in others):
            t.discard(_ORDER)
        raise


_ORDER = "only the order of rows or a row's place is wrong: RP302 holds that"


def _stands_in(t: Trial, results: Result, alone: Result) -> bool:
    """Whether results of one row are among those of a batch, in whatever row."""
    return any(_agree(t, t.rows_of(results, [row]), alone) for row in range(t.sizes["B"]))


def _only_place_matters(t: Trial, row: int, alone: Result, together: Result) -> bool:
    """Whether a row has the results of the row alone once it stands first, and other rows' values make no difference
    to it."""
    axis = t.rules.input.axis("B")
    assert axis is not None
    others = t.other_input(t.case.parameter_seed)
    others.select(axis, row).copy_(t.input.select(axis, row))
    if not _agree(t, t.rows_of(t.call(others), [row]), t.rows_of(together, [row])):
        return False
    first = [row, *(other for other in range(t.sizes["B"]) if other != row)]
    moved = t.call(t.rows_of_input(t.input, first), t.rows_of_state(t.state, first))
    return _agree(t, t.rows_of(moved, [0]), alone)


def _agree(t: Trial, one: Result, two: Result) -> bool:
    try:
        t.same_result(one, two)
    except Violation:
        return False
    return True


@check(
    "RP302",
    "batch.permutation",
    when=when.independent_rows,
    needs=Needs(batches=(2, 3, 4, 5), picks=2),
    after=(*BASICS, "RP206", "RP303"),
    explained_by=("RP208", "RP301"),
    hint="A result depends on a row's place in the batch: look for index tensors, sorting that is not undone, and "
    "buffers filled by position.",
)
def permutation(t: Trial) -> None:
    """Permuting the batch, and the state with it, permutes the results.

    Why: The order of rows in a batch is chance. If results depend on it, an evaluation depends on the order of its
    data; where sorting was not undone, predictions belong to other rows and accuracy falls to chance.
    Causes:
    - Rows sorted by length for packing, and the outputs, or the final state, or one of several outputs never sorted
      back.
    - Sorted back with the wrong index: `out[order]` a second time, where `out[order.argsort()]` is meant.
    - `torch.arange(B)` as a feature or position, most often an embedding of positions indexed along the wrong axis.
    - Rows run in groups, with the last group of an odd number, or row 0, treated otherwise.
    Fix: Undo a sort with `inverse = order.argsort()` on everything that comes out, states along their own batch axis.
    For packing, leave both to `pack_padded_sequence(..., enforce_sorted=False)`.
    """
    size = t.sizes["B"]
    rows = _permutation(size, t.case.picks[0] + 12 * t.case.picks[1])
    together = t.call()
    permuted = t.call(t.rows_of_input(t.input, rows), t.rows_of_state(t.state, rows))
    t.same_result(permuted, t.rows_of(together, rows), f"batch in the order {rows}")


def _permutation(size: int, number: int) -> list[int]:
    """A permutation that moves something; number 0 reverses the order."""
    if number == 0:
        return list(range(size - 1, -1, -1))
    order = torch.randperm(size, generator=torch.Generator().manual_seed(number)).tolist()
    return order if order != list(range(size)) else list(range(size - 1, -1, -1))


@check(
    "RP303",
    "batch.first",
    when=when.capable("batch_first", "it has no batch_first"),
    needs=Needs(roles={"batch_first": (True,)}),
    hint="batch_first exchanges the first two axes of input and output, and nothing else: transpose, never view or "
    "reshape, once on the way in and once on the way out, and leave the state alone.",
)
def batch_first(t: Trial) -> None:
    """batch_first=True on the transposed input gives the transposed output and the same state.

    Why: batch_first says how tensors are laid out and nothing else: the same weights must give the same numbers. If
    they do not, a checkpoint trained in one layout is wrong in the other.
    Causes:
    - `x.view(T, B, F)` or `x.reshape(T, B, F)` where `x.transpose(0, 1)` is meant: right shape, shuffled elements.
    - Transposed inside the loop over layers, so that every second layer runs over the batch, or not transposed back at
      the end.
    - The state transposed, too: it is `(L*D, B, H)` in both layouts.
    - `seq_len, batch = x.shape[:2]` read before the transposition.
    - A branch for batch_first with its own copy of the equations, which has drifted.
    Fix: Transpose once on the way in (`if self.batch_first: x = x.transpose(0, 1)`), once on the way out, and let
    nothing in between know of batch_first.
    """
    first = t.call()
    other = t.build(**{t.contract.roles["batch_first"]: False})
    write(other.module, registered_tensors(t.subject.module))
    result = t.call(t.input.transpose(0, 1), subject=other)
    has_time = t.rules.output is not None and t.rules.output.axis("T") is not None
    output = result.output.transpose(0, 1) if has_time else result.output
    t.same_result(first, Result(output, result.state), "batch_first=True against batch_first=False")


@check(
    "RP304",
    "time.causality",
    when=when.causal,
    needs=Needs(lengths=(2, 3, 4, 5, 6, 7, 8, 13), roles={"bidirectional": (False,)}, picks=1),
    after=(*BASICS, "RP303"),
    hint="An output depends on inputs that come after it: look for statistics or softmax over time, a shift in the "
    "wrong direction, and padding on the wrong side.",
)
def causality(t: Trial) -> None:
    """Outputs up to t do not depend on inputs after t.

    Why: A model that sees later inputs is trained with the answer in view: it looks good offline and fails where steps
    come one at a time.
    Causes:
    - A statistic over the whole sequence: `x - x.mean(0)`, min-max scaling, or a normalisation whose axes include time.
    - Attention or softmax over all steps without a causal mask.
    - A convolution padded on both sides, `nn.Conv1d(..., padding=k // 2)`: causal is `F.pad(x, (k - 1, 0))` with
      `padding=0`.
    - A shift by one in the wrong direction: `x[1:]` where `x[:-1]` is meant, or `torch.roll`, which also brings the end
      to the start.
    Fix: Use running statistics (`x.cumsum(0)` over the number of steps so far), a lower-triangular mask (`torch.tril`),
    padding on the left. Looking ahead that is meant is declared in the contract: `Capabilities(causal=False)`.
    """
    assert t.rules.output is not None
    length = t.sizes["T"]
    stop = 1 + t.pick(0, length - 1)
    axis = t.rules.input.axis("T")
    assert axis is not None
    changed = t.input.clone()
    changed.narrow(axis, stop, length - stop).mul_(-2.0).add_(1.5)
    before, after = t.call().output, t.call(changed).output
    t.same(
        cut(after, t.rules.output, "T", 0, stop),
        cut(before, t.rules.output, "T", 0, stop),
        f"after a change of inputs later than step {stop - 1}: output",
        t.rules.output,
        bound=lambda: t.bound_with(changed),
    )


@check(
    "RP307",
    "layout.strides",
    needs=Needs(batched=None, states=("random", "none")),
    share=0.3,
    explained_by=("RP103", "RP208"),
    hint="The memory of an input or state is read as if it were contiguous: look for view, as_strided, data_ptr and "
    "kernels that take no strides; call contiguous() first.",
)
def strides(t: Trial) -> None:
    """Transposed, sliced, expanded and offset inputs and states give the same results as contiguous ones.

    Why: Transposed and sliced tensors are views, and callers pass them without thinking of it. Code that reads memory
    instead of elements gives wrong numbers for them, or raises only for the user whose data come as a view.
    Causes:
    - `x.view(...)` on what may be a transposed tensor: it raises, where `reshape` would copy.
    - `as_strided`, `data_ptr()`, or a kernel in C++, CUDA or Triton that assumes row-major order.
    - `torch.empty_like(x)` or `zeros_like(x)` written to as if it were contiguous: both keep the strides of x.
    - A slice of the state such as `hx[:, :B]` handed to a kernel: cuDNN's GRU refuses it, although the CPU takes it.
    Fix: Call `x = x.contiguous()`, and the same on each leaf of the state, before anything that reads memory. Elsewhere
    use `reshape` for `view` and index by dimension.
    """
    for layout in LAYOUTS[1:]:
        given = input_spec(replace(t.case, input=replace(t.case.input, layout=layout)), t.contract).make()
        plain = t.call(given.clone(memory_format=torch.contiguous_format))
        t.same_result(t.call(given), plain, f"{layout} input")
        if t.case.state is None or t.state is None:
            continue
        state = make_state(t.case, t.contract, replace(t.case.state, layout=layout))
        plain = t.call(state=map_tree(lambda leaf: leaf.clone(memory_format=torch.contiguous_format), state))
        t.same_result(t.call(state=state), plain, f"{layout} initial state")


@check(
    "RP309",
    "time.length",
    when=when.all_of(when.has_sequence, when.unquantised),
    needs=Needs(lengths=(1, 17, 65, 130, 257), batches=(1, 2), roles={"bidirectional": (False,)}, fills=("normal",)),
    share=0.35,
    after=(*BASICS, "RP304"),
    hint="Something has a fixed size or a limit in time: a buffer of positions, a maximal length, a window.",
)
def length(t: Trial) -> None:
    """Lengths from 1 to some hundreds work, and results at a step do not depend on how much follows it.

    Why: A module that fits the lengths it was trained with fails, or degrades without a word, on the first sequence
    that is longer.
    Causes:
    - A table or mask of fixed size, such as `torch.ones(100, 1, 1)[:T]` or positions up to `max_len`.
    - A window: `outputs[-64:]`, or only the last steps kept.
    - Numbers that depend on the length: inputs or outputs scaled by T.
    - A product over steps in a parallel form (`cumprod` of gates, `exp` of a `cumsum`) that underflows to 0 and is then
      divided by, which gives NaN.
    Fix: Size tables and masks by the input of each call. Compute products over time in log space or in blocks, and
    never scale by a length that the step itself has not reached.
    """
    assert t.rules.output is not None
    whole = t.call()
    t.shaped(whole.output, t.rules.output, "output")
    if not math.isfinite(largest(whole.output)) or not bool(torch.isfinite(whole.output).all()):
        t.fail(f"output of a sequence of {t.sizes['T']} steps is not finite", expected="finite", actual="NaN or inf")
    axis = t.rules.output.axis("T")
    if axis is None or not t.contract.capabilities.causal or t.sizes["T"] == 1:
        return
    half = (t.sizes["T"] + 1) // 2
    short = t.call(t.steps(t.input, 0, half))
    t.same(
        short.output,
        whole.output.narrow(axis, 0, half),
        f"the first {half} of {t.sizes['T']} steps alone: output",
        t.rules.output,
    )
