"""RP2xx: state."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rnn_props.cases import Case, Needs
from rnn_props.checks import when
from rnn_props.checks.registry import BASICS, check
from rnn_props.checks.trial import Trial
from rnn_props.contracts import Contract, Domain, ShapeRule
from rnn_props.numerics import difference
from rnn_props.subjects import Result, clone, join, leaves, state_leaves

_ONE_DIRECTION = {"bidirectional": (False,)}


def _one_layer_if_bidirectional(case: Case, contract: Contract) -> Case:
    """In deeper layers of a bidirectional module each direction has seen the whole sequence: no chunking rule holds."""
    layers = contract.roles.get("num_layers", "")
    domain = contract.hyperparameters.get(layers)
    if not contract.role("bidirectional", case.hyperparameters, False):
        return case
    if not isinstance(domain, Domain) or 1 not in domain.values:
        return case
    return replace(case, hyperparameters={**case.hyperparameters, layers: 1})


@check(
    "RP201",
    "state.continuity",
    when=when.has_sequence_state,
    needs=Needs(splits=True),
    prepare=_one_layer_if_bidirectional,
    after=(*BASICS, "RP208"),
    hint="Look for a state that is reset, dropped or reordered at the start of a call (zeros made although a state was "
    "given, h and c exchanged, layers taken from the wrong row).",
)
def continuity(t: Trial) -> None:
    """A sequence run whole equals the same sequence run in chunks with the state carried: outputs and final state."""
    assert t.rules.output is not None
    whole = t.call()
    if t.sizes["D"] == 2 and t.sizes["L"] > 1:
        t.discard("in deeper bidirectional layers each direction has seen the whole sequence")
    if t.sizes["D"] == 2:
        _continuity_of_directions(t, whole)
        return
    chunks, state = [], t.state
    for start, stop in _chunks(t):
        part = t.call(t.steps(t.input, start, stop), state)
        chunks.append(part.output)
        state = part.state
    cuts = f"in chunks cut at {', '.join(map(str, t.case.splits))}"
    if t.rules.output.axis("T") is not None:
        t.same(join(chunks, t.rules.output, "T"), whole.output, f"{cuts}: output", t.rules.output)
    t.same(state, whole.state, f"{cuts}: final state", t.rules.state)


def _chunks(t: Trial) -> Iterator[tuple[int, int]]:
    edges = (0, *t.case.splits, t.sizes["T"])
    yield from itertools.pairwise(edges)


def _continuity_of_directions(t: Trial, whole: Result) -> None:
    """One bidirectional layer: the forward half is chunked left to right, the backward half right to left."""
    assert t.rules.output is not None
    width = whole.output.shape[-1] // 2
    for direction, name in enumerate(("forward", "backward")):
        spans = list(_chunks(t))
        if direction == 1:
            spans.reverse()
        outputs, state, final = [], t.state, None
        for start, stop in spans:
            part = t.call(t.steps(t.input, start, stop), state)
            outputs.append(part.output.narrow(-1, direction * width, width))
            state = final = part.state
        if direction == 1:
            outputs.reverse()
        half = whole.output.narrow(-1, direction * width, width)
        cuts = f"{name} half in chunks cut at {', '.join(map(str, t.case.splits))}"
        t.same(join(outputs, t.rules.output, "T"), half, f"{cuts}: output", t.rules.output)
        for (leaf_name, leaf), (_, expected) in zip(state_leaves(final), state_leaves(whole.state), strict=True):
            t.same(leaf[direction], expected[direction], f"{cuts}: {leaf_name}")


@check(
    "RP202",
    "state.stepwise",
    when=when.has_sequence_state,
    needs=Needs(lengths=(2, 3, 4, 5, 6, 13), roles=_ONE_DIRECTION),
    after=(*BASICS, "RP208"),
    hint="A special path for one step, or for a whole sequence, computes something else than the other.",
)
def stepwise(t: Trial) -> None:
    """T calls of length 1, with the state carried, equal one call of length T."""
    assert t.rules.output is not None
    whole = t.call()
    outputs, state = [], t.state
    for step in range(t.sizes["T"]):
        part = t.call(t.steps(t.input, step, step + 1), state)
        outputs.append(part.output)
        state = part.state
    if t.rules.output.axis("T") is not None:
        t.same(join(outputs, t.rules.output, "T"), whole.output, "step by step: output", t.rules.output)
    t.same(state, whole.state, "step by step: final state", t.rules.state)


@check(
    "RP203",
    "state.default_is_zero",
    when=when.all_of(
        when.has_state,
        when.capable("optional_state", "the state may not be left out"),
        when.lacks("nonzero_default_state", "the default state is not zero by contract"),
    ),
    needs=Needs(states=("none",)),
    hint="The state that is used when none is given must be zero in every layer, direction and leaf.",
)
def default_is_zero(t: Trial) -> None:
    """Leaving out the state equals passing zeros."""
    t.same_result(t.call(state=None), t.call(state=t.other_state(0, "zeros")), "no state against zeros")


@check(
    "RP204",
    "state.final_output",
    when=when.all_of(
        when.has_sequence_state, when.capable("output_is_state", "its output is not its hidden state by contract")
    ),
    after=(*BASICS, "RP303"),
    hint="h_n's last rows are the top layer's: forward from the last step, backward from the first. Check the order of "
    "layers and directions, and the end at which the backward pass stops.",
)
def final_output(t: Trial) -> None:
    """The top layer's final state is the last output (forward half) and the first output (backward half)."""
    assert t.rules.output is not None
    result = t.call()
    hidden: Tensor = state_leaves(result.state)[0][1]
    axis = t.rules.output.axis("T")
    assert axis is not None
    directions = t.sizes["D"]
    width = result.output.shape[-1] // directions
    last = result.output.select(axis, t.sizes["T"] - 1).narrow(-1, 0, width)
    t.same(hidden[-directions], last, "against the last output: h_n of the top layer")
    if directions == 2:
        first = result.output.select(axis, 0).narrow(-1, width, width)
        t.same(hidden[-1], first, "against the first output: h_n of the top layer's backward direction")


