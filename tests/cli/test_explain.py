"""`rnn-props explain`: the pages of checks."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result
from syrupy.assertion import SnapshotAssertion

from rnn_props.checks import all_checks, get
from rnn_props.cli import cli
from rnn_props.reporting.explain import explanation, text_lines


def explain(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["explain", *arguments], prog_name="rnn-props")


def titles(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("RP")]


def wrapped(code: str, width: int) -> str:
    return "\n".join(item.plain for item in text_lines([explanation(get(code))], width))


def test_a_page_in_a_pipe(snapshot: SnapshotAssertion) -> None:
    outcome = explain("RP402")
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    assert outcome.stdout == snapshot


def test_a_page_on_a_terminal_of_80_columns(snapshot: SnapshotAssertion) -> None:
    assert wrapped("RP402", 80) == snapshot


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_page_says_the_same_at_any_width_and_only_code_is_wider(width: int) -> None:
    text = wrapped("RP301", width)
    assert text.split() == explain("RP301").stdout.split()
    for line in text.splitlines():
        assert len(line) <= width or "rnn-props check" in line or line.startswith(" " * 6)


@pytest.mark.parametrize("code", ["rp201", "RP201", "state.continuity", "State.Continuity"])
def test_a_check_is_found_by_code_or_name_in_any_case(code: str) -> None:
    assert titles(explain(code).stdout) == ["RP201 state.continuity"]


def test_several_codes_and_globs_give_each_page_once_in_the_order_of_codes() -> None:
    outcome = explain("RP301", "rp50?,state.used", "batch.independence")
    expected = [f"{item.code} {item.name}" for item in all_checks()
                if item.code in ("RP205", "RP301") or item.code.startswith("RP50")]  # fmt: skip
    assert len(expected) > 4
    assert titles(outcome.stdout) == expected


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("state.contnuity", " (did you mean RP201 state.continuity?)"),
        ("used", " (did you mean RP205 state.used?)"),
        ("independance", " (did you mean RP301 batch.independence?)"),
        ("PR201", " (did you mean RP201 state.continuity?)"),
        ("RP2O1", " (did you mean RP201 state.continuity?)"),
        ("RP2xx", " (did you mean 'RP2*'?)"),
        ("state", " (did you mean 'state*'?)"),
        ("quantum.entanglement", ""),
    ],
)
def test_an_unknown_code_is_an_error_with_what_was_probably_meant(written: str, meant: str) -> None:
    outcome = explain("RP101", written)
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert outcome.stderr == (
        f"rnn-props: error: no check matches '{written}'{meant}; write a code or a name, or a glob such as 'RP2*' or "
        "'state.*' ('rnn-props checks' lists them)\n"
    )


@pytest.mark.parametrize("arguments", [(), ("",), ("RP201,",)])
def test_a_missing_code_is_an_error(arguments: tuple[str, ...]) -> None:
    outcome = explain(*arguments)
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert "missing" in outcome.stderr.lower()


def test_a_page_as_json_has_every_section_and_the_bugs_with_their_source() -> None:
    (page,) = json.loads(explain("RP405", "--json").stdout)
    check = get("RP405")
    assert (page["code"], page["check"], page["statement"]) == (check.code, check.name, check.statement)
    assert (page["why"], page["fix"], page["hint"]) == (check.page.why, check.page.fix, check.hint)
    assert page["causes"] == list(check.page.causes)
    assert (page["after"], page["explained_by"]) == (list(check.after), ["RP408"])
    assert page["advice"] is True
    assert [bug["name"] for bug in page["bugs"]] == ["RejectsWithoutReason", "CellAssertsWithoutMessage"]
    first = page["bugs"][0]
    assert first["source"].startswith("class RejectsWithoutReason(PlainLSTM):\n    def run(")
    assert first["base"] == "PlainLSTM (torch.nn.LSTM in plain tensor operations)"
    assert first["command"] == "rnn-props check rnn_props.zoo:RejectsWithoutReason --checks RP405"


def test_json_of_several_checks_is_a_list_in_the_order_of_codes() -> None:
    pages = json.loads(explain("RP2*", "RP101", "--json").stdout)
    codes = [page["code"] for page in pages]
    assert codes == sorted(codes)
    assert {"RP101", "RP201", "RP202"} <= set(codes)


def test_where_a_check_does_not_apply_is_said() -> None:
    assert explanation(get("RP303")).exceptions == ("it has no batch_first",)
    assert "it keeps its state between calls by contract" in explanation(get("RP206")).exceptions
    assert "a cell returns its state alone (RP102 holds its shape)" in explanation(get("RP101")).exceptions
    assert "the state may not be left out" in explanation(get("RP203")).exceptions


@pytest.mark.parametrize("check", all_checks(), ids=lambda check: check.code)
def test_every_check_has_a_page_that_can_be_printed(check: object) -> None:
    page = explanation(check)  # type: ignore[arg-type]
    lines = [item.plain for item in text_lines([page])]
    assert lines[0] == page.title
    assert f"  {page.check.statement}" in lines
    assert all(f"    - {cause}" in lines for cause in page.check.page.causes)
    for bug in page.bugs[:1]:
        assert f"      {bug.command}" in lines
        assert f"      {bug.source.splitlines()[0]}" in lines
