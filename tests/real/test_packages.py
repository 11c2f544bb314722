"""Modules of published packages: how they are called is inferred, known bugs are found, and nothing else is charged.

Install them with `pip install --no-deps`, as tests/real/requirements.txt lists them; what is not there is skipped.
"""

from __future__ import annotations

import importlib.metadata

import pytest
from tests.real.packages import KNOWN, Known

import rnn_props
from rnn_props.contracts import structure_text
from rnn_props.inference import infer_contract
from rnn_props.targets import load, parse

#: Two of them on every push; the rest at night.
_OFTEN = {"torch.ao.nn.quantizable:LSTM", "minGRU_pytorch.minLSTM:minLSTM"}


def _need(known: Known) -> None:
    """Skip unless the package is there, in the version that the verdict is of."""
    name, _, version = known.package.partition("==")
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{name} is not installed: pip install --no-deps {known.package}")
    if version and found != version:
        pytest.skip(f"the verdict is that of {known.package}")
    pytest.importorskip(known.target.partition(":")[0], exc_type=ImportError)


def _id(known: Known) -> str:
    return known.target


@pytest.mark.parametrize("known", KNOWN, ids=_id)
def test_how_it_is_called_is_inferred_without_an_option(known: Known) -> None:
    _need(known)
    contract = infer_contract(load(parse(known.target)), known.arguments)
    found = (contract.convention, contract.input, contract.output, structure_text(contract.state))
    assert found == known.agreed
    assert contract.evidence


@pytest.mark.slow
@pytest.mark.parametrize(
    "known",
    [
        pytest.param(known, id=known.target, marks=() if known.target in _OFTEN else pytest.mark.nightly)
        for known in KNOWN
    ],
)
def test_the_known_bugs_are_found_and_nothing_else(known: Known) -> None:
    _need(known)
    report = rnn_props.check(known.target, arguments=known.arguments, profile="quick", seed=1, skip=("RP907", "RP908"))
    (result,) = report.targets
    assert result.message == ""
    assert not [item.message for item in result.results if item.status == "error"]
    assert {item.code for item in result.results if item.status == "failed"} == known.codes
