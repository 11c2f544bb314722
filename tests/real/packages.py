"""Recurrent modules of published packages: how each is called, and the verdict that is expected of it.

A verdict is that of the version named; each code in it was confirmed by hand in plain PyTorch (docs/field-notes.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Known:
    """One class.

    Attributes:
        target: where it is.
        package: the distribution that it comes from, with the version that the verdict is of.
        agreed: convention, input, output and state (as `structure_text` writes it) that are right for it.
        codes: the checks that must fail; none for a clean one.
        arguments: constructor arguments that have to be given.
    """

    target: str
    package: str
    agreed: tuple[str, str, str | None, str]
    codes: frozenset[str] = frozenset()
    arguments: Mapping[str, Any] = field(default_factory=dict)


def _known(target: str, package: str, agreed: tuple[str, str, str | None, str], *codes: str, **arguments: Any) -> Known:
    return Known(target, package, agreed, frozenset(codes), arguments)
