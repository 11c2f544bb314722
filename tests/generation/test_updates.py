"""`rnn-props generate` and a file that is there: nothing of the user's is ever lost."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click.testing
import generated
import pytest
import torch
from generated import assert_lint_clean

from rnn_props import cli_files
from rnn_props.cli import cli
from rnn_props.generation import SuiteFile, UpdateError, updated
from rnn_props.inference import infer_contract


def written(checks: tuple[str, ...], style: Any = "pytest") -> SuiteFile:
    return generated.written("GRU", checks, style)


@pytest.mark.parametrize("style", ["pytest", "unittest"])
def test_an_update_adds_what_is_missing_and_leaves_edits_alone(style: str, tmp_path: Path) -> None:
    pytest.importorskip("ruff")
    present = written(("RP101", "RP201"), style).text.replace('MODULE.holds("RP101", case)', "assert case  # mine")
    update = updated(present, written(("RP101", "RP201", "RP105", "RP401"), style))
    merged = update.text
    assert update.added == ("test_type_dtype", "test_reject_input")
    assert "assert case  # mine" in merged
    assert "\n# RP101 RP105 RP201 RP401\n\n" in merged
    assert 'MODULE.holds("RP101", case)' not in merged
    kept = [line for line in present.split("\n") if line.strip() and line != "# RP101 RP201"]
    assert [line for line in merged.split("\n") if line in set(kept)] != []
    assert set(kept) <= set(merged.split("\n"))
    (tmp_path / "test_it.py").write_text(merged, encoding="utf-8")
    assert_lint_clean(tmp_path)
    again = updated(merged, written(("RP101", "RP401"), style))
    assert (again.text, again.added, again.deleted) == (merged, (), {})


@pytest.mark.parametrize("style", ["pytest", "unittest"])
def test_a_test_that_was_deleted_stays_deleted_until_its_code_leaves_the_list(style: str) -> None:
    some, more = ("RP101", "RP105", "RP107"), ("RP101", "RP105", "RP107", "RP201")
    whole = written(some, style)
    without = written(("RP101",), style).text.replace("# RP101\n", "# RP101 RP105 RP107\n")  # two are deleted
    assert without != whole.text
    update = updated(without, written(more, style))
    assert update.added == ("test_state_continuity",)
    assert update.deleted == {"test_type_dtype": "RP105", "test_shape_parameters": "RP107"}
    assert "test_type_dtype" not in update.text
    assert "# RP101 RP105 RP107 RP201\n" in update.text
    back = updated(update.text.replace(" RP107 ", " "), written(more, style))
    assert back.added == ("test_shape_parameters",)
    assert back.deleted == {"test_type_dtype": "RP105"}


@pytest.mark.parametrize("style", ["pytest", "unittest"])
def test_an_update_brings_what_the_new_tests_stand_on(style: str, tmp_path: Path) -> None:
    whole = written(("RP401", "RP101", "RP801"), style)
    text = written(("RP401",), style).text
    assert "PROPERTY" not in text
    update = updated(text, whole)
    head = update.text[: update.text.index("test_reject_input")]
    for name in ("PROPERTY", "ACCELERATORS"):
        assert head.count(f"\n{whole.definitions[name]}\n") == 1
    assert "\nfrom rnn_props import Capabilities, Case, Contract, Suite, strategies, testing\n" in head
    imports = [line for line in update.text.split("\n") if line.startswith(("import", "from"))]
    assert imports == [line for line in whole.imports if line]
    (tmp_path / "test_it.py").write_text(update.text, encoding="utf-8")
    assert_lint_clean(tmp_path)
    compile(update.text, "test_it.py", "exec")


def test_a_test_under_another_name_is_there(tmp_path: Path) -> None:
    renamed = written(("RP101", "RP105")).text.replace("test_type_dtype", "test_mine")
    assert updated(renamed, written(("RP101", "RP105"))).deleted == {}


@pytest.mark.parametrize("style", ["pytest", "unittest"])
def test_a_list_that_was_taken_out_comes_back_with_what_is_there(style: str) -> None:
    text = written(("RP101", "RP105"), style).text
    without = re.sub(r"^# `rnn-props generate --update`(.*\n# )*.*\n\n", "", text, flags=re.M)
    assert without.count("\n") == text.count("\n") - 4
    update = updated(without, written(("RP101", "RP105", "RP107"), style))
    assert update.added == ("test_shape_parameters",)
    assert update.text == updated(text, written(("RP101", "RP105", "RP107"), style)).text


@pytest.mark.parametrize(
    ("present", "style", "message"),
    [
        ("def broken(:\n", "pytest", "it is no Python: .* in line 1"),
        ("x = 1\n", "unittest", "it has no class GRUProperties"),
        ("x = 1\n", "pytest", "it has no CONTRACT, which the new tests use"),
    ],
)
def test_a_file_that_tests_can_not_be_added_to_is_an_error(present: str, style: str, message: str) -> None:
    with pytest.raises(UpdateError, match=message):
        updated(present, written(("RP101",), style))


@pytest.fixture
def known_contract(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The command without the worker process that finds the contract out."""
    monkeypatch.setattr(cli_files, "contract_of", lambda checks: infer_contract(torch.nn.GRU))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def invoke(*arguments: str) -> tuple[int, str]:
    """The exit status and everything that was printed."""
    outcome = click.testing.CliRunner().invoke(cli, ["generate", *arguments])
    return outcome.exit_code, outcome.output


