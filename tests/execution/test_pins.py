"""Pinned cases: found once, kept in the repository, run first from then on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import rnn_props
from rnn_props.cases import Case
from rnn_props.cli import cli
from rnn_props.contracts.presets import sequence_contract
from rnn_props.execution import pins
from rnn_props.execution.pins import FILE, Pin, PinError

CASE = Case(hyperparameters={"input_size": 2, "hidden_size": 3}, seq_len=4, splits=(1, 3), parameter_seed=7)
PIN = Pin("models:Leaky", "RP201", CASE)
GRU = sequence_contract("GRU", ("input_size", "hidden_size", "num_layers"), full=False)


def test_a_pin_is_a_line_that_a_person_can_review(tmp_path: Path) -> None:
    path = tmp_path / FILE
    assert pins.add(path, [PIN]) == [PIN]
    assert pins.add(path, [PIN]) == []
    (line,) = path.read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == {
        "target": "models:Leaky",
        "check": "RP201",
        "name": "state.continuity",
        "case_id": CASE.case_id,
        "case": CASE.to_json(),
    }
    assert pins.read(path) == [PIN]
    path.write_text(line, encoding="utf-8")  # an editor took the last line's end away
    other = Pin("models:Other", "RP201", CASE)
    pins.add(path, [other])
    assert pins.read(path) == [PIN, other]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", f"{FILE}, line 2: it is no JSON"),
        ('{"target": "a:B", "case": {}}', "line 2: it has no 'check'"),
        ('{"target": "a:B", "check": "RP999", "case": {}}', "line 2: there is no check 'RP999'"),
        ('{"target": "a:B", "check": "RP201", "case": {"size": 3}}', "line 2: it is no case: a case has no field"),
    ],
)
def test_a_line_that_is_no_pin_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / FILE).write_text(f"{PIN.line()}\n{line}\n", encoding="utf-8")
    with pytest.raises(PinError, match=message):
        pins.read(tmp_path / FILE)


def test_the_file_is_at_the_root_of_the_repository(tmp_path: Path) -> None:
    inside = tmp_path / "src" / "pkg"
    inside.mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    assert pins.place(inside) == tmp_path / FILE


def test_a_pin_outlives_a_new_argument_and_not_one_that_is_gone() -> None:
    (case,) = pins.fitted([PIN], "models:Leaky", "RP201", GRU)
    assert case.hyperparameters == {"input_size": 2, "hidden_size": 3, "num_layers": 1}
    smaller = sequence_contract("GRU", ("input_size",), full=False)
    with pytest.raises(PinError, match=r"does not fit models:Leaky: there is no argument 'hidden_size' any more"):
        pins.fitted([PIN], "models:Leaky", "RP201", smaller)
    assert pins.fitted([PIN], "models:Leaky", "RP202", smaller) == []


_MODELS = """\
from torch import nn


class Rare(nn.GRU):
    def forward(self, x, hx=None):
        output, hx = super().forward(x, hx)
        return (output.float() if x.shape[0] == {steps} else output), hx
"""


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=folder, capture_output=True, text=True, timeout=200, check=False
    )


@pytest.mark.nightly
@pytest.mark.slow
def test_a_failure_is_pinned_and_runs_first_everywhere(tmp_path: Path) -> None:
    """Under a seed and other settings, and in a generated test: the case comes from the file alone."""
    models = tmp_path / "models.py"
    models.write_text(_MODELS.format(steps=3), encoding="utf-8")
    check = ("rnn_props", "check", "models:Rare", "--checks", "RP105", "--json", "r.json")
    assert command(tmp_path, *check).returncode == 1
    (result,) = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["targets"][0]["results"]
    case_id = result["case_id"]
    pinned = command(tmp_path, "rnn_props", "pin", case_id)
    assert (pinned.returncode, pinned.stdout) == (0, "pinned RP105 type.dtype of models:Rare\n")
    again = command(tmp_path, "rnn_props", "pin", case_id, "--report", "r.json")
    assert again.stdout == f"{case_id} is pinned already\n"
    few = (*check, "--seed", "1", "--max-examples", "1")
    assert command(tmp_path, *few).returncode == 1
    plugin = ("pytest", "-p", "no:cacheprovider", "--rnn-props", "models:Rare", "--rnn-props-checks", "RP105")
    found = command(tmp_path, *plugin, "--rnn-props-seed", "1", "--rnn-props-max-examples", "1")
    assert f"case {case_id}" in found.stdout
    generated = command(tmp_path, "rnn_props", "generate", "models:Rare", "--checks", "RP105", "-o", "test_rare.py")
    assert generated.returncode == 0, generated.stderr
    text = (tmp_path / "test_rare.py").read_text(encoding="utf-8").replace("@PROPERTY", "@settings(max_examples=1)")
    (tmp_path / "test_rare.py").write_text(text, encoding="utf-8")
    assert f"case {case_id}" in command(tmp_path, "pytest", "-p", "no:cacheprovider", "test_rare.py").stdout
    models.write_text(_MODELS.format(steps=-1), encoding="utf-8")
    assert command(tmp_path, *few).returncode == 0


def test_bad_input_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    none = CliRunner().invoke(cli, ["pin", "abcdef"])
    assert none.exit_code == 2
    assert "there is no case abcdef among the failures that are stored here" in none.stderr
    assert "'xyz' is no case id" in CliRunner().invoke(cli, ["pin", "xyz"]).stderr
    (tmp_path / FILE).write_text("{\n", encoding="utf-8")
    broken = CliRunner().invoke(cli, ["check", "torch.nn:GRU", "--checks", "RP101"])
    assert broken.exit_code == 2
    assert f"error: {FILE}, line 1: it is no JSON" in broken.stderr


def test_a_pin_that_does_not_fit_is_an_error_of_its_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = Case(hyperparameters={"input_size": 1, "gone": 2})
    (tmp_path / FILE).write_text(Pin("torch.nn:GRU", "RP107", old).line() + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    report = rnn_props.check("torch.nn:GRU", profile="quick", checks=("RP107",))
    (result,) = report.targets[0].results
    assert (result.status, report.exit_status) == ("error", 2)
    assert "does not fit torch.nn:GRU: there is no argument 'gone' any more" in result.reason
