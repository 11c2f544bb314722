"""The reference of a contract: built and given the module's weights, or called with the module; not a check itself.

Whatever goes wrong with it is a `ContractError`, never held against the module under test.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from rnn_props.checks.trial import Trial
from rnn_props.contracts import ContractError
from rnn_props.numerics import difference
from rnn_props.subjects import (
    Factory,
    Result,
    Subject,
    TargetRaisedError,
    UnusableResultError,
    kept_clean,
    map_tree,
)
from rnn_props.targets import TargetError, load, parse


@dataclass(frozen=True, slots=True)
class Reference:
    """The reference of one trial.

    Attributes:
        name: what it is called in messages.
        subject: what is called: a module with the weights of the module under test, or a function.
        weights: the reference's parameters as a function of the module's; None where it reads these themselves.
    """

    trial: Trial
    name: str
    subject: Subject
    weights: _Weights | None = None

    def result(self, like: Result) -> Result:
        """What the reference gives in the case's own call; its shapes must be those of the module's result.

        Raises:
            ContractError: it raised, or gave something of other shapes.
        """
        with _blaming(self.name):
            result = self.trial.call(subject=self.subject)
        for what, own, other in (("output", like.output, result.output), ("state", like.state, result.state)):
            gap = difference(map_tree(torch.zeros_like, other), map_tree(torch.zeros_like, own), what)
            if gap is not None:
                raise ContractError(
                    f"the contract's reference {self.name} gives no result that can be compared: {gap.message}"
                )
        return result

    def gradients(self) -> dict[str, Tensor | None]:
        """The gradients of the reference's results of what the module's are of: input, state and own parameters.

        Parameters are left out where the reference's weights are no differentiable function of them.
        """
        with _blaming(self.name):
            found = self.trial.gradients(subject=self.subject)
        return found if self.weights is None else self.weights.of_own(found)


@dataclass(frozen=True, slots=True)
class _Weights:
    """The module's own tensors by name, and the reference's as functions of them."""

    own: Mapping[str, Tensor]
    theirs: Mapping[str, Tensor]

    def of_own(self, found: Mapping[str, Tensor | None]) -> dict[str, Tensor | None]:
        """Gradients of the reference's parameters, led back to the module's."""
        gradients = {name: value for name, value in found.items() if not name.startswith("parameter ")}
        reached = {name: value for name in self.theirs if (value := found.get(f"parameter {name}")) is not None}
        if not reached or not all(self.theirs[name].requires_grad for name in reached):
            return gradients
        own = {name: value for name, value in self.own.items() if value.requires_grad}
        back = torch.autograd.grad(
            [self.theirs[name] for name in reached], list(own.values()), list(reached.values()), allow_unused=True
        )
        return gradients | {f"parameter {name}": value for name, value in zip(own, back, strict=True)}


def reference_of(t: Trial) -> Reference:
    """The reference of a trial's contract: a class is built, and given the module's weights; a function is called.

    Raises:
        ContractError: it can't be imported or built, or a weight has no place.
    """
    target = _loaded(t.contract.reference, "reference")
    name = getattr(target, "__qualname__", type(target).__name__)
    if isinstance(target, type) and issubclass(target, nn.Module):
        with _blaming(name):
            factory = Factory(target, t.contract, t.factory.stopwatch)
            subject = factory.subject(t.case.hyperparameters, t.case.parameter_seed, dtype=t.case.dtype)
        return Reference(t, name, subject, _give_weights(t, subject.module, name))
    if isinstance(target, type | nn.Module) or not callable(target):
        raise ContractError(
            f"the contract's reference is {target!r}: give a torch.nn.Module class, which is built with the same "
            "hyperparameters, or a function (module, input, state) -> results"
        )
    function = _Function(target, t.subject.module, t.contract.arguments.get("state", "state"))
    return Reference(t, name, Subject(function, t.contract, t.case.hyperparameters, t.factory.stopwatch, t.case.dtype))


class _Function(nn.Module):
    """A function of module, input and state in the place of a module; its parameters are the module's."""

    def __init__(self, function: Callable[..., Any], module: nn.Module, state_name: str) -> None:
        super().__init__()
        self._call = function
        self._of = (module,)  # in a tuple, so that it is not registered
        self._state_name = state_name

    def named_parameters(self, *arguments: Any, **keywords: Any) -> Iterator[tuple[str, nn.Parameter]]:
        return self._of[0].named_parameters(*arguments, **keywords)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of[0], name)  # such as the method that resets it

    def forward(self, input: Any, state: Any = None, **keywords: Any) -> Any:
        return self._call(self._of[0], input, keywords.pop(self._state_name, state), **keywords)


