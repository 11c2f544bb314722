"""The runner on modules that misbehave, and the promises that hold for every run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

import rnn_props
from rnn_props.api import run
from rnn_props.checks import get as get_check
from rnn_props.contracts import Capabilities, Contract, integers
from rnn_props.execution import plans, pool, runner
from rnn_props.execution.events import CheckFinished, Event, RunFinished, TargetFinished
from rnn_props.execution.outcomes import TargetResult
from rnn_props.execution.plans import Plans
from rnn_props.execution.profiles import PROFILES, Profile
from rnn_props.inference import infer_contract
from rnn_props.options import Options

HERE = Path(__file__).parent
AWKWARD = str(HERE / "awkward_targets.py")


def results(*targets: str, **options: Any) -> list[TargetResult]:
    """Run quietly, and return what was found of each target."""
    found: list[TargetResult] = []

    def listen(event: Event) -> None:
        if isinstance(event, TargetFinished):
            found.append(event.result)

    options.setdefault("profile", "quick")
    options.setdefault("seed", 0)
    run(targets, Options(**options), listen)
    return found


def one(target: str, **options: Any) -> TargetResult:
    return results(f"{AWKWARD}:{target}", **options)[0]


#: Targets that can't be used, and what the message has.
UNUSABLE = {
    "RaisesInConstructor": "raised RuntimeError: the weights file is missing",
    "RaisesInForward": "raised RuntimeError: not written yet",
    "ExitsInForward": "raised SystemExit: 3",
    "ReturnsText": "gave a str; expected a tensor",
    "NeedsMore": "its forward needs 'timestamps' beside the input",
    "NeedsTheta": "give a value with --arg theta=VALUE",
    "NotAModule": "it is the class NotAModule, which is no torch.nn.Module",
    "WantsAllMemory": "allocate memory",
    "Prinst": "has no attribute 'Prinst'; did you mean 'Prints'?",
}


@pytest.fixture(scope="module")
def unusable() -> dict[str, TargetResult]:
    found = results(*(f"{AWKWARD}:{name}" for name in UNUSABLE))
    return dict(zip(UNUSABLE, found, strict=True))


@pytest.mark.parametrize("target", UNUSABLE)
def test_a_target_that_can_not_be_used_is_one_clear_message(target: str, unusable: dict[str, TargetResult]) -> None:
    result = unusable[target]
    assert result.status == "error"
    assert UNUSABLE[target] in result.message
    assert result.results == ()


def test_the_message_names_the_line_of_the_user(unusable: dict[str, TargetResult]) -> None:
    assert "awkward_targets.py" in unusable["RaisesInForward"].message


def test_a_target_that_dies_or_hangs_in_its_first_call_is_told_with_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    dead = one("DiesInForward").message
    assert dead.startswith("its simplest configuration killed the process (SIGSEGV at ")
    assert dead.endswith("in forward: ctypes.string_at(0))")
    monkeypatch.setattr(runner, "_DESCRIBE_LIMIT", 3.0)
    hung = one("HangsInForward").message
    assert hung.startswith("its simplest configuration gave no result in 3 s; the process was killed at ")
    assert hung.endswith("in forward: time.sleep(0.05)")


def test_an_argument_with_a_value_makes_the_target_usable() -> None:
    assert one("NeedsTheta", arguments={"theta": 0.5}, checks=("RP101",)).status == "passed"


@pytest.mark.parametrize(
    "target",
    [
        "make_model",
        pytest.param("make_lstm", marks=pytest.mark.nightly),
        "Holder.Inner",
        "Prints",
        "an_instance",
        pytest.param("an_lstm", marks=pytest.mark.nightly),
    ],
)
def test_factories_nested_classes_instances_and_noisy_modules_are_checked(target: str) -> None:
    result = one(target, checks=("RP1*", "RP2*", "RP3*"))
    assert result.status == "passed", [(found.code, found.message) for found in result.results if found.findings]
    assert result.ran >= 12


def test_other_targets_still_run_when_one_can_not_be_used() -> None:
    found = results(f"{AWKWARD}:RaisesInForward", "no.such.module:X", "torch.nn:GRU", checks=("RP101",))
    assert [result.status for result in found] == ["error", "error", "passed"]
    assert "there is no module 'no'" in found[1].message


def test_a_module_that_calls_exit_fails_the_check_and_not_the_run() -> None:
    result = one("ExitsForTwoSteps", checks=("RP101",), profile="default")
    (found,) = result.results
    assert found.status == "failed"
    assert "raised SystemExit: too short" in found.message


def test_a_crash_is_a_finding_with_its_signal_and_a_shrunk_case() -> None:
    result = one("DiesForThreeRows", checks=("RP101",), profile="default")
    (found,) = result.results
    (finding,) = found.findings
    assert (found.status, finding.kind, finding.signal) == ("failed", "crashed", "SIGSEGV")
    assert finding.case["batch"] == 3
    assert finding.case.get("seq_len", 1) == 1
    assert finding.case["hyperparameters"] == {"input_size": 1, "hidden_size": 1, "output_size": 1}
    assert finding.where.startswith(str(HERE / "awkward_targets.py"))
    assert finding.where.endswith("in forward: ctypes.string_at(0)")


def test_the_crash_of_torchs_packed_lstm_costs_one_worker_and_is_shrunk() -> None:
    (found,) = one("ReadsPackedStateOfFewerLayers", checks=("RP101",), profile="default").results
    assert found.status == "failed"
    assert found.findings[0].kind == "crashed"
    assert found.findings[0].signal in ("SIGSEGV", "SIGABRT", "SIGBUS")
    assert found.findings[0].case["batch"] == 3


@pytest.mark.slow
def test_a_heap_that_is_corrupted_ends_a_worker_and_not_the_run() -> None:
    # How it ends varies: a signal at once, one later, a deadlock, or nothing at all.
    result = one("CorruptsTheHeap", checks=("RP101", "RP105"))
    assert {found.code for found in result.results} == {"RP101", "RP105"}
    for found in result.results:
        assert found.status in ("passed", "failed", "warned", "blocked")
        for finding in found.findings:
            assert finding.kind in ("crashed", "hung", "raised")


@pytest.mark.slow
def test_a_hang_is_a_finding_too_and_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROFILES, "default", replace(PROFILES["default"], time_limit_s=2))
    result = one("HangsForThreeRows", checks=("RP101",), profile="default")
    (found,) = result.results
    assert found.findings[0].kind == "hung"
    assert found.findings[0].case["batch"] == 3
    assert found.findings[0].where.endswith("time.sleep(0.05)")


@pytest.mark.slow
def test_a_call_that_works_without_end_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROFILES, "default", replace(PROFILES["default"], time_limit_s=2))
    monkeypatch.setattr(runner, "_PATIENCE", 0.0)
    (found,) = one("SpinsForThreeRows", checks=("RP101",), profile="default").results
    assert found.findings[0].kind == "hung"
    assert found.findings[0].where.endswith(("pass", "while x.size(0) == 3:"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this system does not count waits for a core")
def test_a_call_that_waits_for_a_core_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROFILES, "default", replace(PROFILES["default"], time_limit_s=2))
    monkeypatch.setattr(runner, "_PATIENCE", 0.0)
    (found,) = one("StarvesAtThreeRows", checks=("RP101",), profile="default", jobs=1).results
    assert found.status == "passed"
    assert found.duration_s > 2


def test_what_torch_dies_of_is_its_own_and_fails_only_under_strict() -> None:
    (plain,) = results("torch.nn:LSTMCell", checks=("RP408",), profile="default")
    assert plain.status == "warned"
    assert plain.results[0].inherited_from_torch
    (strict,) = results("torch.nn:LSTMCell", checks=("RP408",), profile="default", strict=True)
    (found,) = strict.results
    assert found.status == "failed"
    finding = found.findings[0]
    assert finding.signal in ("SIGSEGV", "SIGABRT", "SIGBUS")
    assert finding.case["fault"]["name"] == "input.rank_1"


def test_what_a_module_dies_of_in_torchs_packed_kernels_is_torchs_own_and_in_a_call_of_its_own_is_not() -> None:
    (lstm,) = one("an_lstm", checks=("RP408",)).results
    assert lstm.status == "warned"
    assert {finding.kind for finding in lstm.findings} == {"crashed"}
    assert all(finding.inherited_from_torch for finding in lstm.findings)
    (direct,) = results("rnn_props.zoo:SkipsNativeChecks", checks=("RP408",))[0].results
    assert direct.status == "failed"
    assert "_VF.lstm" in direct.findings[0].where
    shown = [(finding.case_id, finding.kind) for finding in direct.findings]
    assert len(shown) == len(set(shown))


def test_a_death_on_a_bad_state_is_found_by_the_check_of_states_alone() -> None:
    (found,) = results("rnn_props.zoo:SkipsNativeChecks", checks=("RP402",))[0].results
    assert found.status == "failed"
    assert "crashed" in {finding.kind for finding in found.findings}


@pytest.mark.nightly
def test_a_process_that_draws_and_dies_costs_nothing_but_time(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = ("RP101", "RP105", "RP301", "RP304")
    (sound,) = results("rnn_props.zoo:TimeFirstLast", checks=checks)
    monkeypatch.setattr(plans, "_DRAWN", {})
    monkeypatch.setattr(Plans, "to_json", lambda plans: {"profile": None})
    (broken,) = results("rnn_props.zoo:TimeFirstLast", checks=checks)
    assert _comparable(sound) == _comparable(broken)
    assert sum(found.examples > 0 for found in broken.results) >= 3


def test_examples_until_the_first_failure_count_those_before_it_and_itself() -> None:
    (found,) = one("DiesForThreeRows", checks=("RP101",), profile="default").results
    assert 1 <= found.until_failure <= found.examples
    (fine,) = one("make_model", checks=("RP101",)).results
    assert fine.until_failure == 0


def test_advice_does_not_hide_a_failure_of_a_later_case() -> None:
    """Infinite results of large inputs are advice, NaN is not."""
    (found,) = one("OverflowsAndForThreeRowsDivides", checks=("RP702",)).results
    assert [(finding.status, finding.message.split(" in ")[0]) for finding in found.findings] == [
        ("failed", "output is NaN")
    ]
    assert found.until_failure < found.examples


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_without_covering_pairs_as_many_cases_are_drawn(profile: Profile) -> None:
    counts = []
    for pairs in (True, False):
        made = Plans(infer_contract(torch.nn.GRU), replace(profile, pairs=pairs), 0, None)
        counts.append(made._counts(get_check("RP101")))
    (rows, drawn), (none, all_drawn) = counts
    assert none == 0
    assert all_drawn == rows + drawn


def test_a_worker_leaves_no_core_file() -> None:
    script = (
        "import resource; from rnn_props.execution.worker import _limit_resources; _limit_resources(); "
        "print(resource.getrlimit(resource.RLIMIT_CORE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=200)
    assert done.stdout.strip() == "0"


def _comparable(result: TargetResult) -> str:
    """Everything in a result but times and memory."""
    data = [
        (
            found.code,
            found.status,
            found.examples,
            found.discarded,
            found.reason,
            [(finding.message, finding.case_repr, finding.status, finding.kind) for finding in found.findings],
        )
        for found in result.results
    ]
    return json.dumps(data)


@pytest.mark.parametrize(
    ("target", "checks"),
    [
        pytest.param("torch.nn:LSTM", (), marks=pytest.mark.nightly),
        pytest.param("rnn_props.zoo:DropsThirdLayersState", (), marks=pytest.mark.nightly),
        ("rnn_props.zoo:DropsThirdLayersState", ("RP1*", "RP2*")),
    ],
)
def test_the_same_seed_gives_the_same_report_on_any_number_of_workers(target: str, checks: tuple[str, ...]) -> None:
    (single,) = results(target, jobs=1, seed=7, checks=checks)
    (double,) = results(target, jobs=3, seed=7, checks=checks)
    assert _comparable(single) == _comparable(double)


@pytest.mark.nightly
def test_another_seed_draws_other_cases() -> None:
    (first,) = results("rnn_props.zoo:ClipsInputInPlace", seed=1, checks=("RP207",))
    (second,) = results("rnn_props.zoo:ClipsInputInPlace", seed=2, checks=("RP207",))
    assert first.results[0].status == second.results[0].status == "failed"


def _command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rnn_props", "check", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=200,
        check=False,
    )


@pytest.mark.nightly
def test_the_report_is_the_same_under_ci(tmp_path: Path) -> None:
    documents = []
    for name, environment in (("plain", {"CI": ""}), ("ci", {"CI": "1"})):
        path = tmp_path / f"{name}.json"
        arguments = ("rnn_props.zoo:CellBroadcastsState", "--seed", "5", "--profile", "quick", "--json", str(path))
        assert _command(*arguments, "--checks", "RP1*,RP2*,RP40[12],RP6*", **environment).returncode == 1
        documents.append(_without_times(json.loads(path.read_text())))
    assert documents[0] == documents[1]


def _without_times(value: Any) -> Any:
    """A JSON document without durations, memory and the environment."""
    if isinstance(value, dict):
        dropped = ("duration_s", "time_in_target_s", "peak_memory_mb", "environment")
        return {key: _without_times(item) for key, item in value.items() if key not in dropped}
    if isinstance(value, list):
        return [_without_times(item) for item in value]
    return value


def test_a_stored_failure_comes_first_next_time(tmp_path: Path) -> None:
    target = "rnn_props.zoo:IgnoresInitialCellState"
    script = (
        "import rnn_props, json\n"
        f"report = rnn_props.check({target!r}, checks=('RP205',), profile='quick')\n"
        "found = report.targets[0].results[0]\n"
        "print(json.dumps([found.status, found.examples, found.replayed, found.findings[0].case_id]))\n"
    )
    seen = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            timeout=200,
            check=True,
            env={**_no_ci(), "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path)},
        )
        seen.append(json.loads(done.stdout))
    first, second = seen
    assert first[0] == second[0] == "failed"
    assert (first[2], second[2]) == (0, 1)
    assert second[1] == 1
    assert first[3] == second[3]


def _no_ci() -> dict[str, str]:
    """Hypothesis has no database where it finds itself in CI."""
    known = ("CI", "TF_BUILD", "GITHUB_ACTIONS")
    return {name: value for name, value in os.environ.items() if name not in known}


def test_an_interrupt_writes_what_was_found_and_leaves_no_process_behind(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    command = [sys.executable, "-m", "rnn_props", "check", "torch.nn:LSTM", "torch.nn:GRU", "--json", str(path)]
    heard = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heard
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "RP102" in line:
                break
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(30) == 130
    document = json.loads(path.read_text())
    assert document["interrupted"] is True
    assert [result["code"] for result in document["targets"][0]["results"]][:2] == ["RP101", "RP102"]
    assert "interrupted" in rest
    assert family
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


def test_one_nursery_serves_all_runs_of_a_process_from_where_each_of_them_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = pool.start_root()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        text = "import os\nfrom torch import nn\nassert os.environ['NAMED'] == os.path.basename(os.getcwd())\n"
        (tmp_path / name / "mine.py").write_text(f"{text}class {name.title()}(nn.GRU):\n    pass\n", encoding="utf-8")
        monkeypatch.chdir(tmp_path / name)
        monkeypatch.setenv("NAMED", name)
        (result,) = results(f"mine:{name.title()}", checks=("RP101",))
        assert (result.status, result.message) == ("passed", "")
    assert pool.start_root() is root
    monkeypatch.delenv("NAMED")
    assert "KeyError: 'NAMED'" in results("mine:Two")[0].message


def test_a_nursery_that_was_killed_is_replaced() -> None:
    root = pool.start_root()
    root.process.kill()
    root.process.wait()
    assert results("torch.nn:GRU", checks=("RP101",))[0].status == "passed"
    assert pool.start_root() is not root


def test_a_parent_that_is_killed_takes_its_workers_along() -> None:
    command = [sys.executable, "-m", "rnn_props", "check", f"{AWKWARD}:HangsForThreeRows"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        family: list[psutil.Process] = []
        deadline = time.monotonic() + 60
        while len(family) < 3 and time.monotonic() < deadline:
            family = psutil.Process(process.pid).children(recursive=True)
            time.sleep(0.1)
        process.kill()
    assert len(family) >= 3
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


def test_checks_that_rest_on_a_failed_one_are_blocked() -> None:
    (result,) = results("rnn_props.zoo:SqueezesLengthOne")
    by_code = {found.code: found for found in result.results}
    assert by_code["RP101"].status == "failed"
    assert by_code["RP201"].status == "blocked"
    assert by_code["RP201"].reason == "it rests on RP101"
    assert [found.code for found in result.results if found.status == "failed"] == ["RP101"]


def test_a_check_alone_brings_what_it_rests_on_only_if_that_failed() -> None:
    (fine,) = results("torch.nn:GRU", checks=("RP201",))
    assert [found.code for found in fine.results] == ["RP201"]
    (broken,) = results("rnn_props.zoo:SqueezesLengthOne", checks=("RP201",))
    assert [(found.code, found.status) for found in broken.results] == [("RP101", "failed"), ("RP201", "blocked")]


def test_events_end_with_one_that_says_so() -> None:
    events: list[Event] = []
    run(["torch.nn:GRU"], Options(profile="quick", checks=("RP101",), seed=0), events.append)
    assert isinstance(events[-1], RunFinished)
    assert sum(isinstance(event, CheckFinished) for event in events) == 1


@pytest.mark.nightly
def test_a_contract_of_the_users_with_a_strategy_is_drawn_from() -> None:
    from hypothesis import strategies as st

    contract = Contract(
        convention="model",
        hyperparameters={
            "input_size": integers(1, 5),
            "hidden_size": st.integers(1, 4).map(lambda half: 2 * half),
            "output_size": integers(1, 3),
        },
        roles={"input_size": "input_size", "hidden_size": "hidden_size", "output_size": "output_size"},
        input="B T I",
        output="B O",
        capabilities=Capabilities(dtypes=("float64", "float32")),
    )
    report = rnn_props.check(f"{AWKWARD}:make_model", contract=contract, profile="quick", seed=0)
    (result,) = report.targets
    assert result.status == "passed"
    assert result.ran >= 12
    broken = rnn_props.check(f"{AWKWARD}:DiesForThreeRows", contract=contract, checks=("RP101",), seed=0)
    (found,) = broken.targets[0].results
    assert found.status == "failed"
    assert found.findings[0].case["hyperparameters"]["hidden_size"] % 2 == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profile": "slow"}, "profile must be one of quick, default, nightly"),
        ({"max_examples": 0}, "max_examples must be at least 1"),
        ({"seed": -1}, "seed must be between 0 and"),
        ({"jobs": 0}, "jobs must be at least 1"),
        ({"devices": ("cdua",)}, "'cdua' is not a device"),
        ({"checks": ("RP9999",)}, "no check matches 'RP9999'"),
        ({"checks": ("RP101",), "skip": ("RP1*",)}, "no check is left"),
    ],
)
def test_options_that_mean_nothing_are_refused_before_anything_runs(options: dict[str, Any], message: str) -> None:
    events: list[Event] = []
    with pytest.raises(ValueError, match=message.replace("*", r"\*")):
        run(["torch.nn:LSTM"], Options(**options), events.append)
    assert events == []
