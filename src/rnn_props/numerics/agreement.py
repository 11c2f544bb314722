"""Whether the results of a run in low precision are those of the reference, result by result.

Results and gradients differ in what rounding does to them. A correct forward run stays within the bound that noise on
parameters and inputs gives. Where it does not, but noise at every operation explains it, the way in which it computes
loses more digits than its arguments have: it is unstable. The usual formulas of gradients do lose more: the derivative
of tanh is 1 - y*y, which cancels where y saturates, and the gradient of a bias is a sum over all steps. For them noise
at every operation is what rounding explains.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from rnn_props.contracts import Rules
from rnn_props.numerics.compare import Difference, difference, largest
from rnn_props.numerics.sensitivity import ROUNDED_RUNS, Bound, Sensitivity

#: How the names of gradients begin.
GRADIENT = "gradient of "
#: How the names of kinds of results begin; others are leaves of the state.
_KINDS = {"output": "output", "gradients": GRADIENT}
#: Runs from which a difference in results is judged that the first few do not explain: a run may pass a kink (relu, a
#: threshold, a maximum) on the other side, which noise does in some runs only.
MORE_RUNS = 16
#: Results below this many units of the largest result, or of 1, are what rounding leaves where numbers cancel.
_REMAINS = 16
#: A loss of this many units, three digits, is worth knowing of. Layer norm loses some where features are nearly alike.
_MUCH = 2.0**10
#: A difference that is this many times as large as a bound will not be explained by measuring the bound again.
_HOPELESS = 4
#: The part of the range beyond which results may have overflowed on the way.
_RANGE = 1 / 64
#: A range up to which gradients leave it in ordinary runs: that of float16.
_NARROW = 1e6


@dataclass(frozen=True, slots=True)
class Comparison:
    """How one result compares with the reference's.

    Attributes:
        name: of the result.
        verdict: `same` (to a few units), `explained` by rounding, `unstable` (rounding is to blame, but of the way in
            which it is computed), `outside` of what rounding explains, or `ill-conditioned`: nothing can be concluded.
        gap: the largest difference; None where there is none.
        bound: what settled the matter; None where there was no need to measure one.
    """

    name: str
    verdict: Literal["same", "explained", "unstable", "outside", "ill-conditioned"]
    gap: Difference | None = None
    bound: Bound | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How the results of a run compare with those of its reference."""

    comparisons: tuple[Comparison, ...]

    def worst(self, verdict: str = "outside") -> tuple[Difference, Bound] | None:
        """Of the differences with a verdict the one that its bound explains least, and the bound; None if none is."""
        chosen = [(item.gap, item.bound) for item in self.comparisons if item.verdict == verdict]
        found = [(gap, bound) for gap, bound in chosen if gap is not None and bound is not None]
        return max(found, key=lambda pair: pair[0].size / (pair[1].allowed or 1.0), default=None)

    @property
    def judged(self) -> int:
        """How many results were judged: those that are not ill-conditioned."""
        return sum(item.verdict != "ill-conditioned" for item in self.comparisons)

    def errors(self, reference: Sensitivity) -> dict[str, float]:
        """The largest error of outputs, of states and of gradients, in units of the bound; those that were judged.

        Args:
            reference: that was compared with.
        """
        found: dict[str, float] = {}
        for item in self.comparisons:
            nothing = item.bound is None and item.name not in reference.values  # on either side
            if item.verdict == "ill-conditioned" or nothing:
                continue
            kind = next((kind for kind, begins in _KINDS.items() if item.name.startswith(begins)), "state")
            bound = item.bound or reference.bound(item.name)
            size = 0.0 if item.gap is None else item.gap.size
            found[kind] = max(found.get(kind, 0.0), size / bound.allowed if bound.allowed else math.inf * bool(size))
        return found


def agreement(
    actual: Mapping[str, Tensor | None], reference: Sensitivity, rules: Mapping[str, Rules] | None = None
) -> Agreement:
    """Compare results with those of the reference that have the same names.

    Args:
        actual: the results; None, for a gradient, is the same as zeros.
        reference: the run in float64, of the same parameters and inputs.
        rules: shape rules, by which an element's place is named.
    """
    return Agreement(tuple(_compared(name, got, reference, (rules or {}).get(name)) for name, got in actual.items()))


def _compared(name: str, got: Tensor | None, reference: Sensitivity, rule: Rules) -> Comparison:
    expected = reference.values.get(name)
    if (got is None or expected is None) and largest(got) == largest(expected) == 0:
        return Comparison(name, "same")
    gap = difference(got, expected, name, rule)
    unit = reference.arithmetic.unit
    if gap is None or gap.size <= 4 * unit * largest(expected):
        return Comparison(name, "same", gap)
    if got is None or expected is None or got.shape != expected.shape:
        return Comparison(name, "outside", gap, Bound(0.0, 0.0, unit))
    if math.isinf(gap.size) and _may_overflow(reference, name):
        return Comparison(name, "ill-conditioned", gap)
    bound = reference.bound(name)
    for bound in _bounds(reference, name, gap.size):
        if bound.ill_conditioned:
            return Comparison(name, "ill-conditioned", gap, bound)
        if gap.size <= bound.allowed:
            return Comparison(name, "explained", gap, bound)
    if name.startswith(GRADIENT) or not _is_of_operations(reference, name, gap.size):
        return Comparison(name, "outside", gap, bound)
    much = min(_MUCH * unit, 1 / 8) * largest(expected)
    return Comparison(name, "unstable" if gap.size > much else "explained", gap, bound)


def _may_overflow(reference: Sensitivity, name: str) -> bool:
    """Whether a result may be beyond its dtype's range: float16 is not trained in without scaling its gradients."""
    limit = reference.arithmetic.largest * _RANGE
    narrow = reference.arithmetic.largest < _NARROW
    return (narrow and name.startswith(GRADIENT)) or largest(reference.values) > limit


def _bounds(reference: Sensitivity, name: str, size: float) -> Iterator[Bound]:
    """What rounding explains, measured with more and more care."""
    first = reference.bound(name)
    yield first
    if math.isinf(size):
        return
    remains = _REMAINS * reference.arithmetic.unit * max(1.0, largest(reference.values))
    if max(size, first.scale) <= remains:
        yield replace(first, sensitivity=math.inf)
    elif name.startswith(GRADIENT):
        for runs in (2, ROUNDED_RUNS // 2, ROUNDED_RUNS):
            yield reference.bound(name, runs, every_operation=True)
    else:
        yield reference.bound(name, MORE_RUNS)


def _is_of_operations(reference: Sensitivity, name: str, size: float) -> bool:
    """Whether rounding of every operation explains a difference that rounding of parameters and inputs does not."""
    if math.isinf(size):
        return False
    for runs in (2, ROUNDED_RUNS):
        allowed = reference.bound(name, runs, every_operation=True).allowed
        if not size > allowed:
            return True
        if size > _HOPELESS * allowed:
            return False
    return False