@contextmanager
def _blaming(name: str) -> Iterator[None]:
    """What the reference raises is an error of the contract."""
    try:
        yield
    except (TargetRaisedError, UnusableResultError) as error:
        where = f"\nat {error.where}" if isinstance(error, TargetRaisedError) and error.where else ""
        raise ContractError(f"the contract's reference {name}: {error}{where}") from error


def _loaded(value: Any, what: str) -> Any:
    """What a contract holds, or has the name of."""
    try:
        return _imported(value) if isinstance(value, str) else value
    except TargetError as error:
        raise ContractError(f"the contract's {what}: {error}") from error


@lru_cache
def _imported(name: str) -> Any:
    with kept_clean():
        return load(parse(name))


# -- weights ----------------------------------------------------------------------------------------------------------


def _give_weights(t: Trial, reference: nn.Module, name: str) -> _Weights:
    """Put the module's parameters and buffers into the reference."""
    own = _leaves(t.subject.module)
    places: dict[str, Tensor] = {
        **dict(reference.named_parameters(remove_duplicate=False)),
        **dict(reference.named_buffers()),
    }
    with kept_clean(), torch.enable_grad():
        weights = _weights_for(t, own, reference, places, name)
    for place, value in weights.items():
        if not isinstance(value, Tensor) or value.shape != places[place].shape:
            got = tuple(value.shape) if isinstance(value, Tensor) else f"no tensor ({type(value).__name__})"
            raise ContractError(
                f"'{place}' of the reference {name} has shape {tuple(places[place].shape)}, and what goes in has "
                f"{got}: let reference_weights be a function that brings it into that shape"
            )
    with torch.no_grad():
        for place, value in weights.items():
            places[place].copy_(value)
    return _Weights({key: own[key] for key, _ in t.subject.module.named_parameters()}, weights)


def _leaves(module: nn.Module) -> dict[str, Tensor]:
    """Copies of parameters and buffers by name, from which gradients can be asked; what is tied stays one tensor."""
    copies: dict[int, Tensor] = {}
    leaves = {}
    for name, value in module.named_parameters(remove_duplicate=False):
        if id(value) not in copies:
            copies[id(value)] = value.detach().clone().requires_grad_(value.is_floating_point())
        leaves[name] = copies[id(value)]
    return leaves | {name: value.detach().clone() for name, value in module.named_buffers()}


def _weights_for(
    t: Trial, own: dict[str, Tensor], reference: nn.Module, places: Mapping[str, Tensor], name: str
) -> dict[str, Tensor]:
    """The reference's parameters and buffers as functions of the module's, by their names in the reference."""
    said = _loaded(t.contract.reference_weights, "reference_weights")
    if callable(said):
        try:
            weights = dict(said(dict(own)))
        except Exception as error:
            raise ContractError(f"the contract's reference_weights raised {type(error).__name__}: {error}") from error
        _all_known(weights, places, name)
        missing = [place for place, _ in reference.named_parameters() if place not in weights]
        if missing:
            raise ContractError(
                f"the contract's reference_weights give no '{missing[0]}', which the reference {name} has"
            )
        return weights
    # A parameter may be missing on both sides: without bias, say.
    _all_known([place for place, source in said.items() if source in own], places, name)
    parameters = {place for place, _ in reference.named_parameters(remove_duplicate=False)}
    weights = {}
    for place in places:
        source = said.get(place, place)
        if source in own:
            weights[place] = own[source]
        elif place in parameters or place in said:
            raise ContractError(
                f"the reference {name} has a parameter '{place}', and the module has no '{source}': say in "
                f"reference_weights which it is{_closest(source, own)}"
            )
    used = {id(value) for value in weights.values()}
    left = [key for key, _ in t.subject.module.named_parameters() if id(own[key]) not in used]
    if left:
        raise ContractError(
            f"the module's parameter '{left[0]}' goes nowhere in the reference {name}: say in reference_weights where, "
            f"or let it be a function that leaves it out{_closest(left[0], places)}"
        )
    return weights


def _all_known(weights: Iterable[str], places: Mapping[str, Any], name: str) -> None:
    for place in weights:
        if place not in places:
            raise ContractError(
                f"the contract's reference_weights have '{place}', which the reference {name} has not"
                f"{_closest(place, places)}"
            )


def _closest(name: str, names: Iterable[str]) -> str:
    match = difflib.get_close_matches(name, list(names), n=1, cutoff=0.4)
    return f"; the closest name is '{match[0]}'" if match else ""
