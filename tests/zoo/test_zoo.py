"""The zoo: every bug is caught with the code that must catch it, every correct module is clean.

A table of what was seen is printed at the end of the test run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from rnn_props import zoo
from rnn_props.checks import all_checks, get
from rnn_props.execution.events import ignore
from rnn_props.execution.outcomes import CheckResult
from rnn_props.execution.runner import Runner
from rnn_props.options import Options, resolve

pytestmark = pytest.mark.slow


class _Runners:
    """One runner a profile."""

    def __init__(self) -> None:
        self._open: dict[str, Runner] = {}

    def run(self, target: str, code: str | None = None, profile: str = "default") -> tuple[CheckResult, ...]:
        """The results of every check, or of one and what it rests on."""
        if profile not in self._open:
            options = Options(profile=profile, seed=0, devices=("cpu", "sim"))
            self._open[profile] = Runner(resolve(options), ignore)
        session = self._open[profile].open(target)
        try:
            keys = None if code is None else [_key(code)]
            session.run(keys, among=keys)
            return tuple(session.results.values())
        finally:
            session.close()

    def close(self) -> None:
        for runner in self._open.values():
            runner.pool.close()


@pytest.fixture(scope="module")
def runners() -> Iterator[_Runners]:
    made = _Runners()
    yield made
    made.close()


def _key(code: str) -> str:
    """A check on the CPU, or on the simulated device if it is about accelerators."""
    return code if "cpu" in get(code).on else f"{code}@sim"


def _own(results: tuple[CheckResult, ...]) -> list[CheckResult]:
    """Results that are charged to the module."""
    return [found for found in results if found.findings and not found.inherited_from_torch]


def _by_code() -> list[Any]:
    """Every bug; of every sixth check the first on every push, the rest at night.

    On every push test_comparisons runs some bugs of each check, too, in its own process and under that check alone.
    """
    found: list[Any] = []
    often = sorted({specimen.code or "" for specimen in zoo.BUGS.values()})[::6]
    for specimen in sorted(zoo.BUGS.values(), key=lambda specimen: specimen.code or ""):
        if specimen.code == "RP806":
            continue  # it needs CUDA: see tests/execution/test_on_devices.py
        marks = [] if specimen.code in often else [pytest.mark.nightly]
        often = [code for code in often if code != specimen.code]
        found.append(pytest.param(specimen, marks=marks, id=f"{specimen.code}-{specimen.name}"))
    return found


@pytest.mark.parametrize("specimen", _by_code())
def test_each_bug_is_caught_with_its_code(specimen: zoo.Specimen, runners: _Runners, zoo_table: list[str]) -> None:
    assert specimen.code is not None
    started = time.monotonic()
    fired = _own(runners.run(f"rnn_props.zoo:{specimen.name}", specimen.code))
    seconds = time.monotonic() - started
    assert [found.code for found in fired] == [specimen.code]
    (found,) = fired
    # RP405 only advises; whatever else must fail.
    assert found.status == ("warned" if found.code == "RP405" or _advice_only(specimen) else "failed"), found
    finding = found.findings[0]
    assert finding.message
    zoo_table.append(
        f"{found.code} {specimen.name:32} {found.status:7} {finding.kind:10} "
        f"{found.examples:4} examples {seconds:5.1f} s  case {finding.case_id or '-'}"
    )


def _advice_only(specimen: zoo.Specimen) -> bool:
    """Faults that only torch's own contract forbids are advice on a model; so are moved tensors and a few lost bits."""
    return specimen.name in ("FlattensFourDimensions", "MovesItsInput", "CellReadsStateAsNumbers", "PacksState")


def _correct() -> list[Any]:
    """Every correct module, most of them at night only."""
    return [
        pytest.param(name, marks=[pytest.mark.nightly] if number % 6 else []) for number, name in enumerate(zoo.CORRECT)
    ]


@pytest.mark.parametrize("name", _correct())
def test_each_correct_module_is_clean(name: str, runners: _Runners, zoo_table: list[str]) -> None:
    started = time.monotonic()
    results = runners.run(f"rnn_props.zoo:{name}", profile="quick")
    seconds = time.monotonic() - started
    assert [(found.code, found.message) for found in _own(results)] == []
    assert [found.code for found in results if found.status in ("blocked", "error", "skipped")] == []
    ran = sum(found.status != "not_applicable" for found in results)
    zoo_table.append(f"correct {name:30} clean   ran {ran} of {len(results)} checks {seconds:5.1f} s")


def test_every_check_has_a_bug_that_it_must_catch() -> None:
    assert {specimen.code for specimen in zoo.BUGS.values()} == {check.code for check in all_checks()}


def test_the_zoo_is_large_enough_to_mean_something() -> None:
    assert len(zoo.BUGS) >= 100
    assert len(zoo.CORRECT) >= 15


_SIX = tuple(f"torch.nn:{name}" for name in ("RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"))


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(target, marks=[pytest.mark.nightly] if target.endswith(("GRU", "Cell", "RNN")) else [])
        for target in _SIX
    ],
)
def test_torchs_own_modules_are_charged_with_nothing(target: str, runners: _Runners) -> None:
    results = runners.run(target, profile="quick")
    assert [(found.code, found.message) for found in _own(results)] == []
    assert {found.status for found in results} <= {"passed", "warned", "not_applicable"}


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(20))
def test_torchs_own_modules_and_the_correct_ones_are_clean_under_twenty_seeds(seed: int) -> None:
    with Runner(resolve(Options(seed=seed)), ignore) as runner:
        for target in (*_SIX, *(f"rnn_props.zoo:{name}" for name in zoo.CORRECT)):
            result = runner.run_target(target)
            assert [(found.code, found.message) for found in _own(result.results)] == []
