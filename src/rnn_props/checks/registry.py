"""The registry of checks: a check is one function, and everything there is to know of it stands beside it."""

from __future__ import annotations

import difflib
import fnmatch
import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rnn_props.cases import Case, Needs
from rnn_props.contracts import Contract

if TYPE_CHECKING:
    from rnn_props.checks.trial import Trial

#: What almost every check rests on: if shapes are wrong, eval mode is random, arguments are overwritten, a reset does
#: not reset or memory is not initialised, the rest is one cause.
BASICS = ("RP101", "RP102", "RP501", "RP207", "RP213", "RP909")


CPU_ALONE = frozenset({"cpu"})
ACCELERATORS = frozenset({"sim", "cuda", "mps"})


@dataclass(frozen=True, slots=True)
class Page:
    """What there is to read about a check, from its docstring.

    Attributes:
        statement: the rule, in a sentence or two: the docstring's first paragraph.
        why: what goes wrong for a user where the rule is broken.
        causes: the usual ones.
        fix: what to write instead.
    """

    statement: str
    why: str = ""
    causes: tuple[str, ...] = ()
    fix: str = ""


_SECTIONS = {"Why": "why", "Causes": "causes", "Fix": "fix"}


def read_page(docstring: str) -> Page:
    """Read a check's docstring: a statement, then the sections `Why:`, `Causes:` (a list) and `Fix:`, if any."""
    paragraphs: dict[str, list[str]] = {"statement": []}
    section = "statement"
    for line in inspect.cleandoc(docstring).splitlines():
        head, colon, rest = line.partition(":")
        if colon and head in _SECTIONS:
            section, line = _SECTIONS[head], rest
        paragraphs.setdefault(section, []).append(line.strip())
    causes: list[str] = []
    for line in paragraphs.pop("causes", []):
        if line.startswith("- "):
            causes.append(line[2:])
        elif line and causes:
            causes[-1] += f" {line}"
    texts = {name: _sentence(" ".join(" ".join(lines).split())) for name, lines in paragraphs.items()}
    return Page(causes=tuple(map(_sentence, causes)), **texts)


def _sentence(text: str) -> str:
    """Text that begins with a capital, unless it begins with code, and ends with a full stop."""
    if re.match(r"(a|[a-z]{2,})[ ,:;]", text):
        text = text[0].upper() + text[1:]
    return text if not text or text.endswith((".", "?", "!")) else f"{text}."


@dataclass(frozen=True, slots=True)
class Check:
    """One property that recurrent modules agree on.

    Attributes:
        code, name: stable, such as `RP201` and `state.continuity`.
        page: its statement, and what its page says.
        hint: the usual causes, and where to look first.
        run: the assertion. It gets a trial, and raises a violation through it.
        not_applicable: from the contract to the reason why the check does not apply, or None where it does.
        needs: what is drawn for it.
        prepare: a last adjustment of each drawn case, idempotent.
        after: the checks that it rests on, run before it even where they were not asked for; if one of them fails, this
            one is blocked.
        explained_by: codes, or globs of them, of checks whose failure says more of the same cause: where one of them
            was asked for, too, it comes first, and if it fails, this one is blocked.
        share: the part of the profile's examples that it gets: below 1 where cases are costly, above where every pair
            of sizes counts.
        patience: how many times the profile's time a case may take; a failure is made smaller in that many times fewer
            steps.
        compiler: it needs torch's compiler, which takes a second to import.
        on: the kinds of devices that it runs on: `CPU_ALONE`, or `ACCELERATORS` (everything but the CPU; the simulated
            one, too).
        advice: it never fails, only warns.
        each_fault: every kind of fault that it finds is a finding of its own.
    """

    code: str
    name: str
    page: Page
    hint: str
    run: Callable[[Trial], None]
    not_applicable: Callable[[Contract], str | None]
    needs: Needs
    prepare: Callable[[Case, Contract], Case] | None = None
    after: tuple[str, ...] = BASICS
    explained_by: tuple[str, ...] = ()
    share: float = 1.0
    patience: float = 1.0
    compiler: bool = False
    on: frozenset[str] = CPU_ALONE
    advice: bool = False
    each_fault: bool = False

    @property
    def statement(self) -> str:
        return self.page.statement

    @property
    def family(self) -> str:
        return self.name.partition(".")[0]


_CHECKS: dict[str, Check] = {}


