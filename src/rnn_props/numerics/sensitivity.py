"""How far a correct run may be from the reference: the bound that follows from the system's own sensitivity.

The reference is run again with noise of twice the unit roundoff on parameters and inputs; S is the largest change that
this makes. A result may differ by ``16*S + 4*u*max|ref|``. Where the noise alone moves results by more than a small
part of their size, nothing can be concluded, and the result is ill-conditioned. Each tensor of the results has a bound
of its own, so that a small one is not hidden by a large one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from rnn_props.numerics.compare import difference, largest, typical
from rnn_props.numerics.noise import ARITHMETIC, Arithmetic, NoiseAtEveryOperation, perturbed
from rnn_props.subjects import TargetRaisedError, Tree, leaves

#: How many perturbed runs are made.
RUNS = 4
#: How many are made with noise at every operation.
ROUNDED_RUNS = 12
#: The margin over the largest change seen.
MARGIN = 16.0


@dataclass(frozen=True, slots=True)
class _Change:
    """What noise changes in one result: its largest change, and the typical one, as root mean square."""

    largest: float
    typical: float


@dataclass(frozen=True, slots=True)
class Bound:
    """The largest difference that rounding can explain.

    Attributes:
        sensitivity: S, the largest change under perturbation.
        scale: max|ref|.
        unit: the unit roundoff of the arithmetic.
        rounded: measures the bound again with noise at every operation; None where that was done.
        factor: on what is allowed, given by the contract's `tolerance`.
    """

    sensitivity: float
    scale: float
    unit: float
    rounded: Callable[[], Bound] | None = field(default=None, compare=False, repr=False)
    factor: float = 1.0

    @property
    def allowed(self) -> float:
        return self.factor * self._explained

    @property
    def ill_conditioned(self) -> bool:
        return not self._explained <= 0.25 * self.scale if self.scale else math.isinf(self.sensitivity)

    @property
    def _explained(self) -> float:
        return MARGIN * self.sensitivity + 4 * self.unit * self.scale


class Sensitivity:
    """How the results of one run answer to noise, tensor by tensor; measured as far as it is asked for.

    Args:
        module: whose parameters are perturbed, and put back afterwards.
        run: from input and state to the results, by name.
        inputs, state: of the run.
        arithmetic: that results may have been computed in.
        seed: of the noise.
        factor: on every bound.
    """

    def __init__(
        self,
        module: nn.Module,
        run: Callable[[Any, Tree], Mapping[str, Tensor]],
        inputs: Any,
        state: Tree,
        *,
        arithmetic: Arithmetic,
        seed: int = 0,
        factor: float = 1.0,
    ) -> None:
        self.module = module
        self.arithmetic = arithmetic
        self.factor = factor
        self._run = run
        self._inputs = inputs
        self._state = state
        self._seed = seed
        self._changes: dict[bool, list[dict[str, _Change]]] = {False: [], True: []}

    @cached_property
    def values(self) -> dict[str, Tensor]:
        """The results without noise: the reference."""
        return {name: leaf.detach().clone() for name, leaf in self._run(self._inputs, self._state).items()}

    def bound(self, name: str, runs: int = RUNS, *, every_operation: bool = False) -> Bound:
        """The bound of one result.

        Args:
            name: of the result.
            runs: how many perturbed runs it rests on, at least.
            every_operation: whether the result of every operation gets noise, too, and not what goes in alone.
        """
        changes = [change[name].largest for change in self._measured(runs, every_operation)]
        if every_operation:
            changes += [change[name].largest for change in self._changes[False]]
        return Bound(_largest(changes), largest(self.values[name]), self.arithmetic.unit, factor=self.factor)

    def typical(self, name: str, runs: int = RUNS, *, every_operation: bool = False) -> float:
        """The typical change of one result, as the root mean square over its elements and the perturbed runs.

        Args:
            name, runs, every_operation: as for `bound`.
        """
        changes = [change[name].typical for change in self._measured(runs, every_operation)]
        return math.sqrt(sum(change * change for change in changes) / len(changes))

    def whole(self, *, every_operation: bool = False) -> Bound:
        """The bound of all results together: that of the largest of them."""
        runs = ROUNDED_RUNS if every_operation else RUNS
        bounds = [self.bound(name, runs, every_operation=every_operation) for name in self.values]
        sensitivity, scale = _largest([bound.sensitivity for bound in bounds]), largest(self.values)
        again = None if every_operation else lambda: self.whole(every_operation=True)
        return Bound(sensitivity, scale, self.arithmetic.unit, again, self.factor)

    def _measured(self, runs: int, every_operation: bool) -> list[dict[str, _Change]]:
        measured = self._changes[every_operation]
        while len(measured) < runs:
            measured.append(self._change(len(measured), every_operation))
        return measured

    def _change(self, number: int, every_operation: bool) -> dict[str, _Change]:
        """The change of each result in one perturbed run; infinite where the module refuses that run."""
        reference = self.values
        generator = torch.Generator().manual_seed(2 * (1000 * self._seed + number) + every_operation)
        mode = NoiseAtEveryOperation(self.arithmetic, generator) if every_operation else nullcontext()
        noise = self.arithmetic.unit, generator, self.arithmetic.smallest
        with changed(self.module.parameters(), lambda value: perturbed(value, *noise)):
            inputs, state = (perturbed(item, *noise) for item in (self._inputs, self._state))
            try:
                with mode:
                    noisy = self._run(inputs, state)
            except TargetRaisedError:
                return dict.fromkeys(reference, _Change(math.inf, math.inf))
        return {name: _change_of(noisy.get(name), leaf) for name, leaf in reference.items()}


def _change_of(noisy: Tensor | None, reference: Tensor) -> _Change:
    gap = difference(noisy, reference, "")
    size = 0.0 if gap is None else gap.size
    return _Change(size, size if noisy is None or math.isinf(size) else typical(noisy, reference))


@contextmanager
def changed(parameters: Iterable[Tensor], change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Parameters of a module with other values, for a while."""
    kept = [(parameter, parameter.detach().clone()) for parameter in parameters]
    try:
        with torch.no_grad():
            for parameter, value in kept:
                parameter.copy_(change(value))
        yield
    finally:
        with torch.no_grad():
            for parameter, value in kept:
                parameter.copy_(value)


def _largest(values: list[float]) -> float:
    return math.inf if any(math.isnan(value) for value in values) else max(values, default=0.0)


def sensitivity_bound(
    module: nn.Module,
    run: Callable[[Any, Tree], Tree],
    inputs: Any,
    state: Tree,
    *,
    dtype: torch.dtype,
    seed: int = 0,
    factor: float = 1.0,
) -> Bound:
    """Measure the bound for all results of one run together.

    Args:
        module: whose parameters are perturbed, and put back afterwards.
        run: from input and state to the results.
        inputs, state: of the run.
        dtype: the arithmetic that results may have been computed in.
        seed: of the noise.
        factor: on the bound.
    """

    def named(inputs: Any, state: Tree) -> dict[str, Tensor]:
        found = leaves(run(inputs, state))
        return {name: leaf for name, leaf in found if leaf.is_floating_point() or leaf.is_complex()}

    return Sensitivity(module, named, inputs, state, arithmetic=ARITHMETIC[dtype], seed=seed, factor=factor).whole()
