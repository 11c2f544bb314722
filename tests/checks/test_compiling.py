"""RP907 and RP908: what is compiled or exported agrees, and what can't be is not accused."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
import torch
from check_runs import FinishedModel, finding, not_applicable, outcome, outcomes, trial
from torch import Tensor, nn

from rnn_props import zoo
from rnn_props.checks import Advice, Trial, get
from rnn_props.contracts import Capabilities, Contract, integers
from rnn_props.execution.profiles import PROFILES
from rnn_props.inference import infer_contract

pytestmark = pytest.mark.slow

CODES = ("RP907", "RP908")
BUGS = [specimen for specimen in zoo.BUGS.values() if specimen.code in CODES]
SIZES = ("input_size", "hidden_size", "output_size")
VALUES = dict.fromkeys(SIZES, 3)
CONTRACT = Contract(
    convention="model",
    input="B T I",
    output="B O",
    hyperparameters={name: integers(1, 5) for name in SIZES},
    roles={name: name for name in SIZES},
)


def _of_model(target: type[nn.Module], **fields: object) -> Trial:
    return trial(target, CONTRACT, **{"hyperparameters": VALUES, "seq_len": 2, "batch": 2, "picks": (0, 0), **fields})


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("name", ["LSTM", "GRUCell"])
def test_torchs_own_modules_pass(name: str, code: str) -> None:
    assert set(outcomes(code, getattr(nn, name))) == {"passed"}


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("name", ["PlainLSTM", "CompactGRUCell", "LSTMModel"])
def test_correct_modules_pass(name: str, code: str) -> None:
    assert set(outcomes(code, zoo.CORRECT[name].target)) == {"passed"}


@pytest.mark.parametrize("specimen", BUGS, ids=lambda specimen: f"{specimen.code}-{specimen.name}")
def test_each_bug_is_found(specimen: zoo.Specimen) -> None:
    assert specimen.code is not None
    assert finding(specimen.code, specimen.target, profile="default")


@pytest.mark.parametrize("code", CODES)
def test_a_contract_that_does_not_promise_it_switches_the_check_off(code: str) -> None:
    contract = Contract(capabilities=Capabilities(compile=False, export=False))
    reason = not_applicable(code, contract)
    assert reason is not None
    assert reason.startswith("its contract does not promise torch.")


@pytest.mark.parametrize("code", CODES)
def test_a_branch_on_a_value_is_no_failure(code: str) -> None:
    class Branches(FinishedModel):
        def finish(self, scores: Tensor) -> Tensor:
            return scores if bool(scores.sum() > 0) else scores - 1

    found = outcome(code, _of_model(Branches))
    if code == "RP907":  # the graph breaks there, and goes on
        assert found == "passed"
    else:
        assert found.startswith("discarded: torch.export can't export it: ")


class _PartsByName(nn.Module):
    """A cell whose state is two arguments."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(input_size, hidden_size)

    def forward(self, x: Tensor, h_prev: Tensor, c_prev: Tensor) -> tuple[Tensor, Tensor]:
        h, c = self.cell(x, (h_prev, c_prev))
        return h, c


def test_a_state_in_several_arguments_is_exported_with_the_rest() -> None:
    assert set(outcomes("RP908", _PartsByName)) == {"passed"}


def test_a_program_that_takes_one_batch_size_only_is_advice() -> None:
    class CountsRows(FinishedModel):
        def finish(self, scores: Tensor) -> Tensor:
            return torch.stack([scores[row] for row in range(len(scores))])

    with pytest.raises(Advice, match=r"^exported with B = 2 and called with B = 3, the program refuses: Guard failed"):
        get("RP908").run(_of_model(CountsRows))


@pytest.mark.parametrize("code", CODES)
def test_what_torch_logs_and_prints_stays_quiet_and_logging_is_as_before(
    code: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = logging.root.manager.disable
    finding(code, zoo.BUGS["CachesWhatWasRecorded"].target)
    assert logging.root.manager.disable == before
    assert capfd.readouterr() == ("", "")


def test_the_compiler_is_not_imported_before_it_is_used() -> None:
    code = "import sys, rnn_props.checks; print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "False"


def test_only_the_nightly_profile_is_thorough() -> None:
    assert [name for name, profile in PROFILES.items() if profile.thorough] == ["nightly"]


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["PlainGRUCell", "LSTMModel"])
def test_inductor_agrees_where_the_profile_is_thorough(name: str) -> None:
    target = zoo.CORRECT[name].module
    contract = infer_contract(target)
    values = {key: domain.values[0] for key, domain in contract.hyperparameters.items()}
    t = trial(target, contract, hyperparameters=values, seq_len=2, batch=2, picks=(0, 1))
    t.thorough = True
    assert outcome("RP907", t) == "passed"
