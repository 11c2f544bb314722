"""Devices by name: which there are, which are meant, and why one is not there.

Torch is imported when it is asked, not before: the command line reads names too.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

Kind = Literal["cpu", "sim", "cuda", "mps"]
#: Every kind of device that this package knows, the simpler ones first.
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
#: The word for every device that is there.
ALL: Final = "all"
#: What others call them.
_ALSO_CALLED: Final = {"gpu": "cuda", "metal": "mps", "host": "cpu"}
_NAME = re.compile(r"(?P<kind>[a-z]+)(?::(?P<index>[0-9]+))?")


class DeviceNameError(ValueError):
    """A text that names no device. The message says what to write instead."""


@dataclass(frozen=True, slots=True)
class Device:
    """One device: `cpu`, `sim`, `cuda`, `cuda:1`, `mps`; what `torch.device` takes in a process that has it.

    Attributes:
        name: `cuda` alone is whichever GPU a process was given.
        missing: why it is not there, or "".
    """

    name: str
    kind: Kind
    missing: str = ""

    def __str__(self) -> str:
        return self.name


def available() -> tuple[Device, ...]:
    """One device of each kind that is there: the CPU, the simulated one where this torch can have it, real ones."""
    return tuple(Device(kind, kind) for kind in KINDS if why_not(kind) is None)


def choose(texts: Iterable[str]) -> list[Device]:
    """The devices that texts mean, each once; one that is not there says why.

    Raises:
        DeviceNameError: a text means none.
    """
    found = {device.name: device for text in texts for device in parse(text)}
    return [replace(device, missing=why_not(name) or "") for name, device in found.items()]


def kind_of(name: str) -> Kind:
    """`cuda` of `cuda:1`.

    Raises:
        DeviceNameError: the text names no device.
    """
    return parse(name)[0].kind


def parse(text: str) -> tuple[Device, ...]:
    """The devices that a text means.

    Args:
        text: `cpu`, `sim`, `mps`, `cuda:N`, `cuda` for the GPUs there are, `all` for every kind of device that is
            there.

    Raises:
        DeviceNameError: it means none. A device that is named well and not there is no error: ask `why_not`.
    """
    wanted = text.strip().lower()
    if wanted == ALL:
        return available()
    match = _NAME.fullmatch(wanted)
    kind = next((kind for kind in KINDS if match is not None and match["kind"] == kind), None)
    if match is None or kind is None:
        raise DeviceNameError(f"'{text}' is not a device{_closest(wanted)}; there are {_known()}")
    if kind != "cuda":
        if match["index"] not in (None, "0"):
            raise DeviceNameError(f"'{text}' is not a device: there is one '{kind}'; write '{kind}'")
        return (Device(kind, kind),)
    return (Device("cuda" if match["index"] is None else f"cuda:{int(match['index'])}", "cuda"),)


def why_not(name: str) -> str | None:
    """Why a device is not there; None if it is.

    Raises:
        DeviceNameError: the text names no device.
    """
    device = parse(name)[0]
    if device.kind == "sim":
        from rnn_props.devices import sim

        return sim.why_not()
    if device.kind == "mps":
        return _why_no_mps()
    return _why_no_cuda(device) if device.kind == "cuda" else None


def _cuda_devices() -> int:
    import torch

    # Counting alone, without asking whether they work, leaves a process fit to be forked.
    return torch.cuda.device_count() if _has_cuda() else 0


def _has_cuda() -> bool:
    import torch

    return torch.version.cuda is not None or torch.version.hip is not None


def _why_no_cuda(device: Device) -> str | None:
    import torch

    if not _has_cuda():
        return f"torch {torch.__version__} is built without CUDA"
    count = _cuda_devices()
    if count == 0:
        return "torch sees no CUDA device"
    index = int(device.name.partition(":")[2] or 0)
    return None if index < count else f"torch sees {count} CUDA device{'s' * (count > 1)}, up to cuda:{count - 1}"


def _why_no_mps() -> str | None:
    import torch

    mps: Any = torch.backends.mps
    if not mps.is_built():
        return f"torch {torch.__version__} is built without MPS"
    return None if mps.is_available() else "torch sees no MPS device: it needs macOS on Apple silicon"


def _known() -> str:
    return "'cpu', 'sim', 'mps', 'cuda', 'cuda:1' for one of several GPUs, and 'all' for those that are there"


def _closest(wanted: str) -> str:
    kind, colon, rest = wanted.partition(":")
    near = [_ALSO_CALLED[kind]] if kind in _ALSO_CALLED else difflib.get_close_matches(kind, [*KINDS, ALL], 1, 0.5)
    if not near:
        return ""
    index = f":{rest}" if colon and rest.isdigit() and near[0] == "cuda" else ""
    return f" (did you mean '{near[0]}{index}'?)"
