"""The output for a terminal: a live line while checks run, then a table and the findings of each target."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from rnn_props import __version__
from rnn_props.execution.events import (
    CheckFinished,
    CheckProgress,
    CheckStarted,
    ContractSettled,
    Event,
    RunFinished,
    RunStarted,
    TargetFinished,
    TargetStarted,
)
from rnn_props.execution.outcomes import TargetResult
from rnn_props.reporting.blocks import ASCII_SYMBOLS, SYMBOLS, details, heading, table
from rnn_props.reporting.closing import closing_lines, opening_line
from rnn_props.reporting.plain import Plain
from rnn_props.reporting.report import Collector
from rnn_props.reporting.text import Line, clean, counted, number, seconds

__all__ = ["WIDEST", "Plain", "Terminal", "show"]

_STYLES: Mapping[str, str] = {
    "title": "bold",
    "code": "cyan",
    "case": "cyan",
    "label": "bold",
    "message": "",
    "dim": "dim",
    "passed": "green",
    "failed": "bold red",
    "error": "bold magenta",
    "warned": "yellow",
    "expected_failure": "yellow",
    "blocked": "dim",
    "not_applicable": "dim",
    "skipped": "dim",
}
#: Wider, and the eye loses the line; a message then wraps early.
WIDEST = 120
_SPINNER, _ASCII_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"


def _styled(item: Line) -> Text:
    return Text.assemble(*((part, _STYLES.get(style, "")) for part, style in item.spans))


def show(console: Console, lines: Iterable[Line]) -> None:
    """Print lines that are as wide as they should be."""
    for item in lines:
        console.print(Text(" " * item.indent) + _styled(item), highlight=False, soft_wrap=True)


class Terminal:
    """A listener that draws on a terminal. `close` puts the cursor back, whatever happened."""

    def __init__(self, console: Console, environment: Mapping[str, Any] | None = None) -> None:
        self._console = console
        self._environment = environment
        self._collector = Collector()
        self._progress = _Progress(ascii_only=console.options.ascii_only)
        self._symbols = ASCII_SYMBOLS if console.options.ascii_only else SYMBOLS
        self._live = Live(console=console, get_renderable=self._progress.line, refresh_per_second=10, transient=True)

    def __call__(self, event: Event) -> None:
        self._collector(event)
        self._progress(event)
        match event:
            case RunStarted():
                self._print([opening_line(event, __version__, self._environment)])
                if self._console.is_terminal:
                    self._live.start()
            case TargetFinished():
                self._finish(event.result)
            case RunFinished():
                self.close()
                if event.interrupted:
                    for target in self._collector.unfinished():
                        self._finish(target)
                self._print(closing_lines(event, self._collector))
            case _:
                pass

    def close(self) -> None:
        """Take the live line away."""
        self._live.stop()

    def _finish(self, target: TargetResult) -> None:
        width = min(self._console.width, WIDEST)
        self._print([Line(), *heading(target.target, target.contract)])
        rows = list(table(target.results, self._symbols, width))
        self._print([Line(), *rows] if rows else [], fit=True)
        self._print(details(target, width, self._collector.missing(target.target)))

    def _print(self, lines: Iterable[Line], *, fit: bool = False) -> None:
        """Print lines, wrapped with their indent; with `fit`, cut at the console's width instead."""
        for item in lines:
            text = _styled(item)
            width = max(min(self._console.width, WIDEST) - item.indent, 20)
            if fit:
                text.truncate(width)
            for part in [text] if fit else self._physical(text, width, item.most):
                part.rstrip()
                self._console.print(Text(" " * item.indent) + part, highlight=False, soft_wrap=True)

    def _physical(self, text: Text, width: int, most: int) -> list[Text]:
        """The text wrapped, to at most so many lines if `most` is not 0; what is left out shows."""
        wrapped = list(text.wrap(self._console, width)) or [Text()]
        if not most or len(wrapped) <= most:
            return wrapped
        last = wrapped[most - 1]
        last.rstrip()
        last.truncate(width - 4)
        last.append(" ...")
        return wrapped[:most]


class _Progress:
    """The live line: which checks run, how far they are, and how long it has taken.

    It is told of events in one thread and drawn from another.
    """

    def __init__(self, *, ascii_only: bool) -> None:
        self._lock = threading.Lock()
        self._frames = _ASCII_SPINNER if ascii_only else _SPINNER
        self._began = time.monotonic()
        self._targets = 1
        self._number = 0
        self._target = ""
        self._total: dict[str, int] = {}
        self._done: dict[str, int] = {}
        self._running: dict[tuple[str, str], tuple[str, int, bool]] = {}

    def __call__(self, event: Event) -> None:
        with self._lock:
            self._hear(event)

    def _hear(self, event: Event) -> None:
        match event:
            case RunStarted(targets=targets):
                self._began = time.monotonic()
                self._targets = len(targets)
            case TargetStarted(target=target):
                self._number += 1
                self._target = target
            case ContractSettled(target=target, checks=checks):
                self._target = target
                self._total[target] = checks
            case CheckStarted(target=target, code=code, name=name):
                self._running[target, code] = (name, 0, False)
            case CheckProgress(target=target, code=code, name=name, examples=examples, shrinking=shrinking):
                self._running[target, code] = (name, examples, shrinking)
            case CheckFinished(target=target, result=result):
                self._done[target] = self._done.get(target, 0) + 1
                self._running.pop((target, result.code), None)
            case TargetFinished(result=finished):
                for key in [key for key in self._running if key[0] == finished.target]:
                    del self._running[key]
            case _:
                pass

    def line(self) -> Text:
        """The line as it is now, to be cut where the terminal ends."""
        with self._lock:
            elapsed = time.monotonic() - self._began
            running = list(self._running.items())
            done = self._done.get(self._target, 0)
            total = max(self._total.get(self._target, 0), done)
            target, place = self._target, f" {self._number}/{self._targets}" if self._targets > 1 else ""
        frame = self._frames[int(elapsed * 10) % len(self._frames)]
        counts = f"{done}/{total} checks" if total else "reading the contract" if target else "starting"
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(frame, "cyan")
        text.append(f"{place} {clean(target.rpartition(':')[2])}", "bold")
        text.append(f"  {counts}  {seconds(elapsed)}")
        for index, ((_, code), (name, examples, shrinking)) in enumerate(running):
            text.append("  " if index == 0 else ", ")
            text.append(code, "cyan")
            # The name of one check helps; those of several would push each other off the line.
            text.append(f" {name}" if len(running) == 1 else "")
            text.append(" shrinking" if shrinking else f" {number(examples)}")
        if len(running) == 1 and not running[0][1][2]:
            text.append(f" {counted(running[0][1][1], 'example').rpartition(' ')[2]}")
        return text
