"""The operations of the simulated accelerator: refuse what CUDA refuses, compute the rest on the CPU."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from rnn_props.devices import _torch_private as private
from rnn_props.devices import mistakes
from rnn_props.devices.cells import CELLS

#: The name of the device; it has one, of index 0.
NAME: Final = "sim"

_aten: Any = torch.ops.aten
_CPU = torch.device("cpu")
#: What may be on another device, or hold something that is.
_TO_LOOK_AT = (Tensor, list, tuple, torch.device)

#: Operations of sizes, strides and storage alone.
_METADATA = (
    "as_strided", "as_strided_", "view", "view.dtype", "_reshape_alias", "unfold", "view_as_real", "view_as_complex",
    "is_set_to", "set_", "set_.source_Storage", "set_.source_Storage_storage_offset", "set_.source_Tensor",
)  # fmt: skip
#: Arguments that may be on the CPU whatever their size, as they may be where the other arguments are on a GPU.
_CPU_TOO: Mapping[str, tuple[str, ...]] = {
    "index": ("indices",),
    "_unsafe_index": ("indices",),
    "index_put": ("indices",),
    "_unsafe_index_put": ("indices",),
    "index_put_": ("indices",),
    "_index_put_impl_": ("indices",),
    "_index_put_impl": ("indices",),
}
#: Operations that take no number in the form of a CPU tensor without dimensions; elementwise operations do.
_NO_CPU_NUMBERS = frozenset((
    "bmm", "cat", "dot", "embedding", "gather", "index_add", "index_add_", "index_select", "masked_scatter",
    "masked_scatter_", "masked_select", "mm", "mv", "scatter", "scatter_", "scatter_add", "scatter_add_", "sort",
    "stack", "take", "topk",
))  # fmt: skip
#: The operands of products: what is computed in a lower precision on some devices.
_OPERANDS: Mapping[str, tuple[int, int]] = {
    "mm": (0, 1), "bmm": (0, 1), "mv": (0, 1), "dot": (0, 1), "vdot": (0, 1), "convolution_overrideable": (0, 1),
    "addmm": (1, 2), "addmm_": (1, 2), "addbmm": (1, 2), "addmv": (1, 2), "addmv_": (1, 2), "baddbmm": (1, 2),
    "baddbmm_": (1, 2),
}  # fmt: skip


def _convolution_backward(grad: Tensor, x: Tensor, weight: Tensor, *rest: Any) -> Any:
    return _aten.convolution_backward.default(grad, x, weight, [grad.shape[1]], *rest)


#: What torch calls on a device that it does not know, and what that is on the CPU.
_OTHER_NAMES: Mapping[str, Callable[..., Any]] = {
    "convolution_overrideable": private.callable_of(_aten.convolution.default),
    "convolution_backward_overrideable": _convolution_backward,
}


class _Thread(threading.local):
    """Set up in every thread that computes: backward passes run in the thread that asks for them.

    By default torch runs those of a device in a thread of its own. It starts such threads with the first backward pass
    of a process, for the devices that there are then, and dies of an assertion where one is missing.
    """

    ready = True

    def __init__(self) -> None:
        torch.autograd.set_multithreading_enabled(False)


_thread = _Thread()


class Kernel:
    """One operation of the device: arguments checked and seen as CPU tensors, results relabelled.

    Memory is shared both ways, so what is written in place is written once. Outputs that are given (`out=`) may have to
    grow, which memory from elsewhere can't, so they are computed apart.
    """

    def __init__(self, op: Any, compute: Callable[..., Any] | None = None) -> None:
        schema = private.schema_of(op)
        base = str(schema.name).partition("::")[2]
        self.name = str(schema.name)
        self._compute = compute or _OTHER_NAMES.get(base) or private.callable_of(op)
        #: Chooses an overload by the types of its arguments: a number that torch made a tensor of comes as a number.
        self._by_types = op.overloadpacket
        tensors = tuple(place for place, item in enumerate(schema.arguments) if str(item.type) == "Tensor")
        self._numeric = () if len(tensors) < 2 or private.takes_numbers(base) else tensors
        self.names = tuple(item.name for item in schema.arguments)
        self._positions = {name: place for place, name in enumerate(self.names)}
        written = [item for item in schema.arguments if item.alias_info is not None and item.alias_info.is_write]
        self._outs = tuple(item.name for item in written if item.kwarg_only)
        #: For every result the argument that it is, if it is one.
        self._returned = tuple(_written_as(item, written) for item in schema.returns)
        self._writes = bool(written)
        self._allowed = frozenset(_CPU_TOO.get(base, ()))
        self._numbers = frozenset() if base in _NO_CPU_NUMBERS else frozenset(self.names) - {i.name for i in written}
        self._operands = _OPERANDS.get(base)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        _ = _thread.ready
        inner = list(args)
        for place, value in enumerate(args):
            # The most common case first and in line, which saves it the call of a method.
            if isinstance(value, Tensor) and not value.is_cpu:
                inner[place] = private.as_cpu(value)
            elif isinstance(value, _TO_LOOK_AT):
                inner[place] = self._argument(value, place)
        keywords = {name: self._keyword(name, value) for name, value in kwargs.items()} if kwargs else kwargs
        compute = self._compute
        for place in self._numeric:
            if place < len(inner) and not isinstance(inner[place], Tensor):
                compute = self._by_types
        if self._operands is not None and mistakes.current is not None:
            result = mistakes.apply(compute, inner, self._operands, keywords)
        else:
            result = compute(*inner, **keywords)
        if self._writes:
            return self._written(args, kwargs, keywords, result)
        return private.as_device(result) if isinstance(result, Tensor) else _on_device(result)

    def _argument(self, value: Any, place: int) -> Any:
        """An argument as it is given to the CPU's kernel."""
        if isinstance(value, Tensor):
            if not value.is_cpu:
                return private.as_cpu(value)
            name = self.names[place]
            if (value.dim() or name not in self._numbers) and name not in self._allowed:
                raise self._refused(name)
            return value
        if isinstance(value, list | tuple):
            return [self._argument(item, place) for item in value]
        return _of_cpu(value) if isinstance(value, torch.device) else value

    def _keyword(self, name: str, value: Any) -> Any:
        if name == "generator" and value is not None:
            raise RuntimeError(f"Expected a '{NAME}' device type for generator but found '{value.device.type}'")
        inside = self._argument(value, self._positions[name])
        return torch.empty(0, dtype=inside.dtype) if name in self._outs else inside

    def _written(self, args: Sequence[Any], kwargs: Mapping[str, Any], inside: Mapping[str, Any], result: Any) -> Any:
        """The results, with the arguments themselves where they were written to."""
        for name in self._outs:
            if name in kwargs:
                _fill(kwargs[name], inside[name])
        if not self._returned:
            return None
        if len(self._returned) == 1:
            return self._one(self._returned[0], args, kwargs, result)
        pairs = zip(self._returned, result, strict=True)
        return tuple(self._one(name, args, kwargs, item) for name, item in pairs)

    def _one(self, name: str | None, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> Any:
        if name is None:
            return _on_device(result)
        return kwargs[name] if name in kwargs else args[self._positions[name]]

    def _refused(self, name: str) -> RuntimeError:
        return RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {NAME}:0 and cpu! "
            f"(when checking argument {name} of {self.name})"
        )