#: Changes of a state that are tried until one shows: small ones, and ones that no saturation or dead unit hides.
_NUDGES = (1.0, -1.0, 1e3, -1e3, 1e6)


@check(
    "RP205",
    "state.used",
    when=when.has_state,
    needs=Needs(states=("random",), lengths=(1, 2, 3), fills=("normal", "integers"), picks=1),
    share=0.6,
    after=(*BASICS, "RP303"),
    hint="A part of the initial state is ignored or shared: look for state[0] used for every layer, c or the second "
    "direction left out, or rows of the batch mixed.",
)
def used(t: Trial) -> None:
    """Every row and leaf of the initial state matters: changing it alone changes a result, and only what it may."""
    base = t.call()
    row = t.pick(0, t.sizes["B"])
    for index, (name, leaf) in enumerate(state_leaves(t.state)):
        layered = _leaf_rule(t, index).dimensions[0].text in ("L*D", "L")
        for layer in range(leaf.shape[0]) if layered else (None,):
            _used_leaf(t, base, index, name, layer, row)


def _leaf_rule(t: Trial, index: int) -> ShapeRule:
    rules = t.rules.state
    found = rules if isinstance(rules, ShapeRule) else list(_flat(rules))[index]
    assert isinstance(found, ShapeRule)
    return found


def _flat(rules: Any) -> Iterator[ShapeRule]:
    if isinstance(rules, ShapeRule):
        yield rules
    else:
        for item in rules.values() if isinstance(rules, dict) else rules:
            yield from _flat(item)


