from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

from rnn_props import __version__, api
from rnn_props.checks import all_checks
from rnn_props.cli import cli
from rnn_props.execution.events import CheckFinished, Listener, RunFinished, RunStarted, TargetFinished, TargetStarted
from rnn_props.execution.outcomes import CheckResult, TargetResult
from rnn_props.reporting import load_schema

PASSED = CheckResult(code="RP101", check="shape.output", statement="It has its shape.", status="passed", examples=3)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, prog_name="rnn-props")


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False)


def test_the_version_is_printed() -> None:
    outcome = run_python("-m", "rnn_props", "--version")
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, f"rnn-props {__version__}\n", "")


def test_the_command_line_imports_nothing_heavy_before_it_runs_a_command() -> None:
    code = "import sys, rnn_props.cli; print([n for n in ('torch', 'hypothesis', 'rich', 'numpy') if n in sys.modules])"
    assert run_python("-c", code).stdout == "[]\n"


def test_checks_lists_every_check_with_its_statement() -> None:
    text = " ".join(invoke("checks").stdout.split())
    for item in all_checks():
        assert f"{item.code} {item.name} {item.statement}" in text


def test_checks_as_json_have_code_name_and_statement() -> None:
    rows = json.loads(invoke("checks", "--json").stdout)
    assert [(row["code"], row["check"], row["statement"]) for row in rows] == [
        (item.code, item.name, item.statement) for item in all_checks()
    ]


@pytest.mark.parametrize(("fine", "status"), [(True, 0), (False, 1)])
def test_doctor_ends_with_1_if_something_is_wrong(fine: bool, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "doctor", lambda: [("workers", "started in 1.2 s", fine)], raising=False)
    outcome = invoke("doctor")
    assert outcome.exit_code == status
    assert outcome.stdout.splitlines()[-1] == ("everything is fine" if fine else "wrong: workers")
    assert "torch" in outcome.stdout


def stand_in(monkeypatch: pytest.MonkeyPatch, *, error: BaseException | None = None, started: bool = True) -> None:
    """A run of one target with one passed check, or one that ends with an error on the way."""

    def run(targets: Sequence[str], options: api.Options, listener: Listener) -> None:
        if started:
            listener(RunStarted(tuple(targets), 1, options.profile, 0, 1))
            listener(TargetStarted(targets[0]))
            listener(CheckFinished(targets[0], PASSED))
        if error is not None:
            raise error
        listener(TargetFinished(TargetResult(target=targets[0], status="passed", results=(PASSED,))))
        listener(RunFinished(1.0))

    monkeypatch.setattr(api, "run", run)


def document(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text())
    jsonschema.validate(data, load_schema())
    return data


def test_a_run_prints_its_lines_and_writes_its_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    outcome = invoke("check", "a:A", "--json", str(tmp_path / "r.json"))
    assert outcome.exit_code == 0
    assert "RP101 shape.output                cpu  passed   3 examples, 0.00 s" in outcome.stdout
    assert document(tmp_path / "r.json")["targets"][0]["status"] == "passed"


def test_an_interrupt_anywhere_still_gives_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, error=KeyboardInterrupt())
    outcome = invoke("check", "a:A", "--json", str(tmp_path / "r.json"))
    assert outcome.exit_code == 130
    assert "interrupted: what was found until then is above" in outcome.stdout
    data = document(tmp_path / "r.json")
    assert (data["interrupted"], data["exit_status"]) == (True, 130)
    assert [row["code"] for row in data["targets"][0]["results"]] == ["RP101"]


def test_an_option_that_the_run_refuses_is_an_error_of_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, error=ValueError("no check is left"), started=False)
    outcome = invoke("check", "a:A")
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert outcome.stderr == "rnn-props: error: no check is left\n"


def test_an_error_of_ours_is_never_told_as_a_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, error=ValueError("deep inside"))
    outcome = invoke("check", "a:A")
    assert outcome.exit_code == 2
    assert "ValueError: deep inside" in outcome.stderr
    assert "that is a bug of rnn_props" in outcome.stderr


def test_a_document_that_cannot_be_written_after_the_run_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch)

    def full(source: object, destination: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    outcome = invoke("check", "a:A", "--json", str(tmp_path / "r.json"))
    assert outcome.exit_code == 2
    assert "No space left on device" in outcome.stderr
    assert "ran 1 of 1 check" in outcome.stdout


@pytest.mark.slow
def test_a_run_of_a_real_module_in_real_workers_gives_a_document_as_the_schema_says(tmp_path: Path) -> None:
    command = [
        "check",
        "torch.nn:RNNCell",
        "--profile",
        "quick",
        "--checks",
        "RP10*",
        "--json",
        str(tmp_path / "r.json"),
    ]
    outcome = run_python("-m", "rnn_props", *command)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    data = document(tmp_path / "r.json")
    assert data["exit_status"] == 0
    assert {row["status"] for row in data["targets"][0]["results"]} <= {"passed", "not_applicable"}


def test_a_reader_that_leaves_early_ends_the_program_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer) as closed:
        outcome = subprocess.run(
            [sys.executable, "-m", "rnn_props", "checks"],
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
        )
    assert (outcome.returncode, outcome.stderr) == (128 + signal.SIGPIPE, b"")
