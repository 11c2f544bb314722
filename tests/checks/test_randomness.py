"""RP502, RP503 and RP504: dropout where torch has it, no other difference between modes, generators left alone."""

from __future__ import annotations

import pickle
import random
import re
from typing import Any

import numpy as np
import pytest
import torch
from check_runs import finding, not_applicable, outcomes, trial
from torch import Tensor, nn
from torch.nn import functional as F

from rnn_props import zoo
from rnn_props.checks import Advice, Discarded, Violation, get
from rnn_props.contracts import Capabilities, Contract, integers
from rnn_props.inference import infer_contract

CODES = ("RP502", "RP503", "RP504")
BUGS = [specimen for specimen in zoo.BUGS.values() if specimen.code in CODES]
SIZES = {"input_size": 3, "hidden_size": 4, "output_size": 2}


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
        (
            "DropsAtFirstBoundaryOnly",
            r"^dropout 1, after a change of the input and of the states of the layers below: ",
        ),
        ("IgnoresDropout", r"^dropout 0.5 has no effect: 8 training calls under different seeds give the same$"),
        ("ForgetsToScaleWhatIsKept", r"what is kept has to be divided by 1 - p$"),
        ("KeepsItsFirstMask", r"^dropout 0.5 has no effect: "),
        (
            "DropsStateOfUpperLayers",
            r"^dropout 1: the top layer's final state does not depend on its own initial state",
        ),
        ("DropsWithItsOwnProbability", r"^training mode against eval mode: "),
        ("SeedsItsDropout", r"^a call in training mode reseeds torch's global generator$"),
        ("DrawsMaskInEval", r"^a call in eval mode draws from torch's global generator$"),
        ("SeedsNumpy", r"^a call in eval mode reseeds numpy's global generator \(numpy.random\)$"),
        ("DropsByTheClock", r"^second training call under the same seed: "),
    ],
)
def test_messages_say_what_is_dropped_or_seeded(name: str, message: str) -> None:
    specimen = zoo.BUGS[name]
    assert specimen.code is not None
    assert re.search(message, finding(specimen.code, specimen.target, profile="default"))


def test_an_output_that_is_dropped_in_deep_stacks_alone_has_zeros() -> None:
    class DropsDeepOutput(zoo.CORRECT["PlainGRU"].module):  # type: ignore[misc, name-defined]
        def run_layers(self, steps: Any, state: Any) -> Any:
            steps, final = super().run_layers(steps, state)
            return (self.between_layers(steps, 9) if self.num_layers > 1 else steps), final

    found = finding("RP502", DropsDeepOutput)
    assert re.match(r"in training mode \d+ of the \d+ elements of the top layer's output are zero$", found)


# -- what is not wrong ----------------------------------------------------------------------------------------------


class _Model(nn.Module):
    """`(B, T, I)` to `(B, O)`, with a method to override."""

    def __init__(
        self, input_size: int, hidden_size: int, output_size: int, num_layers: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.p = dropout
        self.gru = nn.GRU(input_size, hidden_size, num_layers, batch_first=True)
        self.norm = nn.BatchNorm1d(hidden_size)
        self.head = nn.Linear(hidden_size, output_size)

    def read(self, h: Tensor) -> Tensor:
        return h

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.read(self.gru(x)[1][-1]))
        return scores


def _first_kind(code: str, target: Any) -> type[Exception] | None:
    """The kind of the first violation, if any."""
    contract = infer_contract(target)
    for layers in (1, 3):
        fields = {"num_layers": layers, "dropout": 0.0 if code == "RP503" else 0.5}
        t = trial(target, contract, hyperparameters={**SIZES, **fields}, seq_len=3, batch=3)
        try:
            get(code).run(t)
        except Violation as found:
            return type(found)
        except Discarded:
            continue
    return None


def test_dropout_that_nobody_uses_is_advice_on_a_model() -> None:
    assert _first_kind("RP502", _Model) is Advice


def test_dropout_in_a_place_of_its_own_is_a_models_own_affair() -> None:
    class Drops(_Model):
        def read(self, h: Tensor) -> Tensor:
            return F.dropout(h, self.p, self.training)

    assert _first_kind("RP502", Drops) is None


def test_a_drop_in_that_drops_its_output_by_design_says_so_in_its_contract() -> None:
    target = zoo.BUGS["DropsTopLayersOutput"].module
    contract = infer_contract(target)
    data = contract.to_json()
    data["capabilities"]["torch_contract"] = False
    assert finding("RP502", target)
    assert finding("RP502", target, Contract.from_json(data)) == ""


@pytest.mark.parametrize("wrap", ["normalises", "drops a fixed part", "adds noise"])
def test_batch_statistics_and_other_randomness_are_not_taken_for_a_difference_between_modes(wrap: str) -> None:
    class Other(_Model):
        def read(self, h: Tensor) -> Tensor:
            if wrap == "normalises":
                normalised: Tensor = self.norm(h)
                return normalised
            if wrap == "adds noise":
                return h + torch.randn_like(h) if self.training else h
            return F.dropout(h, 0.3, self.training)

    found = outcomes("RP503", Other)
    assert {text.partition(":")[0] for text in found} == {"discarded"}


def test_probabilities_in_eval_mode_and_scores_in_training_are_advice_on_a_model() -> None:
    class Decides(_Model):
        def forward(self, x: Tensor) -> Tensor:
            scores = super().forward(x)
            return scores if self.training else scores.softmax(-1) + 1

    assert _first_kind("RP503", Decides) is Advice


def test_batch_statistics_that_are_declared_switch_the_comparison_off() -> None:
    contract = Contract(convention="model", capabilities=Capabilities(batch_statistics=True))
    assert not_applicable("RP503", contract) == "batch statistics are part of its contract"


@pytest.mark.parametrize("way", ["initialises with numpy", "samples with random", "seeds in a fork", "is lazy"])
def test_generators_may_be_used_in_constructors_in_training_and_in_forks(way: str) -> None:
    class Draws(_Model):
        def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
            super().__init__(input_size, hidden_size, output_size)
            if way == "initialises with numpy":
                self.head.weight.data = torch.tensor(np.random.randn(output_size, hidden_size))
            if way == "is lazy":
                self.head = nn.LazyLinear(output_size)

        def read(self, h: Tensor) -> Tensor:
            if way == "samples with random" and self.training and random.random() < 0.5:
                return torch.zeros_like(h)
            if way == "seeds in a fork":
                with torch.random.fork_rng():
                    torch.manual_seed(0)
                    return h + 0.1 * torch.rand_like(h)
            return h

    assert set(outcomes("RP504", Draws, _contract())) == {"passed"}


def _contract() -> Contract:
    sizes = {name: integers(1, 5) for name in SIZES}
    return Contract(
        convention="model", input="B T I", output="B O", hyperparameters=sizes, roles={name: name for name in sizes}
    )


def test_generators_of_the_caller_are_as_before_after_the_check() -> None:
    for name in ("SeedsNumpy", "SeedsItsDropout"):
        target = zoo.BUGS[name].module
        contract = infer_contract(target)
        before = random.getstate(), pickle.dumps(np.random.get_state()), torch.get_rng_state().tolist()
        assert finding("RP504", target, contract)
        assert before == (random.getstate(), pickle.dumps(np.random.get_state()), torch.get_rng_state().tolist())
