"""The output for a pipe or a log: plain lines as things happen, no colours, boxes or carriage returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rnn_props import __version__
from rnn_props.execution.events import (
    CheckFinished,
    ContractSettled,
    Event,
    RunFinished,
    RunStarted,
    TargetFinished,
)
from rnn_props.execution.outcomes import TargetResult
from rnn_props.reporting.blocks import details, heading, row
from rnn_props.reporting.closing import closing_lines, opening_line
from rnn_props.reporting.report import Collector
from rnn_props.reporting.text import Line, line

#: To which the code of a case is broken; other lines are as long as they are, so that one finding stays one line.
_CODE_WIDTH = 100


class Plain:
    """A listener that writes plain lines.

    Args:
        write: gets each line, without its end.
        environment: what the run runs on.
    """

    def __init__(self, write: Callable[[str], object], environment: Mapping[str, Any] | None = None) -> None:
        self._write = write
        self._environment = environment
        self._collector = Collector()
        self._shown = ""
        self._many = False

    def __call__(self, event: Event) -> None:
        self._collector(event)
        match event:
            case RunStarted():
                self._many = len(event.targets) > 1
                self._print([opening_line(event, __version__, self._environment)])
            case ContractSettled():
                self._shown = event.target
                self._print([Line(), *heading(event.target, event.contract)])
            case CheckFinished():
                self._turn_to(event.target)
                self._print([row(event.result)])
            case TargetFinished():
                self._finish(event.result)
            case RunFinished():
                if event.interrupted:
                    for target in self._collector.unfinished():
                        self._finish(target)
                self._print(closing_lines(event, self._collector))
            case _:
                pass

    def close(self) -> None:
        """Nothing to put back."""

    def _finish(self, target: TargetResult) -> None:
        self._turn_to(target.target)
        self._print(details(target, _CODE_WIDTH, self._collector.missing(target.target)))

    def _turn_to(self, target: str) -> None:
        """Say whose lines follow, where that is not plain: targets may run side by side."""
        if self._shown != target:
            self._shown = target
            self._print([Line(), line((target, "title"))])

    def _print(self, lines: Iterable[Line]) -> None:
        for item in lines:
            self._write(item.plain)
