"""What the commands do that write files into the user's repository."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import settings

from rnn_props.api import TargetChecks
from rnn_props.checks import get
from rnn_props.contracts import Contract
from rnn_props.execution import pins
from rnn_props.generation import SuiteFile, Update, UpdateError, github_workflow, suite_file, updated
from rnn_props.options import Options
from rnn_props.reporting import UnwritableError, ensure_writable

#: A test file has tests for accelerators that are not there, too.
_EVERYWHERE = ("cpu", "sim", "cuda", "mps")
#: Where GitHub looks for workflows.
WORKFLOW = Path(".github/workflows/rnn-props.yml")


class CommandError(Exception):
    """A command that can't do what it was asked to. The message says what was wrong and what to write instead."""


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a file.

    Attributes:
        done: whether the file is now as it should be.
        text: what there is to say, or to show.
        note: what there is to say beside what is shown.
    """

    done: bool
    text: str
    note: str = ""


def contract_of(checks: TargetChecks) -> Contract:
    """The contract that a target would be held to; what is inferred of it is found out in a worker process.

    Raises:
        TargetError: it can't be used.
    """
    with checks:
        return checks.open().contract


def generate(
    target: str,
    output: Path | None,
    options: Options,
    *,
    style: Any = "pytest",
    update: bool = False,
) -> Written:
    """Write a test file, or give its text where no output is named.

    Args:
        target: the module.
        output: the file.
        options: of the run that the file is to be of one mind with; of them, what is chosen, the contract and what is
            expected to fail have a bearing.
        style: of the tests.
        update: whether to add to a file that is there what it never had.

    Raises:
        CommandError: it can't be written.
        TargetError: the target can't be used.
        ValueError: a check is unknown, or none applies.
    """
    if output is not None:
        _writable(output)
    checks = TargetChecks(target, replace(options, devices=_EVERYWHERE))
    run = checks.options
    new = suite_file(target, contract_of(checks), run.checks, style, run.expected_failures)
    return Written(True, new.text.rstrip("\n")) if output is None else _put(output, new.text, new, update)


def generate_workflow(targets: Sequence[str], output: Path | None) -> Written:
    """Write a workflow for GitHub.

    Raises:
        CommandError: it can't be written.
    """
    place = output or WORKFLOW
    if output is None:
        place.parent.mkdir(parents=True, exist_ok=True)
    _writable(place)
    return _put(place, github_workflow(targets), None, update=False)


def pin(case_id: str, report: Path | None) -> Written:
    """Pin the failures with an id, from the database of failures or from a report.

    Raises:
        CommandError: there is none, or the file can't be read or written.
    """
    path = pins.place(Path.cwd())
    if not re.fullmatch("[0-9a-f]{6}", case_id):
        raise CommandError(f"'{case_id}' is no case id: those are six hexadecimal digits, as a failure shows them")
    database = settings.get_profile("default").database
    try:
        if report is not None:
            found = pins.reported(json.loads(report.read_text(encoding="utf-8")), case_id)
        else:
            found = [] if database is None else pins.stored(database, case_id)
        if not found:
            where = f"in {report}" if report is not None else "among the failures that are stored here (.hypothesis)"
            raise CommandError(f"there is no case {case_id} {where}; run the check again, or name a report: --report")
        new = pins.add(path, found)
    except (OSError, ValueError) as error:
        raise CommandError(f"cannot pin {case_id}: {error}") from None
    said = [f"pinned {item.code} {get(item.code).name} of {item.target}" for item in new]
    return Written(True, "\n".join(said or [f"{case_id} is pinned already"]), f"see {path}; it belongs under version "
                   "control" if new else "")  # fmt: skip


def _writable(path: Path) -> None:
    try:
        ensure_writable(path)
    except UnwritableError as error:
        raise CommandError(str(error)) from None


def _put(path: Path, text: str, new: SuiteFile | None, update: bool) -> Written:
    """Write a file that is not there, or empty; show the difference to one that is. What is no file, such as a pipe, is
    written and never read."""
    present = path.read_text(encoding="utf-8") if path.is_file() else ""
    if not present:
        path.write_text(text, encoding="utf-8")
        count = "" if new is None else f": {len(new.tests)} test{'s' * (len(new.tests) != 1)}"
        said = f"wrote {path}{count}"
        # What is printed to the file's own place would stand in it, too.
        return Written(True, "", said) if str(path).startswith("/dev/") else Written(True, said)
    if present == text:
        return Written(True, f"{path} is as it would be written: nothing to do")
    if update and new is not None:
        try:
            merged = updated(present, new)
        except UpdateError as error:
            raise CommandError(f"cannot add tests to {path}: {error}") from None
        note = _gone(path, merged)
        if not merged.added:
            nothing = f"{path} has every test already: nothing to do"
            return Written(True, f"there is nothing to add to {path}" if note else nothing, note)
        path.write_text(merged.text, encoding="utf-8")
        return Written(True, f"added to {path}: {', '.join(merged.added)}", note)
    lines = difflib.unified_diff(
        present.splitlines(keepends=True), text.splitlines(keepends=True), str(path), f"{path} (would be written)"
    )
    advice = "--update adds the tests that it never had and leaves the rest; or " if new is not None else ""
    note = f"{path} is there already, and was left as it is: {advice}name another file, or delete this one"
    return Written(False, "".join(lines).rstrip("\n"), note)


def _gone(path: Path, update: Update) -> str:
    """What is said of tests that were deleted."""
    if not update.deleted:
        return ""
    names, codes = ", ".join(update.deleted), ", ".join(update.deleted.values())
    return (
        f"deleted once, and not written again: {names} (to have a test again, take its code out of the list at the top "
        f"of {path}: {codes})"
    )
