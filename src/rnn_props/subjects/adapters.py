"""Adapters: a few methods of the user's that say how to build and call a module that fits no convention."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from rnn_props.targets import TargetError, load, parse

METHODS = ("build", "call", "initial_state", "split_state")


class Adapter:
    """How a module is built and called. Override what differs from `module(input, state) -> (output, state)`.

    An adapter stands at the top level of a module, as a class or as an object, and keeps nothing between calls: worker
    processes import it by its name. The shapes of input, output and state are those of the contract; inference finds
    them out by calling it.
    """

    def build(self, target: Any, **hyperparameters: Any) -> nn.Module:
        """A module of the target, with constructor arguments as keywords."""
        module: nn.Module = target(**hyperparameters)
        return module

    def call(self, module: nn.Module, input: Tensor, state: Any) -> Any:
        """Call the module; a state of None means that none is given."""
        return module(input) if state is None else module(input, state)

    def initial_state(self, module: nn.Module, batch: int) -> Any:
        """A state for this many rows, where the module can't do without one; None where it can."""
        return None

    def split_state(self, value: Any) -> tuple[Any, Any]:
        """The output and the state in what `call` returned; None for what there is not."""
        output, state = value
        return output, state


def load_adapter(text: str) -> Adapter:
    """The adapter that a text such as `adapter.py:ADAPTER` names, or one that is given as it is.

    Raises:
        TargetError: there is none, or what is there lacks a method.
    """
    return as_adapter(load(parse(text)), text)


def as_adapter(found: Any, name: str = "") -> Adapter:
    """An adapter from a class or an object with an adapter's methods; those that are missing are `Adapter`'s.

    Raises:
        TargetError: it has none of the methods.
    """
    name = name or getattr(found, "__name__", type(found).__name__)
    if isinstance(found, type):
        found = found()
    if isinstance(found, Adapter):
        return found
    own = {method: getattr(found, method) for method in METHODS if callable(getattr(found, method, None))}
    if not own:
        raise TargetError(f"{name} is no adapter: it has none of the methods {', '.join(METHODS)}")
    adapter = Adapter()
    for method, function in own.items():
        setattr(adapter, method, function)
    return adapter
