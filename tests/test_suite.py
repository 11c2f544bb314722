"""`rnn_props.Suite`, with which generated test files are written, called as they call it."""

from __future__ import annotations

import contextlib
import unittest
from dataclasses import replace

import pytest
from torch import Tensor, nn

from rnn_props import Case, Suite
from rnn_props.inference import infer_contract

HERE = "test_suite"


class Narrow(nn.GRU):
    """Its output lacks the last feature, so nothing else of it can be told."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        output, hx = super().forward(input, hx)
        return output[..., :-1], hx


class Forgets(nn.GRU):
    """Its final state is half of what it should be."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        output, last = super().forward(input, hx)
        return output, last * 0.5


class Slices(nn.GRU):
    """It takes inputs that are too wide."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return super().forward(input[..., : self.input_size], hx)


def suite(module: type[nn.Module], *expected: str) -> Suite:
    contract = infer_contract(nn.GRU)
    return Suite(f"{HERE}:{module.__name__}", contract, profile="quick", expected_failures=expected)


EXAMPLE = Case(
    hyperparameters={
        "input_size": 2,
        "hidden_size": 3,
        "num_layers": 1,
        "bias": True,
        "batch_first": False,
        "dropout": 0.0,
        "bidirectional": False,
    },
    seq_len=4,
    batch=2,
    splits=(2,),
    picks=(0, 0, 0, 0),
)


def failure(module: Suite, check: str) -> list[str]:
    """The lines of the failure of the example."""
    with pytest.raises(AssertionError) as caught:
        module.holds(check, EXAMPLE)
    return str(caught.value).splitlines()


def test_what_an_earlier_failure_explains_is_skipped_as_blocked() -> None:
    module = suite(Narrow)
    first, *_, last = failure(module, "RP101")
    assert first.startswith("RP101 shape.output: output: expected")
    assert last == "more: rnn-props explain RP101"
    for check, device in (("RP201", "cpu"), ("RP801", "sim")):
        with pytest.raises(unittest.SkipTest, match=r"^blocked: it rests on RP101$"):
            module.holds(check, EXAMPLE, device=device)


def test_what_rests_on_an_expected_failure_runs_and_what_that_explains_is_blocked() -> None:
    module = suite(Narrow, "shape.output")
    failure(module, "RP101")
    module.holds("RP201", EXAMPLE)  # narrow in the same way, in one piece and in two
    module = suite(Forgets, "RP204")
    failure(module, "RP204")
    with pytest.raises(unittest.SkipTest, match=r"^blocked: it rests on RP204$"):
        module.holds("RP201", EXAMPLE)


def test_alone_a_failure_names_what_it_rests_on_until_that_was_tested() -> None:
    module = suite(Forgets)
    said = "(not tested before it: if one of these fails, too, that is the cause)"
    assert failure(module, "RP201")[-1] == f"rests on: RP101, RP102, RP501, RP207, RP909, RP208, RP204, RP305 {said}"
    for check in ("RP101", "RP102", "RP501", "RP207", "RP909", "RP208"):
        with contextlib.suppress(unittest.SkipTest):  # some have nothing to say of the example
            module.holds(check, EXAMPLE)
    assert failure(module, "RP201")[-1] == f"rests on: RP204, RP305 {said}"
    failure(module, "RP204")
    with pytest.raises(unittest.SkipTest, match=r"^blocked: it rests on RP204$"):
        module.holds("RP201", EXAMPLE)


def test_one_case_that_shows_nothing_is_skipped_with_the_reason() -> None:
    with pytest.raises(unittest.SkipTest, match="chunks of one step alone differ: RP202 holds that"):
        suite(Forgets).holds("RP201", replace(EXAMPLE, seq_len=3, splits=(1,)))


def test_a_fault_is_run_alone_in_workers() -> None:
    module = suite(Slices)
    module.rejects("RP401", "input.features_less")
    with pytest.raises(AssertionError, match=r"^RP401 reject\.input: .*it was accepted"):
        module.rejects("RP401", "input.features_more")
    module.passes("RP404")


@pytest.mark.parametrize(
    ("check", "fault", "message"),
    [
        ("RP401", "input.features_mor", r"^no case of RP401 has the fault 'input\.features_mor' \(did you mean 'input"),
        ("RP401", "state.batch_one", r"^no case of RP401 has the fault 'state\.batch_one'$"),
        ("RP4*", "input.rank_0", r"^'RP4\*' means \d+ checks; name one$"),
        ("RP999", "input.rank_0", "no check matches 'RP999'"),
    ],
)
def test_a_fault_that_a_check_has_not_is_an_error(check: str, fault: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        suite(Slices).rejects(check, fault)


def test_a_check_runs_on_its_devices_alone() -> None:
    with pytest.raises(ValueError, match=r"^RP801 runs on cuda, mps, sim, not on cpu$"):
        suite(Slices).holds("RP801", EXAMPLE)
    with pytest.raises(ValueError, match=r"^RP201 runs on cpu, not on sim$"):
        suite(Slices).holds("RP201", EXAMPLE, device="sim")
    with pytest.raises(unittest.SkipTest, match="CUDA"):
        suite(Slices).holds("RP801", EXAMPLE, device="cuda:63")
    suite(Slices).holds("RP801", EXAMPLE, device="sim")
