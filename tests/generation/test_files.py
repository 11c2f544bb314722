"""Generated test files: formatted, lint-clean, run as they are, and of one mind with `rnn-props check`."""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from generated import assert_lint_clean, run_file, written
from hypothesis import strategies as st

import rnn_props
from rnn_props.checks import all_checks, select
from rnn_props.contracts import Capabilities, Complex, Contract, Layers, Record, booleans, choices, free, integers
from rnn_props.contracts.code import contract_call, names_used, source
from rnn_props.contracts.presets import cell_contract, sequence_contract
from rnn_props.generation import suite_file
from rnn_props.inference import infer_contract

EXAMPLES = Path(__file__).parents[2] / "examples"
TORCH = ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell")
BUGS = (
    "SqueezesBatchOfOne", "CellReturnsList", "ReturnsOldCellState", "SingleStepDecaysState", "RemembersPassedState",
    "ClipsInputInPlace", "TopLayerStateFirst", "CellIgnoresCellState", "StateBatchFirst", "HalfComesBackAsFloat",
)  # fmt: skip
BY_HAND = Contract(
    hyperparameters={"width": integers(1, 6), "units": integers(0, 3), "kind": choices("a", 'b"'), "flag": booleans()},
    fixed={"sizes": (4, 5), "rate": 0.5, "none": None},
    roles={"input_size": "width", "hidden_size": "units"},
    convention="lengths",
    arguments={"lengths": "seq_lens"},
    padding=0.0,
    input="B T I",
    output="B T 2*H+1",
    state=[{"h": "1 B H"}, ("B H",), None],
    constraints=("units <= width",),
    capabilities=Capabilities(dtypes=("float64", "float32"), output_is_state=True),
)


@pytest.mark.parametrize(
    "contract",
    [
        sequence_contract("LSTM", ("input_size", "hidden_size", "num_layers", "proj_size", "bidirectional"), full=True),
        cell_contract("RNNCell", ("input_size", "hidden_size", "bias", "nonlinearity"), full=False),
        BY_HAND,
        Contract(state=("L B H", Layers(("B H", ["B H_{k}"]), first="B I"), Layers("B H", "2*L", kind="tuple"))),
        Contract(state={"s": Record("pkg.models:State", {"h": "B H", "z": Complex("B N")}), "c": None}),
        Contract(hyperparameters={"n": free(1, None, "x"), "m": integers(2, 2)}),
        Contract(),
    ],
)
def test_a_contract_is_written_as_the_code_that_makes_it(contract: Contract) -> None:
    names = {name: getattr(rnn_props.contracts, name) for name in rnn_props.contracts.__all__}
    call = contract_call(contract)
    again = eval(source(call), names)
    assert again.to_json() == contract.to_json()
    assert names_used(call) <= set(names)
    assert all(f"{name}(" in source(call) for name in names_used(call))


def test_what_a_file_can_not_hold_is_an_error() -> None:
    with pytest.raises(ValueError, match="the values of n are drawn by a strategy, which a file can't hold"):
        contract_call(Contract(hyperparameters={"n": st.integers()}))
    with pytest.raises(ValueError, match=r"none of the chosen checks applies to torch\.nn:GRUCell$"):
        written("GRUCell", ("RP201",))


@pytest.mark.parametrize("style", ["pytest", "unittest"])
def test_files_are_formatted_and_lint_clean(style: Any, tmp_path: Path) -> None:
    pytest.importorskip("ruff")
    for name in (*TORCH, *BUGS):
        (tmp_path / f"test_{name}.py").write_text(written(name, style=style).text, encoding="utf-8")
    layered = replace(BY_HAND, state=[Layers(("B H", {"h": Complex("B H")}), first="B I"), Record("m:S", {"h": "B H"})])
    for name, contract in (("by_hand", BY_HAND), ("layered", layered)):
        text = suite_file("pkg.models:Mine", contract, all_checks(), style).text
        (tmp_path / f"test_{name}.py").write_text(text, encoding="utf-8")
    assert_lint_clean(tmp_path)


def test_a_file_has_a_test_with_its_rule_for_each_check_that_applies() -> None:
    new = written("LSTM")
    tests = [node for node in ast.parse(new.text).body if isinstance(node, ast.FunctionDef)]
    codes = {(ast.get_docstring(test) or "")[:5] for test in tests}
    contract = infer_contract(torch.nn.LSTM)
    runnable = [check for check in all_checks() if check.on & {"cpu", "sim"}]
    assert codes == {check.code for check in runnable if check.not_applicable(contract) is None} >= {"RP801", "RP805"}
    assert "RP201: A sequence run whole equals the same sequence" in new.tests["test_state_continuity"]
    assert '        "state.hidden_more",\n' in new.tests["test_reject_state"]
    assert '"hyperparameters.negative(num_layers)"' in new.tests["test_reject_hyperparameters"]
    assert "- RP354, RP355: it takes no lengths\n" in new.head
    given = [test for test in tests if any("given(" in ast.unparse(item) for item in test.decorator_list)]
    assert len(given) > 40


