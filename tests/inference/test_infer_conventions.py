"""Inference of packed input, lengths and kept states: what a few calls show, and the evidence for it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.inference import strangers
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rnn_props import check
from rnn_props.checks.registry import get
from rnn_props.contracts import Contract
from rnn_props.execution.plans import Plans
from rnn_props.execution.profiles import PROFILES
from rnn_props.inference import infer_contract
from rnn_props.targets import TargetError
from rnn_props.zoo import CORRECT


def _of(name: str) -> Contract:
    return infer_contract(CORRECT[name].module)


@pytest.mark.parametrize("name", ["PlainRNN", "PlainGRU", "PlainLSTM"])
def test_a_layer_that_takes_packed_sequences_promises_them(name: str) -> None:
    contract = _of(name)
    assert contract.capabilities.packed
    assert not contract.capabilities.sorted_only
    assert "packed sequences are taken" in contract.evidence


class DenseOnly(nn.GRU):
    """A drop-in that looks at its input's rank first."""

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        if isinstance(input, PackedSequence):
            raise TypeError("pad it first")
        return super().forward(input, hx)


class SortedOnly(DenseOnly):
    """Its kernel wants rows by decreasing length."""

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        if isinstance(input, PackedSequence) and input.sorted_indices is not None:
            raise ValueError("sort it first")
        return nn.GRU.forward(self, input, hx)


def test_a_layer_that_raises_on_packed_sequences_promises_none() -> None:
    contract = infer_contract(DenseOnly)
    assert not contract.capabilities.packed
    assert any(text.startswith("packed sequences are not taken: calling it") for text in contract.evidence)


def test_a_layer_that_takes_sorted_sequences_only_is_given_no_other() -> None:
    capabilities = infer_contract(SortedOnly).capabilities
    assert (capabilities.packed, capabilities.sorted_only) == (True, True)


def test_lengths_are_known_by_name_and_what_they_do_by_a_call() -> None:
    contract = _of("PaddedGRU")
    assert (contract.convention, dict(contract.arguments), contract.padding) == ("rnn", {"lengths": "lengths"}, 0.0)
    assert contract.capabilities.zero_lengths
    contract = _of("LengthsTagger")
    assert (contract.convention, contract.input, contract.output) == ("lengths", "B T I", "B T O")
    assert (contract.padding, contract.capabilities.zero_lengths) == (0.0, False)
    contract = _of("SentenceEncoder")
    assert (contract.convention, contract.output, contract.padding) == ("lengths", "B O", None)


