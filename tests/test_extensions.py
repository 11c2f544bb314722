"""Checks, faults and kinds of values of one's own, as in examples/own_checks.py."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rnn_props.extensions import ExtensionError, load_extensions

EXAMPLES = Path(__file__).parents[1] / "examples"
OWN = "own_checks.py"
pytestmark = pytest.mark.slow


def _run(*arguments: str, folder: Path = EXAMPLES, path: Path | None = None) -> tuple[int, str]:
    """Exit status of the command and all that it prints."""
    inherited = os.environ.get("PYTHONPATH", "")
    environment = {**os.environ, "PYTHONPATH": f"{path}{os.pathsep}{inherited}"} if path is not None else None
    done = subprocess.run(
        [sys.executable, "-m", "rnn_props", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=240, env=environment,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def _check(*arguments: str) -> tuple[int, str]:
    return _run("check", *arguments, "--profile", "quick", "--seed", "0", "--extension", OWN)


def test_a_check_of_ones_own_passes_and_fails_like_any_other() -> None:
    status, told = _check(f"{OWN}:Bounded", f"{OWN}:Unbounded", "--checks", "MY001")
    assert status == 1
    assert "passed  own_checks.py:Bounded" in told
    assert "MY001 bounded.output  FAILED\n  output: expected at most 1, got " in told
    assert "  hint: Put a tanh behind the last layer.\n  more: rnn-props explain MY001" in told
    assert "Case(hyperparameters={'input_size': 1," in told  # it was made smaller


def test_a_fault_of_ones_own_is_put_in_and_judged() -> None:
    status, told = _check(f"{OWN}:TakesDoubled", "--checks", "RP401", "--max-examples", "60")
    assert status == 1
    assert "input.doubled accepted" in told
    status, told = _check(f"{OWN}:Bounded", "--checks", "RP401", "--max-examples", "60")
    assert status == 0


def test_values_of_ones_own_are_drawn_by_every_check_that_asks_for_no_others() -> None:
    code = """
import rnn_props.extensions
rnn_props.extensions.load_extensions(["own_checks.py"])
from rnn_props.cases import Source, TensorSpec
from rnn_props.checks import get
from rnn_props.execution.plans import Plans
from rnn_props.execution.profiles import PROFILES
from rnn_props.inference import infer_contract
import torch, own_checks
plans = Plans(infer_contract(own_checks.Bounded), PROFILES["default"], 0, None)
print({case.input.fill for case in plans.cases(get("RP101"))} >= {"normal", "ramp"})
print({case.input.fill for case in plans.cases(get("RP308"))})
print((TensorSpec((2, 2), torch.float64, Source("ramp", 3)).make().diff() == 1).all().item())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=EXAMPLES, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.stdout.splitlines() == ["True", "{'normal'}", "True"], done.stderr


def test_values_that_only_the_target_registers_are_an_error_that_says_what_to_write() -> None:
    status, told = _run("check", f"{OWN}:Bounded", "--profile", "quick", "--checks", "RP101")
    assert status == 2
    assert "importing it registers the kind of values 'ramp'" in told
    assert "--extension own_checks.py" in told
    assert "Traceback" not in told


def test_its_page_is_shown_and_it_is_listed() -> None:
    status, told = _run("explain", "MY001", "--extension", OWN)
    assert status == 0
    assert "The controller behind our models takes them as positions of a valve." in told
    _, told = _run("checks", "--extension", OWN)
    assert "MY001  bounded.output" in told


@pytest.mark.nightly
def test_a_configuration_and_an_installed_package_can_name_extensions(tmp_path: Path) -> None:
    (tmp_path / OWN).write_text((EXAMPLES / OWN).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(f'[tool.rnn_props]\nextensions = ["{OWN}"]\n', encoding="utf-8")
    assert "MY001  bounded.output" in _run("checks", folder=tmp_path)[1]
    packages = tmp_path / "packages"
    (packages / "team-1.0.dist-info").mkdir(parents=True)
    (packages / "team-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: team\nVersion: 1.0\n")
    (packages / "team-1.0.dist-info" / "entry_points.txt").write_text("[rnn_props.extensions]\nteam = team_checks\n")
    (packages / "team_checks.py").write_text((EXAMPLES / OWN).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "pyproject.toml").unlink()
    assert "MY001  bounded.output" in _run("checks", folder=tmp_path, path=packages)[1]
    status, told = _run(
        "check", f"{OWN}:Unbounded", "--checks", "MY001", "--profile", "quick", folder=tmp_path / "packages",
        path=packages,
    )  # fmt: skip
    assert status == 2
    assert f"there is no file {OWN}" in told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise RuntimeError('no')", "failed: RuntimeError: no"),
        (
            "from rnn_props import register_check\n@register_check('RP201', 'a.b', hint='')\ndef f(t):\n    '''S.'''",
            "failed: ValueError: there is a check RP201 or a.b already",
        ),
        (
            "from rnn_props import register_fault\nregister_fault('inputs.x')",
            "failed: ValueError: a fault has a name such as 'input.doubled' or 'state.doubled' (got 'inputs.x')",
        ),
        (
            "from rnn_props import register_fill\nregister_fill('normal')",
            "failed: ValueError: there is a kind of values 'normal' already",
        ),
    ],
)
def test_an_extension_that_cannot_be_used_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "broken.py").write_text(text, encoding="utf-8")
    with pytest.raises(ExtensionError) as caught:
        load_extensions(["broken.py"])
    assert str(caught.value).startswith("the extension 'broken.py' can't be used: ")
    assert message in str(caught.value)


def test_one_that_cannot_be_imported_ends_the_command_with_one_line(tmp_path: Path) -> None:
    status, told = _run("check", "torch.nn:GRU", "--extension", "absent.py", folder=tmp_path)
    assert status == 2
    assert told.startswith("rnn-props: error: the extension 'absent.py' can't be used: there is no file absent.py")
    assert len(told.splitlines()) == 1


def test_the_page_shows_the_example() -> None:
    page = (EXAMPLES.parent / "docs" / "extending.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)\n```", page, re.DOTALL)
    assert block in (EXAMPLES / OWN).read_text(encoding="utf-8")
