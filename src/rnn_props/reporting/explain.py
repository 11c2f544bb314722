"""The page of a check: what it holds, why, what usually breaks it, how to fix that, and a known bug that it catches.

A page is a list of sections, so that the command line, JSON and the docs say the same.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from rnn_props.checks import Check, all_checks, get
from rnn_props.checks.registry import explaining
from rnn_props.contracts import Capabilities, Contract
from rnn_props.contracts.presets import CELL_ARGUMENTS, FULL_SEQUENCE_ARGUMENTS, cell_contract, sequence_contract
from rnn_props.reporting.text import Line, line


@dataclass(frozen=True, slots=True)
class KnownBug:
    """A module of the zoo that a check has to catch.

    Attributes:
        name: in `rnn_props.zoo`.
        summary: what is wrong with it.
        base: the correct module that it is otherwise; empty if there is none.
        source: its class, which overrides what it gets wrong.
        command: shows it fail.
    """

    name: str
    summary: str
    base: str
    source: str
    command: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """All there is to read about a check.

    Attributes:
        exceptions: where it does not apply.
        bugs: those that it has to catch, the shortest first.
    """

    check: Check
    exceptions: tuple[str, ...]
    bugs: tuple[KnownBug, ...]

    @property
    def title(self) -> str:
        return f"{self.check.code} {self.check.name}"


def explanation(check: Check) -> Explanation:
    """Collect what there is to read about a check."""
    return Explanation(check, _exceptions(check), tuple(sorted(_bugs(check.code), key=lambda bug: len(bug.source))))


def _bugs(code: str) -> Iterator[KnownBug]:
    from rnn_props.zoo import BUGS, CORRECT  # more than a hundred modules, which nothing else of a run needs

    for specimen in BUGS.values():
        if specimen.code == code:
            base = next((base.__name__ for base in specimen.module.__mro__ if base.__name__ in CORRECT), "")
            yield KnownBug(
                name=specimen.name,
                summary=specimen.summary,
                base=f"{base} ({CORRECT[base].summary})" if base else "",
                source=_source(specimen.module),
                command=f"rnn-props check rnn_props.zoo:{specimen.name} --checks {code}{_device(code)}",
            )


def _device(code: str) -> str:
    """The option that a check needs which does not run on the CPU."""
    on = get(code).on
    return "" if "cpu" in on else f" --device {'sim' if 'sim' in on else 'cuda'}"


def _source(module: type) -> str:
    """The source of a class, without its decorators."""
    source = inspect.getsource(module)
    return source[source.index("class ") :].rstrip()


# -- where a check does not apply ------------------------------------------------------------------------------------


def _exceptions(check: Check) -> tuple[str, ...]:
    """The reasons why a check does not apply: contracts that each lack one thing are asked."""
    return tuple(dict.fromkeys(reason for contract in _contracts() if (reason := check.not_applicable(contract))))


def _contracts() -> Iterator[Contract]:
    """Contracts that between them lack, or declare, each thing that a check can ask for."""
    full = sequence_contract("LSTM", {*FULL_SEQUENCE_ARGUMENTS, "proj_size", "device", "dtype"}, full=True)
    yield cell_contract("GRUCell", CELL_ARGUMENTS, full=True)
    yield replace(full, convention="model", output="B O", state=None)
    yield replace(full, hyperparameters={})
    for contract in (
        full,
        replace(full, convention="lengths", arguments={"lengths": "lengths"}),
        replace(full, convention="stateful", reset="reset", state=None),
    ):
        yield contract
        for role in contract.roles:
            kept = {name: argument for name, argument in contract.roles.items() if name != role}
            yield replace(contract, roles=kept)
        for item in fields(Capabilities):
            value = getattr(contract.capabilities, item.name)
            if isinstance(value, bool):
                other: dict[str, Any] = {item.name: not value}
                yield replace(contract, capabilities=replace(contract.capabilities, **other))


# -- sections --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Code:
    """Lines that are shown as they are."""

    text: str
    language: str


#: A paragraph, a list, or code.
Block = str | tuple[str, ...] | Code


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page; the first has no title."""

    title: str
    blocks: tuple[Block, ...]


