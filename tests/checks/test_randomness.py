"""RP502, RP503 and RP504: dropout where torch has it, no other difference between modes, generators left alone."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from check_runs import finding, not_applicable, outcome, outcomes, trial
from torch import Tensor, nn
from torch.nn import functional as F

from rnn_props import zoo
from rnn_props.cases import Source
from rnn_props.checks import Advice, get
from rnn_props.contracts import Capabilities, Contract, choices, integers, probabilities
from rnn_props.inference import infer_contract

CODES = ("RP502", "RP503", "RP504")
BUGS = [specimen for specimen in zoo.BUGS.values() if specimen.code in CODES]
LAYERS = {
    "input_size": 3, "hidden_size": 4, "num_layers": 3, "bias": True, "batch_first": False, "dropout": 0.5,
    "bidirectional": False,
}  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_torchs_own_modules_pass(name: str, code: str, seed: int) -> None:
    assert set(outcomes(code, getattr(nn, name), seed=seed)) == {"passed"}


@pytest.mark.parametrize("name", ["PlainRNN", "PlainGRU", "PlainLSTM", "SequenceClassifier", "LSTMModel"])
@pytest.mark.parametrize("code", CODES)
def test_correct_modules_pass(name: str, code: str) -> None:
    target = zoo.CORRECT[name].target
    if not_applicable(code, infer_contract(target)) is None:
        assert finding(code, target) == ""


@pytest.mark.parametrize("specimen", BUGS, ids=lambda specimen: f"{specimen.code}-{specimen.name}")
def test_each_bug_is_found_under_every_seed(specimen: zoo.Specimen) -> None:
    assert specimen.code is not None
    for seed in range(3):
        assert finding(specimen.code, specimen.target, profile="default", seed=seed)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("DropsTopLayersOutput", r"^one layer with dropout 0.5, training mode against eval mode: output\["),
        ("DropsAtFirstBoundaryOnly", r"^dropout 1, after a change of the input and of the states of the layers below: "),
        ("IgnoresDropout", r"^dropout 0.5 has no effect: 8 training calls under different seeds give the same$"),
        ("ForgetsToScaleWhatIsKept", r"what is kept has to be divided by 1 - p$"),
        ("KeepsItsFirstMask", r"^dropout 0.5 has no effect: "),
        ("DropsStateOfUpperLayers", r"^dropout 1: the top layer's final state does not depend on its own initial state"),
        ("DropsWithItsOwnProbability", r"^training mode against eval mode: "),
        ("SeedsItsDropout", r"^a call in training mode reseeds torch's global generator$"),
        ("DrawsMaskInEval", r"^a call in eval mode draws from torch's global generator$"),
        ("SeedsNumpy", r"^a call in eval mode reseeds numpy's global generator \(numpy.random\)$"),
        ("DropsByTheClock", r"^second training call under the same seed: output\["),
    ],
)
def test_messages_say_what_is_dropped_or_seeded(name: str, message: str) -> None:
    specimen = zoo.BUGS[name]
    assert specimen.code is not None
    with pytest.MonkeyPatch.context():
        import re

        assert re.search(message, finding(specimen.code, specimen.target, profile="default"))
