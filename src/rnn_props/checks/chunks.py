"""RP2xx: a sequence or a batch that goes on in pieces."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from rnn_props.cases import Case, Needs
from rnn_props.checks import when
from rnn_props.checks.registry import BASICS, check
from rnn_props.checks.trial import Trial, Violation
from rnn_props.contracts import Contract, Domain, ShapeRule
from rnn_props.subjects import Result, cut, join, state_leaves

_ONE_DIRECTION = {"bidirectional": (False,)}


def _chunkable(case: Case, contract: Contract) -> Case:
    """One layer if there are two directions, since in deeper ones each has seen the whole sequence."""
    if not contract.role("bidirectional", case.hyperparameters, False):
        return case
    layers = contract.roles.get("num_layers", "")
    domain = contract.hyperparameters.get(layers)
    if not isinstance(domain, Domain) or 1 not in domain.values:
        return case
    return replace(case, hyperparameters={**case.hyperparameters, layers: 1})


@check(
    "RP201",
    "state.continuity",
    when=when.all_of(when.has_sequence_state, when.unquantised),
    needs=Needs(splits=True),
    prepare=_chunkable,
    after=(*BASICS, "RP208"),
    explained_by=("RP204", "RP305"),
    hint="Look for a state that is reset, dropped or reordered at the start of a call (zeros made although a state was "
    "given, h and c exchanged, layers taken from the wrong row).",
)
def continuity(t: Trial) -> None:
    """A sequence run whole equals the same sequence run in chunks with the state carried: outputs and final state.

    Why: Truncated backpropagation, streaming and generation run a sequence in pieces. If the pieces do not add up to
    the whole, results depend on where the sequence happened to be cut, and no error says so.
    Causes:
    - The state is made anew at the start of a call: `h = torch.zeros(...)` although one was passed, or passed states
      replaced where a test of their shape fails (`if h.shape != x.shape: h = zeros`).
    - What is returned is not what the next step would read: the state one step before the end, h before the
      nonlinearity or after dropout, c after a `clamp`.
    - Rows come out in another order than they are read in: `flip(0)`, directions exchanged, `c, h = hx` where `(h, c)`
      was returned.
    - A memory that is not in the state: the last inputs of a causal convolution padded with zeros at each call, a step
      counter or positions that start from 0, a running normaliser.
    Fix: Return exactly the tensors that the next step would read, in the order in which `forward` reads them. Whatever
    else the next step depends on (a convolution's last inputs, a position) belongs in the state.
    """
    assert t.rules.output is not None
    whole = t.call()
    if t.sizes["D"] == 2 and t.sizes["L"] > 1:
        t.discard("in deeper bidirectional layers each direction has seen the whole sequence")
    try:
        _same_in_chunks(t, whole, t.case.splits)
    except Violation:
        if _only_single_steps_differ(t, whole):
            t.discard("chunks of one step alone differ: RP202 holds that")
        raise


def _same_in_chunks(t: Trial, whole: Result, cuts: Sequence[int]) -> None:
    """The sequence in chunks, with the state carried, equals the whole."""
    chunks = list(itertools.pairwise((0, *cuts, t.sizes["T"])))
    what = "step by step" if len(chunks) == t.sizes["T"] else f"in chunks cut at {', '.join(map(str, cuts))}"
    if t.sizes["D"] == 2:
        _same_in_directions(t, whole, chunks, what)
        return
    assert t.rules.output is not None
    outputs, state = [], t.state
    for start, stop in chunks:
        part = t.call(t.steps(t.input, start, stop), state)
        outputs.append(part.output)
        state = part.state
    if t.rules.output.axis("T") is not None:
        t.same(join(outputs, t.rules.output, "T"), whole.output, f"{what}: output", t.rules.output)
    t.same(state, whole.state, f"{what}: final state", t.rules.state)


def _same_in_directions(t: Trial, whole: Result, chunks: Sequence[tuple[int, int]], what: str) -> None:
    """One bidirectional layer: the forward half is chunked left to right, the backward half right to left.

    Where the output is made of both (normalised, or joined by a layer), it is the states that agree.
    """
    assert t.rules.output is not None
    width = whole.output.shape[-1] // 2
    for direction, name in enumerate(("forward", "backward")):
        outputs, state, final = [], t.state, None
        for start, stop in chunks if direction == 0 else reversed(chunks):
            part = t.call(t.steps(t.input, start, stop), state)
            outputs.append(part.output.narrow(-1, direction * width, width))
            state = final = part.state
        if direction == 1:
            outputs.reverse()
        half = whole.output.narrow(-1, direction * width, width)
        if t.contract.capabilities.output_is_state:
            t.same(join(outputs, t.rules.output, "T"), half, f"{name} half {what}: output", t.rules.output)
        for (leaf_name, leaf), (_, expected) in zip(state_leaves(final), state_leaves(whole.state), strict=True):
            t.same(leaf[direction], expected[direction], f"{name} half {what}: {leaf_name}")


def _only_single_steps_differ(t: Trial, whole: Result) -> bool:
    """Whether all that is wrong with a cut sequence is what a call of a single step computes."""
    length, splits = t.sizes["T"], t.case.splits
    longer: list[int] = []
    for place in splits:
        if place - (longer[-1] if longer else 0) > 1 and length - place > 1:
            longer.append(place)
    if tuple(longer) == splits or not _runs_in_one_direction(t.contract):
        return False
    try:
        _same_in_chunks(t, whole, longer or ([length // 2] if length > 3 else []))
    except Violation:
        return False
    try:
        _same_in_chunks(t, whole, range(1, length))
    except Violation:
        return True
    return False


def _runs_in_one_direction(contract: Contract) -> bool:
    """Whether RP202 has cases of it."""
    if "bidirectional" not in contract.roles:
        return True
    domain = contract.hyperparameters[contract.roles["bidirectional"]]
    return isinstance(domain, Domain) and False in domain.values


def _can_step(contract: Contract) -> str | None:
    if contract.step and contract.output is not None:
        return None if contract.capabilities.optional_state or contract.state is not None else "its state is not known"
    return when.has_sequence_state(contract)


@check(
    "RP202",
    "state.stepwise",
    when=when.all_of(_can_step, when.unquantised),
    needs=Needs(lengths=(2, 3, 4, 5, 6, 13), roles=_ONE_DIRECTION),
    after=(*BASICS, "RP208"),
    explained_by=("RP201",),
    hint="A special path for one step, or for a whole sequence, computes something else than the other.",
)
def stepwise(t: Trial) -> None:
    """T calls of length 1, or of a `step` method, with the state carried, equal one call of length T.

    Why: Models are trained on whole sequences and decode one step at a time. If the path for one step computes
    something else, the model in use is not the one that was trained.
    Causes:
    - A shortcut such as `if x.size(0) == 1:`, or a `step` method, that repeats the equations and leaves out a bias, a
      normalisation or a layer.
    - Work done once a call that changes numbers, such as decaying or normalising the state that was passed.
    - A parallel form (scan, convolution) that treats the first step of a call otherwise than the recurrence does, or
      leaves out the initial state's part.
    - `squeeze()` on a length of 1, after which a later operation broadcasts along another axis.
    Fix: Write one function for one step and let both paths call it. Where the whole sequence has a parallel form,
    derive the single step from the same formula, initial state included.
    """
    whole = t.call()
    if t.carries_state:
        _same_in_chunks(t, whole, range(1, t.sizes["T"]))
    if t.contract.step and t.case.batched:
        _same_by_step(t, whole)


def _same_by_step(t: Trial, whole: Result) -> None:
    """The `step` method agrees with forward, from the initial state and from that after a part of the sequence."""
    assert t.rules.output is not None
    length, name = t.sizes["T"], t.contract.step["method"]
    for start in (0, length // 2) if t.carries_state else (0,):
        before = t.call(t.steps(t.input, 0, start), t.state).kept() if start else None
        state = t.state if before is None else before.state
        if state is None:
            state = t.other_state(0, "zeros") if t.carries_state else t.subject.first_state(t.sizes["B"])
        outputs = []
        for step in range(start, length):
            one = t.subject.step(_one_step(t, step), state)
            outputs.append(one.output)
            state = one.state
        what = f"{length - start} calls of {name}" + (f" after {start} steps of forward" if start else "")
        axis = t.rules.output.axis("T")
        if axis is None:
            t.same(outputs[-1].reshape(whole.output.shape), whole.output, f"{what}: output", t.rules.output)
        else:
            shape = cut(whole.output, t.rules.output, "T", 0, 1).shape
            found = torch.cat([output.reshape(shape) for output in outputs], axis)
            t.same(found, cut(whole.output, t.rules.output, "T", start, length), f"{what}: output", t.rules.output)
        if t.carries_state:
            t.same(state, whole.state, f"{what}: final state", t.rules.state)


def _one_step(t: Trial, step: int) -> Tensor:
    """The input of one step, in the shape that the contract's step takes."""
    rule = ShapeRule.parse(t.contract.step["input"])
    return t.steps(t.input, step, step + 1).reshape(rule.shape({**t.sizes, "T": 1}))


@check(
    "RP210",
    "state.batch_slice",
    when=when.all_of(when.has_state, when.independent_rows),
    needs=Needs(batches=(2, 3, 4, 5), picks=2),
    after=(*BASICS, "RP208", "RP301"),
    explained_by=("RP302",),
    hint="The last batch of an epoch is smaller: some rows of the state go on alone. Look for a batch size that is "
    "remembered, or rows matched by position in a larger buffer.",
)
def batch_slice(t: Trial) -> None:
    """Going on with some rows of batch and state equals going on with all of them and taking those rows.

    Why: Sequences end at different times, the last batch of an epoch is smaller, beam search drops rows: callers go on
    with `h[:, keep]`. If rows are then matched by position, a sequence goes on from another one's memory.
    Causes:
    - A state kept on `self` and cut to the new size, `self.h[:, :B]`: the first B rows are not the rows that were kept.
    - A batch size remembered from an earlier call, in `view(T, self.batch_size, -1)` or in `expand`.
    - Caches, masks or index tensors of rows that are kept between calls and not passed with the state.
    Fix: Take the batch size from the input of each call, and all memory of a row from the state that was passed.
    Choosing rows is the caller's part: `tuple(leaf[:, rows] for leaf in state)`.
    """
    state = t.call().state
    following = t.other_input(12)
    size = t.sizes["B"]
    start = t.pick(0, size)
    rows = sorted({(start + offset) % size for offset in range(1 + t.pick(1, size - 1))})
    some = t.call(t.rows_of_input(following, rows), t.rows_of_state(state, rows))
    some = some.kept()
    everything = t.call(following, state)
    t.same_result(some, t.rows_of(everything, rows), f"batch rows {rows} alone")