def sections(page: Explanation) -> list[Section]:
    """The page in the order in which it is read; what is empty is left out."""
    check = page.check
    parts = [
        Section("", (check.statement, _ADVICE if check.advice else "")),
        Section("It does not apply where", (page.exceptions,)),
        Section("Why it matters", (check.page.why,)),
        Section("Usual causes", (check.page.causes,)),
        Section("How to fix it", (check.page.fix,)),
        Section("Rests on", (_names(check.after, check.code, _RESTS),)),
        Section("Explained by", (_names(explaining(check), check.code, _EXPLAINED),)),
        Section("Known bugs that it catches", tuple(_shown(page.bugs))),
    ]
    kept = [replace(part, blocks=tuple(block for block in part.blocks if block)) for part in parts]
    return [part for part in kept if part.blocks]


_ADVICE = "It is advice: it warns, and never fails without --strict."
_RESTS = "They run before it; where one of them fails, this one is blocked."
_EXPLAINED = "Their failure says more about the same cause: where one of them is run and fails, this one is blocked."


def _names(codes: Iterable[str], own: str, then: str) -> str:
    """Codes with their names; of a hundred where all are in it, as `all RP2xx`."""
    hundreds: dict[str, list[Check]] = {}
    for check in all_checks():
        if check.code != own:
            hundreds.setdefault(f"{check.code[:3]}xx", []).append(check)
    wanted = list(codes)
    whole = [
        hundred
        for hundred, members in hundreds.items()
        if len(members) > 2 and {check.code for check in members} <= {*wanted}
    ]
    names = {check.code: f"{check.code} {check.name}" for check in all_checks() if f"{check.code[:3]}xx" not in whole}
    parts = [*(f"all {hundred}" for hundred in whole), *(names[code] for code in wanted if code in names)]
    text = ", ".join(parts)
    return f"{text[0].upper()}{text[1:]}. {then}" if text else ""


def _shown(bugs: tuple[KnownBug, ...]) -> Iterator[Block]:
    """The first bug with its source, the others by name."""
    if not bugs:
        return
    first, *others = bugs
    but = f"It is {first.base} but for this:" if first.base else "Its source:"
    yield f"{first.name}: {first.summary}. {but}"
    yield Code(first.source, "python")
    yield "To see it fail:"
    yield Code(first.command, "console")
    if others:
        yield "Others, to be run in the same way:"
        yield tuple(f"{bug.name}: {bug.summary}" for bug in others)


# -- text and data ---------------------------------------------------------------------------------------------------


def text_lines(pages: Iterable[Explanation], width: int | None = None) -> Iterator[Line]:
    """Pages as lines of text, wrapped to a width unless that is None."""
    for number, page in enumerate(pages):
        if number:
            yield from (Line(), Line())
        yield from _page(page, width)


def _page(page: Explanation, width: int | None) -> Iterator[Line]:
    yield line((page.title, "code"))
    for section in sections(page):
        yield Line()
        if section.title:
            yield line((section.title, "title"), indent=2)
        for index, block in enumerate(section.blocks):
            if index and not isinstance(block, tuple):
                yield Line()
            yield from _block(block, 4 if section.title else 2, width)


def _block(block: Block, indent: int, width: int | None) -> Iterator[Line]:
    if isinstance(block, Code):
        for text in block.text.splitlines():
            yield line((text, "case"), indent=indent + 2)
        return
    mark = "" if isinstance(block, str) else "- "
    for paragraph in (block,) if isinstance(block, str) else block:
        for text in _wrapped(paragraph, mark, None if width is None else width - indent):
            yield line(text, indent=indent)


#: What is not broken at its spaces: short pieces of code, and a check's code with its name.
_WHOLE = re.compile(r"`[^`]{1,40}`|\bRP\w{3} [a-z]+\.[a-z_.]+")


def _wrapped(text: str, mark: str, width: int | None) -> list[str]:
    if width is None:
        return [mark + text]
    held = _WHOLE.sub(lambda match: match[0].replace(" ", "\xa0"), text)
    lines = textwrap.wrap(
        held,
        max(width, 30),
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace("\xa0", " ") for line in lines]


def as_json(page: Explanation) -> dict[str, Any]:
    """The page as data."""
    check = page.check
    return {
        "code": check.code,
        "check": check.name,
        "statement": check.statement,
        "advice": check.advice,
        "not_applicable": list(page.exceptions),
        "why": check.page.why,
        "causes": list(check.page.causes),
        "fix": check.page.fix,
        "hint": check.hint,
        "after": list(check.after),
        "explained_by": explaining(check),
        "bugs": [{item.name: getattr(bug, item.name) for item in fields(bug)} for bug in page.bugs],
    }
