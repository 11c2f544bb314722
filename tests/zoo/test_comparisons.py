"""What if a check's comparison always passed? For every check the zoo notices.

Each check is run on one of its bugs twice, case by case in this process: as it is, and with every comparison that it
makes passing. As it is, it must kill the bug; muted, it must not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from rnn_props import zoo
from rnn_props.checks import Check, Discarded, Trial, Violation, all_checks
from rnn_props.devices import set_up
from rnn_props.execution.jobs import CheckJob, Outcome
from rnn_props.execution.plans import Plans
from rnn_props.execution.profiles import PROFILES
from rnn_props.inference import infer_contract
from rnn_props.subjects import Factory, TargetRaisedError

pytestmark = pytest.mark.slow

#: RP408 compares nothing: it is about processes, and has a test of its own below.
#: RP806 needs CUDA.
_IN_PROCESS = [check for check in all_checks() if check.code not in ("RP408", "RP806")]


def _kills(check: Check, specimen: zoo.Specimen, *, muted: bool) -> bool:
    """Whether a check finds something in a module at the default profile."""
    target: Any = getattr(zoo, specimen.name)
    contract = infer_contract(target)
    device = "cpu" if "cpu" in check.on else "sim"
    set_up(device)
    for case in Plans(contract, PROFILES["default"], 0, None).cases(check):
        try:
            check.run(Trial(case, contract, Factory(target, contract), device=device))
        except Violation:
            if not muted:
                return True
        except Discarded:
            continue
        except TargetRaisedError:
            return True
    return False


#: Run at night alone: every second check, and those whose bugs take many cases of many operations each.
_AT_NIGHT = {*(check.code for check in _IN_PROCESS[::2]), "RP602", "RP603", "RP803"}


def _checks() -> list[Any]:
    return [
        pytest.param(
            check, marks=[pytest.mark.nightly] if check.code in _AT_NIGHT else [], id=f"{check.code}-{check.name}"
        )
        for check in _IN_PROCESS
    ]


@pytest.mark.parametrize("check", _checks())
def test_with_its_comparison_muted_a_check_no_longer_kills_a_bug_that_it_kills(check: Check) -> None:
    bugs = [specimen for specimen in zoo.BUGS.values() if specimen.code == check.code]
    assert any(_kills(check, bug, muted=False) and not _kills(check, bug, muted=True) for bug in bugs)


@contextlib.contextmanager
def _deaths_pass(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(Outcome, "bad", property(lambda outcome: False))
        yield


@pytest.mark.parametrize("kind", ["crashed", "hung"])
def test_with_deaths_passing_rp408_no_longer_fails(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check = next(check for check in all_checks() if check.code == "RP408")
    contract = infer_contract(zoo.CORRECT["PlainGRU"].module)
    profile = PROFILES["quick"]
    cases = Plans(contract, profile, 0, None).cases(check)[:1]

    def status() -> str:
        job = CheckJob(check=check, contract=contract, profile=profile, cases=cases).run()
        try:
            batch = next(job)
            while True:
                # The target dies of every case; torch's own module rejects it.
                died = Outcome("passed") if batch.reference else Outcome(kind, signal="SIGSEGV", seconds=1.0)
                batch = job.send([died])
        except StopIteration as end:
            return str(end.value.status)

    assert status() == "failed"
    with _deaths_pass(monkeypatch):
        assert status() == "passed"
