"""The record of the zoo: which module is correct, which is buggy, and which check must say so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from torch import nn

from rnn_props.contracts import Contract

ModuleT = TypeVar("ModuleT", bound=nn.Module)
ContractOf = Callable[[type[nn.Module]], Contract]


@dataclass(frozen=True, slots=True)
class Specimen:
    """One module of the zoo.

    Args:
        name: the class's name, and its name in `rnn_props.zoo`.
        module: the class itself.
        code: the check that must fail on it, such as `RP201`; None for a correct module.
        summary: what it is, or what is wrong with it, in one sentence.
        contract: from the class to the contract that it is held to, where none is to be inferred.
    """

    name: str
    module: type[nn.Module]
    code: str | None
    summary: str
    contract: ContractOf | None = None

    @property
    def target(self) -> type[nn.Module] | Contract:
        """What is checked: the class, or the contract that builds it."""
        return self.module if self.contract is None else self.contract(self.module)


BUGS: dict[str, Specimen] = {}
CORRECT: dict[str, Specimen] = {}


def _record(module: type[nn.Module], code: str | None, summary: str, contract: ContractOf | None) -> None:
    name = module.__name__
    if name in BUGS or name in CORRECT:
        raise ValueError(f"the zoo already has a module called {name!r}: give this one another name")
    specimen = Specimen(name=name, module=module, code=code, summary=summary, contract=contract)
    (CORRECT if code is None else BUGS)[name] = specimen


def bug(code: str, summary: str, *, contract: ContractOf | None = None) -> Callable[[type[ModuleT]], type[ModuleT]]:
    """Record the decorated class, held to a contract if one is given, as a buggy module that `code` must catch.

    Raises:
        ValueError: if the zoo has a module of that name already.
    """

    def decorate(module: type[ModuleT]) -> type[ModuleT]:
        _record(module, code, summary, contract)
        return module

    return decorate


def correct(summary: str, *, contract: ContractOf | None = None) -> Callable[[type[ModuleT]], type[ModuleT]]:
    """Record the decorated class, held to a contract if one is given, as a module that every check must pass.

    Raises:
        ValueError: if the zoo has a module of that name already.
    """

    def decorate(module: type[ModuleT]) -> type[ModuleT]:
        _record(module, None, summary, contract)
        return module

    return decorate
