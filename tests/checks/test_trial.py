"""Trials: when two results are the same, and how a faulty call ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rnn_props.cases import Case, Fault, Source
from rnn_props.checks import Discarded, Trial, Violation
from rnn_props.contracts import Capabilities, Contract, ShapeRule, free
from rnn_props.inference import infer_contract
from rnn_props.subjects import Factory, Result

CONTRACT = infer_contract(nn.GRU)
VALUES = {
    "input_size": 3, "hidden_size": 5, "num_layers": 2, "bias": True, "batch_first": False, "dropout": 0.0,
    "bidirectional": False,
}  # fmt: skip


def _trial(contract: Contract = CONTRACT, target: Any = nn.GRU, **changes: Any) -> Trial:
    fields: dict[str, Any] = {"hyperparameters": VALUES, "seq_len": 6, "batch": 4, "state": Source("normal", 3)}
    return Trial(Case(**(fields | changes)), contract, Factory(target, contract))


def _shifted(tree: Any, relative: float) -> Any:
    return tree * (1 + relative)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), dtype=st.sampled_from(["float64", "float32"]))
def test_differences_of_the_size_of_rounding_are_none(seed: int, dtype: str) -> None:
    t = _trial(parameter_seed=seed, dtype=dtype)
    result = t.call()
    unit = 2.0**-53 if dtype == "float64" else 2.0**-24
    t.same(result.output, result.output.clone(), "output", t.rules.output)
    t.same(_shifted(result.output, 4 * unit), result.output, "output", t.rules.output)
    t.same_result(Result(_shifted(result.output, -2 * unit), _shifted(result.state, 2 * unit)), result)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999))
def test_a_relative_difference_of_a_billionth_is_a_violation_in_float64(seed: int) -> None:
    t = _trial(parameter_seed=seed)
    result = t.call()
    with pytest.raises(Violation, match=r"^output\[T=\d, B=\d, D\*P=\d\]: expected .*, got .* \(difference "):
        t.same(_shifted(result.output, 1e-9), result.output, "output", t.rules.output)
    with pytest.raises(Violation, match=r"^run twice: state\[L\*D=\d, B=\d, H=\d\]: expected "):
        t.same_result(Result(result.output, _shifted(result.state, 1e-9)), result, "run twice")


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999))
def test_another_input_and_state_are_never_those_of_the_case(seed: int) -> None:
    t = _trial(input=Source("normal", seed), state=Source("normal", seed))
    assert not torch.equal(t.other_input(seed), t.input)
    assert not torch.equal(t.other_state(seed), t.state)


def test_the_same_difference_is_rounding_in_float32() -> None:
    t = _trial(dtype="float32")
    result = t.call()
    t.same(result.output.double() * (1 + 1e-9), result.output.double(), "output", t.rules.output)


def test_a_step_by_step_run_is_the_same_as_a_whole_one_in_every_dtype() -> None:
    for dtype in ("float64", "float32"):
        t = _trial(dtype=dtype)
        state, outputs = t.state, []
        for step in range(6):
            result = t.call(t.steps(t.input, step, step + 1), state)
            outputs.append(result.output)
            state = result.state
        t.same_result(Result(torch.cat(outputs), state), t.call())


def test_a_violation_has_what_was_expected_and_what_came() -> None:
    t = _trial()
    expected = torch.zeros(6, 4, 5)
    actual = expected.clone()
    actual[2, 1, 0] = 3.0
    with pytest.raises(Violation) as caught:
        t.same(actual, expected, "output", t.rules.output)
    violation = caught.value
    assert violation.message.startswith("output[T=2, B=1, D*P=0]: expected 0, got 3 (difference 3, rounding explains ")
    assert (violation.expected, violation.actual, violation.kind) == ("0", "3", "violated")


def test_a_difference_in_shape_or_in_finiteness_is_a_violation_without_measuring() -> None:
    t = _trial()
    with pytest.raises(Violation, match=r"^output: expected shape \(6, 4, 5\), got shape \(6, 4, 4\)$"):
        t.same(torch.zeros(6, 4, 4), torch.zeros(6, 4, 5), "output")
    with pytest.raises(Violation, match=r"^output\[0\]: expected 0, got nan$"):
        t.same(torch.tensor([float("nan")]), torch.zeros(1), "output")
    assert "bound" not in vars(t)


def test_nothing_is_concluded_from_a_chaotic_case() -> None:
    contract = infer_contract(nn.RNN)
    values = {**VALUES, "hidden_size": 64, "nonlinearity": "tanh"}
    t = _trial(contract, nn.RNN, hyperparameters=values, seq_len=64, parameter_scale=8.0, dtype="float32")
    assert t.bound.ill_conditioned
    result = t.call()
    with pytest.raises(Discarded, match="ill-conditioned: rounding alone could explain any difference"):
        t.same(result.output + 0.5, result.output, "output", t.rules.output)


def test_parameters_are_as_before_after_the_bound_was_measured() -> None:
    t = _trial()
    kept = [parameter.detach().clone() for parameter in t.subject.module.parameters()]
    assert t.bound.allowed > 0
    assert all(torch.equal(one, two) for one, two in zip(t.subject.module.parameters(), kept, strict=True))


def test_the_trial_says_whether_results_changed_to_the_bit() -> None:
    t = _trial()
    result = t.call()
    assert not t.changed(result.output, result.output.clone())
    assert t.changed(torch.nextafter(result.output, result.output + 1), result.output)


def test_rows_and_steps_are_cut_along_the_axes_of_the_contract() -> None:
    for batch_first in (False, True):
        t = _trial(hyperparameters={**VALUES, "batch_first": batch_first})
        steps, rows = t.steps(t.input, 1, 3), t.rows_of_input(t.input, [2, 0])
        assert tuple(steps.shape) == ((4, 2, 3) if batch_first else (2, 4, 3))
        assert tuple(rows.shape) == ((2, 6, 3) if batch_first else (6, 2, 3))
        result = t.call(rows, t.rows_of_state(t.state, [2, 0]))
        t.same_result(result, t.rows_of(t.call(), [2, 0]))


def test_other_inputs_and_states_have_the_sizes_that_are_asked_for() -> None:
    t = _trial()
    assert tuple(t.other_input(5, T=2, B=1).shape) == (2, 1, 3)
    assert tuple(t.other_state(5, B=1).shape) == (2, 1, 5)
    assert not torch.equal(t.other_input(5), t.input)
    assert torch.equal(t.other_input(5), t.other_input(5))


def test_a_shape_is_held_to_its_rule() -> None:
    t = _trial()
    rule = ShapeRule.parse("T B H")
    t.shaped(torch.zeros(6, 4, 5), rule, "output")
    with pytest.raises(Violation, match="output: expected a tensor, got tuple"):
        t.shaped((torch.zeros(1),), rule, "output")
    with pytest.raises(Violation, match="dimension 2 is hidden_size") as caught:
        t.shaped(torch.zeros(6, 4, 3), rule, "output")
    assert (caught.value.expected, caught.value.actual) == ("(6, 4, 5)", "(6, 4, 3)")


def test_picks_are_used_modulo_what_there_is() -> None:
    t = _trial(picks=(7, 11))
    assert (t.pick(0, 4), t.pick(1, 4), t.pick(1, 1)) == (3, 3, 0)


def test_a_further_module_has_the_same_parameters_where_hyperparameters_are_the_same() -> None:
    t = _trial(parameter_seed=3)
    again, other = t.build(), t.build(num_layers=1)
    pairs = zip(t.subject.module.parameters(), again.module.parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)
    assert len(list(other.module.parameters())) == 4


# -- faults -----------------------------------------------------------------------------------------------------------


class _Lenient(nn.Module):
    """Takes any number of features; the error that it raises for states is chosen."""

    error: type[BaseException] = ValueError

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.width = hidden_size

    def forward(self, x: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        state = x.new_zeros(1, x.shape[1], self.width) if hx is None else hx
        if state.shape[1] != x.shape[1]:
            raise self.error("wrong batch")
        return x.sum(-1, keepdim=True) + state, state


def _lenient(**changes: Any) -> Trial:
    contract = Contract(
        hyperparameters={"input_size": free(3), "hidden_size": free(5)},
        roles={"input_size": "input_size", "hidden_size": "hidden_size"},
        output="T B H", state="1 B H", capabilities=Capabilities(),
    )  # fmt: skip
    return _trial(contract, _Lenient, hyperparameters={"input_size": 3, "hidden_size": 5}, **changes)


def test_a_faulty_call_that_returns_was_accepted() -> None:
    t = _lenient(fault=Fault("input.features_more"))
    assert t.verdict().kind == "invalid"
    assert t.attempt().kind == "accepted"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError, "rejected"), (RuntimeError, "rejected"), (TypeError, "rejected"), (IndexError, "rejected"),
        (AttributeError, "accidental"), (ZeroDivisionError, "accidental"), (KeyError, "accidental"),
        (SystemExit, "accidental"),
    ],
)  # fmt: skip
def test_an_exception_is_a_rejection_unless_it_only_shows_that_the_value_was_used(
    error: type[BaseException], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Lenient, "error", error)
    outcome = _lenient(fault=Fault("state.batch_more")).attempt()
    assert outcome.kind == kind
    assert type(outcome.error) is error


def test_an_exception_that_the_contract_does_not_name_is_no_rejection(monkeypatch: pytest.MonkeyPatch) -> None:
    t = _lenient(fault=Fault("state.batch_more"))
    t.contract = replace(t.contract, rejects=(TypeError,))
    assert t.attempt().kind == "accidental"


def test_a_fault_that_makes_no_invalid_call_is_discarded() -> None:
    t = _lenient(batch=1, fault=Fault("state.batch_one"))
    with pytest.raises(Discarded, match="the fault makes no invalid call: valid"):
        t.verdict()


def test_a_bad_hyperparameter_is_met_when_the_module_is_built() -> None:
    fault = Fault("hyperparameters.zero", argument="hidden_size")
    outcome = _trial(fault=fault).attempt()
    assert outcome.kind == "rejected"
    assert isinstance(outcome.error, ValueError)


def test_the_messages_of_a_trial_are_those_of_the_check() -> None:
    t = _trial()
    with pytest.raises(Violation, match=r"^it does not hold$") as caught:
        t.fail("it does not hold", expected="a", actual="b")
    assert (caught.value.expected, caught.value.actual) == ("a", "b")
    with pytest.raises(Discarded, match=r"^nothing to see$"):
        t.discard("nothing to see")
