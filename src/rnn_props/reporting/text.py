"""Pieces of text that the terminal and the plain output share. A line is spans with the name of a style: who prints it
decides what a style looks like, so nothing that a target says is ever read as markup."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from rnn_props.execution.outcomes import Status

#: The word of each status, as people read it; the bad ones shout, so that colour is never the only carrier.
WORDS: dict[Status, str] = {
    "passed": "passed",
    "failed": "FAILED",
    "warned": "warned",
    "error": "ERROR",
    "expected_failure": "expected failure",
    "blocked": "blocked",
    "not_applicable": "not applicable",
    "skipped": "skipped",
}

# What would move the cursor, change colours or the direction of writing, or can't be encoded.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of output, as long as it likes.

    Attributes:
        spans: texts, each with the name of its style ("" for none).
        indent: how far a terminal moves it to the right, every physical line of it.
        most: the most physical lines that it takes on a terminal; 0 is no limit.
    """

    spans: tuple[tuple[str, str], ...] = ()
    indent: int = 0
    most: int = 0

    @property
    def plain(self) -> str:
        return (" " * self.indent + "".join(text for text, _ in self.spans)).rstrip()


def line(*spans: str | tuple[str, str], indent: int = 0, most: int = 0) -> Line:
    """A line of texts and (text, style) pairs."""
    return Line(tuple((span, "") if isinstance(span, str) else span for span in spans), indent, most)


def clean(text: str) -> str:
    """Text that is safe to print: control characters are written as escapes, tabs as spaces."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text.replace("\t", "    "))


def one_line(text: str) -> str:
    """Safe text on one line."""
    return clean(" ".join(text.split()))


def paragraphs(text: str, style: str = "", *, indent: int = 0) -> Iterable[Line]:
    """Safe text, its own line breaks kept."""
    return [line((clean(part.rstrip()), style), indent=indent) for part in text.rstrip().splitlines()]


def crop(text: str, width: int) -> str:
    """Text of at most this width; what is left out shows."""
    return text if len(text) <= width else text[: max(width - 3, 0)].rstrip() + "..."


def number(value: int) -> str:
    """A count with its thousands apart: `2 310`."""
    return f"{value:,}".replace(",", " ")


def counted(value: int, noun: str) -> str:
    """`1 example`, `2 310 examples`."""
    return f"{number(value)} {noun}{'' if value == 1 else 's'}"


def seconds(value: float) -> str:
    """A duration in two or three digits."""
    if value < 0.995:
        return f"{value:.2f} s"
    if value < 9.95:
        return f"{value:.1f} s"
    if round(value) < 60:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s"


def wrap_code(code: str, width: int) -> list[str]:
    """Break the code of one call at its commas into lines of at most this width, where its commas allow it.

    Outer commas first: an argument is broken only when it alone is too long. The lines joined by spaces are the code.
    """
    pad = " " * (code.find("(") + 1)
    parts: list[str] = []
    for part in _split(code, 1):
        parts += [part] if len(pad) + len(part) <= width else _split(part, 99)
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + 1 + len(part) <= width:
            lines[-1] += f" {part}"
        else:
            lines.append(pad + part if lines else part)
    return lines


def _split(code: str, deepest: int) -> list[str]:
    """Split after each comma that stands in at most this many brackets, and in no string."""
    parts, start, depth, quote, position = [], 0, 0, "", 0
    while position < len(code):
        character = code[position]
        if quote:
            if character == "\\":
                position += 1
            elif character == quote:
                quote = ""
        elif character in "'\"":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character == "," and depth <= deepest and code[position + 1 : position + 2] == " ":
            parts.append(code[start : position + 1])
            start = position + 2
        position += 1
    return [*parts, code[start:]] if code[start:] else parts
