"""What a worker does: settle a target's contract, and run cases of checks, one outcome a case.

The case that is about to run is known to the parent before it runs: outcomes come back in order, so the first case
without one is the case that killed the process.
"""

from __future__ import annotations

import resource
import socket
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from rnn_props.cases import Case
from rnn_props.checks import Advice, Check, Discarded, Trial, Violation, get
from rnn_props.contracts import Contract, ContractError
from rnn_props.devices import give_back, is_crowded, kind_of, set_up, why_lost
from rnn_props.execution import wire
from rnn_props.execution.plans import Plans
from rnn_props.inference import infer_contract
from rnn_props.subjects import Factory, Stopwatch, TargetRaisedError, UnusableResultError, kept_clean
from rnn_props.targets import TargetError

#: What torch.nn's normalisations say of a channel with a single value: nothing that a module could do about it.
_ONE_VALUE = "Expected more than 1 value per channel"
#: Kinds of outcome after which a batch goes no further.
BAD = frozenset({"violated", "accepted", "advice", "accidental", "raised", "error", "contract", "crashed", "hung"})
#: A target may take this much memory beyond what the worker has at its start.
MEMORY_LIMIT = 6 * 2**30


def serve(channel: socket.socket, target: Any) -> None:
    """Answer requests until the parent is gone."""
    reader = wire.Reader(channel)
    worker = _Worker(target)
    _limit_resources()
    while True:
        try:
            request = reader.next()
        except EOFError:
            return
        if request["op"] == "describe":
            wire.send(channel, worker.describe(request["arguments"], request["adapter"]))
        elif request["op"] == "contract":
            worker.use(Contract.from_json(request["contract"]))
        elif request["op"] == "draw":
            for drawn in worker.draw(request):
                wire.send(channel, drawn)
            wire.send(channel, {"done": True})
        else:
            for outcome in worker.run(request):
                wire.send(channel, outcome)
            wire.send(channel, {"done": True, "memory_mb": _peak_memory_mb()})


class _Worker:
    def __init__(self, target: Any) -> None:
        self._target = target
        self._stopwatch = Stopwatch()
        self._contract = Contract()
        self._factories: dict[bool, Factory] = {}
        self._devices = {"cpu"}

    def describe(self, arguments: Mapping[str, Any], adapter: str) -> dict[str, Any]:
        """The target's contract, or why there is none."""
        try:
            with kept_clean(0):
                return {"contract": infer_contract(self._target, arguments, adapter or None).to_json()}
        except TargetError as error:
            return {"error": str(error)}
        except UnusableResultError as error:
            return {"error": str(error)}
        except Exception as error:  # an error of ours is told with its place, and does not look like a death
            frames = traceback.format_exception(error)
            text = f"inference failed on it with {type(error).__name__}: {error}; that is a bug of rnn_props"
            return {"error": f"{text}, please report it with this line: {frames[-2].strip()}"}

    def use(self, contract: Contract) -> None:
        self._contract = contract
        self._factories = {False: Factory(self._target, contract, self._stopwatch)}
        if contract.torch_module is not None:
            # torch's module has no arguments of the target's own.
            plain = replace(contract, keywords={})
            self._factories[True] = Factory(getattr(torch.nn, contract.torch_module), plain, self._stopwatch)

    def draw(self, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The cases that checks are made of, one check after the other."""
        plans = Plans.from_json(self._contract, request["plans"])
        for code in request["checks"]:
            yield {"drawn": code, "cases": [case.to_json() for case in plans.valid(get(code))]}

    def run(self, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Outcomes of cases, in order, up to the first bad one."""
        check = get(request["check"])
        factory = self._factories[request["reference"]]
        device = request["device"]
        if device not in self._devices:
            self._devices.add(device)
            if kind_of(device) == "cuda":
                _let_go_of_limits()
            # What that takes is no case's time.
            yield {"ready": device, "facts": set_up(device, request["slot"])}
        try:
            yield from self._run(check, factory, device, request)
        finally:
            give_back(device)

    def _run(self, check: Check, factory: Factory, device: str, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        for data in request["cases"]:
            started, before = time.perf_counter(), self._stopwatch.seconds
            trial = Trial(Case.from_json(data), self._contract, factory, request["thorough"], device)
            outcome = outcome_of(check, trial)
            if outcome["kind"] != "passed" and (lost := why_lost(device)):
                outcome = {
                    "kind": "crashed",
                    "message": f"{device} can't be used any more by the process that ran it: {lost}",
                    "where": outcome.get("where", ""),
                }
            outcome["errors"] = trial.errors
            outcome["seconds"] = time.perf_counter() - started
            outcome["in_target"] = self._stopwatch.seconds - before
            yield outcome
            if outcome["kind"] in BAD:
                return


def outcome_of(check: Check, trial: Trial) -> dict[str, Any]:
    """Run one case, and say how it went. Nothing that it raises gets past here."""
    try:
        check.run(trial)
    except Violation as violation:
        kind = violation.kind
        return {
            "kind": kind,
            "advice": isinstance(violation, Advice),
            "message": violation.message,
            "expected": violation.expected,
            "actual": violation.actual,
            "where": violation.where,
        }
    except Discarded as reason:
        # A check may let go of a case because of what the target raised.
        return {"kind": "discarded", "message": str(reason), "where": getattr(reason.__context__, "where", "")}
    except TargetRaisedError as raised:
        if is_crowded(trial.device, raised.error):
            return _no_memory(trial.device)
        if _ONE_VALUE in str(raised.error):
            return {"kind": "discarded", "message": "a normalisation of torch's refuses a single value a channel"}
        return {"kind": "raised", "message": str(raised), "where": raised.where}
    except UnusableResultError as error:
        return {"kind": "violated", "message": str(error)}
    except ContractError as error:
        return {"kind": "contract", "message": str(error)}
    except Exception as error:
        if is_crowded(trial.device, error):
            return _no_memory(trial.device)
        # An error of ours must cost one check, not the run.
        frames = traceback.format_exception(error)
        return {"kind": "error", "message": f"{type(error).__name__}: {error}", "where": "".join(frames[-3:]).strip()}
    return {"kind": "passed"}


def _no_memory(device: str) -> dict[str, Any]:
    return {"kind": "discarded", "message": f"{device} is out of memory, which other processes have"}


def _peak_memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _limit_resources() -> None:
    """Let an allocation that is far too large fail as a Python exception, and a death leave no core file behind."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.platform != "linux":
        return
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    limit = used + MEMORY_LIMIT
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _let_go_of_limits() -> None:
    """A GPU's driver takes address space by the terabyte."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
