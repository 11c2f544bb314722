"""Checks on devices, from the option to the report, on the simulated accelerator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import rnn_props
from rnn_props import zoo
from rnn_props.devices import why_not
from rnn_props.devices.mistakes import MISTAKES, VARIABLE
from rnn_props.execution.outcomes import CheckResult

DEVICE_BUGS = [bug.name for bug in zoo.BUGS.values() if bug.code in ("RP801", "RP802", "RP803", "RP804", "RP805")]


NIGHTLY = pytest.mark.nightly
ORDINARY = Path(__file__).with_name("ordinary_targets.py")


def on_sim(target: str, **options: Any) -> dict[str, CheckResult]:
    """Results on the simulated device, by code."""
    options.setdefault("profile", "quick")
    report = rnn_props.check(target, devices=("sim",), seed=0, **options)
    return {result.code: result for result in report.targets[0].results}


@pytest.mark.parametrize(
    "name",
    ["LSTM", "GRUCell", *(pytest.param(name, marks=NIGHTLY) for name in ("GRU", "RNN", "LSTMCell", "RNNCell"))],
)
def test_torchs_own_modules_pass_in_every_configuration(name: str) -> None:
    found = on_sim(f"torch.nn:{name}")
    assert {code: result.status for code, result in found.items()} == dict.fromkeys(
        ("RP801", "RP802", "RP803", "RP804", "RP805"), "passed"
    )
    assert {result.device for result in found.values()} == {"sim"}
    assert 0 < found["RP803"].errors["gradients"] < 1


@pytest.mark.nightly
@pytest.mark.parametrize("name", DEVICE_BUGS)
def test_each_bug_is_found_by_its_check(name: str) -> None:
    found = on_sim(f"rnn_props.zoo:{name}", profile="default")
    assert [code for code, result in found.items() if result.findings] == [zoo.BUGS[name].code]


ENDS = ("assertion", "out_of_memory", "hang")
#: Those that every push tries.
FEW = ("tf32", "lost_element", "nondeterministic")


@pytest.mark.parametrize(
    "mistake",
    [pytest.param(mistake, marks=() if mistake in FEW else NIGHTLY) for mistake in MISTAKES if mistake not in ENDS],
)
def test_a_device_that_computes_wrong_is_caught_and_told_by_how_much(
    mistake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, mistake)
    profile = "default" if mistake == "transposed" else "quick"  # which shows in square products alone
    found = on_sim("rnn_props.zoo:LSTMModel", checks=("RP802",), profile=profile)
    result = found["RP802"]
    if mistake == "nondeterministic":
        assert result.status == "warned"
        assert result.message.startswith("two equal calls on sim differ: ")
        return
    assert result.status == "failed"
    assert "rounding explains" in result.message or "expected" in result.message
    assert result.errors.get("output", 0) > 1 or result.errors.get("state", 0) > 1


def test_a_failed_assertion_on_the_device_costs_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "assertion")
    found = on_sim(f"{ORDINARY}:AttentionPooling", checks=("RP801", "RP805"))
    (finding,) = found["RP801"].findings
    assert (finding.kind, finding.status) == ("crashed", "failed")
    assert finding.message.startswith("sim can't be used any more by the process that ran it: ")
    assert finding.message.endswith("device-side assert triggered")
    assert "ordinary_targets.py" in finding.where
    assert found["RP801"].examples > 1  # smaller ones before it ran, and the worker that it broke ran none after it
    assert found["RP805"].status == "blocked"


def test_memory_of_the_device_that_others_have_is_not_charged_to_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "out_of_memory")
    found = on_sim("rnn_props.zoo:LSTMModel")
    assert not [result for result in found.values() if result.findings]
    assert found["RP801"].discarded > 0


@pytest.mark.nightly
@pytest.mark.slow
def test_a_call_that_hangs_on_the_device_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "hang")
    (finding,) = on_sim("rnn_props.zoo:LSTMModel", checks=("RP801",))["RP801"].findings
    assert finding.kind == "hung"


def test_what_ran_on_is_in_the_report() -> None:
    report = rnn_props.check("torch.nn:GRUCell", checks=("RP102", "RP801"), devices=("cpu", "sim"), profile="quick")
    data = report.to_json()
    assert data["environment"]["devices"] == {"sim": {"name": "simulated, with the CPU's numbers"}}
    assert [(result["code"], result["device"]) for result in data["targets"][0]["results"]] == [
        ("RP102", "cpu"),
        ("RP801", "sim"),
    ]


needs_cuda = pytest.mark.skipif(bool(why_not("cuda")), reason=f"no CUDA: {why_not('cuda')}")


@needs_cuda
@pytest.mark.gpu
@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"])
def test_torchs_own_modules_agree_on_cuda(name: str) -> None:
    report = rnn_props.check(f"torch.nn:{name}", devices=("cuda",), seed=0)
    assert {result.status for result in report.targets[0].results} <= {"passed", "warned", "not_applicable"}


@needs_cuda
@pytest.mark.gpu
def test_what_shows_in_a_setting_of_cuda_alone_is_found_there() -> None:
    report = rnn_props.check("rnn_props.zoo:ReadsContiguousMemoryOnCuda", devices=("cuda",), seed=0)
    assert [result.code for result in report.targets[0].results if result.status == "failed"] == ["RP806"]


def test_checks_on_a_device_that_is_not_there_are_counted_as_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    report = rnn_props.check("torch.nn:GRUCell", checks=("RP102", "RP80[12]"), devices=("cpu", "cuda"), profile="quick")
    (target,) = report.targets
    assert target.counts == {"passed": 1, "skipped": 2}
    assert {result.reason.partition(",")[0] for result in target.results if result.status == "skipped"} <= {
        "torch sees no CUDA device",
        f"torch {torch.__version__} is built without CUDA",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices": ("cdua",)}, r"'cdua' is not a device \(did you mean 'cuda'\?\)"),
        ({"devices": ()}, "no device is named"),
        ({"checks": ("RP801",)}, "the chosen checks run on cuda, mps, sim alone"),
    ],
)
def test_devices_that_mean_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rnn_props.check("torch.nn:GRUCell", **options)


def test_a_required_device_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(
        ValueError, match=r"device cuda is required, and is not there: torch (sees no|.* is built without)"
    ):
        rnn_props.check("torch.nn:GRUCell", require_devices=("cuda",))


def test_what_fails_on_the_cpu_is_not_charged_on_a_device() -> None:
    target = "rnn_props.zoo:ZerosInFloat32"
    (both,) = rnn_props.check(target, checks=["RP105", "RP80[1-5]"], devices=("cpu", "sim"), profile="quick").targets
    assert [item.key for item in both.results if item.status == "failed"] == ["RP105"]
    (alone,) = rnn_props.check(target, checks=["RP80[1-5]"], devices=("sim",), profile="quick").targets
    assert {item.code: item.status for item in alone.results} == {
        "RP801": "passed", "RP802": "skipped", "RP803": "skipped", "RP804": "passed", "RP805": "passed",
    }  # fmt: skip
    assert "it fails on the CPU, too, which is not about devices" in alone.results[1].reason
