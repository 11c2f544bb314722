"""The first line of a run's text, and the last ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rnn_props.execution.events import RunFinished, RunStarted
from rnn_props.execution.outcomes import STATUSES
from rnn_props.reporting.blocks import counts
from rnn_props.reporting.report import Collector
from rnn_props.reporting.text import WORDS, Line, clean, counted, line, seconds


def opening_line(event: RunStarted, version: str, environment: Mapping[str, Any] | None) -> Line:
    """What is run, and on what. TF32 is always stated: it changes what results can be expected to agree to."""
    text = (
        f"rnn-props {version}: {counted(len(event.targets), 'target')}, {counted(event.checks, 'check')}, "
        f"profile {event.profile}, seed {event.seed}, {counted(event.jobs, 'job')}"
    )
    if environment:
        text += (
            f"; Python {environment['python']}, torch {environment['torch']}, "
            f"hypothesis {environment['hypothesis']}, CUDA {environment['cuda'] or 'none'}, "
            f"TF32 {'on' if environment['tf32'] else 'off'}"
        )
    return line((clean(text), "dim"))


def closing_lines(event: RunFinished, collector: Collector) -> Iterator[Line]:
    """The targets side by side, where there are several, and whether the run came to its end."""
    targets = collector.results()
    if len(targets) > 1:
        yield Line()
        found = [target.status for target in targets]
        statuses = ", ".join(f"{found.count(item)} {WORDS[item].lower()}" for item in STATUSES if item in found)
        yield line((f"{counted(len(targets), 'target')} in {seconds(event.duration_s)}: {statuses}", "title"))
        words = max(len(WORDS[status]) for status in found)
        for target in targets:
            missing = collector.missing(target.target)
            ran = (f"ran {target.ran} of {len(target.results) + missing}", "")
            why = (clean(target.message.partition("\n")[0]), "")
            said = [ran, *counts(target, missing)] if target.results else [why]
            name = clean(target.target)
            yield line((f"{WORDS[target.status]:{words}}", target.status), "  ", (name, "code"), "  ", *said, indent=2)
    if event.interrupted:
        yield Line()
        yield line(("interrupted", "failed"), ": what was found until then is above")
