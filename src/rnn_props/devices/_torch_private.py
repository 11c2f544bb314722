"""Every private part of torch that the simulated accelerator stands on, and how to tell that one is missing.

Torch has one place in its dispatcher for a device that is not its own, PrivateUse1. Recent versions let Python code
take that place. What Python can't write is an allocator, so memory of the device is the CPU's, relabelled: DLPack is
the way by which tensors with foreign memory come into torch, it has a device type for "another device", and torch
reads that as PrivateUse1. So a tensor of the device is an ordinary `torch.Tensor` with storage, strides and views, and
there is nothing about it that this package would have to keep up to date.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

#: The name of the place before anybody took it.
_UNTAKEN = "privateuseone"
#: The dispatcher's name of the place.
_KEY = "PrivateUse1"
#: DLPack's numbers for the CPU and for a device of which it knows nothing (`DLDeviceType` in dlpack.h).
_CPU, _OTHER = 1, 12
#: Where a DLTensor, which starts with a pointer to the data, has its device type.
_LABEL = ctypes.sizeof(ctypes.c_void_p)

_C: Any = torch._C
#: The module; `torch.nn.parallel` has a function of that name.
_data_parallel: Any = importlib.import_module("torch.nn.parallel.data_parallel")
_NEEDED = (
    "DispatchKey.CPU",
    "DispatchKeySet",
    "_acc.DeviceGuard",
    "_acc.PrivateUse1Hooks",
    "_acc.register_python_privateuseone_hook",
    "_acc.register_python_privateuseone_device_guard",
    "_autograd.DeviceType.PrivateUse1",
    "_get_privateuse1_backend_name",
    "_dispatch_get_all_op_names",
    "_dispatch_has_kernel_for_dispatch_key",
    "_to_dlpack",
    "_from_dlpack",
    "_should_allow_numbers_as_tensors",
)

#: The same of objects other than `torch._C`: what it is called, the object, and what it needs to have.
_NEEDED_ELSEWHERE: tuple[tuple[str, Any, tuple[str, ...]], ...] = (
    ("torch", torch, ("_register_device_module", "_neg_view", "__future__.set_swap_module_params_on_conversion")),
    ("torch.nn.parallel.data_parallel", _data_parallel, ("_get_available_device_type",)),
    ("torch.utils", torch.utils, ("rename_privateuse1_backend", "generate_methods_for_privateuse1_backend")),
    ("torch.library", torch.library, ("Library.impl", "Library.fallback", "fallthrough_kernel")),
    ("torch.ops.aten.mul.Tensor", torch.ops.aten.mul.Tensor, ("_op", "_schema.arguments", "redispatch")),
)

_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype = ctypes.c_void_p
_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
_label_at = ctypes.c_int32.from_address
_to_dlpack: Any
_from_dlpack: Any
_to_dlpack, _from_dlpack = getattr(_C, "_to_dlpack", None), getattr(_C, "_from_dlpack", None)

#: Registrations end when their library object does.
_libraries: dict[str, Any] = {}


def taken_by() -> str | None:
    """The name under which this process has a foreign device; None where it has none."""
    name = str(_C._get_privateuse1_backend_name())
    return None if name == _UNTAKEN else name


def missing() -> str | None:
    """What this torch lacks for a device that is written in Python; None where it has everything."""
    lacks = [f"torch._C.{path}" for path in _NEEDED if not _has(_C, path)]
    lacks += [f"{name}.{path}" for name, owner, paths in _NEEDED_ELSEWHERE for path in paths if not _has(owner, path)]
    return ", ".join(lacks) or None


def _has(owner: Any, path: str) -> bool:
    for name in path.split("."):
        if not hasattr(owner, name):
            return False
        owner = getattr(owner, name)
    return True


def claim(name: str, module: object) -> None:
    """Take the place under a name; `module` becomes `torch.<name>`. Once a process.

    Torch prefers a foreign device to all others: it is the process's `torch.accelerator` from now on.
    """
    if torch.cuda.device_count() == 0:
        # The first backward pass of a process starts a thread for every device that there is, and with such threads
        # none of its forked children can run one. Where it is run before there is a device, there are no threads.
        torch.autograd.backward(torch.ones((), requires_grad=True))
    backends: Any = torch.utils
    backends.rename_privateuse1_backend(name)
    backends.generate_methods_for_privateuse1_backend()
    torch._register_device_module(name, module)  # type: ignore[no-untyped-call]

    class Hooks(_C._acc.PrivateUse1Hooks):  # type: ignore[misc]
        def is_available(self) -> bool:
            return True

        def has_primary_context(self, index: int) -> bool:
            return False

        def is_built(self) -> bool:
            return True

    class Guard(_C._acc.DeviceGuard):  # type: ignore[misc]
        def type_(self) -> Any:
            return _C._autograd.DeviceType.PrivateUse1

    _C._acc.register_python_privateuseone_hook(Hooks())
    _C._acc.register_python_privateuseone_device_guard(Guard())
    _make_storages(name)
    _hide_from_data_parallel(name)


def _make_storages(name: str) -> None:
    """Let `torch.UntypedStorage(..., device=name)` work, which copying and unpickling call.

    Torch would ask the device's allocator, which Python can't write, and die of there being none.
    """
    storage: Any = torch.UntypedStorage
    original = storage.__new__

    def new(cls: Any, *args: Any, **kwargs: Any) -> Any:
        device = kwargs.get("device")
        if device is None or torch.device(device).type != name:
            return original(cls, *args, **kwargs)
        inside = original(cls, *args, **{**kwargs, "device": "cpu"})
        return as_device(torch.empty(0, dtype=torch.uint8).set_(inside)).untyped_storage()

    storage.__new__ = staticmethod(new)


def _hide_from_data_parallel(name: str) -> None:
    """Let `nn.DataParallel` pass everything on, as it does where there is no accelerator.

    It moves its module to the first accelerator that torch lists, whichever it is, and hands out the input with
    functions that are CUDA's alone.
    """
    listed = _data_parallel._get_available_device_type

    def device_type() -> str | None:
        found = listed()
        return None if found == name else found

    _data_parallel._get_available_device_type = device_type


def as_device(tensor: Tensor) -> Tensor:
    """A tensor of the device that has the memory of a CPU tensor.

    Raises:
        NotImplementedError: it is sparse, quantised, or otherwise not an array of numbers.
    """
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise NotImplementedError(
            f"the simulated device has no tensors of layout {tensor.layout}, dtype {tensor.dtype}"
        )
    capsule = _to_dlpack(tensor)
    _label_at(_pointer(capsule, b"dltensor") + _LABEL).value = _OTHER
    return _from_dlpack(capsule)  # type: ignore[no-any-return]


def as_cpu(tensor: Tensor) -> Tensor:
    """A CPU tensor that has the memory of a tensor of the device, and no autograd history.

    Raises:
        RuntimeError: the tensor is of a third device.
    """
    capsule = _to_dlpack(tensor)
    label = _label_at(_pointer(capsule, b"dltensor") + _LABEL)
    if label.value != _OTHER:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{_C._get_privateuse1_backend_name()}:0 and {tensor.device}!"
        )
    label.value = _CPU
    inside: Tensor = _from_dlpack(capsule)
    # DLPack knows nothing of views that are conjugated or negated when they are read.
    if tensor.is_conj():
        inside = inside.conj()
    return torch._neg_view(inside) if tensor.is_neg() else inside


def point_at(tensor: Tensor, other: Tensor) -> None:
    """Give a tensor of the device the storage, sizes and strides of another, in place."""
    _redispatched(torch.ops.aten.set_.source_Storage_storage_offset)(
        tensor, other.untyped_storage(), other.storage_offset(), other.size(), other.stride()
    )


def of_metadata(op: Any) -> Callable[..., Any]:
    """The CPU's kernel of an operation that touches sizes, strides and storage only: it fits every device."""
    return _redispatched(op)