class TimeFirstLengths(nn.Module):
    """Time first, lengths required, the output not masked."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.gru = nn.GRU(input_size, hidden_size)

    def forward(self, x: Tensor, seq_lens: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, seq_lens, enforce_sorted=False)
        output, _ = nn.utils.rnn.pad_packed_sequence(self.gru(packed)[0], total_length=len(x), padding_value=-1.0)
        return output


def test_lengths_settle_the_layout_too() -> None:
    contract = infer_contract(TimeFirstLengths)
    assert (contract.convention, contract.input, contract.output) == ("lengths", "T B I", "T B H")
    assert contract.padding is None
    assert "beyond a row's length the output is not zero: nothing is agreed on it" in contract.evidence


class SortedLengths(TimeFirstLengths):
    """It packs as torch does unless told otherwise: longest row first."""

    def forward(self, x: Tensor, seq_lens: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, seq_lens)
        return nn.utils.rnn.pad_packed_sequence(self.gru(packed)[0], total_length=len(x))[0]


def test_lengths_in_decreasing_order_only_are_no_others_given() -> None:
    contract = infer_contract(SortedLengths)
    assert (contract.input, contract.padding, contract.capabilities.sorted_only) == ("T B I", 0.0, True)
    assert any(text.startswith("lengths are taken in decreasing order only: `lengths` array must") for text in
               contract.evidence)  # fmt: skip
    rows = {rows for name in ("RP354", "RP407") for rows in _lengths_of(name, contract)}
    assert any(len(set(found)) > 1 for found in rows)
    assert all(list(found) == sorted(found, reverse=True) for found in rows)


def _lengths_of(code: str, contract: Contract) -> list[tuple[int, ...]]:
    cases = Plans(contract, PROFILES["quick"], 0, None).valid(get(code))
    return [case.lengths for case in cases]


class FullRowsOnly(TimeFirstLengths):
    """It can do without the lengths that it asks for, and does."""

    def forward(self, x: Tensor, seq_lens: Tensor) -> Tensor:
        if int(seq_lens.min()) < len(x):
            raise ValueError("all rows must have all steps")
        return self.gru(x)[0]  # type: ignore[no-any-return]


def test_a_module_that_refuses_shorter_rows_is_told_apart_with_its_own_words() -> None:
    with pytest.raises(TargetError, match="refuses lengths that are not all equal: all rows must have all steps"):
        infer_contract(FullRowsOnly)


def test_a_flag_that_frees_the_order_of_lengths_is_set() -> None:
    contract = infer_contract(strangers.TorchOrder)
    assert (contract.torch_module, dict(contract.keywords)) == ("GRU", {"enforce_sorted": False})
    assert (contract.arguments["lengths"], contract.capabilities.sorted_only) == ("lengths", False)


@pytest.mark.slow
def test_what_torch_accepts_too_is_inherited_whatever_flags_every_call_has() -> None:
    (result,) = check(strangers.TorchOrder, checks=("RP403",), profile="quick", seed=1, jobs=1).targets
    found = {item.code: item for item in result.results}["RP403"]
    assert (found.status, found.inherited_from_torch) == ("warned", True)


def test_a_module_that_goes_on_until_it_is_reset_is_stateful() -> None:
    contract = _of("StreamingTagger")
    assert (contract.convention, contract.reset, contract.output) == ("stateful", "reset_state", "B T O")
    assert contract.capabilities.stateful
    assert _of("StreamingSummary").reset == "reset"


class ResetsNothing(nn.Module):
    """Its reset method is for something else."""

    def __init__(self, input_size: int, output_size: int) -> None:
        super().__init__()
        self.gru = nn.GRU(input_size, output_size, batch_first=True)
        self.calls = 0

    def reset(self) -> None:
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        output: Tensor = self.gru(x)[0]
        return output


def test_a_reset_method_alone_makes_no_stateful_module() -> None:
    contract = infer_contract(ResetsNothing)
    assert (contract.convention, contract.reset) == ("model", "")
    assert "reset() changes nothing: two calls in turn give the same" in contract.evidence


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"convention": "lengths"}, "needs arguments="),
        ({"convention": "stateful"}, "needs reset=NAME"),
        ({"arguments": {"mask": "mask"}}, "arguments has names for lengths, state, time_spans, starts .got one for"),
        ({"forms": {"lengths": "steps"}}, "forms has no 'lengths' in the form 'steps'; there are lengths: mask,"),
        ({"step": {"method": "step"}}, "step has 'method' and 'input'"),
        ({"tolerance": 0}, "tolerance must be a positive number"),
        ({"convention": "seq2seq"}, "convention must be one of rnn, cell, model, lengths, stateful"),
    ],
)
def test_a_contract_that_lacks_what_its_convention_needs_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Contract(**fields)


@pytest.mark.parametrize("name", ["PaddedGRU", "LengthsTagger", "StreamingTagger", "PlainLSTM"])
def test_the_contract_survives_json(name: str) -> None:
    contract = _of(name)
    assert Contract.from_json(contract.to_json()) == contract


def test_a_state_by_keyword_goes_in_by_its_name() -> None:
    from rnn_props.subjects import Factory

    class Keywords(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(3, 5)

        def forward(self, x: Tensor, lengths: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor]:
            assert lengths.tolist() == [4, 4]
            output, state = self.gru(x, memory)
            return output, state

    contract = Contract(
        convention="lengths", arguments={"lengths": "lengths", "state": "memory"}, input="T B 3", output="T B 5",
        state="1 B 5",
    )  # fmt: skip
    subject = Factory(Keywords, contract).subject({}, 0, dtype="float32")
    given = torch.ones(1, 2, 5)
    with_state, without = subject.call(torch.ones(4, 2, 3), given), subject.call(torch.ones(4, 2, 3))
    assert not torch.equal(with_state.state, without.state)
