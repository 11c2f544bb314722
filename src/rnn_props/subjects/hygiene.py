"""Keeping torch's global state clean around a target's code, and saying what the target changed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class GlobalState:
    """The process-wide settings of torch that a module has no business with.

    Field names are the words that a message uses.
    """

    grad_mode: bool
    default_dtype: torch.dtype
    default_device: torch.device
    threads: int
    deterministic_algorithms: bool
    autocast: bool
    inference_mode: bool
    anomaly_mode: bool

    @staticmethod
    def now() -> GlobalState:
        return GlobalState(
            grad_mode=torch.is_grad_enabled(),
            default_dtype=torch.get_default_dtype(),
            default_device=torch.empty(0).device,
            threads=torch.get_num_threads(),
            deterministic_algorithms=torch.are_deterministic_algorithms_enabled(),
            autocast=torch.is_autocast_enabled("cpu"),
            inference_mode=torch.is_inference_mode_enabled(),
            anomaly_mode=torch.is_anomaly_enabled(),
        )

    def restore(self) -> None:
        """Put back every setting that can be put back."""
        torch.set_grad_enabled(self.grad_mode)
        if torch.get_default_dtype() != self.default_dtype:
            torch.set_default_dtype(self.default_dtype)
        if torch.empty(0).device != self.default_device:
            torch.set_default_device(self.default_device)
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        if torch.are_deterministic_algorithms_enabled() != self.deterministic_algorithms:
            torch.use_deterministic_algorithms(self.deterministic_algorithms)
        if torch.is_autocast_enabled("cpu") != self.autocast:
            torch.set_autocast_enabled("cpu", self.autocast)
        if torch.is_anomaly_enabled() != self.anomaly_mode:
            torch.autograd.set_detect_anomaly(self.anomaly_mode)

    def changes(self, after: GlobalState) -> list[str]:
        """What is different afterwards, in words."""
        return [
            f"{item.name.replace('_', ' ')}: {getattr(self, item.name)} before, {getattr(after, item.name)} after"
            for item in fields(GlobalState)
            if getattr(self, item.name) != getattr(after, item.name)
        ]


@contextmanager
def kept_clean(seed: int | None = None) -> Iterator[None]:
    """Restore global settings and the CPU's random state on the way out; warnings of the target stay quiet.

    Args:
        seed: reseed torch's CPU generator on the way in.
    """
    before = GlobalState.now()
    random_state = torch.get_rng_state()
    try:
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        before.restore()
        torch.set_rng_state(random_state)


@contextmanager
def filled_memory() -> Iterator[None]:
    """Memory that nobody initialised is NaN, the largest integer or True, as torch fills it on request."""
    settings: Any = torch.utils.deterministic
    mode, fill = torch.get_deterministic_debug_mode(), settings.fill_uninitialized_memory
    try:
        # Operations that have no deterministic form only warn: they are not the matter here. (The function beside this
        # one, use_deterministic_algorithms, imports torch's compiler, which takes seconds.)
        torch.set_deterministic_debug_mode("warn")
        settings.fill_uninitialized_memory = True
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        settings.fill_uninitialized_memory = fill
