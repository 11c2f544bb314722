"""The contracts of torch.nn's six recurrent modules, and cases of them, for the tests of this folder."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from torch import nn

from rnn_props.cases import LAYOUTS, Case, Fault, Needs, Space, faults_for
from rnn_props.cases.strategies import cases
from rnn_props.contracts import Contract, Domain
from rnn_props.inference import infer_contract

NAMES = ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell")
CONTRACTS = {name: infer_contract(getattr(nn, name)) for name in NAMES}
#: Everything that a check may ask for, at once.
EVERYTHING = Needs(batched=None, layouts=LAYOUTS, dtypes="each", splits=True, picks=3, scales=(1.0, 4.0))
#: Cases whose calls are small and plain.
PLAIN = Needs(batched=None, lengths=(1, 2, 3), batches=(1, 2, 3))

ALL_CASES = {name: cases(contract, EVERYTHING) for name, contract in CONTRACTS.items()}
PLAIN_CASES = {name: cases(contract, PLAIN) for name, contract in CONTRACTS.items()}


def build(name: str, values: Any) -> nn.Module:
    module: nn.Module = getattr(nn, name)(**values)
    return module


def with_fault(name: str, family: str = "any") -> st.SearchStrategy[tuple[Case, Fault]]:
    """A plain case of a contract, and one of the faults that make sense for it."""
    contract = CONTRACTS[name]

    def pairs(case: Case) -> st.SearchStrategy[tuple[Case, Fault]]:
        found = faults_for(case, contract, family)
        return st.tuples(st.just(case), st.sampled_from(found)) if found else st.nothing()

    return PLAIN_CASES[name].flatmap(pairs)


def assert_inside(case: Case, contract: Contract, needs: Needs) -> None:
    """The case is one of the space's: every field has a value that the needs and the contract allow."""
    space = Space.of(contract, needs)
    assert set(case.hyperparameters) == set(contract.hyperparameters)
    for name, domain in contract.hyperparameters.items():
        if isinstance(domain, Domain):
            assert case.hyperparameters[name] in space.dimensions[f"hp:{name}"]
    assert contract.broken_constraint(case.hyperparameters) is None
    assert case.seq_len in space.dimensions["T"]
    assert case.batch in space.dimensions["B"]
    assert case.batched in space.dimensions["batched"]
    assert case.batched or case.batch == 1
    assert case.dtype in space.dimensions["dtype"]
    assert case.input.fill in (*needs.fills, "values")
    assert case.input.layout in needs.layouts
    assert case.parameter_scale in needs.scales
    state = "none" if case.state is None else "zeros" if case.state.fill == "zeros" else "random"
    assert state in space.dimensions["state"]
    assert case.state is None or case.state.layout in needs.layouts
    assert len(case.picks) == needs.picks
    assert list(case.splits) == sorted(set(case.splits))
    assert all(1 <= split < case.seq_len for split in case.splits)
    assert not case.splits or needs.splits
