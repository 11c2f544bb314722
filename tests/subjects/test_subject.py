"""The module under test: built, called by its convention, timed, what it raises wrapped."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnn_props.contracts import Contract
from rnn_props.inference import infer_contract
from rnn_props.subjects import (
    Factory,
    GlobalState,
    Stopwatch,
    Subject,
    TargetRaisedError,
    UnusableResultError,
    as_builder,
    expected_shapes,
)

LSTM = infer_contract(nn.LSTM)
SIZES = {"input_size": 3, "hidden_size": 5}


class Scripted(nn.Module):
    """Does in forward, and in the constructor, what a test asks for."""

    forward_does: Any = None
    constructor_does: Any = None

    def __init__(self, **sizes: Any) -> None:
        super().__init__()
        self.sizes = sizes
        self.weight = nn.Parameter(torch.rand(3))
        if type(self).constructor_does is not None:
            type(self).constructor_does()

    def forward(self, *arguments: Any) -> Any:
        return type(self).forward_does(*arguments)


def _scripted(convention: str = "rnn", **behaviour: Any) -> Subject:
    cls = type("Scripted", (Scripted,), {name: staticmethod(value) for name, value in behaviour.items()})
    contract = Contract(convention=convention, output=None if convention == "cell" else "T B H")
    return Factory(cls, contract).subject({}, 0, dtype="float32")


def test_a_module_is_built_from_hyperparameters_and_fixed_arguments_under_a_seed() -> None:
    contract = Contract(fixed={"kernel": 3})
    one, two, other = (Factory(Scripted, contract).module(SIZES, seed) for seed in (1, 1, 2))
    assert one.sizes == {"kernel": 3, **SIZES}
    assert torch.equal(one.weight, two.weight)
    assert not torch.equal(one.weight, other.weight)


def test_building_and_calling_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    subject = Factory(nn.LSTM, LSTM).subject(SIZES, 7, dtype="float64")
    subject.call(torch.zeros(2, 1, 3).double())
    assert torch.equal(torch.get_rng_state(), before)


def test_a_subject_is_in_eval_mode_in_its_dtype_and_its_parameters_are_scaled() -> None:
    factory = Factory(nn.LSTM, LSTM)
    plain = factory.subject(SIZES, 0, dtype="float64")
    scaled = factory.subject(SIZES, 0, dtype="float64", scale=4.0)
    assert not plain.module.training
    for name, parameter in plain.parameters_of().items():
        assert parameter.dtype == torch.float64
        assert torch.equal(scaled.parameters_of()[name], 4 * parameter)
        assert parameter.requires_grad


def test_a_call_is_unpacked_by_its_convention() -> None:
    output, state = torch.zeros(1), (torch.ones(1), torch.ones(1))
    result = _scripted(forward_does=lambda *_: (output, state)).call(torch.zeros(1))
    assert (result.output, result.state) == (output, state)
    result = _scripted("cell", forward_does=lambda *_: state).call(torch.zeros(1))
    assert (result.output, result.state) == (None, state)
    for returned in (output, (output, "attention")):
        result = _scripted("model", forward_does=lambda *_, returned=returned: returned).call(torch.zeros(1))
        assert (result.output, result.state) == (output, None)


@pytest.mark.parametrize(
    ("returned", "kind"),
    [
        (torch.zeros(1), "an object of type Tensor"),
        ((torch.zeros(1),) * 3, "a tuple of 3"),
        ([torch.zeros(1)], "a list of 1"),
        (None, "None"),
    ],
)
def test_a_result_that_is_no_pair_is_named(returned: Any, kind: str) -> None:
    with pytest.raises(UnusableResultError) as caught:
        _scripted(forward_does=lambda *_: returned).call(torch.zeros(1))
    assert str(caught.value) == f"the call gave {kind}; expected a pair (output, state)"


def test_a_state_of_none_is_left_out_of_the_call() -> None:
    seen = []
    subject = _scripted(forward_does=lambda *arguments: (seen.append(len(arguments)), None))
    subject.call(torch.zeros(1))
    subject.call(torch.zeros(1), torch.zeros(1))
    assert seen == [1, 2]


def test_gradients_are_recorded_where_they_are_asked_for_alone() -> None:
    subject = Factory(nn.LSTM, LSTM).subject(SIZES, 0, dtype="float32")
    assert not subject.call(torch.zeros(2, 1, 3)).output.requires_grad
    assert subject.call(torch.zeros(2, 1, 3), grad=True).output.requires_grad
    assert subject.call(torch.zeros(2, 1, 3), guard=torch.inference_mode).output.is_inference()
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("guard", [None, torch.inference_mode, torch.no_grad])
def test_what_a_call_changes_is_noted_and_put_back(guard: Any) -> None:
    def forward(*_: Any) -> Any:
        torch.set_default_dtype(torch.float64)
        return None, None

    before = GlobalState.now()
    subject = _scripted(forward_does=forward)
    subject.call(torch.zeros(1), guard=guard)
    assert subject.global_changes == ["default dtype: torch.float32 before, torch.float64 after"]
    assert GlobalState.now() == before
    clean = _scripted(forward_does=lambda *_: (None, None))
    clean.call(torch.zeros(1), guard=guard)
    assert clean.global_changes == []


def test_what_building_changes_is_noted_and_put_back() -> None:
    cls = type("Noisy", (Scripted,), {"constructor_does": staticmethod(lambda: torch.set_grad_enabled(False))})
    assert Factory(cls, Contract()).changes_while_building({}, 0) == ["grad mode: True before, False after"]
    assert torch.is_grad_enabled()
    assert Factory(Scripted, Contract()).changes_while_building({}, 0) == []


@pytest.mark.parametrize("error", [ValueError("wrong size"), SystemExit("wrong size"), KeyError("wrong size")])
def test_what_the_target_raises_is_wrapped_with_the_line_that_raised_it(error: BaseException) -> None:
    def forward(*_: Any) -> Any:
        raise error  # the user's line

    subject = _scripted(forward_does=forward)
    with pytest.raises(TargetRaisedError) as caught:
        subject.call(torch.zeros(1))
    assert caught.value.error is error
    assert str(caught.value) == f"calling it in float32 raised {type(error).__name__}: {error}"
    assert caught.value.where.startswith(f"{__file__}:")
    assert caught.value.where.endswith("in forward: raise error  # the user's line")


def test_the_line_is_the_users_where_torch_raised() -> None:
    def forward(x: Tensor) -> Any:
        return nn.functional.linear(x, torch.zeros(2, 7)), None

    with pytest.raises(TargetRaisedError) as caught:
        _scripted(forward_does=forward).call(torch.zeros(1))
    assert "return nn.functional.linear(x, torch.zeros(2, 7)), None" in caught.value.where


def test_the_line_of_a_module_of_the_zoo_is_named_though_it_is_ours() -> None:
    from rnn_props.zoo import CORRECT

    cls = CORRECT["PlainGRU"].module
    subject = Factory(cls, infer_contract(cls)).subject(SIZES, 0, dtype="float32")
    with pytest.raises(TargetRaisedError) as caught:
        subject.call(torch.zeros(2, 1, 4))
    assert "zoo" in caught.value.where


def test_an_interrupt_is_not_taken_for_the_targets_error() -> None:
    def forward(*_: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _scripted(forward_does=forward).call(torch.zeros(1))


def test_a_constructor_that_raises_is_named_with_its_arguments() -> None:
    with pytest.raises(TargetRaisedError) as caught:
        Factory(nn.LSTM, LSTM).module({"input_size": 3, "hidden_size": 0}, 0)
    assert str(caught.value).startswith("building it with input_size=3, hidden_size=0 raised ValueError: ")


def test_a_factory_that_gives_no_module_is_named() -> None:
    with pytest.raises(UnusableResultError) as caught:
        Factory(lambda **sizes: [1, 2], Contract()).module({"hidden_size": 2}, 0)
    assert str(caught.value) == "calling the target with hidden_size=2 gave a list of 2, which is no torch.nn.Module"


def test_the_stopwatch_counts_the_targets_time_alone() -> None:
    watch = Stopwatch()
    cls = type("Slow", (Scripted,), {"forward_does": staticmethod(lambda *_: (time.sleep(0.05), None))})
    subject = Factory(cls, Contract(), watch).subject({}, 0, dtype="float32")
    built = watch.seconds
    assert built > 0
    time.sleep(0.05)
    assert watch.seconds == built
    subject.call(torch.zeros(1))
    assert watch.seconds - built >= 0.05


def test_the_stopwatch_counts_a_call_that_raises() -> None:
    def forward(*_: Any) -> Any:
        time.sleep(0.02)
        raise ValueError("stop")

    subject = _scripted(forward_does=forward)
    built = subject.stopwatch.seconds
    with pytest.raises(TargetRaisedError, match="stop"):
        subject.call(torch.zeros(1))
    assert subject.stopwatch.seconds - built >= 0.02


def test_an_instance_is_copied_and_never_changed() -> None:
    original = nn.LSTM(3, 5)
    kept = original.weight_ih_l0.detach().clone()
    subject = Factory(original, infer_contract(original)).subject({}, 0, dtype="float64", scale=3.0)
    assert subject.module is not original
    assert torch.equal(subject.module.weight_ih_l0, 3 * kept.double())
    assert torch.equal(original.weight_ih_l0, kept)
    assert original.training
    assert original.weight_ih_l0.dtype == torch.float32


def test_a_contract_builds_what_it_says() -> None:
    assert as_builder(Contract(build=nn.GRU)) is nn.GRU
    assert as_builder(nn.GRU) is nn.GRU
    with pytest.raises(UnusableResultError, match="the contract has no build: give it the class or factory to call"):
        as_builder(Contract())
    with pytest.raises(UnusableResultError, match="it is an object of type int: neither a class, nor a factory"):
        as_builder(3)


def test_rules_become_shapes() -> None:
    rules = LSTM.rules({"bidirectional": True})
    sizes = LSTM.sizes({**SIZES, "bidirectional": True, "proj_size": 2}, 6, 4)
    assert expected_shapes(rules.state, sizes) == ((2, 4, 2), (2, 4, 5))
    assert expected_shapes({"h": rules.input, "none": None}, sizes) == {"h": (6, 4, 3), "none": None}
