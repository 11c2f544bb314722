"""What torch's own recurrent layers inside a module are called with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True, slots=True)
class InnerCall:
    """One call of a layer of torch.nn: the layer's name, and the input and state that it got."""

    layer: str
    input: Any
    state: Any = None


@contextmanager
def inner_calls(module: nn.Module) -> Iterator[list[InnerCall]]:
    """Collect the calls of every RNN, GRU and LSTM of torch inside a module, those that raise included.

    A subclass counts as torch's layer as long as it leaves `forward` to it.
    """
    calls: list[InnerCall] = []
    handles = []
    for part in module.modules():
        owner = next((cls for cls in (nn.RNN, nn.GRU, nn.LSTM) if isinstance(part, cls)), None)
        if owner is None or type(part).forward is not owner.forward:
            continue

        def note(part: nn.Module, given: Any, keywords: Any, name: str = f"torch.nn.{owner.__name__}") -> None:
            keywords = dict(zip(("input", "hx"), given, strict=False)) | keywords
            calls.append(InnerCall(name, keywords.get("input"), keywords.get("hx")))

        handles.append(part.register_forward_pre_hook(note, with_kwargs=True))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