def test_a_file_that_is_there_is_shown_the_difference_and_left_alone(known_contract: Path) -> None:
    path = known_contract / "test_gru.py"
    arguments = ("torch.nn:GRU", "-o", "test_gru.py", "--checks", "RP101,RP105")
    assert invoke(*arguments) == (0, "wrote test_gru.py: 2 tests\n")
    assert invoke(*arguments) == (0, "test_gru.py is as it would be written: nothing to do\n")
    edited = path.read_text(encoding="utf-8").replace("integers(1, 7)", "integers(1, 9)", 1)
    path.write_text(edited, encoding="utf-8")
    status, said = invoke(*arguments)
    assert status == 1
    assert '-        "input_size": integers(1, 9),\n+        "input_size": integers(1, 7),\n' in said
    assert "test_gru.py is there already, and was left as it is: --update adds the tests that it never had" in said
    assert path.read_text(encoding="utf-8") == edited
    assert invoke(*arguments, "--checks", "RP107", "--update") == (0, "added to test_gru.py: test_shape_parameters\n")
    now = path.read_text(encoding="utf-8")
    assert now.startswith(edited.rstrip("\n").replace("# RP101 RP105\n", "# RP101 RP105 RP107\n"))
    assert invoke(*arguments, "--update") == (0, "test_gru.py has every test already: nothing to do\n")


def test_of_a_test_that_was_deleted_is_said_how_to_get_it_back(known_contract: Path) -> None:
    path = known_contract / "test_gru.py"
    arguments = ("torch.nn:GRU", "-o", "test_gru.py", "--checks")
    invoke(*arguments, "RP101,RP105")
    text = path.read_text(encoding="utf-8")
    shorter = text[: text.index("\n\n@PROPERTY", text.index("def test_shape_output"))]
    path.write_text(shorter, encoding="utf-8")
    how = "to have a test again, take its code out of the list at the top of test_gru.py: RP105"
    note = f"rnn-props: note: deleted once, and not written again: test_type_dtype ({how})\n"
    assert invoke(*arguments, "RP101,RP105", "--update") == (0, f"there is nothing to add to test_gru.py\n{note}")
    assert path.read_text(encoding="utf-8") == shorter
    now = (0, f"added to test_gru.py: test_shape_parameters\n{note}")
    assert invoke(*arguments, "RP10[157]", "--update") == now
    path.write_text(path.read_text(encoding="utf-8").replace(" RP105 ", " "), encoding="utf-8")
    assert invoke(*arguments, "RP105", "--update") == (0, "added to test_gru.py: test_type_dtype\n")


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="this system has no /dev/stdout")
def test_a_pipe_is_written_and_not_read(known_contract: Path) -> None:
    command = [sys.executable, "-m", "rnn_props", "generate", "torch.nn:GRU", "--checks", "RP101", "-o", "/dev/stdout"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    ast.parse(done.stdout)
    assert "rnn-props: note: wrote /dev/stdout: 1 test" in done.stderr


def test_without_a_file_the_text_is_printed(known_contract: Path) -> None:
    status, said = invoke("torch.nn:GRU", "--checks", "RP101", "--style", "unittest")
    assert status == 0
    assert "class GRUProperties(unittest.TestCase):\n    @PROPERTY\n" in said
    ast.parse(said)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["torch.nn:GRU", "-o", "no/such/folder/t.py"], "cannot write no/such/folder/t.py: there is no folder"),
        (["torch.nn:GRU", "-o", "."], "cannot write .: it is a folder; name a file in it"),
        (["torch.nn:GRU", "a:B"], "a test file is written for one target; call it once for each"),
        (["torch.nn:GRU", "--checks", "RP999"], "no check matches 'RP999'"),
        (["torch.nn:GRU", "--checks", "RP806"], "none of the chosen checks applies to torch.nn:GRU"),
    ],
)
def test_bad_input_is_one_clear_line(known_contract: Path, arguments: list[str], message: str) -> None:
    status, said = invoke(*arguments)
    assert status == 2
    assert message in said
