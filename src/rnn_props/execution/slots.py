"""Places for workers, and what comes of a worker's answers, or of its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rnn_props.execution.items import Item
from rnn_props.execution.jobs import Batch, Outcome
from rnn_props.execution.pool import Worker
from rnn_props.subjects import died_in_torch, own_frame_of_death


@dataclass
class Slot:
    """One place for a worker, and what it is doing."""

    worker: Worker | None = None
    item: Item | None = None
    batch: Batch | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    since: float = 0.0
    cpu: float | None = None


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
