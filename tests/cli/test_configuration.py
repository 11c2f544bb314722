"""`[tool.rnn_props]` and the command line: which of the two holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rnn_props.cli import cli

MODELS = """
from torch import nn

class CentredGRU(nn.Module):
    def __init__(self, input_size, hidden_size, num_heads, output_size):
        super().__init__()
        if hidden_size % num_heads:
            raise ValueError("num_heads must divide hidden_size")
        self.rnn = nn.GRU(input_size, hidden_size, batch_first=True)
        self.fc = nn.Linear(hidden_size, output_size)

    def forward(self, x):
        h = self.rnn(x)[0][:, -1]
        return self.fc(h - h.mean(0))

class Plain(CentredGRU):
    def forward(self, x):
        return self.fc(self.rnn(x)[0][:, -1])
"""
AGREED = """
[tool.rnn_props]
profile = "quick"
seed = 0
max_examples = 5

[tool.rnn_props.targets."models.py:CentredGRU"]
arguments = {num_heads = 2}
hyperparameters = {hidden_size = [2, 6]}
capabilities = {dtypes = ["float64"]}
checks = ["RP10[15]", "RP30[128]"]

[tool.rnn_props.targets."models.py:CentredGRU".expected_failures]
"batch.independence" = {reason = "centred over the batch", until = 2090-01-31}
RP101 = "it was wrong once"
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models.py").write_text(MODELS, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(AGREED, encoding="utf-8")
    return tmp_path


def _check(folder: Path, *arguments: str) -> tuple[int, str, str, dict[str, Any]]:
    """Exit status, what is printed, what is said on stderr, and the report."""
    report = folder / "report.json"
    done = _run("check", *arguments, "--json", str(report))
    return done.exit_code, done.stdout, done.stderr, json.loads(report.read_text()) if report.exists() else {}


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, prog_name="rnn-props")


def test_what_the_file_says_holds_without_a_word_on_the_command_line(repository: Path) -> None:
    status, told, _, report = _check(repository)
    assert status == 0
    (target,) = report["targets"]
    assert target["target"] == "models.py:CentredGRU"
    assert (report["profile"], report["seed"]) == ("quick", 0)
    assert target["contract"]["hyperparameters"]["hidden_size"]["values"] == [2, 6]
    assert target["contract"]["fixed"] == {"num_heads": 2}
    assert target["contract"]["capabilities"]["dtypes"] == ["float64"]
    statuses = {result["code"]: result["status"] for result in target["results"]}
    assert statuses == {
        "RP101": "passed",
        "RP105": "passed",
        "RP301": "expected_failure",
        "RP302": "blocked",
        "RP308": "blocked",
    }
    assert "RP301 batch.independence: centred over the batch (until 2090-01-31)" in told
    assert "RP101 shape.output: was expected to fail: it was wrong once" in told


def test_the_command_line_comes_first(repository: Path) -> None:
    status, _, _, report = _check(repository, "--checks", "RP101,RP301", "--arg", "hidden_size=4", "--seed", "7")
    (target,) = report["targets"]
    assert report["seed"] == 7
    assert target["contract"]["hyperparameters"]["hidden_size"]["values"] == [4]
    assert [result["code"] for result in target["results"]] == ["RP101", "RP301"]
    assert status == 0


def test_a_target_that_the_file_does_not_name_gets_what_holds_for_all(repository: Path) -> None:
    status, _, _, report = _check(repository, "models.py:Plain", "--arg", "num_heads=1", "--checks", "RP301")
    assert status == 0
    assert report["profile"] == "quick"
    assert [result["status"] for result in report["targets"][0]["results"]] == ["passed"]


def test_a_waiver_that_is_over_no_longer_counts(repository: Path) -> None:
    agreed = AGREED.replace("2090-01-31", "2020-01-31")
    (repository / "pyproject.toml").write_text(agreed, encoding="utf-8")
    status, _, said, report = _check(repository)
    assert status == 1
    assert "batch.independence is no longer expected to fail since 2020-01-31 (centred over the batch)" in said
    statuses = {result["code"]: result["status"] for result in report["targets"][0]["results"]}
    assert statuses["RP301"] == "failed"


def test_another_file_can_be_named(repository: Path) -> None:
    other = repository / "other.toml"
    other.write_text('[tool.rnn_props]\nchecks = ["RP101"]\nprofile = "quick"\n', encoding="utf-8")
    _, _, _, report = _check(repository, "models.py:Plain", "--arg", "num_heads=1", "--config", "other.toml")
    assert [result["code"] for result in report["targets"][0]["results"]] == ["RP101"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "max_examples = 5",
            "max_exmples = 5",
            "pyproject.toml:5: 'max_exmples' in [tool.rnn_props] is not known (did",
        ),
        (
            "{dtypes = ",
            "{dtype = ",
            "pyproject.toml:10: 'dtype' in [tool.rnn_props.targets.\"models.py:CentredGRU\".cap",
        ),
        ('"RP30[128]"', '"RP999"', "no check matches 'RP999'"),
        ("{num_heads = 2}", "{numheads = 2}", "its constructor has no argument 'numheads' (given with --arg or in the"),
    ],
)
def test_what_means_nothing_is_an_error_before_anything_runs(
    repository: Path, before: str, after: str, message: str
) -> None:
    (repository / "pyproject.toml").write_text(AGREED.replace(before, after), encoding="utf-8")
    status, told, said, _ = _check(repository)
    assert status == 2
    assert message in told + said


def test_without_targets_anywhere_there_is_nothing_to_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, said, _ = _check(tmp_path)
    assert status == 2
    assert "name a TARGET, such as package.module:MyLSTM, or targets in [tool.rnn_props.targets]" in said


def test_what_infer_writes_is_the_contract_from_then_on(repository: Path) -> None:
    written = _run("infer", "models.py:Plain", "--arg", "num_heads=2", "--toml").stdout
    kept = f'[tool.rnn_props]\nprofile = "quick"\nchecks = ["RP101"]\n\n{written}'
    (repository / "pyproject.toml").write_text(kept, encoding="utf-8")
    status, _, _, report = _check(repository)
    assert status == 0
    (target,) = report["targets"]
    assert target["contract"]["fixed"] == {"num_heads": 2}
    assert target["contract"]["evidence"] == []  # nothing was inferred
    kept = kept.replace('input = "B T I"', 'inptu = "B T I"')
    (repository / "pyproject.toml").write_text(kept, encoding="utf-8")
    status, _, said, _ = _check(repository)
    assert status == 2
    assert "'inptu' in [tool.rnn_props.targets.\"models.py:Plain\".contract] is no part of a contract (did you" in said


def test_infer_heeds_what_the_file_says_of_the_target(repository: Path) -> None:
    done = _run("infer", "models.py:CentredGRU")
    assert done.exit_code == 0
    assert "hidden_size: 2, 6" in done.stdout
    assert "num_heads: 2, always" in done.stdout
    assert "said in the configuration: hidden_size" in done.stdout
