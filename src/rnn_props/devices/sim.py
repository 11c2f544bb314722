"""`sim`: an accelerator that is simulated, so that bugs of placement show on a machine that has none.

Its tensors are ordinary tensors whose device is `sim:0`. They refuse to be mixed with the CPU's where a GPU's do,
compute what the CPU computes, and can be told to compute it wrong. It tests where tensors are and what is done about
it, not the kernels of any real device.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import torch
from torch import Tensor, nn

from rnn_props.devices import _torch_private as private
from rnn_props.devices import kernels
from rnn_props.devices.mistakes import MISTAKES, Mistake, set_from_environment, set_wrong, wrong

__all__ = [
    "DEVICE",
    "MISTAKES",
    "Mistake",
    "UnavailableError",
    "is_set_up",
    "move",
    "set_up",
    "set_wrong",
    "why_not",
    "wrong",
]

#: The device's name; its only tensors are on `sim:0`.
DEVICE: Final = kernels.NAME
#: Why the device does not work although everything was there; None unless that was seen.
_failure: str | None = None


class UnavailableError(RuntimeError):
    """The simulated device can't be had; the message says why."""


def why_not() -> str | None:
    """Why this process can't have the device; None where it can."""
    lacks = private.missing()
    if lacks is not None:
        return f"torch {torch.__version__} has no devices that are written in Python: it lacks {lacks}"
    name = private.taken_by()
    if name not in (None, DEVICE):
        return f"torch has one place for a foreign device, and in this process '{name}' has it"
    return _failure


def is_set_up() -> bool:
    """Whether this process has the device."""
    return private.missing() is None and private.taken_by() == DEVICE


def set_up() -> None:
    """Give this process the device, for the rest of its life; a second call does nothing.

    Meant for processes that use this device and the CPU, no real GPU: torch can't take it back, makes it the process's
    `torch.accelerator`, and runs backward passes in the calling thread, as it does on the CPU anyway. What CPU code
    computes stays the same. Where the environment has RNN_PROPS_SIM_WRONG, the device starts with that mistake.

    Raises:
        UnavailableError: this torch can't have it, or the process has another foreign device.
    """
    global _failure
    reason = why_not()
    if reason is not None:
        raise UnavailableError(reason)
    if is_set_up():
        return
    private.claim(DEVICE, _Module())
    kernels.install()
    try:
        _try_out()
    except Exception as error:
        _failure = f"devices that are written in Python do not work in torch {torch.__version__}: {error}"
        raise UnavailableError(_failure) from error
    set_from_environment()


def _try_out() -> None:
    """What a torch may have under the same names and do otherwise: memory, views, the cells, gradients."""
    x = torch.arange(4.0).to(DEVICE)
    x[1:].mul_(2)
    found: list[Any] = [x.tolist(), x.device.type]
    weight = torch.ones(4, 1, device=DEVICE, requires_grad=True)
    h, _ = torch.lstm_cell(x[:, None], (x[:, None], x[:, None]), weight, weight)
    torch.autograd.backward(h.sum())
    found.append(weight.grad is not None and weight.grad.device.type)
    expected = [[0.0, 2.0, 4.0, 6.0], DEVICE, DEVICE]
    if found != expected:
        raise RuntimeError(f"they give {found} where {expected} is right")


def move(module: nn.Module) -> nn.Module:
    """Move a module to the device, in place, with the parameters that it has, as on the way to a GPU.

    Torch moves a module to CUDA by giving its parameters other memory. On the way to a foreign device it makes new
    parameters instead, so that tied weights, lists of parameters and optimizers lose theirs. It can be told to exchange
    them (`torch.__future__.set_swap_module_params_on_conversion`), which it refuses for a parameter to which a graph
    still refers. Then the rest of the module gets new ones. A lazy module has to have been called: torch loses what is
    lazy about its parameters on the way.
    """
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        return module.to(DEVICE)
    except RuntimeError as error:
        if "Couldn't swap" not in str(error):
            raise
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)
    return module.to(DEVICE)


class _Module:
    """`torch.sim`: what torch, and device-agnostic code, ask of a device's module. Random numbers are the CPU's."""

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def _is_in_bad_fork(self) -> bool:
        return False

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def set_device(self, device: Any) -> None:
        if torch.device(DEVICE, device if isinstance(device, int) else torch.device(device).index or 0).index:
            raise RuntimeError(f"{device}: there is one device, {DEVICE}:0")

    def device(self, device: Any) -> AbstractContextManager[None]:
        """The device to use inside a block: there is one."""
        self.set_device(device)
        return nullcontext()

    def synchronize(self, device: Any = None) -> None:
        """Nothing runs on its own."""

    def empty_cache(self) -> None:
        """Nothing is kept."""

    def manual_seed(self, seed: int) -> None:
        """The device's random numbers come from the CPU's generator, which has been seeded by who calls this."""

    def manual_seed_all(self, seed: int) -> None:
        """The same."""

    def get_rng_state(self, device: Any = None) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, new_state: Tensor, device: Any = None) -> None:
        torch.set_rng_state(new_state)

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]
