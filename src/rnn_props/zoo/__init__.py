"""Recurrent modules that are known to be right, and ones that are known to be wrong in exactly one way.

`CORRECT` and `BUGS` map names to specimens, in the order of the source. Every specimen is also an attribute of this
package, so that `rnn_props.zoo:PlainLSTM` and `rnn_props.zoo:StateInWrongOrder` are targets. A bug's code is that of
the check that must fail on it; a check that fails on no bug of the zoo has not been shown to check anything.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from rnn_props.zoo.registry import BUGS, CORRECT, Specimen

if TYPE_CHECKING:
    from torch import nn

__all__ = ["BUGS", "CORRECT", "Specimen"]

# The order of this list is the order of the specimens: each module records its own when it is imported.
for _name in (
    "drop_ins",
    "cells",
    "models",
    "bugs_shape",
    "bugs_state",
    "bugs_calls",
    "bugs_batch_time",
    "bugs_rejection",
    "bugs_mode",
):
    import_module(f"{__name__}.{_name}")


def __getattr__(name: str) -> type[nn.Module]:
    specimen = CORRECT.get(name) or BUGS.get(name)
    if specimen is None:
        raise AttributeError(f"the zoo has no module called {name!r}: CORRECT and BUGS list the ones it has")
    return specimen.module


def __dir__() -> list[str]:
    return sorted([*globals(), *CORRECT, *BUGS])
