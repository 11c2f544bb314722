"""`rnn-props generate --ci github`: what a YAML reader finds in the workflow."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click.testing
import pytest
import yaml

from rnn_props.cli import cli
from rnn_props.generation import github_workflow

TARGETS = ["pkg.models:MyLSTM", "sub dir/it's #1: m.py:X"]


@pytest.fixture
def workflow() -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(github_workflow(TARGETS))
    return found


def test_it_runs_for_pushes_each_night_and_when_asked_to_and_may_only_read(workflow: dict[Any, Any]) -> None:
    assert set(workflow) == {"name", True, "permissions", "jobs"}  # YAML 1.1 takes `on` for true
    triggers = workflow[True]
    assert set(triggers) == {"push", "pull_request", "schedule", "workflow_dispatch"}
    ((name, when),) = triggers["schedule"][0].items()
    assert name == "cron"
    assert len(when.split()) == 5
    assert workflow["permissions"] == {"contents": "read"}


def test_each_trigger_starts_one_job(workflow: dict[Any, Any]) -> None:
    assert set(workflow["jobs"]) == {"push", "nightly"}
    conditions = {name: job["if"] for name, job in workflow["jobs"].items()}
    for trigger in workflow[True]:
        assert sum(f"github.event_name == '{trigger}'" in condition for condition in conditions.values()) == 1
    assert "'schedule'" in conditions["nightly"]


@pytest.mark.parametrize(("job", "options"), [("push", []), ("nightly", ["--profile", "nightly"])])
def test_a_job_installs_checks_every_target_and_keeps_the_report(
    workflow: dict[Any, Any], job: str, options: list[str]
) -> None:
    found = workflow["jobs"][job]
    assert found["runs-on"] == "ubuntu-latest"
    assert found["timeout-minutes"] > 0
    checkout, python, install, check, upload = found["steps"]
    assert checkout["uses"].startswith("actions/checkout@v")
    assert python["uses"].startswith("actions/setup-python@v")
    assert python["with"] == {"python-version": "3.12", "cache": "pip"}
    assert shlex.split(install["run"])[:5] == ["pip", "install", "torch", "rnn-props", "-e"]
    words = ["rnn-props", "check", *TARGETS, *options, "--json", "rnn-props.json"]
    assert shlex.split(check["run"]) == words
    assert upload["uses"].startswith("actions/upload-artifact@v")
    assert upload["if"] == "always()"
    assert upload["with"] == {"name": "rnn-props", "path": "rnn-props.json"}


def test_the_command_that_a_job_runs_is_one(workflow: dict[Any, Any]) -> None:
    """Its options are those that the command line has."""
    for job in workflow["jobs"].values():
        words = shlex.split(job["steps"][3]["run"])
        outcome = click.testing.CliRunner().invoke(cli, [*words[1:2], *words[2:], "--max-examples", "none"])
        assert outcome.exit_code == 2
        assert "'none' is not a valid integer range" in outcome.output


def test_an_option_of_test_files_is_refused_rather_than_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = click.testing.CliRunner().invoke(cli, ["generate", *TARGETS, "--ci", "github", "--checks", "RP101"])
    assert done.exit_code == 2
    assert "--checks is about a file of tests" in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_workflow_that_is_there_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def generate() -> int:
        return click.testing.CliRunner().invoke(cli, ["generate", *TARGETS, "--ci", "github"]).exit_code

    path = tmp_path / ".github" / "workflows" / "rnn-props.yml"
    assert generate() == 0
    assert path.read_text(encoding="utf-8") == github_workflow(TARGETS)
    assert generate() == 0
    path.write_text("mine: true\n", encoding="utf-8")
    assert generate() == 1
    assert path.read_text(encoding="utf-8") == "mine: true\n"
