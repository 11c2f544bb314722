"""The one stream of events that a run gives off; the terminal, JSON and the plugin are its readers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rnn_props.execution.outcomes import CheckResult, TargetResult


@dataclass(frozen=True, slots=True)
class RunStarted:
    """Before anything runs. `checks` is the most that a target gets, each device counted."""

    targets: tuple[str, ...]
    checks: int
    profile: str
    seed: int
    jobs: int


@dataclass(frozen=True, slots=True)
class TargetStarted:
    """A target is about to be imported."""

    target: str


@dataclass(frozen=True, slots=True)
class ContractSettled:
    """The target was imported and its contract is known (as JSON data)."""

    target: str
    contract: Mapping[str, Any]
    checks: int


@dataclass(frozen=True, slots=True)
class DeviceReady:
    """A worker has an accelerator at its disposal. `facts` says what it is: its name, and what computes on it."""

    target: str
    device: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CheckStarted:
    """A check's first case is about to run."""

    target: str
    code: str
    name: str
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class CheckProgress:
    """A check has run this many cases; `shrinking` is true while a failure is made smaller."""

    target: str
    code: str
    name: str
    examples: int
    shrinking: bool = False
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class CheckFinished:
    """A check has its result, whatever it is."""

    target: str
    result: CheckResult


@dataclass(frozen=True, slots=True)
class TargetFinished:
    """All checks of a target have their results, or it can't be used."""

    result: TargetResult


@dataclass(frozen=True, slots=True)
class RunFinished:
    """Nothing more will come. After an interrupt, what was found so far has been given."""

    duration_s: float
    interrupted: bool = False


Event = (
    RunStarted
    | TargetStarted
    | ContractSettled
    | DeviceReady
    | CheckStarted
    | CheckProgress
    | CheckFinished
    | TargetFinished
    | RunFinished
)
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """A listener that does nothing."""
