"""RP35x and RP407: packed sequences and lengths, on torch's modules and on the zoo."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from check_runs import finding, not_applicable, outcomes
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import rnn_props
from rnn_props.inference import infer_contract
from rnn_props.subjects import inner_calls
from rnn_props.zoo import BUGS, CORRECT

CODES = ("RP351", "RP352", "RP353", "RP354", "RP355", "RP407")
OURS = [specimen for specimen in BUGS.values() if specimen.code in CODES and specimen.name != "LengthsUnchecked"]


@pytest.mark.parametrize("code", ["RP351", "RP352", "RP353"])
@pytest.mark.parametrize("module", [nn.RNN, nn.GRU, nn.LSTM])
def test_torchs_layers_pass_and_something_was_run(code: str, module: type[nn.Module]) -> None:
    found = outcomes(code, module)
    assert set(found) == {"passed"}


@pytest.mark.parametrize("code", ["RP354", "RP355", "RP407"])
def test_correct_modules_with_lengths_pass(code: str) -> None:
    assert set(outcomes(code, CORRECT["PaddedGRU"].module)) <= {"passed"} | _DISCARDED
    for name in ("SentenceEncoder", "LengthsTagger"):
        if code != "RP355":
            assert set(outcomes(code, CORRECT[name].module)) <= {"passed"} | _DISCARDED


#: A length of zero is valid where rows of length zero are taken.
_DISCARDED = {"discarded: the fault makes no invalid call: valid a length is 0"}


@pytest.mark.parametrize("specimen", OURS, ids=lambda specimen: specimen.name)
def test_each_bug_is_found_and_the_rows_are_named(specimen: object) -> None:
    message = finding(specimen.code, specimen.module, profile="default")  # type: ignore[attr-defined]
    assert message
    if specimen.code in ("RP351", "RP352", "RP354", "RP355"):  # type: ignore[attr-defined]
        assert "lengths [" in message


def test_a_module_without_packed_sequences_or_lengths_is_not_judged() -> None:
    contract = infer_contract(CORRECT["LSTMModel"].module)
    for code in ("RP351", "RP352", "RP353"):
        assert not_applicable(code, contract) == "it takes no packed sequences"
    for code in ("RP354", "RP355"):
        assert not_applicable(code, contract) == "it takes no lengths"
    assert not_applicable("RP407", contract) == "it takes neither packed sequences nor lengths"


def test_rows_of_length_zero_are_asked_for_only_where_they_are_taken() -> None:
    contract = infer_contract(CORRECT["LengthsTagger"].module)
    assert not_applicable("RP355", contract) == "it takes no row of length zero"


def test_a_packed_result_in_another_order_names_the_row() -> None:
    message = finding("RP352", BUGS["StateComesBackSorted"].module, profile="default")
    assert "against the same rows sorted by hand: final state" in message


class _HandsOn(BUGS["CutsPackedFeatures"].module):  # type: ignore[misc, name-defined]
    """The correct one: what torch's layer inside does not look at is not this module's to refuse."""

    def enter(self, input: PackedSequence) -> PackedSequence:
        return input


class _SortsItOut(_HandsOn):
    """Batch sizes that do not fit are made to."""

    def enter(self, input: PackedSequence) -> PackedSequence:
        sizes = input.batch_sizes.long().clamp(min=1)
        return input._replace(data=input.data.repeat(9, 1)[: int(sizes.sum())], batch_sizes=sizes)


class _CutsState(_HandsOn):
    """The state is made to fit the rows, for packed input alone."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        if isinstance(input, PackedSequence) and hx is not None:
            hx = hx.reshape(-1)[:1].expand(1, int(input.batch_sizes[0]), self.gru.hidden_size).to(input.data.dtype)
            hx = hx.contiguous()
        return super().forward(input, hx)


