"""The reference of a contract: how it is named and sent, what is refused, and a contract as the target."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import strategies as st
from torch import Tensor, nn

import rnn_props
from rnn_props import zoo
from rnn_props.api import target_name
from rnn_props.cases import Case, Source
from rnn_props.checks import Trial, get
from rnn_props.cli import cli
from rnn_props.contracts import Contract, ContractError, integers
from rnn_props.inference import infer_contract
from rnn_props.options import Options, resolve
from rnn_props.subjects import Factory
from rnn_props.targets import TargetError
from rnn_props.zoo.fast import MinGRULoop, MinGRUScan, split_gates


class LoopThatRaises(MinGRULoop):
    def run(self, x: Tensor, h: Tensor) -> Tensor:
        raise NotImplementedError("not yet")


class LoopWithoutLastStep(MinGRULoop):
    def run(self, x: Tensor, h: Tensor) -> Tensor:
        return super().run(x, h)[:-1]


class LoopWithAnArgument(MinGRULoop):
    def __init__(self, input_size: int, hidden_size: int, chunk: int) -> None:
        super().__init__(input_size, hidden_size)


class WiderLoop(MinGRULoop):
    def make_parameters(self) -> None:
        self.to_gate = nn.Linear(self.input_size, self.hidden_size + 1)
        self.to_candidate = nn.Linear(self.input_size, self.hidden_size)


def returns_no_state(module: nn.Module, x: Tensor, h: Tensor | None) -> Tensor:
    return x


def raises_a_key_error(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"to_gate.weight": weights["proj.weight"]}


def gives_a_part(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in split_gates(weights).items() if name != "to_gate.bias"}


def gives_too_much(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**split_gates(weights), "to_gates.bias": weights["project.bias"]}


def gives_numbers(weights: dict[str, Tensor]) -> dict[str, Any]:
    return {**split_gates(weights), "to_gate.bias": 0.5}


NO_CLASS = ("neither a class", "nor a function")
#: The scan's weights for the loop's, by name; what the loop has in two halves is one tensor in the scan.
NAMES = {
    "to_gate.weight": "project.weight",
    "to_gate.bias": "project.bias",
    "to_candidate.weight": "project.weight",
    "to_candidate.bias": "project.bias",
}


# -- by name ----------------------------------------------------------------------------------------------------------


def test_reference_and_weights_go_to_worker_processes_by_name() -> None:
    contract = Contract(reference=MinGRULoop, reference_weights=split_gates)
    data = json.loads(json.dumps(contract.to_json()))
    assert data["reference"] == "rnn_props.zoo.fast:MinGRULoop"
    assert data["reference_weights"] == "rnn_props.zoo.fast:split_gates"
    sent = Contract.from_json(data)
    assert (sent.reference, sent.reference_weights) == (data["reference"], data["reference_weights"])
    assert sent.to_json() == data


def test_a_name_may_be_given_in_place_of_what_it_names() -> None:
    contract = Contract(reference="torch.nn:GRUCell", reference_weights={"weight_ih": "w"})
    data = contract.to_json()
    assert (data["reference"], data["reference_weights"]) == ("torch.nn:GRUCell", {"weight_ih": "w"})


def test_without_a_reference_nothing_is_named() -> None:
    data = Contract().to_json()
    assert (data["reference"], data["reference_weights"]) == (None, {})


def _local() -> type[nn.Module]:
    class Local(MinGRULoop):
        pass

    return Local


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"reference": lambda module, x, h: (x, h)},
            r"the contract's reference: an object of type function has no name to import it by",
        ),
        ({"reference": _local()}, r"the contract's reference: _local.<locals>.Local can't be imported from "),
        ({"reference": nn.GRU(1, 1)}, "the contract's reference: an object of type GRU has no name to import it by"),
        ({"reference": "MinGRULoop"}, "the contract's reference: 'MinGRULoop' is not a target: write "),
        (
            {"reference": MinGRULoop, "reference_weights": lambda weights: weights},
            r"the contract's reference_weights: an object of type function has no name to import it by",
        ),
    ],
)
def test_what_has_no_name_is_refused_before_anything_runs(changes: dict[str, Any], message: str) -> None:
    contract = replace(zoo.MinGRUScan, **changes)
    for refused in (
        contract.to_json,
        lambda: resolve(Options(contract=contract)),
        lambda: rnn_props.check(contract),
        lambda: rnn_props.checks_for(MinGRUScan, contract=contract),
    ):
        with pytest.raises(TargetError) as caught:
            refused()
        assert str(caught.value).startswith(message)
        assert "write it with class or def at the top level of a module" in str(caught.value)


# -- a contract as the target -----------------------------------------------------------------------------------------


@pytest.mark.nightly
def test_a_contract_is_checked_by_its_name_and_as_an_object() -> None:
    options: dict[str, Any] = {"checks": ("RP101", "RPA02"), "profile": "quick", "seed": 0}
    for target, contract in (
        ("rnn_props.zoo:MinGRUScan", None),
        (zoo.MinGRUScan, None),
        (MinGRUScan, zoo.MinGRUScan),
    ):
        (result,) = rnn_props.check(target, contract=contract, **options).targets
        assert {found.code: found.status for found in result.results} == {"RP101": "passed", "RPA02": "passed"}
        assert result.contract is not None
        assert result.contract["reference"] == "rnn_props.zoo.fast:MinGRULoop"
    rnn_props.assert_conforms(zoo.MinGRUScan, **options)
    assert target_name(zoo.MinGRUScan) == "rnn_props.zoo.fast:MinGRUScan"


def test_arguments_are_held_in_a_contract_that_is_the_target() -> None:
    contract = infer_contract(zoo.CompactGRUCell, {"bias": False, "hidden_size": 3})
    assert (contract.hyperparameters["bias"].values, contract.hyperparameters["hidden_size"].values) == ((False,), (3,))
    assert "held at your values: bias=False, hidden_size=3" in contract.evidence
    with pytest.raises(TargetError, match="its constructor has no argument 'layers'"):
        infer_contract(zoo.CompactGRUCell, {"layers": 2})


def test_a_contract_that_builds_nothing_is_no_target() -> None:
    for refused in (infer_contract, target_name):
        with pytest.raises(TargetError, match="the contract has no build: give it the class or factory to call"):
            refused(Contract())


def test_a_contract_with_a_strategy_is_no_target_by_name_but_one_from_python() -> None:
    drawn = replace(zoo.MinGRUScan, hyperparameters={"input_size": integers(1, 3), "hidden_size": st.integers(1, 3)})
    with pytest.raises(TargetError, match="the contract draws 'hidden_size' from a strategy"):
        infer_contract(drawn)
    report = rnn_props.check(drawn, checks=("RPA02",), profile="quick", seed=0)
    assert [found.status for found in report.targets[0].results] == ["passed"]


def test_a_script_may_check_its_own_contract(tmp_path: Path) -> None:
    script = tmp_path / "own_contract.py"
    script.write_text(
        "import rnn_props\n"
        "from dataclasses import replace\n"
        "from rnn_props import zoo\n"
        "from rnn_props.zoo.fast import MinGRULoop, MinGRUScan\n"
        "class Fast(MinGRUScan):\n    pass\n"
        "class Slow(MinGRULoop):\n    pass\n"
        "contract = replace(zoo.MinGRUScan, build=Fast, reference=Slow)\n"
        "if __name__ == '__main__':\n"
        "    (result,) = rnn_props.check(contract, checks=('RPA02',), profile='quick', seed=0).targets\n"
        "    print([(found.code, found.status) for found in result.results], result.contract['reference'])\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=250)
    assert done.stdout.strip() == f"[('RPA02', 'passed')] {script}:Slow", done.stderr


# -- errors of the contract -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"reference_weights": {}},
            "the reference MinGRULoop has a parameter 'to_gate.weight', and the module has no 'to_gate.weight': say in "
            "reference_weights which it is; the closest name is 'project.weight'",
        ),
        (
            {"reference_weights": {**NAMES, "to_candidate.bias": "x"}},
            "the reference MinGRULoop has a parameter 'to_candidate.bias', and the module has no 'x': say in "
            "reference_weights which it is",
        ),
        (
            {"reference_weights": {**NAMES, "to_gatee.weight": "project.weight"}},
            "the contract's reference_weights have 'to_gatee.weight', which the reference MinGRULoop has not; the "
            "closest name is 'to_gate.weight'",
        ),
        (
            {"reference_weights": dict.fromkeys(NAMES, "project.weight")},
            "the module's parameter 'project.bias' goes nowhere in the reference MinGRULoop: say in reference_weights "
            "where, or let it be a function that leaves it out",
        ),
        (
            {"reference_weights": NAMES},
            "'to_gate.weight' of the reference MinGRULoop has shape (5, 3), and what goes in has (10, 3): let "
            "reference_weights be a function that brings it into that shape",
        ),
        (
            {"reference": WiderLoop},
            "'to_gate.weight' of the reference WiderLoop has shape (6, 3), and what goes in has (5, 3): let ",
        ),
        (
            {"reference_weights": gives_numbers},
            "'to_gate.bias' of the reference MinGRULoop has shape (5,), and what goes in has no tensor (float)",
        ),
        ({"reference_weights": raises_a_key_error}, "the contract's reference_weights raised KeyError: 'proj.weight'"),
        (
            {"reference_weights": gives_a_part},
            "the contract's reference_weights give no 'to_gate.bias', which the reference MinGRULoop has",
        ),
        (
            {"reference_weights": gives_too_much},
            "the contract's reference_weights have 'to_gates.bias', which the reference MinGRULoop has not",
        ),
        (
            {"reference_weights": "rnn_props.zoo.fast:nothing"},
            "the contract's reference_weights: rnn_props.zoo.fast has no attribute 'nothing'",
        ),
        (
            {"reference": LoopThatRaises},
            "the contract's reference LoopThatRaises: calling it in float64 raised NotImplementedError: not yet\nat ",
        ),
        (
            {"reference": LoopWithAnArgument},
            "the contract's reference LoopWithAnArgument: building it with input_size=3, hidden_size=5 raised ",
        ),
        (
            {"reference": LoopWithoutLastStep},
            "the contract's reference LoopWithoutLastStep gives no result that can be compared: output: expected shape "
            "(4, 2, 5), got shape (3, 2, 5)",
        ),
        (
            {"reference": returns_no_state},
            "the contract's reference returns_no_state: the call gave an object of type Tensor; expected a pair",
        ),
        (
            {"reference": "rnn_props.zoo.fast:MinGRULop"},
            "the contract's reference: rnn_props.zoo.fast has no attribute 'MinGRULop'; did you mean 'MinGRULoop'?",
        ),
        (
            {"reference": "no_such_module_anywhere:Slow"},
            "the contract's reference: there is no module 'no_such_module_anywhere'",
        ),
        (
            {"reference": f"{__name__}:NO_CLASS"},
            "the contract's reference is ('neither a class', 'nor a function'): give",
        ),
        (
            {"reference": Path},
            "the contract's reference is <class 'pathlib.Path'>: give a torch.nn.Module class, which is built with the "
            "same hyperparameters, or a function (module, input, state) -> results",
        ),
    ],
)
def test_what_is_wrong_with_the_reference_is_an_error_of_the_contract(changes: dict[str, Any], message: str) -> None:
    contract = replace(zoo.MinGRUScan, **changes)
    case = Case(hyperparameters={"input_size": 3, "hidden_size": 5}, seq_len=4, batch=2, state=Source("normal", 1))
    with pytest.raises(ContractError) as caught:
        get("RPA02").run(Trial(case, contract, Factory(MinGRUScan, contract)))
    assert str(caught.value).startswith(message)


def test_names_that_neither_side_has_in_a_configuration_are_left_alone() -> None:
    contract = zoo.CompactGRUCell
    case = Case(hyperparameters={"input_size": 3, "hidden_size": 5, "bias": False}, batch=2)
    trial = Trial(case, contract, Factory(contract, contract))
    get("RPA02").run(trial)
    assert sorted(trial.subject.parameters_of()) == ["w_h", "w_x"]


def test_an_error_of_the_contract_is_shown_as_one_and_no_failure_of_the_module(tmp_path: Path) -> None:
    (tmp_path / "with_wrong_names.py").write_text(
        "from dataclasses import replace\n"
        "from rnn_props import zoo\n"
        "contract = replace(zoo.CompactGRUCell, reference_weights={'weight_ih': 'w_x', 'weight_hh': 'w_hh'})\n"
    )
    arguments = ["check", f"{tmp_path}/with_wrong_names.py:contract", "--checks", "RPA02", "--seed", "0"]
    outcome = CliRunner().invoke(cli, arguments, prog_name="rnn-props")
    shown = " ".join(outcome.stdout.split())
    assert outcome.exit_code == 2
    assert "RPA02 oracle.reference ERROR the reference GRUCell has a parameter 'weight_hh'" in shown
    assert "hint: This is not the module's failure" in shown
    assert "please report it" not in shown
