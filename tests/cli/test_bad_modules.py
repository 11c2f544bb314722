"""Modules that can't be built, called or understood get a verdict, or one message with the next step."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rnn_props.cli import cli
from rnn_props.inference import infer_contract
from rnn_props.targets import TargetError, load, parse

HOME = "tests.cli.bad_modules"
#: For each target: what is said of it, and what to do next.
REFUSED = {
    "NeedsSettings": ("needs 'settings', of type Settings", "def make(hidden_size): return Module(Settings(...))"),
    "NeedsSomething": ("needs 'gizmo', and the name does not say what it is", "--arg gizmo=VALUE"),
    "NeedsAFile": ("raised FileNotFoundError: [Errno 2] No such file", "write a function that makes it"),
    "NeedsTheNetwork": ("raised URLError: <urlopen error", "write a function that makes it"),
    "TakesAGraph": ("forward needs 'adjacency' beside the input", "infer --adapter FILE"),
    "ReturnsNoTensor": ("gave a dict; expected a tensor", "infer --adapter FILE"),
    "HasNoForward": ('is missing the required "forward" function', "infer --adapter FILE"),
    "Slow": ("a call of its simplest configuration takes", "--arg NAME=VALUE"),
    "Huge": ("a worker's memory is bounded", "--arg NAME=VALUE"),
    "no_module": ("gave a list of 1, which is no torch.nn.Module", ""),
    "number": ("it is an object of type int", "a target is a torch.nn.Module class"),
    "missing": ("has no attribute 'missing'", ""),
}


#: What takes seconds, or must run where memory is bounded.
HEAVY = ("Slow", "Huge")
UNUSUAL = ("Prints", "LargeUnlessTold", "scripted", "compiled", "parallel")


@pytest.mark.parametrize("name", [name for name in REFUSED if name not in HEAVY])
def test_what_cannot_be_understood_is_one_message_with_the_next_step(name: str) -> None:
    with pytest.raises(TargetError) as raised:
        infer_contract(load(parse(f"{HOME}:{name}")))
    for part in REFUSED[name]:
        assert part in str(raised.value)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, dict[str, Any]]:
    """One run of all of them, and its document by target."""
    path = tmp_path_factory.mktemp("bad") / "report.json"
    targets = [f"{HOME}:{name}" for name in (*REFUSED, *UNUSUAL, "ChangesItsType")]
    arguments = ["check", *targets, "--checks", "RP10[158]", "--profile", "quick", "--json", str(path)]
    outcome = CliRunner().invoke(cli, arguments)
    document = json.loads(path.read_text(encoding="utf-8"))
    return outcome, {target["target"].partition(":")[2]: target for target in document["targets"]}


@pytest.mark.nightly
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_checked_is_one_message_with_the_next_step(
    name: str, run: tuple[Result, dict[str, Any]]
) -> None:
    target = run[1][name]
    assert target["status"] == "error"
    assert not target["results"]
    for part in REFUSED[name]:
        assert part in " ".join(target["message"].split())


@pytest.mark.nightly
@pytest.mark.parametrize("name", UNUSUAL)
def test_what_is_only_unusual_gets_its_verdict(name: str, run: tuple[Result, dict[str, Any]]) -> None:
    statuses = [result["status"] for result in run[1][name]["results"]]
    assert statuses.count("passed") == 3


@pytest.mark.nightly
def test_a_module_that_changes_what_it_returns_is_told_so(run: tuple[Result, dict[str, Any]]) -> None:
    (failed,) = [result for result in run[1]["ChangesItsType"]["results"] if result["status"] == "failed"]
    assert failed["code"] == "RP108"
    assert failed["message"] == "a call with T=1, B=1 gave a tensor, and one with T=3, B=3 gave (a tensor, a tensor)"


@pytest.mark.nightly
def test_the_run_says_an_error_for_each_and_nothing_that_a_module_printed(
    run: tuple[Result, dict[str, Any]],
) -> None:
    outcome, _ = run
    assert outcome.exit_code == 1
    assert outcome.output.count("ERROR") == 2 * len(REFUSED)  # where it happened, and in the summary
    assert "nobody asked for" not in outcome.output
    assert "Traceback" not in outcome.output