def check(
    code: str,
    name: str,
    *,
    hint: str,
    needs: Needs | None = None,
    when: Callable[[Contract], str | None] | None = None,
    prepare: Callable[[Case, Contract], Case] | None = None,
    after: tuple[str, ...] = BASICS,
    explained_by: tuple[str, ...] = (),
    share: float = 1.0,
    patience: float = 1.0,
    compiler: bool = False,
    on: frozenset[str] = CPU_ALONE,
    advice: bool = False,
    each_fault: bool = False,
) -> Callable[[Callable[[Trial], None]], Callable[[Trial], None]]:
    """Register a function as a check; its docstring is the statement and the page (see `read_page`).

    Raises:
        ValueError: the code or name is taken or malformed, or there is no docstring.
    """
    if not re.fullmatch(r"[A-Z]{2}[0-9A-Z]\d{2}", code):
        raise ValueError(f"a check's code looks like 'RP201' (got {code!r})")
    if not re.fullmatch(r"[a-z]+(\.[a-z_]+)+", name):
        raise ValueError(f"a check's name looks like 'state.continuity' (got {name!r})")
    if code in _CHECKS or any(other.name == name for other in _CHECKS.values()):
        raise ValueError(f"there is a check {code} or {name} already")

    def register(function: Callable[[Trial], None]) -> Callable[[Trial], None]:
        if not function.__doc__:
            raise ValueError(f"{code} needs a docstring: it is the check's statement")
        _CHECKS[code] = Check(
            code=code,
            name=name,
            page=read_page(function.__doc__),
            hint=hint,
            run=function,
            not_applicable=when or (lambda contract: None),
            needs=needs or Needs(),
            prepare=prepare,
            after=tuple(other for other in after if other != code),
            explained_by=tuple(other for other in explained_by if other != code),
            share=share,
            patience=patience,
            compiler=compiler,
            on=on,
            advice=advice,
            each_fault=each_fault,
        )
        return function

    return register


def all_checks() -> list[Check]:
    """Every registered check, by code."""
    return [_CHECKS[code] for code in sorted(_CHECKS)]


def get(code: str) -> Check:
    """The check of a code.

    Raises:
        KeyError: there is none.
    """
    return _CHECKS[code]


def explaining(check: Check) -> list[str]:
    """The codes of the registered checks that explain a check's failure, its patterns resolved."""
    return [
        code
        for code in sorted(_CHECKS)
        if code != check.code and any(fnmatch.fnmatchcase(code, pattern) for pattern in check.explained_by)
    ]


def depths() -> dict[str, int]:
    """How far each check is from those that rest on nothing: one more than the deepest that it rests on or that
    explains it.

    Raises:
        ValueError: checks explain each other in a circle.
    """
    found: dict[str, int] = {}

    def visit(code: str, above: tuple[str, ...]) -> int:
        if code in above:
            raise ValueError(f"checks explain each other in a circle: {' <- '.join((*above, code))}")
        if code not in found:
            before = (*_CHECKS[code].after, *explaining(_CHECKS[code]))
            found[code] = 1 + max((visit(other, (*above, code)) for other in before if other in _CHECKS), default=-1)
        return found[code]

    for code in _CHECKS:
        visit(code, ())
    return found


class UnknownCheckError(ValueError):
    """A pattern that no check's code or name matches."""


def select(patterns: Iterable[str] = (), skip: Iterable[str] = ()) -> list[Check]:
    """The checks whose code or name matches one of the patterns (globs), less those that match `skip`.

    Raises:
        UnknownCheckError: a pattern matches no check.
    """
    chosen = {item.code for pattern in patterns for item in _matching(pattern)}
    dropped = {item.code for pattern in skip for item in _matching(pattern)}
    return [item for item in all_checks() if (not chosen or item.code in chosen) and item.code not in dropped]


def _matching(pattern: str) -> list[Check]:
    parts = [part.strip() for part in pattern.split(",") if part.strip()] or [pattern]
    found: list[Check] = []
    for part in parts:
        matches = [
            item
            for item in all_checks()
            if fnmatch.fnmatch(item.code, part.upper()) or fnmatch.fnmatch(item.name, part.lower())
        ]
        if not matches:
            raise UnknownCheckError(
                f"no check matches '{part}'{_closest(part)}; write a code or a name, or a glob such as 'RP2*' or "
                "'state.*' ('rnn-props checks' lists them)"
            )
        found += matches
    return found


def _closest(part: str) -> str:
    """What was probably meant: the beginning of codes or names, as in `RP2xx` or `state`, or what is spelt alike."""
    stem = part.rstrip("xX*?")
    if stem and any(item.code.startswith(stem.upper()) or item.name.startswith(stem.lower()) for item in all_checks()):
        return f" (did you mean '{stem}*'?)"
    named = {
        text: item for item in all_checks() for text in (item.code.lower(), item.name, item.name.partition(".")[2])
    }
    near = [(difflib.SequenceMatcher(None, part.lower(), text).ratio(), item) for text, item in named.items()]
    likeness, nearest = max(near, key=lambda pair: pair[0])
    return f" (did you mean {nearest.code} {nearest.name}?)" if likeness >= 0.8 else ""