class _PacksRows(nn.Module):
    """Lengths go to torch's `pack_padded_sequence` as they are, which sorts them and takes fewer of them than rows."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.gru = nn.GRU(input_size, hidden_size, batch_first=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = self.pack(x, lengths)
        output, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=x.shape[1])
        return output

    def pack(self, x: Tensor, lengths: Tensor) -> PackedSequence:
        return pack_padded_sequence(x, lengths.tolist(), batch_first=True, enforce_sorted=False)


class _SortsRows(_PacksRows):
    """The same by hand: the row without a length is lost in code of its own."""

    def pack(self, x: Tensor, lengths: Tensor) -> PackedSequence:
        order = torch.argsort(lengths, descending=True)
        packed = pack_padded_sequence(x[order], lengths[order], batch_first=True)
        undone = torch.argsort(order)
        return PackedSequence(packed.data, packed.batch_sizes, order, undone)


class _CutsLengths(_PacksRows):
    """A length too many is cut off, before torch sees it."""

    def pack(self, x: Tensor, lengths: Tensor) -> PackedSequence:
        return super().pack(x, lengths[: len(x)])


class _PassesOverPacking(_PacksRows):
    """Where torch refuses the lengths, the rows are run without them."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        try:
            return super().forward(x, lengths)
        except RuntimeError:
            output: Tensor = self.gru(x)[0]
            return output


class _PassesOverLayer(_HandsOn):
    """Where torch's layer refuses a state, packed rows are run without it."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        try:
            return super().forward(input, hx)
        except RuntimeError:
            if not isinstance(input, PackedSequence):
                raise
            return super().forward(input)


def _ends(code: str, module: type[nn.Module]) -> dict[str, str]:
    """The faults that are accepted, each with what comes of it."""
    (target,) = rnn_props.check(module, checks=(code,), seed=0).targets
    (result,) = [result for result in target.results if result.code == code]
    return {item.fault: item.status for item in (*result.findings, *result.further)}


def test_lengths_that_torchs_packing_takes_are_advice() -> None:
    ends = _ends("RP407", _PacksRows)
    assert ends["lengths.one_less"] == "warned"
    assert set(ends.values()) == {"warned"}


@pytest.mark.parametrize(("module", "fault"), [(_SortsRows, "lengths.one_less"), (_CutsLengths, "lengths.one_more")])
def test_lengths_that_a_module_made_fit_are_its_own(module: Any, fault: str) -> None:
    assert _ends("RP407", module)[fault] == "failed"


def test_lengths_that_torchs_packing_refuses_and_a_module_passes_over_are_its_own() -> None:
    ends = _ends("RP407", _PassesOverPacking)
    assert ends["lengths.one_less"] == "warned"
    assert ends["lengths.negative"] == "failed"


def _packed_ends(code: str, module: type[nn.Module]) -> dict[str, str]:
    """The packed faults that are accepted, each with what comes of it. Bad batch sizes reach torch in workers alone."""
    return {fault: status for fault, status in _ends(code, module).items() if fault.endswith("packed")}


def test_what_torchs_layer_inside_was_handed_and_takes_is_advice() -> None:
    assert set(_packed_ends("RP407", _HandsOn).values()) == {"warned"}


@pytest.mark.parametrize(
    ("code", "module"),
    [("RP401", BUGS["CutsPackedFeatures"].module), ("RP402", _CutsState), ("RP407", _SortsItOut)],
    ids=["RP401", "RP402", "RP407"],
)
def test_what_a_module_made_of_a_fault_before_torchs_layer_got_it_is_its_own(code: str, module: Any) -> None:
    assert "failed" in _packed_ends(code, module).values()


def test_a_state_that_torchs_layer_refuses_and_a_module_passes_over_is_its_own() -> None:
    assert _packed_ends("RP402", _PassesOverLayer)["state.batch_less, packed"] == "failed"


def test_inner_calls_are_those_of_torchs_own_forward() -> None:
    class Own(nn.GRU):
        def forward(self, input: Any, hx: Any = None) -> Any:
            return input, hx

    class Passes(nn.GRU):
        """Leaves forward to torch."""

    parts = nn.ModuleList([Own(2, 3), Passes(2, 3), nn.LSTM(2, 3)])
    x, h = torch.zeros(4, 1, 2), torch.zeros(1, 1, 3)
    with inner_calls(parts) as calls:
        parts[0](x)
        parts[1](x, hx=h)
        parts[2](input=x)
        with pytest.raises(RuntimeError):
            parts[1](torch.zeros(4, 1, 5))
    parts[1](x)
    assert [call.name for call in calls] == ["torch.nn.GRU", "torch.nn.LSTM"]
    assert calls[0].input is x
    assert calls[0].state is h
    assert calls[1].state is None
