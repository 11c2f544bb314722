"""Places for workers, and what comes of a worker's answers, or of its end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rnn_props.execution.items import Item
from rnn_props.execution.jobs import Batch, Outcome
from rnn_props.execution.pool import Worker
from rnn_props.subjects import died_in_torch, own_frame_of_death

#: A worker that has been silent for so many seconds is asked what it waits for.
_SILENT = 1.0


@dataclass
class Slot:
    """One place for a worker, and what it is doing."""

    worker: Worker | None = None
    item: Item | None = None
    batch: Batch | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    _since: float = 0.0
    _waits: Mapping[str, float] | None = None

    def heard(self) -> None:
        """The worker said something just now, or was given something to do."""
        self._since, self._waits = time.monotonic(), None

    @property
    def silent(self) -> float:
        """Seconds since it was last heard."""
        return time.monotonic() - self._since

    @property
    def stalled(self) -> float:
        """Seconds of its silence that are its own doing: those in which it ran, or waited for anything but a core.

        On a busy machine a case may take many times its time. It hangs only if that is not for want of a core.
        """
        silent = self.silent
        if self.worker is None or silent < _SILENT:
            return silent
        waits = self.worker.waits()
        if self._waits is None:
            self._waits = waits
        return silent - max((waited - self._waits.get(thread, 0.0) for thread, waited in waits.items()), default=0.0)


def death(kind: str, signal: str, words: str, seconds: float) -> Outcome:
    """The outcome of the case that killed its worker, or hung; the words are what `faulthandler` wrote."""
    where, in_torch = own_frame_of_death(words), died_in_torch(words)
    return Outcome(kind, where=where, signal=signal, in_torch=in_torch, seconds=seconds)


def outcome(message: Mapping[str, Any]) -> Outcome:
    """The outcome that a worker sent."""
    return Outcome(
        kind=message["kind"],
        message=message.get("message", ""),
        expected=message.get("expected", ""),
        actual=message.get("actual", ""),
        where=message.get("where", ""),
        advice=message.get("advice", False),
        seconds=message["seconds"],
        in_target=message["in_target"],
        errors=message["errors"],
    )
