"""`rnn-props generate` and what pyproject.toml says of the target."""

from __future__ import annotations

import re
from pathlib import Path

import click.testing
import pytest
from generated import assert_lint_clean, python, run_file

from rnn_props.cli import cli

TARGET = "rnn_props.zoo:ZerosInFloat32"
REASON = "its zeros are float32, which is all that we train in; see the issue of the same name for what is planned"
PYPROJECT = f"""
[tool.rnn_props]
skip = ["RP106"]

[tool.rnn_props.targets."{TARGET}"]
arguments = {{output_size = 3}}
hyperparameters = {{hidden_size = [4, 8]}}
skip = ["RP103"]

[tool.rnn_props.targets."{TARGET}".expected_failures]
RP105 = "{REASON}"
"RP301@sim" = "that is no test of the file"
RP401 = "old"
RP403 = "it says \\"no\\" to nothing that a configuration of ours has in it, and is as it is for now, x"
"""


def generate(*arguments: str) -> str:
    outcome = click.testing.CliRunner().invoke(cli, ["generate", TARGET, *arguments])
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("style", ["pytest", "unittest"])
def test_a_file_has_the_contract_of_the_configuration(folder: Path, style: str) -> None:
    path = folder / "test_it.py"
    generate("--style", style, "-o", path.name)
    text = path.read_text(encoding="utf-8")
    assert '"output_size": free(3)' in text
    assert '"hidden_size": free(4, 8)' in text
    assert "test_shape_unbatched" not in text
    assert 'expected_failures=["RP105", "RP401", "RP403"]' in text
    if style == "pytest":
        assert text.count("@pytest.mark.xfail(") == 3
        assert text.count("strict=True") == 1  # tables of faults pass in part
    else:
        assert f"# Expected to fail: {REASON[:40]}" in text
    assert_lint_clean(folder)


@pytest.mark.nightly
@pytest.mark.parametrize("style", ["pytest", "unittest"])
def test_what_is_expected_to_fail_is_told_as_such_with_its_reason(folder: Path, style: str) -> None:
    path = folder / "test_it.py"
    path.write_text(generate("--style", style, "--checks", "RP105,RP301,RP401,RP701"), encoding="utf-8")
    if style == "pytest":
        done = run_file(path, "-rsxX")
        assert re.search(r"1 passed, 1 skipped, 1 xfailed, \d+ xpassed", done.stdout), done.stdout
        assert f"XFAIL test_it.py::test_type_dtype - {REASON}" in done.stdout
        assert "blocked: it rests on RP105" in done.stdout
    else:
        done = python("-m", "unittest", "-v", path.name, cwd=folder)
        assert re.search(r"test_type_dtype .*\n.*\.\.\. expected failure", done.stderr), done.stderr
        assert re.search(r"test_reject_input .*\n.*\.\.\. unexpected success", done.stderr), done.stderr


def test_the_command_line_comes_first(folder: Path) -> None:
    text = generate("--checks", "RP103,RP106,RP101", "--arg", "output_size=2")
    assert '"output_size": free(2)' in text
    assert "def test_shape_output(" in text
    other = folder / "other.toml"
    other.write_text("[tool.rnn_props]\n", encoding="utf-8")
    assert "xfail" not in generate("--checks", "RP105", "--config", str(other))


def test_checks_of_ones_own_are_listed_and_not_written(folder: Path) -> None:
    (folder / "own_checks.py").write_text(
        """
from rnn_props import register_check


@register_check("XX101", "own.rule", hint="Look.")
def own_rule(t):
    \"\"\"It holds.\"\"\"
    t.call()
""",
        encoding="utf-8",
    )
    (folder / "pyproject.toml").write_text('[tool.rnn_props]\nextensions = ["own_checks.py"]\n', encoding="utf-8")
    command = ["-m", "rnn_props", "generate", TARGET, "--checks", "XX101,RP101"]
    done = python(*command, cwd=folder)
    assert "- XX101: it is a check of your own; `rnn-props check` runs it" in done.stdout, done.stderr
    assert "def test_own_rule" not in done.stdout
    (folder / "pyproject.toml").unlink()
    told = python(*command, "--extension", "own_checks.py", cwd=folder)
    assert told.stdout == done.stdout
