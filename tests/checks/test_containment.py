"""What is not a number stays in its row, and at its step and after."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from check_runs import finding, not_applicable, outcome, outcomes, trial, trials
from torch import Tensor, nn

from rnn_props import zoo
from rnn_props.cases import Source
from rnn_props.checks.registry import get
from rnn_props.checks.trial import Advice
from rnn_props.inference import infer_contract
from rnn_props.zoo.drop_ins import PlainGRU
from rnn_props.zoo.models import RunningMeanForecaster

SIX = ("RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell")


@pytest.mark.parametrize("name", [*SIX, *zoo.CORRECT])
def test_correct_modules_pass(name: str) -> None:
    target: Any = getattr(nn, name, None) or zoo.CORRECT[name].target
    contract = infer_contract(target)
    if not_applicable("RP308", contract) is None:
        assert set(outcomes("RP308", target, contract)) == {"passed"}


@pytest.mark.parametrize(
    "name", [name for name, specimen in zoo.BUGS.items() if specimen.module.__module__.endswith("bugs_containment")]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_each_bug_is_seen_under_every_seed(name: str, seed: int) -> None:
    specimen = zoo.BUGS[name]
    assert specimen.code == "RP308"
    assert finding("RP308", specimen.module, profile="default", seed=seed)


@pytest.mark.parametrize(("pick", "value"), [(0, "nan"), (1, "inf"), (2, "-inf")])
def test_a_message_names_the_value_the_row_and_the_step(pick: int, value: str) -> None:
    t = trial(
        zoo.BUGS["RunningMeanByMatrix"].module,
        hyperparameters={"input_size": 2, "hidden_size": 3, "output_size": 2},
        seq_len=4,
        batch=3,
        picks=(pick, 1, 2),
    )
    assert outcome("RP308", t).startswith(
        f"{value} in batch row 1 at step 2 of the input: output before that step[B=1, T="
    )


def test_the_same_sum_without_a_matrix_is_contained() -> None:
    assert finding("RP308", RunningMeanForecaster) == ""


def test_the_initial_state_is_tried_leaf_by_leaf() -> None:
    t = trial(
        zoo.BUGS["ChoosesStateRowsByMatrix"].module,
        hyperparameters={
            "input_size": 2, "hidden_size": 3, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0,
            "bidirectional": False,
        },
        seq_len=2,
        batch=3,
        state=Source("normal", 1),
        picks=(0, 2, 0),
    )  # fmt: skip
    assert outcome("RP308", t).startswith("nan in batch row 2 of the initial h_n: other rows: output[")


class _Validates(PlainGRU):
    def check_input(self, input: Any) -> None:
        super().check_input(input)
        if not bool(torch.isfinite(input).all()):
            raise ValueError("the input is not finite")


def test_a_module_that_refuses_such_input_is_no_bug() -> None:
    found = outcomes("RP308", _Validates, infer_contract(nn.GRU))
    assert set(found) == {
        "discarded: it refuses what is not finite: calling it in float64 raised ValueError: the input is not finite"
    }


class _Cleans(PlainGRU):
    def time_first(self, input: Tensor) -> Tensor:
        return super().time_first(torch.nan_to_num(input, nan=0.0, posinf=0.0, neginf=0.0))


def test_a_module_that_cleans_its_input_is_no_bug() -> None:
    assert finding("RP308", _Cleans, infer_contract(nn.GRU)) == ""


def test_rows_that_are_mixed_by_contract_are_let_be() -> None:
    contract = infer_contract(nn.GRU)
    for name in ("batch_statistics", "per_tensor_quantised"):
        declared = replace(contract, capabilities=replace(contract.capabilities, **{name: True}))
        assert "part of its contract" in str(not_applicable("RP308", declared))


class _ByFFT(nn.Module):
    """A decaying sum over time, as a convolution by FFT: no step can be kept apart from the others."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.inner = nn.Linear(input_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        length = x.size(1)
        kernel = 0.5 ** torch.arange(length, dtype=x.dtype, device=x.device)
        spectrum = torch.fft.rfft(self.inner(x), 2 * length, 1) * torch.fft.rfft(kernel, 2 * length)[:, None]
        return torch.fft.irfft(spectrum, 2 * length, 1)[:, :length]


def test_a_convolution_by_fft_gets_advice() -> None:
    contract = infer_contract(_ByFFT)
    assert (contract.convention, contract.output, contract.capabilities.causal) == ("model", "B T H", True)
    found = {outcome("RP308", t).partition(". ")[2] for t in trials("RP308", _ByFFT, contract)} - {""}
    assert found == {
        "All steps go through one transform, such as an FFT: 1e+06 in that place reaches those outputs as well, by "
        "rounding"
    }
    with pytest.raises(Advice):
        get("RP308").run(next(t for t in trials("RP308", _ByFFT, contract) if outcome("RP308", t) != "passed"))


class _OfOneFeature(_ByFFT):
    """Its normalisation over a single feature leaves nothing of the input, but a connection past it does."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.layer_norm(x, x.shape[2:])) + x.sum(-1, keepdim=True)


def test_where_no_number_has_an_effect_elsewhere_nothing_is_concluded() -> None:
    t = trial(_OfOneFeature, hyperparameters={"input_size": 1, "hidden_size": 2}, seq_len=3, batch=2, picks=(0, 0, 1))
    assert outcome("RP308", t) == "discarded: no number in that place has an effect on another step"
