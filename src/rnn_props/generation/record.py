"""The list in a generated file of what was written into it: a test that was written once and is gone was deleted."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

from rnn_props.contracts.code import WIDTH

_OPENING = "# `rnn-props generate --update`"
_TEXT = f"""\
{_OPENING} adds tests of checks that are not in this list. Delete
# a test, and it stays deleted; delete its code here, too, to have it again."""
_CODE = re.compile(r"\b[A-Z]{2}[0-9A-Z]\d{2}\b")


def record(codes: Iterable[str]) -> list[str]:
    """The comment that has the codes of the checks of which there are tests."""
    listed = " ".join(sorted(set(codes)))
    return [*_TEXT.split("\n"), *textwrap.wrap(listed, WIDTH, initial_indent="# ", subsequent_indent="# ")]


def find_record(lines: list[str]) -> slice | None:
    """Which lines of a file are that comment; None where there is none."""
    start = next((number for number, line in enumerate(lines) if line.startswith(_OPENING)), None)
    if start is None:
        return None
    rest = range(start, len(lines))
    return slice(start, next((number for number in rest if not lines[number].startswith("#")), len(lines)))


def recorded(lines: list[str]) -> set[str]:
    """The codes in the comment of a file."""
    place = find_record(lines)
    return set() if place is None else set(_CODE.findall(" ".join(lines[place])))
