from __future__ import annotations

import io
import re
import threading
import time

import pytest
from rich.console import Console
from sample_results import (
    CONTRACT,
    ENVIRONMENT,
    FAILED,
    LSTM,
    MIXED,
    PASSED,
    UNUSABLE,
    events,
    faulty,
    finding,
    result,
    target,
)
from syrupy.assertion import SnapshotAssertion

from rnn_props.execution.events import (
    CheckFinished,
    CheckProgress,
    CheckStarted,
    ContractSettled,
    Event,
    RunStarted,
    TargetStarted,
)
from rnn_props.execution.outcomes import STATUSES
from rnn_props.reporting.terminal import Plain, Terminal, _Progress
from rnn_props.reporting.text import WORDS

RUNS = {
    "several": events(FAILED, PASSED, UNUSABLE),
    "one": events(PASSED),
    "interrupted": events(PASSED, FAILED, interrupted=True, finish=False),
}


def drawn(run: list[Event], width: int, *, encoding: str = "utf-8") -> str:
    """What a terminal of this width shows after a run."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n", write_through=True)
    console = Console(file=stream, width=width, color_system=None, _environ={})
    screen = Terminal(console, ENVIRONMENT)
    for event in run:
        screen(event)
    assert isinstance(stream.buffer, io.BytesIO)
    return normalised(stream.buffer.getvalue().decode(encoding))


@pytest.fixture(autouse=True)
def a_fixed_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """The place where a line is broken depends on its length."""
    monkeypatch.setattr("rnn_props.reporting.terminal.__version__", "1.2.3")
    monkeypatch.setattr("rnn_props.reporting.plain.__version__", "1.2.3")


def plain(run: list[Event]) -> str:
    lines: list[str] = []
    screen = Plain(lines.append, ENVIRONMENT)
    for event in run:
        screen(event)
    screen.close()
    return normalised("\n".join(lines))


def normalised(text: str) -> str:
    """Without an unfinished target's duration, which is the clock's; as long as it was, to keep lines as wide."""
    return re.sub(r"0\.\d\d s(?= \()", "TIME..", text)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", RUNS)
def test_a_terminal_shows_a_run(name: str, width: int, snapshot: SnapshotAssertion) -> None:
    assert drawn(RUNS[name], width) == snapshot


@pytest.mark.parametrize("name", RUNS)
def test_a_pipe_gets_a_run_as_plain_lines(name: str, snapshot: SnapshotAssertion) -> None:
    assert plain(RUNS[name]) == snapshot


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(len, drawn(RUNS["several"], width).splitlines())) <= width


def test_both_outputs_say_the_same_of_a_violation() -> None:
    shown = " ".join(drawn(RUNS["several"], 120).split())
    for text in plain(RUNS["several"]).split("RP201 state.continuity  FAILED")[1].split("\n\n")[0].splitlines():
        assert " ".join(text.split()) in shown


def test_plain_lines_have_no_colours_boxes_or_carriage_returns() -> None:
    nasty = finding(message="\x1b[31mred\x1b[0m\rgone", where="a.py:1 in f: x[0]\r", case_repr="Case(\x1b[1m)")
    text = plain(events(target(LSTM, *MIXED, result("RP301", "batch.independence", "failed", findings=(nasty,)))))
    assert text.isascii()
    assert text.isprintable() or set(text) - {"\n"} == {character for character in text if character.isprintable()}


def test_brackets_in_messages_are_shown_as_they_are() -> None:
    bad = finding(message="got [bold]x[/bold] and [/] in state[0]", where="m.py:3 in f: h[/x]")
    text = drawn(events(target(LSTM, result("RP201", "state.continuity", "failed", findings=(bad,)))), 80)
    assert "got [bold]x[/bold] and [/] in state[0]" in text
    assert "at: m.py:3 in f: h[/x]" in text


def test_a_terminal_without_unicode_gets_ascii() -> None:
    text = drawn(RUNS["several"], 80, encoding="ascii")
    assert text.isascii()
    assert "X FAILED" in text


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_is_a_word_in_both_outputs(status: str) -> None:
    word = next(text for name, text in WORDS.items() if name == status)
    run = events(target(LSTM, result("RP201", "state.continuity", status)))  # type: ignore[arg-type]
    assert word in drawn(run, 80).split("time\n")[1].splitlines()[0]
    assert word in next(text for text in plain(run).splitlines() if text.startswith("RP201"))


def test_failures_come_before_errors_of_ours_warnings_and_what_torch_does_itself() -> None:
    text = plain(RUNS["several"])
    places = [text.index(word) for word in ("RP201 state.continuity  FAILED", "\nWarnings", "\nInherited", "\nran 8")]
    assert places == sorted(places)


def test_a_finding_of_torch_is_not_listed_among_the_warnings() -> None:
    text = plain(events(FAILED))
    warnings = text[text.index("\nWarnings") : text.index("\nInherited")]
    assert "state.batch_one" not in warnings
    assert "dropout=None" in warnings


def test_what_torch_does_itself_is_a_failure_where_strict_made_it_one() -> None:
    bad = faulty("state.batch_one", "it was accepted", inherited_from_torch=True)
    text = plain(events(target(LSTM, result("RP402", "reject.state", "failed", findings=(bad,)))))
    assert "RP402 reject.state  FAILED" in text
    assert "torch's own module of the same contract does the same" in text
    assert "Inherited" not in text


def test_devices_are_told_apart_where_there_are_several() -> None:
    run = events(
        target(
            LSTM,
            result("RP201", "state.continuity", "failed", device="cuda:0", findings=(finding(),)),
            result("RP201", "state.continuity"),
        )
    )
    text = drawn(run, 80)
    assert text.index("check on cpu") < text.index("check on cuda:0")
    assert "RP201 state.continuity on cuda:0  FAILED" in text


def test_a_failure_without_a_finding_shows_its_reason() -> None:
    text = plain(events(target(LSTM, result("RP301", "batch.independence", "failed", reason="the worker was lost"))))
    assert "RP301 batch.independence  FAILED\n  the worker was lost" in text


def test_checks_that_an_interrupt_left_out_are_counted() -> None:
    run = events(PASSED, FAILED, interrupted=True, finish=False)
    cut = [event for event in run if not (isinstance(event, CheckFinished) and event.result.code in ("RP505", "RP105"))]
    for text in (" ".join(plain(cut).split()), " ".join(drawn(cut, 120).split())):
        assert "ran 8 of 13 checks" in text
        assert text.count("1 not applicable, 2 not reached") == 2
        assert "note interrupted: 2 of its 13 checks have no result" in text


def test_lines_of_targets_that_run_side_by_side_are_told_apart() -> None:
    one = result("RP101", "shape.output")
    lines: list[str] = []
    screen = Plain(lines.append)
    for event in (ContractSettled("a:A", CONTRACT.to_json(), 1), ContractSettled("b:B", CONTRACT.to_json(), 1)):
        screen(event)
    for name in ("a:A", "a:A", "b:B"):
        screen(CheckFinished(name, one))
    assert [item for item in lines if item in ("a:A", "b:B")] == ["a:A", "b:B", "a:A", "b:B"]


def progress(*given: Event) -> str:
    """The live line after some events, without spinner and time."""
    line = _Progress(ascii_only=True)
    for event in given:
        line(event)
    return re.sub(r"^.|  \d+\.\d\d s", "", line.line().plain).strip()


START = (RunStarted((LSTM,), 5, "quick", 0, 2), TargetStarted(LSTM))
SETTLED = ContractSettled(LSTM, {}, 5)
RUNNING = CheckStarted(LSTM, "RP201", "state.continuity")


def test_the_live_line_says_what_it_waits_for() -> None:
    assert progress(START[0]) == "starting"
    assert progress(*START) == "MyLSTM  reading the contract"
    assert progress(*START, SETTLED).startswith("MyLSTM  0/5 checks")


def test_the_live_line_names_the_check_that_runs_and_counts_its_examples() -> None:
    started = (*START, SETTLED, RUNNING)
    assert progress(*started, CheckProgress(LSTM, "RP201", "state.continuity", 1370)) == (
        "MyLSTM  0/5 checks  RP201 state.continuity 1 370 examples"
    )
    assert progress(*started, CheckProgress(LSTM, "RP201", "state.continuity", 1370, shrinking=True)) == (
        "MyLSTM  0/5 checks  RP201 state.continuity shrinking"
    )


def test_the_live_line_has_the_codes_of_checks_that_run_at_a_time_until_they_finish() -> None:
    both = (*START, SETTLED, RUNNING, CheckStarted(LSTM, "RP202", "state.stepwise"))
    assert progress(*both) == "MyLSTM  0/5 checks  RP201 0, RP202 0"
    finished = CheckFinished(LSTM, result("RP202", "state.stepwise"))
    assert progress(*both, finished) == "MyLSTM  1/5 checks  RP201 state.continuity 0 examples"


def test_the_live_line_says_which_of_several_targets_is_at_work() -> None:
    run = RunStarted((LSTM, "b:B"), 5, "quick", 0, 2)
    assert progress(run, TargetStarted(LSTM), TargetStarted("b:B")) == "2/2 B  reading the contract"


def test_the_live_line_is_gone_from_the_screen_and_its_thread_has_ended_after_the_run() -> None:
    stream = io.StringIO()
    screen = Terminal(Console(file=stream, width=80, force_terminal=True, _environ={"TERM": "xterm"}), ENVIRONMENT)
    before = threading.active_count()
    for event in RUNS["one"]:
        screen(event)
    screen.close()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before
    assert stream.getvalue().count("\x1b[?25l") == stream.getvalue().count("\x1b[?25h") == 1


def test_expected_failures_and_stale_ones_have_their_lines() -> None:
    known = result("RP105", "type.dtype", "failed", findings=(finding(),)).expecting("float32 by design")
    stale = result("RP107", "shape.parameters").expecting("long gone")
    shown = drawn(events(target(LSTM, known, stale)), 120)
    assert "Expected failures\n  RP105 type.dtype: float32 by design\n    violated [" in shown
    assert (
        "Stale (expected to fail, and no longer do: take them out of expected_failures)\n"
        "  RP107 shape.parameters: was expected to fail: long gone\n"
    ) in shown
    assert "FAILED" not in shown