def _used_leaf(t: Trial, base: Result, index: int, name: str, layer: int | None, row: int) -> None:
    rule = _leaf_rule(t, index)
    axis = rule.axis("B")
    place = name + ("" if layer is None else f"[layer and direction {layer}]") + f", batch row {row}"
    others = [other for other in range(t.sizes["B"]) if other != row]
    for nudge in _NUDGES:
        state = clone(t.state)
        leaf = state_leaves(state)[index][1]
        part = leaf if layer is None else leaf[layer]
        if axis is not None:
            part = part.select(axis - (layer is not None), row)
        direction = torch.randn(part.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
        part.add_((nudge * direction).to(part.dtype))
        result = t.call(state=state)
        if others and axis is not None:
            t.same_result(
                t.rows_of(result, others), t.rows_of(base, others), f"other batch rows after a change of {place}"
            )
        if layer is not None and nudge == _NUDGES[0]:
            _lower_rows_unchanged(t, base, result, layer, place)
        if t.changed([result.output, result.state], [base.output, base.state]):
            return
    if t.sizes["T"] > 1 and t.contract.torch_module in (None, "RNN"):
        t.discard("in a longer sequence a unit that is switched off may hide the state")
    t.fail(
        f"changing {place} of the initial state changes nothing", expected="another result", actual="the same result"
    )


def _lower_rows_unchanged(t: Trial, base: Result, result: Result, layer: int, place: str) -> None:
    """Rows of lower layers, and of the other direction of the same layer, cannot see a change of this row."""
    directions = t.sizes["D"]
    own = layer // directions
    blind = [
        row
        for row in range(t.sizes["L"] * directions)
        if row // directions < own or (row // directions == own and row != layer)
    ]
    for (name, leaf), (_, before) in zip(state_leaves(result.state), state_leaves(base.state), strict=True):
        for row in blind:
            t.same(leaf[row], before[row], f"after a change of {place}: {name}[layer and direction {row}]")


@check(
    "RP206",
    "state.no_memory",
    when=when.not_stateful,
    needs=Needs(batches=(1, 2, 3, 4)),
    share=0.6,
    hint="Something is kept on self between calls: a state, a mask or a buffer cached by batch size or length.",
)
def no_memory(t: Trial) -> None:
    """A call's result does not depend on earlier calls, nor on other batch sizes in between (rejected ones: RP404)."""
    first = t.call()
    first = Result(clone(first.output), clone(first.state))
    steps = {} if t.contract.convention == "cell" else {"T": t.sizes["T"] + 1}
    batch = t.sizes["B"]
    for other in (batch + 1, max(batch - 1, 1), batch):
        sizes = {**steps, "B": other} if t.case.batched else steps
        t.call(t.other_input(3, **sizes), t.other_state(4, "normal", **sizes) if t.state is not None else None)
        t.same_result(t.call(), first, f"the same call after one with batch {other}")
        if t.carries_state and t.contract.capabilities.optional_state:
            t.call(t.other_input(5), t.other_state(6))
            t.same_result(t.call(), first, "the same call after one with another state")


@check(
    "RP207",
    "state.arguments_untouched",
    needs=Needs(layouts=("contiguous", "offset")),
    share=0.6,
    after=("RP101", "RP102"),
    hint="An operation in place (mul_, add_, x[...] = ..., out=) works on the caller's tensor or on a view of it: work "
    "on a copy.",
)
def arguments_untouched(t: Trial) -> None:
    """Input and initial state are bit-identical after forward and backward."""
    before = [clone(t.input), clone(t.state)]
    for grad in (False, True):
        result = t.call(grad=grad)
        doing = "a forward call"
        if grad:
            doing = "forward and backward"
            results = [leaf for _, leaf in leaves([result.output, result.state]) if leaf.requires_grad]
            if results:
                with t.subject.stopwatch.running():
                    torch.autograd.backward([leaf.sum() for leaf in results])
        for what, now, was in (("input", t.input, before[0]), ("initial state", t.state, before[1])):
            gap = difference(now, was, what)
            if gap is not None:
                t.fail(f"{doing} changed the caller's {gap.message}", expected=gap.expected, actual=gap.actual)


@check(
    "RP208",
    "state.round_trip",
    when=when.has_state,
    hint="What comes back as the state must be what goes in: the same structure, shapes and dtype, and not a view that "
    "the next call overwrites.",
)
def round_trip(t: Trial) -> None:
    """The returned state is accepted as the next initial state, and passing it on twice gives the same twice."""
    state = t.call().state
    kept = clone(state)
    following = t.other_input(11)
    once = t.call(following, state)
    once = Result(clone(once.output), clone(once.state))
    t.same(state, kept, "after it was passed on: returned state", t.rules.state)
    t.same_result(t.call(following, state), once, "the returned state passed on a second time")
    t.same_result(t.call(following, kept), once, "a copy of the returned state passed on")


@check(
    "RP210",
    "state.batch_slice",
    when=when.all_of(when.has_state, when.independent_rows),
    needs=Needs(batches=(2, 3, 4, 5), picks=2),
    after=(*BASICS, "RP208", "RP301"),
    hint="The last batch of an epoch is smaller: some rows of the state go on alone. Look for a batch size that is "
    "remembered, or rows matched by position in a larger buffer.",
)
def batch_slice(t: Trial) -> None:
    """Going on with some rows of batch and state equals going on with all of them and taking those rows."""
    state = t.call().state
    following = t.other_input(12)
    size = t.sizes["B"]
    start = t.pick(0, size)
    rows = sorted({(start + offset) % size for offset in range(1 + t.pick(1, size - 1))})
    some = t.call(t.rows_of_input(following, rows), t.rows_of_state(state, rows))
    some = Result(clone(some.output), clone(some.state))
    everything = t.call(following, state)
    t.same_result(some, t.rows_of(everything, rows), f"batch rows {rows} alone")