def _written_as(returned: Any, written: Sequence[Any]) -> str | None:
    info = returned.alias_info
    if info is None or not info.is_write:
        return None
    return next(str(item.name) for item in written if item.alias_info.before_set == info.before_set)


def _of_cpu(device: torch.device) -> torch.device:
    if device.index:
        raise RuntimeError(f"{device}: there is one simulated device, {NAME}:0")
    return _CPU


def _on_device(result: Any) -> Any:
    if isinstance(result, Tensor):
        return private.as_device(result)
    if isinstance(result, list | tuple):
        return type(result)(_on_device(item) for item in result)
    return result


def _fill(out: Tensor, values: Tensor) -> None:
    if out.shape == values.shape:
        private.as_cpu(out).copy_(values)
    else:
        private.point_at(out, private.as_device(values))


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    """Copies between devices, and between dtypes and layouts of the device."""
    inside = target if target.is_cpu else private.as_cpu(target)
    inside.copy_(source if source.is_cpu else private.as_cpu(source), non_blocking)
    return target


def _copy_from_and_resize(source: Tensor, target: Tensor) -> Tensor:
    _resize(target, source.shape)
    return _copy_from(source, target)


_resize_within = private.of_metadata(_aten.resize_.default)


def _resize(tensor: Tensor, size: Sequence[int], *, memory_format: torch.memory_format | None = None) -> Tensor:
    """In place. A tensor that outgrows its memory gets a larger one, with what it held in front."""
    needed = (tensor.storage_offset() + math.prod(size)) * tensor.element_size()
    if needed > tensor.untyped_storage().nbytes():
        grown = private.as_cpu(tensor).clone().resize_(size)
        private.point_at(tensor, private.as_device(grown))
    return _resize_within(tensor, size, memory_format=memory_format)  # type: ignore[no-any-return]


def install() -> None:
    """Register every kernel. Once a process."""
    kernels: dict[Any, Kernel] = {}

    def fallback(op: Any, *args: Any, **kwargs: Any) -> Any:
        kernel = kernels.get(op)
        if kernel is None:
            kernel = kernels[op] = Kernel(op)
        return kernel(*args, **kwargs)

    for name in _METADATA:
        packet, _, overload = name.partition(".")
        op = getattr(getattr(_aten, packet), overload or "default")
        private.register(op, private.of_metadata(op))
    for op, compute in CELLS.items():
        private.register(op, Kernel(op, compute))
    for op in (*private.composed(), *(getattr(_aten, name).default for name in _OTHER_NAMES)):
        private.register(op, Kernel(op))
    private.register_copy(_aten._copy_from.default, _copy_from)
    private.register_copy(_aten._copy_from_and_resize.default, _copy_from_and_resize)
    private.register(_aten.resize_.default, _resize)
    private.register_fallback(fallback)
