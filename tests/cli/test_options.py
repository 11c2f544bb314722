"""What is said about a wrong command line: one line on stderr, status 2, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rnn_props import cli as command_line
from rnn_props import cli_options
from rnn_props.execution.profiles import PROFILES

TARGET = "torch.nn:LSTM"


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(command_line.cli, arguments, prog_name="rnn-props")


def refused(*arguments: str) -> str:
    """The one line that a wrong command line gets."""
    outcome = invoke("check", *arguments)
    assert outcome.exit_code == 2
    assert outcome.stdout == ""
    lines = outcome.stderr.splitlines()
    assert len(lines) == 1, outcome.stderr
    assert lines[0].startswith("rnn-props: error: ")
    return lines[0].removeprefix("rnn-props: error: ")


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[str, ...], Any, Path | None]]:
    """What a right command line would run; nothing is run."""
    calls: list[tuple[tuple[str, ...], Any, Path | None]] = []

    def run(targets: tuple[str, ...], options: Any, json_path: Path | None, no_color: bool) -> int:
        calls.append((targets, options, json_path))
        return 0

    monkeypatch.setattr(command_line, "_run", run)
    return calls


def test_a_target_must_be_named() -> None:
    assert refused() == ("name a TARGET, such as package.module:MyLSTM, or targets in [tool.rnn_props.targets]")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--arg", "bias"), "'bias' has no '='; write NAME=VALUE, such as num_layers=2"),
        (("--arg", "=1"), "'' is not the name of an argument"),
        (("--arg", "a-b=1"), "'a-b' is not the name of an argument"),
        (("--arg", "class=1"), "'class' is not the name of an argument"),
        (("--arg", "a=1", "--arg", "a=2"), "'a' is given twice"),
        (("--arg", "a={1, 2}"), "a: set values cannot be passed on"),
        (("--arg", "a=b'x'"), "a: bytes values cannot be passed on"),
        (("--device", "cdua"), "'cdua' is not a device (did you mean 'cuda'?)"),
        (("--seed", "-1"), "-1 is not in the range"),
        (("--seed", "4294967296"), "4294967296 is not in the range"),
        (("--seed", "one"), "'one' is not a valid integer"),
        (("--jobs", "0"), "0 is not in the range"),
        (("--jobs", "65"), "65 is not in the range"),
        (("--max-examples", "0"), "0 is not in the range"),
        (("--profile", "slow"), "'slow' is not one of"),
        (("--checks", ""), "a code, a name or a glob is missing"),
        (("--skip", "RP101,"), "a code, a name or a glob is missing"),
        (("--checks", "RX9*"), "no check matches 'RX9*'"),
        (("--skip", "nothing.*"), "no check matches 'nothing.*'"),
        (("--json", "-"), "name a file"),
        (("--bogus",), "No such option"),
    ],
)
def test_a_wrong_option_is_refused_with_what_to_write(arguments: tuple[str, ...], text: str) -> None:
    assert text in refused(TARGET, *arguments)


def test_a_json_file_in_a_missing_folder_is_refused_before_the_run(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "report.json"
    assert refused(TARGET, "--json", str(path)) == f"--json: cannot write {path}: there is no folder {path.parent}"


def test_a_run_that_is_refused_leaves_no_json_file_behind(tmp_path: Path) -> None:
    refused(TARGET, "--json", str(tmp_path / "report.json"), "--checks", "RX9*")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_command_is_refused() -> None:
    outcome = invoke("chekc")
    assert outcome.exit_code == 2
    assert outcome.stderr.startswith("rnn-props: error: No such command 'chekc'")


def test_without_a_command_the_help_is_shown_as_an_error() -> None:
    outcome = invoke()
    assert outcome.exit_code == 2
    assert "Usage: rnn-props" in outcome.stderr


def test_options_reach_the_run(chosen: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    line = (
        "check a:A b:B --checks RP1*,state.* --checks RP301 --skip RP102 --profile quick --max-examples 9 --seed 0 "
        "--jobs 2 --device cpu --strict --json"
    )
    assert invoke(*line.split(), str(path)).exit_code == 0
    targets, options, json_path = chosen[0]
    assert targets == ("a:A", "b:B")
    assert options.checks == ("RP1*", "state.*", "RP301")
    assert options.skip == ("RP102",)
    assert (options.profile, options.max_examples, options.seed, options.jobs) == ("quick", 9, 0, 2)
    assert (options.devices, options.strict, json_path) == (("cpu",), True, path)


def test_options_that_are_left_out_are_those_of_the_python_interface(chosen: list[Any]) -> None:
    from rnn_props.options import Options

    assert invoke("check", TARGET).exit_code == 0
    assert chosen == [((TARGET,), Options(), None)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", 2),
        ("-0.5", -0.5),
        ("True", True),
        ("None", None),
        ("(1, 2)", (1, 2)),
        ("[1, 'a']", [1, "a"]),
        ("{'a': 1}", {"a": 1}),
        ("'2'", "2"),
        ("relu", "relu"),
        ("", ""),
        ("a=b", "a=b"),
        ("torch.float32", "torch.float32"),
        ("1 +", "1 +"),
        ("{[]: 1}", "{[]: 1}"),
    ],
)
def test_an_argument_is_a_literal_or_else_a_string(text: str, value: object, chosen: list[Any]) -> None:
    assert invoke("check", TARGET, "--arg", f"name={text}").exit_code == 0
    given = chosen[0][1].arguments["name"]
    assert given == value
    assert type(given) is type(value)


def test_a_bool_in_another_languages_spelling_is_pointed_out(chosen: list[Any]) -> None:
    outcome = invoke("check", TARGET, "--arg", "bias=false")
    assert outcome.stderr == (
        "rnn-props: note: --arg bias=false passes the string 'false'; write bias=False for Python's False\n"
    )
    assert chosen[0][1].arguments == {"bias": "false"}


def test_a_target_that_is_named_twice_is_checked_once(chosen: list[Any]) -> None:
    outcome = invoke("check", "a:A", "b:B", "a:A")
    assert outcome.stderr == "rnn-props: note: a:A is named 2 times; it is checked once\n"
    assert chosen[0][0] == ("a:A", "b:B")


def test_the_profiles_of_the_command_line_are_all_there_are() -> None:
    assert tuple(PROFILES) == cli_options.PROFILES


def test_every_option_of_check_has_its_default_in_the_help() -> None:
    text = " ".join(invoke("check", "--help").stdout.split())
    options = [f"{part}" for part in text.split(" --")[1:]]
    assert [part for part in options if "default" not in part and not part.startswith("help")] == []
