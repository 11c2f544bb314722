"""RP213 and RP214: modules that keep their state, and orders of operations."""

from __future__ import annotations

import pytest
import torch
from check_runs import finding, not_applicable, outcomes
from torch import Tensor, nn

from rnn_props.inference import infer_contract
from rnn_props.zoo import BUGS, CORRECT


@pytest.mark.parametrize("name", ["StreamingTagger", "StreamingSummary"])
@pytest.mark.parametrize("code", ["RP213", "RP214"])
def test_correct_streaming_modules_pass(code: str, name: str) -> None:
    found = outcomes(code, CORRECT[name].module)
    assert set(found) == {"passed"}


@pytest.mark.parametrize("module", [nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_torchs_modules_agree_with_recomputing_in_every_story(module: type[nn.Module]) -> None:
    assert set(outcomes("RP214", module)) == {"passed"}


@pytest.mark.parametrize("name", ["PaddedGRU", "PlainLSTM"])
def test_correct_modules_of_the_zoo_agree_with_recomputing(name: str) -> None:
    assert set(outcomes("RP214", CORRECT[name].module)) == {"passed"}


@pytest.mark.parametrize(
    "specimen", [bug for bug in BUGS.values() if bug.code in ("RP213", "RP214")], ids=lambda bug: bug.name
)
def test_each_bug_is_found(specimen: object) -> None:
    assert finding(specimen.code, specimen.module, profile="default")  # type: ignore[attr-defined]


def test_a_broken_story_reads_as_a_program() -> None:
    message = finding("RP214", BUGS["ReusesItsOwnState"].module, profile="default")
    first, *program = message.splitlines()
    assert "in one call: y" in first or "in one call: s" in first
    assert any(line.strip().startswith("y") and "= module(x" in line for line in program)


def test_a_module_without_state_has_no_stories() -> None:
    contract = infer_contract(CORRECT["LSTMModel"].module)
    assert not_applicable("RP214", contract) == "it neither takes nor returns a state"
    assert not_applicable("RP213", contract) == "it keeps no state between calls"


class _Normalised(nn.Module):
    """A GRU over normalised inputs; one call in training mode moves the running statistics."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.normalise = nn.BatchNorm1d(input_size)
        self.gru = nn.GRU(input_size, hidden_size, batch_first=True)

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        output, state = self.gru(self.normalise(x.transpose(1, 2)).transpose(1, 2), h)
        return output, state


class _CountsCalls(_Normalised):
    """The same, whose own buffer counts calls in training mode, and scales what comes out."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if self.training:
            self.calls += 1
        output, state = super().forward(x, h)
        return output * (1 + self.calls), state


def test_running_statistics_are_no_memory_of_the_streams_and_other_buffers_are() -> None:
    assert set(outcomes("RP214", _Normalised, profile="default")) == {"passed"}
    assert "module.train(); module(other); module.eval()" in finding("RP214", _CountsCalls, profile="default")


class _NormalisesBothHalves(nn.Module):
    """The output is normalised over both directions, so that neither half of it can be had alone."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bidirectional: bool = False) -> None:
        super().__init__()
        self.gru = nn.GRU(input_size, hidden_size, num_layers, bidirectional=bidirectional)
        self.normalise = nn.LayerNorm(hidden_size * (2 if bidirectional else 1))

    def forward(self, x: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        output, state = self.gru(x, hx)
        return self.normalise(output), state


class _DropsBackwardState(_NormalisesBothHalves):
    def forward(self, x: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if hx is not None and self.gru.bidirectional:
            hx = hx * torch.tensor([1.0, 0.0] * self.gru.num_layers, dtype=hx.dtype)[:, None, None]
        return super().forward(x, hx)


def test_in_two_directions_chunks_agree_in_their_states_where_the_output_is_made_of_both() -> None:
    assert set(outcomes("RP201", _NormalisesBothHalves, profile="default")) == {"passed"}
    assert "backward half in chunks" in finding("RP201", _DropsBackwardState, profile="default")
