"""Pinned cases: a small file of the user's repository, one case a line, that run first wherever their check runs.

They are kept as data, so they stay what they are whatever Hypothesis's version; and in a file that is reviewed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis.database import ExampleDatabase

from rnn_props.cases import Case
from rnn_props.checks import get
from rnn_props.contracts import Contract, Domain
from rnn_props.execution.jobs import case_key

#: The file's name. It is looked for in the working folder and above, up to the repository's root.
FILE = "rnn_props_pins.jsonl"
_ROOT_MARKS = (".git", "pyproject.toml")
#: Under which the database has what cases are stored of: target and check.
_INDEX = b"rnn_props 1 index"


class PinError(ValueError):
    """A pin that can't be used. The message says which, and what to do."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One case that has to hold from now on, of one check of one target."""

    target: str
    code: str
    case: Case

    def line(self) -> str:
        """The line of the file, without its end."""
        return json.dumps(
            {
                "target": self.target,
                "check": self.code,
                "name": get(self.code).name,
                "case_id": self.case.case_id,
                "case": self.case.to_json(),
            }
        )


def place(start: Path) -> Path:
    """Where the file is, or is to be: the nearest one in or above a folder, or else beside the repository's root."""
    above = (start, *start.parents)
    for folder in above:
        if (folder / FILE).is_file():
            return folder / FILE
        if any((folder / mark).exists() for mark in _ROOT_MARKS):
            return folder / FILE
    return start / FILE


def read(path: Path) -> list[Pin]:
    """The pins of a file, none where there is no file.

    Raises:
        PinError: a line is not a pin; the message names it.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [_read(line, f"{path.name}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]


def _read(line: str, where: str) -> Pin:
    try:
        data: Mapping[str, Any] = json.loads(line)
        pin = Pin(data["target"], data["check"], Case.from_json(data["case"]))
        get(pin.code)
    except json.JSONDecodeError as error:
        raise PinError(f"{where}: it is no JSON: {error}") from None
    except KeyError as error:
        known = error.args[0] in ("target", "check", "case")
        what = f"it has no {error.args[0]!r}" if known else f"there is no check {error.args[0]!r}"
        raise PinError(f"{where}: {what}; `rnn-props pin CASE_ID` writes such lines") from None
    except (TypeError, ValueError) as error:
        raise PinError(f"{where}: it is no case: {error}") from None
    return pin


def add(path: Path, pins: Sequence[Pin]) -> list[Pin]:
    """Add pins to a file, those that it has not; returns them.

    Raises:
        PinError: the file has a line that is not a pin.
        OSError: it can't be written.
    """
    present = read(path)
    new = [pin for pin in pins if pin not in present]
    if new:
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if text and not text.endswith("\n"):
            text += "\n"
        path.write_text(text + "".join(f"{pin.line()}\n" for pin in new), encoding="utf-8")
    return new


def fitted(pins: Sequence[Pin], target: str, code: str, contract: Contract) -> list[Case]:
    """The pinned cases of a check of a target; an argument that the constructor got since has its simplest value.

    Raises:
        PinError: a case has an argument that the constructor has no more.
    """
    return [_fitted(pin, contract) for pin in pins if (pin.target, pin.code) == (target, code)]


def _fitted(pin: Pin, contract: Contract) -> Case:
    given = pin.case.hyperparameters
    gone = sorted(set(given) - set(contract.hyperparameters))
    added = {name: domain for name, domain in contract.hyperparameters.items() if name not in given}
    if gone or not all(isinstance(domain, Domain) for domain in added.values()):
        why = f"there is no argument {gone[0]!r} any more" if gone else f"it has no value for {next(iter(added))!r}"
        raise PinError(
            f"the pinned case {pin.case.case_id} does not fit {pin.target}: {why}; take its line out of {FILE}, or "
            "correct it"
        )
    simplest = {name: domain.values[0] for name, domain in added.items() if isinstance(domain, Domain)}
    values = {**given, **simplest}
    return replace(pin.case, hyperparameters={name: values[name] for name in contract.hyperparameters})


# -- from the database of failures to pins ----------------------------------------------------------------------------


def save(database: ExampleDatabase, target: str, key: str, case: bytes) -> None:
    """Store a failing case of a check (see `CheckResult.key`), and that there are cases of it."""
    database.save(case_key(target, key), case)
    database.save(_INDEX, json.dumps([target, key]).encode())


def stored(database: ExampleDatabase, case_id: str) -> list[Pin]:
    """The stored failures with an id, as pins."""
    found: dict[str, Pin] = {}
    for value in sorted(database.fetch(_INDEX)):
        target, key = json.loads(value)
        for data in database.fetch(case_key(target, key)):
            try:
                case = Case.from_json(json.loads(data))
            except (ValueError, TypeError):
                continue  # of another version
            if case.case_id == case_id:
                pin = Pin(target, key.partition("@")[0], case)
                found[pin.line()] = pin
    return list(found.values())


def reported(report: Mapping[str, Any], case_id: str) -> list[Pin]:
    """The failures with an id in a report (a document that `--json` wrote), as pins."""
    found: dict[str, Pin] = {}
    for target in report.get("targets", []):
        for result in target.get("results", []):
            for finding in result.get("findings", []):
                if finding.get("case_id") == case_id:
                    pin = Pin(target["target"], result["code"], Case.from_json(finding["case"]))
                    found[pin.line()] = pin
    return list(found.values())
