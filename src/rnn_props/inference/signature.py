"""Reading signatures: what the constructor takes, what forward takes, and which part each argument plays."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rnn_props.contracts import ROLE_NAMES
from rnn_props.inference.names import INITIAL_NAMES, RESET_NAMES, STEP_NAMES, TIME_SPAN_NAMES

#: The constructors of torch.nn's recurrent modules, which only have *args in their signature.
_TORCH_ARGUMENTS: Mapping[type[nn.Module], tuple[str, ...]] = {
    nn.RNN: (
        "input_size", "hidden_size", "num_layers", "nonlinearity", "bias", "batch_first", "dropout", "bidirectional",
        "device", "dtype",
    ),
    nn.LSTM: (
        "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional", "proj_size",
        "device", "dtype",
    ),
    nn.GRU: (
        "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional", "device", "dtype",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument: its name, whether it must be given, its default and its annotation as text."""

    name: str
    required: bool
    default: Any
    annotation: str


@dataclass(frozen=True, slots=True)
class Signatures:
    """What is read off a target before it is run.

    Attributes:
        constructor: the constructor's arguments, without self.
        forward: forward's arguments, without self; empty where they can't be read.
        open_ended: whether the constructor takes further keywords.
        reset: the method without arguments that makes the module forget, or "".
        initial: the method that makes a state for a number of rows, or "".
        step: the method that makes one step from an input and a state, or "".
    """

    constructor: tuple[Parameter, ...]
    forward: tuple[Parameter, ...]
    open_ended: bool
    reset: str = ""
    initial: str = ""
    step: str = ""

    @property
    def time_spans(self) -> str:
        """The argument of forward that may have the time between steps, or ""."""
        found = (item.name for item in self.forward[1:] if item.name in TIME_SPAN_NAMES and not item.required)
        return next(found, "")

    def constructor_names(self) -> set[str]:
        return {parameter.name for parameter in self.constructor}


def read_signatures(target: Any) -> Signatures:
    """Read a class, a factory or an instance; torch.nn's own constructors are known."""
    if isinstance(target, torch.jit.ScriptModule):
        return Signatures((), _of_schema(target), False)
    if isinstance(target, nn.Module):
        inner = unwrapped(target)
        if isinstance(inner, torch.jit.ScriptModule):
            return read_signatures(inner)
        cls = type(target)
        return Signatures((), _parameters(type(inner).forward), False, _reset(cls), _initial(cls), _step(cls))
    if isinstance(target, type) and issubclass(target, nn.Module):
        for known, names in _TORCH_ARGUMENTS.items():
            if issubclass(target, known) and target.__init__ is known.__init__:
                constructor = tuple(Parameter(name, name in ("input_size", "hidden_size"), None, "") for name in names)
                return Signatures(constructor, _parameters(target.forward), False)
        constructor, open_ended = _constructor(target.__init__)
        if open_ended and _passes_on(target):
            constructor = _inherited(target)
        return Signatures(
            constructor, _parameters(target.forward), open_ended, _reset(target), _initial(target), _step(target)
        )
    constructor, open_ended = _constructor(target, bound=True)
    return Signatures(constructor, (), open_ended)


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside wrappers that pass on whatever they are called with, such as `nn.DataParallel`, what
    `torch.compile` returns, and adapters around a model."""
    while not isinstance(module, torch.jit.ScriptModule):
        children = list(module.children())
        if len(children) != 1 or not _passes_all_on(type(module).forward):
            break
        module = children[0]
    return module


def _passes_all_on(function: Any) -> bool:
    try:
        items = list(inspect.signature(function).parameters.values())[1:]
    except (TypeError, ValueError):
        return False
    return bool(items) and not any(_is_named(item) for item in items)


def _reset(cls: type[nn.Module]) -> str:
    """The method of a class that makes it forget: one of the usual names, to be called without arguments. One that
    belongs to the class, and not to the module, is taken last: it may know of some modules alone."""
    found = []
    for name in RESET_NAMES:
        method = getattr(cls, name, None)
        if callable(method) and not any(item.required for item in _parameters(method)):
            found.append(name)
    return min(found, key=lambda name: isinstance(inspect.getattr_static(cls, name), classmethod), default="")


def _initial(cls: type[nn.Module]) -> str:
    """The method of a class that makes a state: one of the usual names, with the batch size as its only argument."""
    for name in INITIAL_NAMES:
        method = getattr(cls, name, None)
        if callable(method) and sum(item.required for item in _parameters(method)) == 1:
            return name
    return ""


def _step(cls: type[nn.Module]) -> str:
    """The method of a class that makes one step: one of the usual names, with an input and parts of a state."""
    for name in STEP_NAMES:
        method = getattr(cls, name, None)
        parameters = _parameters(method) if callable(method) else ()
        if len(parameters) > 1 and sum(item.required for item in parameters) <= 4:
            return name
    return ""


def role_of(name: str) -> str | None:
    """The role that an argument of this name plays."""
    return next((role for role, names in ROLE_NAMES.items() if name in names), None)


def _of_schema(module: torch.jit.ScriptModule) -> tuple[Parameter, ...]:
    """Forward's arguments of a scripted or traced module."""
    schema: Any = getattr(getattr(module, "forward", None), "schema", None)
    return tuple(
        Parameter(item.name, not item.has_default_value(), item.default_value, str(item.type))
        for item in (schema.arguments[1:] if schema is not None else ())
    )


def _constructor(function: Any, *, bound: bool = False) -> tuple[tuple[Parameter, ...], bool]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return (), True
    items = list(signature.parameters.values())
    if not bound:
        items = items[1:]
    open_ended = any(item.kind is inspect.Parameter.VAR_KEYWORD for item in items)
    return tuple(_read(item) for item in items if _is_named(item)), open_ended


def _passes_on(cls: type[nn.Module]) -> bool:
    """Whether a constructor takes *args, too: what it does not name is the next constructor's."""
    try:
        items = inspect.signature(cls.__init__).parameters.values()
    except (TypeError, ValueError):
        return False
    return sum(item.kind is inspect.Parameter.VAR_POSITIONAL for item in items) == 1


def _inherited(cls: type[nn.Module]) -> tuple[Parameter, ...]:
    """What a constructor with *args and **kwargs passes on: the arguments of the next constructor above it."""
    found: dict[str, Parameter] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base) or base is nn.Module:
            continue
        for known, names in _TORCH_ARGUMENTS.items():
            if base is known:
                own = tuple(Parameter(name, name in ("input_size", "hidden_size"), None, "") for name in names)
                return (*found.values(), *(item for item in own if item.name not in found))
        constructor, open_ended = _constructor(vars(base)["__init__"])
        # A base of several modules is told which of them it is.
        found |= {item.name: item for item in constructor if item.name not in found and item.name != "mode"}
        if not open_ended:
            break
    return tuple(found.values())


def _parameters(function: Any) -> tuple[Parameter, ...]:
    try:
        items = list(inspect.signature(function).parameters.values())[1:]
    except (TypeError, ValueError):
        return ()
    return tuple(_read(item) for item in items if _is_named(item))


def _is_named(item: inspect.Parameter) -> bool:
    return item.kind not in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _read(item: inspect.Parameter) -> Parameter:
    empty = inspect.Parameter.empty
    annotation = "" if item.annotation is empty else str(item.annotation)
    required = item.default is empty
    return Parameter(item.name, required, None if required else item.default, annotation)
