"""RP3xx: batch, time, layout."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from rnn_props.cases import LAYOUTS, Needs, input_spec, make_state
from rnn_props.checks import when
from rnn_props.checks.registry import BASICS, check
from rnn_props.checks.trial import Trial
from rnn_props.numerics import largest
from rnn_props.subjects import Result, cut, map_tree


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
    """Each row run alone equals that row in the batch, and a change in one row leaves the others as they were."""
    together = t.call()
    size = t.sizes["B"]
    for row in range(size):
        alone = t.call(t.rows_of_input(t.input, [row]), t.rows_of_state(t.state, [row]))
        t.same_result(alone, t.rows_of(together, [row]), f"batch row {row} alone")
    row = t.pick(0, size)
    others = [other for other in range(size) if other != row]
    axis = t.rules.input.axis("B")
    assert axis is not None
    changed = t.input.clone()
    changed.select(axis, row).add_(1.0)
    after = t.call(changed)
    t.same_result(t.rows_of(after, others), t.rows_of(together, others), f"other rows after a change in row {row}")


@check(
    "RP302",
    "batch.permutation",
    when=when.independent_rows,
    needs=Needs(batches=(2, 3, 4, 5), picks=2),
    after=(*BASICS, "RP206", "RP303"),
    hint="A result depends on a row's place in the batch: look for index tensors, sorting that is not undone, and "
    "buffers filled by position.",
)
def permutation(t: Trial) -> None:
    """Permuting the batch, and the state with it, permutes the results."""
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
    """batch_first=True on the transposed input gives the transposed output and the same state."""
    first = t.call()
    other = t.build(**{t.contract.roles["batch_first"]: False})
    weights = t.subject.module.state_dict()
    other.module.load_state_dict(weights)
    result = t.call(t.input.transpose(0, 1), subject=other)
    t.same_result(
        first, Result(result.output.transpose(0, 1), result.state), "batch_first=True against batch_first=False"
    )


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
    """Outputs up to t do not depend on inputs after t."""
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
    )


@check(
    "RP307",
    "layout.strides",
    needs=Needs(batched=None, states=("random", "none")),
    share=0.3,
    hint="The memory of an input or state is read as if it were contiguous: look for view, as_strided, data_ptr and "
    "kernels that take no strides; call contiguous() first.",
)
def strides(t: Trial) -> None:
    """Transposed, sliced, expanded and offset inputs and states give the same results as contiguous ones."""
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
    when=when.all_of(when.has_sequence),
    needs=Needs(lengths=(1, 17, 65, 130, 257), batches=(1, 2), roles={"bidirectional": (False,)}, fills=("normal",)),
    share=0.35,
    after=(*BASICS, "RP304"),
    hint="Something has a fixed size or a limit in time: a buffer of positions, a maximal length, a window.",
)
def length(t: Trial) -> None:
    """Lengths from 1 to some hundreds work, and results at a step do not depend on how much follows it."""
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