#: Of several tests of one check, how the check ended: as the first of these.
_WORST = ("failed", "blocked", "passed", "skipped")


def verdicts_of_file(path: Path, *arguments: str) -> dict[str, str]:
    """How each check's tests ended, by code."""
    done = run_file(path, "--junitxml=j.xml", "--hypothesis-seed=0", *arguments)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    codes = {
        node.name: (ast.get_docstring(node) or "")[:5]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    found: dict[str, str] = {}
    for case in ElementTree.parse(path.parent / "j.xml").iter("testcase"):
        code = codes[case.attrib["name"].partition("[")[0]]
        ended = "failed" if case.find("failure") is not None else "passed"
        if (skipped := case.find("skipped")) is not None:
            ended = "blocked" if skipped.attrib["message"].startswith("blocked") else "skipped"
        found[code] = min(ended, found.get(code, ended), key=_WORST.index)
    return found


def verdicts_of_check(target: str, checks: tuple[str, ...]) -> dict[str, str]:
    (result,) = rnn_props.check(target, checks=checks, seed=0, devices=("cpu", "sim")).targets
    told = {"warned": "passed"}
    return {item.code: told.get(item.status, item.status) for item in result.results if item.status != "not_applicable"}


def agree(target: str, text: str, folder: Path, checks: tuple[str, ...]) -> dict[str, str]:
    """What both say; failures and blocked checks are the same ones."""
    path = folder / "test_generated.py"
    path.write_text(text, encoding="utf-8")
    one, two = verdicts_of_file(path), verdicts_of_check(target, checks)
    differing = {code: (one.get(code), status) for code, status in two.items() if one.get(code) != status}
    assert differing == {}, "by the generated file, by rnn-props check"
    return one


SOME = ("RP10*", "RP201", "RP202", "RP204", "RP401", "RP403", "RP906")


@pytest.mark.nightly
@pytest.mark.parametrize("style", ["pytest", "unittest"])
def test_a_generated_file_is_of_one_mind_with_a_run(style: Any, tmp_path: Path) -> None:
    name = "ReturnsOldCellState"
    found = agree(f"rnn_props.zoo:{name}", written(name, SOME, style).text, tmp_path, SOME)
    assert {code for code, status in found.items() if status == "failed"} == {"RP201"}


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", [*TORCH, *BUGS])
def test_every_generated_file_is_of_one_mind_with_a_run(name: str, tmp_path: Path) -> None:
    home = "torch.nn" if name in TORCH else "rnn_props.zoo"
    found = agree(f"{home}:{name}", written(name).text, tmp_path, ())
    assert ("failed" in found.values()) == (name in BUGS)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "name",
    [
        "lstm_model.py:LSTMModel",
        "lstm_model.py:LSTMModelFixed",
        "cell_loop.py:LSTMCellModel",
        "cell_loop.py:LSTMCellModelFixed",
        "multi_layer_lstm.py:MultiLayerLSTM",
        "multi_layer_lstm.py:MultiLayerLSTMFixed",
        "fast_against_slow.py:FastMinGRU",
    ],
)
def test_files_of_the_examples_are_of_one_mind_with_a_run(name: str, tmp_path: Path) -> None:
    target = f"{EXAMPLES / name}"
    text = suite_file(target, rnn_props.infer_contract(target), all_checks(), "pytest").text
    found = agree(target, text, tmp_path, ())
    assert ("failed" in found.values()) == (not name.endswith(("Fixed", "FastMinGRU")))


def test_a_fault_that_is_accepted_fails_its_own_row_alone(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(
        "from torch import nn\n\n\nclass Slices(nn.GRU):\n    def forward(self, x, hx=None):\n"
        "        return super().forward(x[..., : self.input_size], hx)\n",
        encoding="utf-8",
    )
    new = suite_file("models:Slices", infer_contract(torch.nn.GRU), select(["RP401"]), "pytest")
    (tmp_path / "test_it.py").write_text(new.text, encoding="utf-8")
    done = run_file(tmp_path / "test_it.py", "-rA")
    failed = re.findall(r"^FAILED test_it.py::test_reject_input\[(\S+)\]", done.stdout, re.M)
    assert failed == ["input.features_more"], done.stdout
    assert re.search(r"^E +AssertionError: RP401 reject\.input: ", done.stdout, re.M), done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("style", "row"), [("pytest", r"\[sim\]"), pytest.param("unittest", "", marks=pytest.mark.nightly)]
)
def test_a_bug_of_accelerators_fails_on_the_simulated_one_alone(style: Any, row: str, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(written("FinalStateToCPU", ("RP101", "RP801"), style).text, encoding="utf-8")
    done = run_file(tmp_path / "test_it.py", "-rA", "--hypothesis-seed=0")
    assert re.search(rf"^FAILED .*::test_device_placement{row} - Assert", done.stdout, re.M), done.stdout
    assert re.search(r"^PASSED .*::test_shape_output$", done.stdout, re.M), done.stdout
    assert "RP801 device.placement: h_n: expected on sim, got on cpu" in done.stdout
    assert "1 failed, 1 passed" in done.stdout
