"""What torch's own recurrent layers inside a module, and its packing of rows, were given and took."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence


@dataclass(frozen=True, slots=True)
class InnerCall:
    """One call that a layer of torch.nn, or its `pack_padded_sequence`, gave a result for: the name, and what it got.

    Attributes:
        name: `torch.nn.LSTM` and the like, or `pack_padded_sequence`.
        input: the layer's input, or the padded rows.
        state: the layer's initial state.
        lengths: the lengths of the rows that are packed, as they were given.
        batch_axis: where the rows lie in what is packed.
    """

    name: str
    input: Any
    state: Any = None
    lengths: Any = None
    batch_axis: int = 0


@contextmanager
def inner_calls(module: nn.Module) -> Iterator[list[InnerCall]]:
    """Collect the calls of every RNN, GRU and LSTM of torch inside a module, and those of torch's
    `pack_padded_sequence` in this thread.

    Calls that raise are left out: a module that goes on after one has passed over what torch refused. A subclass
    counts as torch's layer as long as it leaves `forward` to it.
    """
    calls: list[InnerCall] = []
    handles = []
    for part in module.modules():
        owner = next((cls for cls in (nn.RNN, nn.GRU, nn.LSTM) if isinstance(part, cls)), None)
        if owner is None or type(part).forward is not owner.forward:
            continue

        def note(
            part: nn.Module, given: Any, keywords: Any, result: Any, name: str = f"torch.nn.{owner.__name__}"
        ) -> None:
            keywords = dict(zip(("input", "hx"), given, strict=False)) | keywords
            calls.append(InnerCall(name, keywords.get("input"), keywords.get("hx")))

        handles.append(part.register_forward_hook(note, with_kwargs=True))
    packing: InnerCall | None = None
    before = sys.getprofile()

    # A module has the function under a name of its own, so that no replacement would reach it.
    def note_packing(frame: FrameType, event: Any, value: Any) -> None:
        nonlocal packing
        if frame.f_code is pack_padded_sequence.__code__:
            if event == "call":  # by its end the function's own names stand for sorted rows
                got = frame.f_locals
                axis = 0 if got["batch_first"] else 1
                packing = InnerCall("pack_padded_sequence", got["input"], lengths=got["lengths"], batch_axis=axis)
            elif event == "return" and packing is not None and value is not None:  # None: it raised
                calls.append(packing)
        if before is not None:
            before(frame, event, value)

    sys.setprofile(note_packing)
    try:
        yield calls
    finally:
        sys.setprofile(before)
        for handle in handles:
            handle.remove()