def _redispatched(op: Any) -> Callable[..., Any]:
    redispatch, keys = op.redispatch, _C.DispatchKeySet(_C.DispatchKey.CPU)
    return lambda *args, **kwargs: redispatch(keys, *args, **kwargs)


def callable_of(op: Any) -> Callable[..., Any]:
    """An operation without the Python code that torch puts around it."""
    return op._op  # type: ignore[no-any-return]


def schema_of(op: Any) -> Any:
    """An operation's name, arguments and results, and which of them it writes to."""
    return op._schema


def takes_numbers(name: str) -> bool:
    """Whether an operation takes Python numbers in the place of tensors."""
    return bool(_C._should_allow_numbers_as_tensors(name))


def register(op: Any, kernel: Callable[..., Any]) -> None:
    """Make a function the device's kernel of an operation."""
    _library("aten").impl(op, kernel, _KEY)


def register_copy(op: Any, kernel: Callable[..., Any]) -> None:
    """The same for an operation that copies: it is given conjugated and negated views as they are.

    Torch resolves such a view by copying it, so it can't do that before a copy.
    """
    register(op, kernel)
    for key in ("Conjugate", "Negative"):
        _library("aten").impl(op, torch.library.fallthrough_kernel, key)


def register_fallback(kernel: Callable[..., Any]) -> None:
    """Make a function the kernel of all operations that have no other. It is called with the operation first."""
    _library("_").fallback(kernel, _KEY)
    # Without this, torch has no autocast for foreign devices, and raises inside such a block. With it, none happens.
    _library("_").fallback(torch.library.fallthrough_kernel, f"Autocast{_KEY}")


def _library(namespace: str) -> Any:
    if namespace not in _libraries:
        _libraries[namespace] = torch.library.Library(namespace, "IMPL")  # type: ignore[no-untyped-call]
    return _libraries[namespace]


def composed() -> Iterator[Any]:
    """Operations of torch that have a kernel for all devices, which a fallback would come after, and none of those.

    They are the ones of which the kernel for all devices is made of calls with `out=`, the ones of which the CPU has a
    kernel of its own beside it, and those that make tensors of sizes and numbers alone.
    """
    has = _C._dispatch_has_kernel_for_dispatch_key
    for name in _C._dispatch_get_all_op_names():
        space, _, rest = name.partition("::")
        if space != "aten" or has(name, _KEY):
            continue
        if has(name, "CompositeExplicitAutogradNonFunctional"):
            yield _operation(rest)
        elif has(name, "CompositeExplicitAutograd"):
            op = _operation(rest)
            if has(name, "CPU") or _is_factory(op):
                yield op


def _is_factory(op: Any) -> bool:
    arguments = schema_of(op).arguments
    named = any(item.name == "device" for item in arguments)
    return named and not any("Tensor" in str(item.type) for item in arguments)


def _operation(name: str) -> Any:
    packet, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, packet), overload or "default")
