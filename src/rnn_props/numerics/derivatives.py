"""Slopes by finite differences, each with what it may be wrong by.

A central difference with step h is wrong by a third of the second derivative's change over h (curvature), and by the
function's own rounding over h. Two step sizes measure the first: halving h takes away three quarters of it. Where the
function has a kink, or jumps, no step size settles what its derivative is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

#: A function of one number: what is measured, along a direction, from the point of interest at 0.
Line = Callable[[float], float]

#: Step sizes, along a direction of unit length. A kink that is near a larger one is far from a smaller one.
STEPS = (1e-4, 1e-5, 1e-6)
#: How many units of roundoff of its largest terms one value of the function may be wrong by.
_ROUNDINGS = 64
#: Where jumps are looked for: this far to both sides, at so many places, in so many of the spans between them.
_REACH, _PLACES, _SUSPECTS = 3.0, 32, 12
#: What is left of a span's change after so many halvings is a jump.
_HALVINGS, _REMAINS = 30, 1e-2


@dataclass(frozen=True, slots=True)
class Slope:
    """A derivative, and the largest error that rounding, curvature and a kink explain."""

    value: float
    error: float


def slope(line: Line, step: float, rounding: float) -> Slope:
    """The derivative of a line at 0, extrapolated from two central differences.

    Args:
        line: the function.
        step: the larger of the two steps.
        rounding: what one value of the function may be wrong by.
    """
    here, ahead, behind = line(0.0), line(step), line(-step)
    near_ahead, near_behind = line(step / 2), line(-step / 2)
    coarse, fine = (ahead - behind) / (2 * step), (near_ahead - near_behind) / step
    # The slopes to the right and to the left differ by bend: in proportion to the step, unless there is a kink at 0.
    bend, near_bend = (ahead - 2 * here + behind) / step, (near_ahead - 2 * here + near_behind) / (step / 2)
    kink = abs(2 * near_bend - bend)
    return Slope((4 * fine - coarse) / 3, 4 * abs(fine - coarse) + kink + rounding / step)


def contradiction(line: Line, claimed: float, *, unit: float, scale: float, slack: float) -> Slope | None:
    """What the slope at 0 is, where it can't be the claimed one; None where nothing can be held against that.

    Args:
        line: the function.
        claimed: its derivative at 0, as somebody computed it.
        unit: the unit roundoff of the arithmetic.
        scale: the size of the terms that a value of the function is a sum of.
        slack: an error that is let pass.
    """
    found, rounding = Slope(claimed, 0.0), _ROUNDINGS * unit * scale
    for step in STEPS:
        found = slope(line, step, rounding)
        if not abs(found.value - claimed) > found.error + slack:
            return None
    return None if jumps(line, rounding) else found


def jumps(line: Line, rounding: float) -> bool:
    """Whether a line jumps somewhere around 0, as one does that counts spikes or rounds.

    What such a module has for gradients (surrogates, straight-through estimators) is not meant to be its derivative.
    The last digit of a value jumps, too: what rounding explains is none.
    """
    places = [_REACH * (2 * index / _PLACES - 1) for index in range(_PLACES + 1)]
    spans = list(itertools.pairwise([(place, line(place)) for place in places]))
    spans.sort(key=lambda span: -abs(span[1][1] - span[0][1]))
    return any(_jumps_in(line, rounding, *span) for span in spans[:_SUSPECTS])


def _jumps_in(line: Line, rounding: float, left: tuple[float, float], right: tuple[float, float]) -> bool:
    """Whether what a line changes by between two of its points stays about the same as they come together."""
    whole = abs(right[1] - left[1])
    if not rounding < _REMAINS * whole < math.inf:
        return False
    for _ in range(_HALVINGS):
        place = (left[0] + right[0]) / 2
        middle = (place, line(place))
        left, right = (left, middle) if abs(middle[1] - left[1]) > abs(right[1] - middle[1]) else (middle, right)
        if not abs(right[1] - left[1]) > _REMAINS * whole:
            return False
    return True
