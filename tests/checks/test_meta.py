"""RP807: on the meta device a tensor of the CPU is found, and a module that needs values is not accused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from check_runs import FinishedModel, finding, not_applicable, outcomes
from torch import Tensor, nn
from torch.nn import functional as F

from rnn_props import zoo
from rnn_props.checks.devices import mixes_devices
from rnn_props.contracts import Contract, integers

BUGS = [specimen for specimen in zoo.BUGS.values() if specimen.code == "RP807"]
SIZES = ("input_size", "hidden_size", "output_size")
CONTRACT = Contract(
    convention="model",
    input="B T I",
    output="B O",
    hyperparameters={name: integers(1, 5) for name in SIZES},
    roles={name: name for name in SIZES},
)


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"])
def test_torchs_own_modules_pass(name: str) -> None:
    assert set(outcomes("RP807", getattr(nn, name))) == {"passed"}


@pytest.mark.parametrize("name", ["PlainLSTM", "SequenceClassifier", "StreamingTagger"])
def test_correct_modules_pass(name: str) -> None:
    assert set(outcomes("RP807", zoo.CORRECT[name].target)) == {"passed"}


@pytest.mark.parametrize("specimen", BUGS, ids=lambda specimen: specimen.name)
def test_each_bug_is_found_by_the_two_devices_that_meet(specimen: zoo.Specimen) -> None:
    found = finding("RP807", specimen.target, profile="default")
    assert found.startswith("on the meta device, calling it in float64 raised RuntimeError: Tensor on device ")


@pytest.mark.parametrize("need", ["a branch", "a number", "numpy", "a copy on the CPU", "a mask as an index"])
def test_a_module_that_needs_values_is_not_accused(need: str) -> None:
    class Needs(FinishedModel):
        def finish(self, scores: Tensor) -> Tensor:
            if need == "a branch":
                return scores if bool(scores.abs().max() < 1e9) else scores * 0
            if need == "a number":
                return scores / (1 + float(scores.abs().max()))
            if need == "numpy":
                return scores * torch.from_numpy(scores.detach().numpy())
            if need == "a copy on the CPU":
                return scores.cpu()
            return scores + scores[scores > 1e9].sum()

    found = outcomes("RP807", Needs, CONTRACT)
    assert {text.partition(":")[0] for text in found} == {"discarded"}
    assert found[0].startswith("discarded: it needs values: on the meta device, calling it in float64 raised ")


def test_a_result_that_is_left_on_the_cpu_is_found_where_no_operation_complains() -> None:
    class MultipliesOnCPU(FinishedModel):
        def finish(self, scores: Tensor) -> Tensor:
            return torch.eye(scores.size(0), dtype=scores.dtype) @ scores

    assert finding("RP807", MultipliesOnCPU, CONTRACT) == "output: expected on meta, got on cpu"


def test_a_module_that_reads_lengths_is_left_out() -> None:
    contract = Contract(convention="lengths", arguments={"lengths": "lengths"})
    reason = "it reads its lengths, and where only shapes are known there is nothing to read"
    assert not_applicable("RP807", contract) == reason


_ON_META = torch.zeros(3, 3, device="meta")
_ON_CPU = torch.ones(3, 3)


@pytest.mark.parametrize(
    ("operation", "mixes"),
    [
        (lambda: _ON_META + _ON_CPU, True),
        (lambda: _ON_CPU * _ON_META, True),
        (lambda: torch.cat([_ON_META, _ON_CPU]), True),
        (lambda: torch.where(_ON_CPU > 0, _ON_META, _ON_META), True),
        (lambda: _ON_META.masked_fill(_ON_CPU > 0, 0.0), True),
        (lambda: F.linear(_ON_META, _ON_META, _ON_CPU[0]), True),
        (lambda: nn.GRUCell(3, 3).to("meta")(_ON_META, _ON_CPU), True),
        (lambda: nn.LSTM(3, 3).to("meta")(_ON_META, (_ON_CPU[:1], _ON_CPU[:1])), True),
        (lambda: _ON_META.sum().item(), False),
        (lambda: bool(_ON_META.any()), False),
        (lambda: _ON_META.cpu(), False),
        (lambda: _ON_CPU.clone().copy_(_ON_META), False),
        (lambda: _ON_META.numpy(), False),
        (lambda: _ON_META.nonzero(), False),
        (lambda: torch.equal(_ON_META, _ON_META), False),
    ],
)
def test_an_exception_tells_mixed_devices_from_missing_values(operation: Callable[[], object], mixes: bool) -> None:
    with pytest.raises((RuntimeError, NotImplementedError, TypeError)) as caught:
        operation()
    assert mixes_devices(caught.value, "meta") == mixes


@pytest.mark.parametrize(
    "operation",
    [
        lambda: F.linear(_ON_META, _ON_CPU),
        lambda: _ON_CPU @ _ON_META,
        lambda: _ON_META.index_select(0, torch.tensor([0])),
        lambda: _ON_META.clone().mul_(_ON_CPU),
    ],
)
def test_some_operations_mix_devices_on_meta_without_a_word(operation: Callable[[], object]) -> None:
    operation()
