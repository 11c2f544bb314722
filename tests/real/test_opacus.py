"""opacus's layers as drop-ins: the known violations are found, with their codes, and nothing else is charged to them.

Each was confirmed by hand in plain PyTorch: docs/field-notes.md has the lines.
"""

from __future__ import annotations

import importlib.metadata

import pytest

from rnn_props.execution.events import ignore
from rnn_props.execution.outcomes import TargetResult
from rnn_props.execution.runner import Runner
from rnn_props.options import Options, resolve

pytest.importorskip("opacus", reason="opacus is not installed: pip install -e '.[real]'")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.metadata.version("opacus") != "1.6.0", reason="the verdicts are those of opacus 1.6.0"
    ),
]

#: Codes that must fail on each.
EXPECTED = {
    "DPRNN": {"RP103", "RP105", "RP401", "RP402", "RP403", "RP502"},
    "DPGRU": {"RP103", "RP105", "RP402", "RP403", "RP502"},
    "DPLSTM": {"RP103", "RP105", "RP401", "RP402", "RP403", "RP502"},
}


def _check(name: str) -> TargetResult:
    with Runner(resolve(Options(profile="quick", skip=("RP907", "RP908"))), ignore) as runner:
        return runner.run_target(f"opacus.layers:{name}")


@pytest.mark.parametrize(
    "name", ["DPGRU", *(pytest.param(name, marks=pytest.mark.nightly) for name in ("DPRNN", "DPLSTM"))]
)
def test_the_known_violations_are_found_and_nothing_else(name: str) -> None:
    result = _check(name)
    assert result.message == ""
    assert {found.code for found in result.results if found.status == "failed"} == EXPECTED[name]
    assert not [found.code for found in result.results if found.status == "error"]
    messages = {found.code: found.message for found in result.results}
    assert "packed input and parameters are torch.float64" in messages["RP105"]
    assert "dropout 0.5" in messages["RP502"]
