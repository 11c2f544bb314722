"""Tensors that a module can reach and has not registered: plain attributes, lists of modules, closures."""

from __future__ import annotations

import functools
import types
import weakref
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

#: What torch itself keeps on a module: the registered tensors and modules, and hooks.
_TORCHS_OWN = frozenset(vars(nn.Module()))
#: Objects, and items of one container, that are looked into at most: a module may hold a data set, or a register of all
#: instances that there ever were.
_MOST_OBJECTS, _MOST_ITEMS = 5_000, 100


def registered_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer by name, those aside that have no memory yet."""
    named = (*module.named_parameters(), *module.named_buffers())
    return {name: tensor for name, tensor in named if not is_lazy(tensor)}


def statistics_of(module: nn.Module) -> dict[str, Tensor]:
    """The buffers by name that torch's own layers keep, and change in training: running means and variances, vectors of
    a power iteration."""
    owners = dict(module.named_modules())  # those that are registered under two names once
    return {
        name: buffer
        for name, buffer in module.named_buffers()
        if type(owners.get(name.rpartition(".")[0])).__module__.startswith("torch.") and not is_lazy(buffer)
    }


def hidden_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Every tensor that can be reached from a module's attributes and shares no memory with one that it registered.

    Lists, dicts, modules outside the tree, plain objects, partial functions, methods and closures are looked into; the
    keys are paths, such as `cells[0].weight_ih`. Of tensors that share their memory the first is given.
    """
    seen = {_memory(tensor) for tensor in registered_tensors(module).values()}
    found: dict[str, Tensor] = {}
    for path, tensor in _reachable(module):
        place = _memory(tensor)
        if place is not None and place not in seen:
            seen.add(place)
            found[path] = tensor
    return found


def _memory(tensor: Tensor) -> int | None:
    """The address of a tensor's storage; None where it has none."""
    if tensor.layout != torch.strided or tensor.numel() == 0 or tensor.device.type == "meta":
        return None
    return tensor.untyped_storage().data_ptr()


def _reachable(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    visited: set[int] = set()
    waiting: list[tuple[str, Any]] = [(name, part) for name, part in module.named_modules()][::-1]
    while waiting and len(visited) < _MOST_OBJECTS:
        path, value = waiting.pop()
        if id(value) in visited or (isinstance(value, Tensor) and is_lazy(value)):
            continue
        visited.add(id(value))
        if isinstance(value, Tensor):
            yield path, value
        else:
            waiting += list(_inside(path, value))[::-1]


def _inside(path: str, value: Any) -> Iterable[tuple[str, Any]]:
    """What a value holds, each with its path."""
    if isinstance(value, Mapping | list | tuple | Set) and len(value) > _MOST_ITEMS:
        return ()
    if isinstance(value, Mapping):
        return [(f"{path}[{key!r}]", item) for key, item in value.items()]
    if isinstance(value, list | tuple | Set):
        return [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    if isinstance(value, functools.partial):
        parts = {"func": value.func, "args": value.args, "keywords": value.keywords}
        return [(f"{path}.{name}", item) for name, item in parts.items()]
    if isinstance(value, types.MethodType):
        return [(f"{path}.__self__", value.__self__)]
    if isinstance(value, types.FunctionType):
        return _of_function(path, value)
    if isinstance(value, nn.Module):
        return _of_module(path, value)
    if isinstance(value, type | types.ModuleType | weakref.ReferenceType) or _is_foreign(type(value)):
        return ()
    return [(_join(path, name), item) for name, item in _attributes(value).items()]


def _of_function(path: str, function: types.FunctionType) -> list[tuple[str, Any]]:
    held: list[tuple[str, Any]] = []
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            held.append((f"{path}.{name}", cell.cell_contents))
        except ValueError:  # a variable that has no value yet
            continue
    return held + [(f"{path}.__defaults__[{place}]", item) for place, item in enumerate(function.__defaults__ or ())]


def _of_module(path: str, module: nn.Module) -> list[tuple[str, Any]]:
    own = {name: item for name, item in vars(module).items() if name not in _TORCHS_OWN}
    for cls in type(module).__mro__:
        if not _is_foreign(cls):
            shared = {name: item for name, item in vars(cls).items() if isinstance(item, Tensor | list | dict)}
            own = {**{name: item for name, item in shared.items() if not name.startswith("__")}, **own}
    # A module that is met outside the tree brings what it registered.
    for registered in (module._parameters, module._buffers, module._modules):
        own.update({name: item for name, item in registered.items() if item is not None})
    return [(_join(path, name), item) for name, item in own.items()]


def _attributes(value: Any) -> dict[str, Any]:
    held = dict(getattr(value, "__dict__", {}))
    for cls in type(value).__mro__:
        slots = vars(cls).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name):
                held[name] = getattr(value, name)
    return held


def _is_foreign(cls: type) -> bool:
    """Classes of torch and of Python's own: what they hold is not the target's doing."""
    return cls.__module__.partition(".")[0] in ("torch", "builtins", "typing", "abc", "_thread", "threading", "logging")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
