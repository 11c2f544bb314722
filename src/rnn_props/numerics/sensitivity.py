"""How far a correct run may be from the reference: the bound that follows from the system's own sensitivity.

The reference is run again with relative noise of twice the unit roundoff on parameters and inputs; S is the largest
change that this makes. A result may differ by ``16*S + 4*u*max|ref|``. Where the noise alone moves results by more than
a small part of their size, nothing can be concluded, and the case is ill-conditioned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rnn_props.numerics.compare import UNIT_ROUNDOFF, difference, largest
from rnn_props.subjects import Tree, map_tree

#: How many perturbed runs are made.
RUNS = 4
#: The margin over the largest change seen.
MARGIN = 16.0
#: The noise, in units of the roundoff.
NOISE = 2.0


@dataclass(frozen=True, slots=True)
class Bound:
    """The largest difference that rounding can explain.

    Attributes:
        sensitivity: S, the largest change under perturbation.
        scale: max|ref|.
        unit: the unit roundoff of the arithmetic.
    """

    sensitivity: float
    scale: float
    unit: float

    @property
    def allowed(self) -> float:
        return MARGIN * self.sensitivity + 4 * self.unit * self.scale

    @property
    def ill_conditioned(self) -> bool:
        return not self.allowed <= 0.25 * self.scale if self.scale else False


def perturbed(values: Tree, unit: float, generator: torch.Generator) -> Tree:
    """The values with relative noise of `NOISE` units, at random."""

    def shake(leaf: Tensor) -> Tensor:
        if not leaf.is_floating_point():
            return leaf
        noise = torch.rand(leaf.shape, dtype=torch.float64, generator=generator) * 2 - 1
        return (leaf.detach().to(torch.float64) * (1 + NOISE * unit * noise)).to(leaf.dtype)

    return map_tree(shake, values)


def sensitivity_bound(
    module: nn.Module,
    run: Callable[[Any, Tree], Tree],
    inputs: Any,
    state: Tree,
    *,
    dtype: torch.dtype,
    seed: int = 0,
) -> Bound:
    """Measure the bound for one run of a module.

    Args:
        module: whose parameters are perturbed, and put back afterwards.
        run: from input and state to the results.
        inputs, state: of the run.
        dtype: the arithmetic that results may have been computed in.
        seed: of the noise.
    """
    unit = UNIT_ROUNDOFF[dtype]
    generator = torch.Generator().manual_seed(seed)
    reference = map_tree(lambda leaf: leaf.detach().clone(), run(inputs, state))
    kept = [(parameter, parameter.detach().clone()) for parameter in module.parameters()]
    largest_change = 0.0
    try:
        for _ in range(RUNS):
            with torch.no_grad():
                for parameter, value in kept:
                    parameter.copy_(perturbed(value, unit, generator))
            changed = run(perturbed(inputs, unit, generator), perturbed(state, unit, generator))
            gap = difference(changed, reference, "")
            largest_change = max(largest_change, 0.0 if gap is None else gap.size)
    finally:
        with torch.no_grad():
            for parameter, value in kept:
                parameter.copy_(value)
    return Bound(largest_change, largest(reference), unit)
