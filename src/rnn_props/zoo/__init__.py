"""Recurrent modules that are known to be right, and ones that are known to be wrong in exactly one way.

`CORRECT` and `BUGS` map names to specimens, in the order of the source. Every specimen is also an attribute of this
package, so that `rnn_props.zoo:PlainLSTM` and `rnn_props.zoo:StateInWrongOrder` are targets; of one that comes with a
contract, the attribute is the contract. A bug's code is that of the check that must fail on it; a check that fails on
no bug of the zoo has not been shown to check anything.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from rnn_props.zoo.registry import BUGS, CORRECT, Specimen

if TYPE_CHECKING:
    from torch import nn

    from rnn_props.contracts import Contract

__all__ = ["BUGS", "CORRECT", "Specimen"]

# Each module records its own specimens when it is imported: what others build on first, the rest by name.
_FIRST = ("drop_ins", "cells", "models")
for _name in dict.fromkeys((*_FIRST, *(found.name for found in iter_modules(__path__)))):
    import_module(f"{__name__}.{_name}")


def __getattr__(name: str) -> type[nn.Module] | Contract:
    specimen = CORRECT.get(name) or BUGS.get(name)
    if specimen is None:
        raise AttributeError(f"the zoo has no module called {name!r}: CORRECT and BUGS list the ones it has")
    return specimen.target


def __dir__() -> list[str]:
    return sorted([*globals(), *CORRECT, *BUGS])
