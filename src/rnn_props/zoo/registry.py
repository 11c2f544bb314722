"""The record of the zoo: which module is correct, which is buggy, and which check must say so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from torch import nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Specimen:
    """One module of the zoo.

    Args:
        name: the class's name, and its name in `rnn_props.zoo`.
        module: the class itself.
        code: the check that must fail on it, such as `RP201`; None for a correct module.
        summary: what it is, or what is wrong with it, in one sentence.
    """

    name: str
    module: type[nn.Module]
    code: str | None
    summary: str


BUGS: dict[str, Specimen] = {}
CORRECT: dict[str, Specimen] = {}


def _record(module: type[nn.Module], code: str | None, summary: str) -> None:
    name = module.__name__
    if name in BUGS or name in CORRECT:
        raise ValueError(f"the zoo already has a module called {name!r}: give this one another name")
    specimen = Specimen(name=name, module=module, code=code, summary=summary)
    (CORRECT if code is None else BUGS)[name] = specimen


def bug(code: str, summary: str) -> Callable[[type[ModuleT]], type[ModuleT]]:
    """Record the decorated class as a buggy module that the check `code` must catch.

    Raises:
        ValueError: if the zoo has a module of that name already.
    """

    def decorate(module: type[ModuleT]) -> type[ModuleT]:
        _record(module, code, summary)
        return module

    return decorate


def correct(summary: str) -> Callable[[type[ModuleT]], type[ModuleT]]:
    """Record the decorated class as a module that every check must pass.

    Raises:
        ValueError: if the zoo has a module of that name already.
    """

    def decorate(module: type[ModuleT]) -> type[ModuleT]:
        _record(module, None, summary)
        return module

    return decorate
