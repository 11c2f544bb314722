"""RP3xx: what is not a number stays where it is."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rnn_props.cases import Needs
from rnn_props.checks import when
from rnn_props.checks.registry import check
from rnn_props.checks.trial import Advice, Trial, Violation
from rnn_props.subjects import Result, TargetRaisedError, clone, cut, state_leaves

_VALUES = (math.nan, math.inf, -math.inf)
#: A number whose rounding shows wherever it is added and taken away again.
_LARGE = 1e6


@check(
    "RP308",
    "nan.containment",
    when=when.all_of(when.real_input, when.independent_rows),
    needs=Needs(batches=(2, 3, 4, 5), fills=("normal",), picks=3),
    explained_by=("RP206", "RP301", "RP302", "RP303", "RP304", "RP305"),
    share=0.6,
    hint="Something multiplies by zero to leave a value out (0 * NaN is NaN), or takes a maximum or a sum over rows or "
    "steps: use torch.where or indexing to choose, and reduce over the features of one row and step.",
)
def containment(t: Trial) -> None:
    """NaN or infinity in one row of the batch stays in that row; at step t it stays at t and after.

    Why: One broken sensor, one overflowed row or one unfilled padding then costs one prediction. If it spreads, the
    whole batch is NaN, and with the gradient all weights are.
    Causes:
    - A mask applied by multiplication, `out * mask` or a matrix of zeros and ones: 0 * NaN is NaN.
    - Rows put into order, or steps shifted or summed, by a product with a permutation or a triangular matrix.
    - Scaling by the largest value of the whole batch (`x / x.abs().max()`), even where it is multiplied back.
    - A softmax or logsumexp that is made stable by the maximum over all rows or all steps.
    Fix: Choose with `torch.where(mask, out, 0)`, `masked_fill` or an index. Take maxima, sums and norms along the
    features of one row. A convolution by FFT can't keep steps apart, and gets advice in place of a failure.
    """
    value = _VALUES[t.pick(0, len(_VALUES))]
    row, step = t.pick(1, t.sizes["B"]), t.pick(2, t.sizes["T"])
    base = t.call()
    batch, time = t.rules.input.axis("B"), t.rules.input.axis("T")
    assert batch is not None
    broken = t.input.clone()
    place = broken if time is None else broken.narrow(time, step, 1)
    place.select(batch, row).fill_(value)
    after = _called(t, broken, t.state)
    at = f"{value} in batch row {row}" + ("" if time is None else f" at step {step}")
    _others_kept(t, after, base, row, f"{at} of the input")
    advice = _kept_from_earlier_steps(t, after, base, broken, place.select(batch, row), step, at)
    state = clone(t.state)
    parts = [] if state is None else zip(state_leaves(state), t.leaf_rules, strict=True)
    for (name, leaf), rule in parts:
        axis = rule.axis("B")
        if axis is not None and leaf.is_floating_point():
            kept = leaf.clone()
            leaf.select(axis, row).fill_(value)
            _others_kept(t, _called(t, t.input, state), base, row, f"{value} in batch row {row} of the initial {name}")
            leaf.copy_(kept)
    if advice is not None:
        raise advice


def _kept_from_earlier_steps(
    t: Trial, after: Result, base: Result, broken: Tensor, place: Tensor, step: int, at: str
) -> Advice | None:
    """Outputs before the step are kept. Where steps can't be kept apart, as in a convolution by FFT, that is advice.

    There a large number leaks, too, by rounding; through a mask or a matrix of zeros it does not.
    """
    if not _ordered(t) or step == 0:
        return None
    assert t.rules.output is not None
    earlier, was = (cut(result.output, t.rules.output, "T", 0, step) for result in (after, base))
    try:
        t.same(earlier, was, f"{at} of the input: output before that step", t.rules.output)
    except Violation as violation:
        place.fill_(_LARGE)
        finite = t.call(broken, t.state).output
        if torch.equal(cut(finite, t.rules.output, "T", 0, step), was):
            rest = (step + 1, t.sizes["T"])
            if torch.equal(*(cut(output, t.rules.output, "T", *rest) for output in (finite, base.output))):
                t.discard("no number in that place has an effect on another step")
            raise
        return Advice(
            f"{violation.message}. All steps go through one transform, such as an FFT: {_LARGE:g} in that place "
            "reaches those outputs as well, by rounding",
            expected=violation.expected,
            actual=violation.actual,
        )
    return None


def _called(t: Trial, inputs: Tensor, state: object) -> Result:
    try:
        return t.call(inputs, state)
    except TargetRaisedError as raised:
        t.discard(f"it refuses what is not finite: {raised}")


def _others_kept(t: Trial, after: Result, base: Result, row: int, what: str) -> None:
    others = [other for other in range(t.sizes["B"]) if other != row]
    t.same_result(t.rows_of(after, others), t.rows_of(base, others), f"{what}: other rows")


def _ordered(t: Trial) -> bool:
    """Outputs stand at steps and depend on no later input."""
    rule = t.rules.output
    return rule is not None and rule.axis("T") is not None and t.contract.capabilities.causal and t.sizes["D"] == 1
