"""Whether results have more noise than rounding gives: the typical error, where `agreement` judges the largest.

The largest error of a few elements varies so much from run to run that its bound needs a wide margin, in which noise of
some units in the last place at every step is lost. The root mean square over many elements hardly varies: a correct run
has about half of what noise of two units at the result of every operation makes, whatever its gain or length.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rnn_props.numerics.agreement import GRADIENT, Agreement
from rnn_props.numerics.compare import typical
from rnn_props.numerics.noise import NOISE
from rnn_props.numerics.sensitivity import ROUNDED_RUNS, RUNS, Sensitivity

#: The typical error that is too much, in units of what noise explains.
EXCESS = 1.5
#: Elements from which an error is typical, rather than that of one element.
ENOUGH = 16
#: The part of a result beyond which an error is no matter of the last digits. Rounding may have passed a threshold.
_LAST_DIGITS = 2.0**-15
#: Terms of a sum up to which its rounding is within the noise at its result. That of more grows with their square root.
_TERMS = 32


@dataclass(frozen=True, slots=True)
class Excess:
    """A result whose typical error is more than rounding gives.

    Attributes:
        name: of the result.
        error: the root mean square of its differences from the reference.
        explained: the same of what noise of two units at the result of every operation changes in the reference.
    """

    name: str
    error: float
    explained: float

    @property
    def factor(self) -> float:
        return self.error / self.explained if self.explained else math.inf


def excess(actual: Mapping[str, Tensor | None], reference: Sensitivity, found: Agreement) -> Excess | None:
    """The result, gradients left out, whose error exceeds most what rounding gives, or None where none does.

    Args:
        actual: the results of the run.
        reference: the run in float64, of the same parameters and inputs.
        found: how they agree. Nothing is said of results that are not explained by rounding or that have few elements,
            nor of errors beyond the last digits: in bfloat16 and float16, of none.
    """
    judged = [item.name for item in found.comparisons if item.verdict in ("same", "explained")]
    measured = [_excess(name, actual[name], reference) for name in judged if not name.startswith(GRADIENT)]
    return max((one for one in measured if one is not None), key=lambda one: one.factor, default=None)


def _excess(name: str, got: Tensor | None, reference: Sensitivity) -> Excess | None:
    expected = reference.values.get(name)
    if got is None or expected is None or int(expected.count_nonzero()) < ENOUGH:
        return None
    limit = EXCESS * reference.factor * math.sqrt(max(1.0, _terms(reference) / _TERMS))
    error, explained = typical(got, expected), 0.0
    if error > _LAST_DIGITS * typical(expected, torch.zeros_like(expected)):
        return None
    for change in explanations(name, expected, reference):
        explained = max(explained, change)
        if not error > limit * explained:
            return None
    return Excess(name, error, explained)


def explanations(name: str, expected: Tensor, reference: Sensitivity) -> Iterator[float]:
    """What noise changes typically in a result: on itself, on what goes in, and at every operation, measured twice."""
    yield NOISE / math.sqrt(3) * reference.arithmetic.unit * typical(expected, torch.zeros_like(expected))
    yield reference.typical(name, RUNS)
    for runs in (2, ROUNDED_RUNS):
        yield reference.typical(name, runs, every_operation=True)


def _terms(reference: Sensitivity) -> int:
    """The terms of the largest sum, as the module's weights tell it."""
    return max((size for weight in reference.module.parameters() for size in weight.shape), default=1)
