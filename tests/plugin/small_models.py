"""A repository with a correct module and one with a bug, for tests of the plugin."""

from __future__ import annotations

import re

import pytest

#: `MyGRU` is right; `Leaky` fails RP105 alone.
MODELS = """
    from torch import nn

    class MyGRU(nn.GRU):
        pass

    class Leaky(nn.GRU):
        def forward(self, input, hx=None):
            output, hx = super().forward(input, hx)
            return output.float(), hx
"""
QUICK = ("--rnn-props-profile", "quick", "--rnn-props-seed", "0")
FEW = (*QUICK, "--rnn-props-checks", "RP101,RP105,RP107")


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """A session of pytest beside the models."""
    pytester.makepyfile(models=MODELS)
    return pytester.runpytest_subprocess(*arguments)


def examples_of(result: pytest.RunResult) -> list[str]:
    """The cases that verbose output shows."""
    return re.findall(r"^Trying example: (Case\(.*\))$", result.stdout.str(), re.M)
