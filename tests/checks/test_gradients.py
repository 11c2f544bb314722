"""Gradient checks: what they see, and what they are silent on: dead units, kinks, spikes, degenerate sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from check_runs import finding, not_applicable, outcome, outcomes, trial
from torch import Tensor, nn

from rnn_props import zoo
from rnn_props.cases import Source
from rnn_props.checks import Trial, Violation, get
from rnn_props.contracts import Capabilities, Contract, integers
from rnn_props.inference import infer_contract
from rnn_props.numerics import largest
from rnn_props.zoo.drop_ins import PlainGRU, PlainRNN
from rnn_props.zoo.recurrent import Leaves, Steps

SIX = ("RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell")
GRADIENTS = ("RP601", "RP602", "RP603", "RP604", "RP211", "RP212")
VALUES = {
    "input_size": 3, "hidden_size": 5, "num_layers": 2, "bias": True, "batch_first": False, "dropout": 0.0,
    "bidirectional": False,
}  # fmt: skip


def _gru(**fields: Any) -> Trial:
    defaults: dict[str, Any] = {"hyperparameters": VALUES, "seq_len": 4, "batch": 3, "state": Source("normal", 3)}
    return trial(nn.GRU, **(defaults | fields))


def _model(target: Any, *, states: Any = None, **capabilities: Any) -> Contract:
    """The contract of a small model or layer, batch first, of two sizes."""
    return Contract(
        build=target,
        convention="model" if states is None else "rnn",
        hyperparameters={"input_size": integers(1, 7), "hidden_size": integers(1, 7)},
        roles={"input_size": "input_size", "hidden_size": "hidden_size"},
        input="B T I",
        output="B T H",
        state=states,
        capabilities=Capabilities(**capabilities),
    )


class _Layer(nn.Module):
    """An Elman layer, batch first; `step` is what others change."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.read = nn.Linear(input_size, hidden_size)
        self.carry = nn.Linear(hidden_size, hidden_size)

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.read(x) + self.carry(h))

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), self.carry.in_features)
        outputs = []
        for step in x.unbind(1):
            h = self.step(step, h)
            outputs.append(h)
        return torch.stack(outputs, 1)


# -- torch's modules, and bugs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", GRADIENTS)
@pytest.mark.parametrize("name", SIX)
def test_torchs_modules_pass(code: str, name: str) -> None:
    if not_applicable(code, infer_contract(getattr(nn, name))) is None:
        found = outcomes(code, getattr(nn, name))
        assert set(found) == {"passed"}


@pytest.mark.parametrize(
    "name", [name for name, specimen in zoo.BUGS.items() if specimen.module.__module__.endswith("bugs_gradients")]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_each_bug_is_seen_under_every_seed(name: str, seed: int) -> None:
    specimen = zoo.BUGS[name]
    assert specimen.code in GRADIENTS
    assert finding(str(specimen.code), specimen.module, profile="default", seed=seed)


@pytest.mark.parametrize("code", GRADIENTS)
def test_what_is_not_differentiable_by_contract_is_let_be(code: str) -> None:
    contract = infer_contract(nn.GRU)
    contract = replace(contract, capabilities=replace(contract.capabilities, differentiable=False))
    assert not_applicable(code, contract) == "it is not differentiable by contract"


class _BatchNormed(_Layer):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.normalise = nn.BatchNorm1d(hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        normalised: Tensor = self.normalise(super().forward(x).transpose(1, 2))
        return normalised.transpose(1, 2)


class _SpectralNormed(_Layer):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.carry = nn.utils.parametrizations.spectral_norm(self.carry)


class _WithDropout(_Layer):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(x), 0.5, self.training)


@pytest.mark.parametrize("target", [_BatchNormed, _SpectralNormed, _WithDropout])
@pytest.mark.parametrize("code", GRADIENTS)
def test_what_training_mode_computes_or_keeps_beside_is_no_bug(code: str, target: type[nn.Module]) -> None:
    if not_applicable(code, _model(target)) is None:
        assert set(outcomes(code, target, _model(target))) == {"passed"}


# -- comparisons of gradients -----------------------------------------------------------------------------------------


def test_gradients_are_named_by_what_they_belong_to() -> None:
    t = trial(nn.LSTM, hyperparameters={**VALUES, "num_layers": 1, "proj_size": 0}, seq_len=2, state=Source())
    assert list(t.gradients()) == [
        "input", "initial h_n", "initial c_n", "parameter weight_ih_l0", "parameter weight_hh_l0",
        "parameter bias_ih_l0", "parameter bias_hh_l0",
    ]  # fmt: skip


def test_a_frozen_parameter_is_asked_for_nothing() -> None:
    t = _gru()
    t.subject.module.weight_ih_l0.requires_grad_(False)
    assert "parameter weight_ih_l0" not in t.gradients()
    assert "parameter weight_hh_l0" in t.gradients()


def test_none_against_none_is_an_error_of_the_check() -> None:
    t = _gru()
    nothing = dict.fromkeys(t.gradients())
    with pytest.raises(ValueError, match="there is no gradient on the side that is compared with"):
        t.same_gradients(nothing, nothing)
    with pytest.raises(ValueError, match="there is no gradient on the side that is compared with"):
        t.same_gradients(t.gradients(), nothing)
    with pytest.raises(ValueError, match="there is no gradient on the side that is compared with"):
        t.same_gradients({}, {})


def test_gradients_of_other_things_are_not_compared() -> None:
    t = _gru()
    found = t.gradients()
    some = {name: value for name, value in found.items() if name != "parameter bias_hh_l1"}
    for actual, expected in ((some, found), (found, some)):
        with pytest.raises(ValueError, match="can't be compared with gradients of"):
            t.same_gradients(actual, expected)


def test_a_gradient_that_is_missing_is_a_violation_and_zeros_are_as_good_as_none() -> None:
    t = _gru()
    found = t.gradients()
    with pytest.raises(Violation, match=r"^both: gradient of input: expected a gradient, got none$"):
        t.same_gradients({**found, "input": None}, found, "both")
    with pytest.raises(Violation, match=r"^gradient of input: expected none, got a gradient$"):
        t.same_gradients(found, {**found, "input": None})
    zeros = {**found, "input": torch.zeros_like(t.input)}
    t.same_gradients({**found, "input": None}, zeros)
    t.same_gradients(zeros, {**found, "input": None})


def test_a_gradient_that_is_a_hundred_times_too_large_is_a_violation() -> None:
    t = _gru()
    found = t.gradients()
    t.same_gradients(t.gradients(), found)
    for name, value in found.items():
        assert value is not None
        with pytest.raises(Violation, match=f"gradient of {name}"):
            t.same_gradients({**found, name: 100 * value}, found)


# -- RP601 ------------------------------------------------------------------------------------------------------------


def test_what_is_cut_off_is_named() -> None:
    message = finding("RP601", zoo.BUGS["DetachesPassedState"].module)
    assert message == (
        "no gradient of initial h_n[layer and direction 0], though the output changes with it: the graph is cut in "
        "between (detach, no_grad, .data, .item)"
    )


def test_the_recurrent_weights_of_a_backward_direction_that_is_read_at_its_first_step_are_dead() -> None:
    message = finding("RP601", zoo.BUGS["ReadsLastStepOfBothDirections"].module)
    assert message == (
        "no gradient of parameter rnn.weight_hh_l0_reverse at any length: nothing changes with it: of the backward "
        "direction the results hold a single step (as output[:, -1] does), so nothing that it carries from step to "
        "step arrives"
    )


def test_a_backward_that_raises_is_the_targets_failure() -> None:
    message = finding("RP601", zoo.BUGS["WritesStateInPlace"].module)
    assert message.startswith("raised: differentiating its results raised RuntimeError: one of the variables needed")
    assert set(outcomes("RP207", zoo.BUGS["WritesStateInPlace"].module)) == {"passed"}


@pytest.mark.parametrize("bias", [True, False])
def test_a_unit_that_is_switched_off_is_no_bug(bias: bool) -> None:
    silent = 0
    for seed in range(40):
        t = trial(
            nn.RNN,
            hyperparameters={**VALUES, "hidden_size": 1, "bias": bias, "nonlinearity": "relu"},
            seq_len=3,
            parameter_seed=seed,
            input=Source("normal", seed),
            state=Source("normal", seed),
            picks=(0, 0),
        )
        silent += any(largest(value) == 0 for value in t.gradients().values())
        assert outcome("RP601", t) == "passed"
        assert outcome("RP603", t) in (
            "passed",
            "discarded: its output does not depend on the inputs of some steps: there is no gradient to ask for",
        )
    assert silent > 5


class _Normalised(_Layer):
    def step(self, x: Tensor, h: Tensor) -> Tensor:
        total = self.read(x) + self.carry(h)
        return nn.functional.layer_norm(total, total.shape[-1:])


def test_a_normalisation_over_one_feature_is_no_bug() -> None:
    t = trial(
        _Normalised,
        _model(_Normalised),
        hyperparameters={"input_size": 2, "hidden_size": 1},
        seq_len=3,
        picks=(0,),
    )
    assert all(largest(value) == 0 for value in t.gradients().values())
    assert outcome("RP601", t) == "passed"
    assert finding("RP601", _Normalised, _model(_Normalised)) == ""


class _NoiseInTraining(_Layer):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.scale = nn.Parameter(torch.ones(hidden_size))

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        h = super().step(x, h)
        return h + self.scale * torch.randn_like(h) if self.training else h


def test_a_parameter_that_serves_in_training_alone_is_no_bug() -> None:
    assert finding("RP601", _NoiseInTraining, _model(_NoiseInTraining)) == ""


class _Unused(_Layer):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.spare = nn.Parameter(torch.ones(hidden_size))


def test_a_parameter_without_a_part_in_the_result_is_named() -> None:
    message = finding("RP601", _Unused, _model(_Unused))
    assert message == "no gradient of parameter spare at any length: nothing changes with it"


class _Ticks(_Layer):
    """Changes its state where the steps that it has counted in it are even, and never from any number between."""

    def forward(self, x: Tensor, state: Any = None) -> Any:  # type: ignore[override]
        h, count = (
            (x.new_zeros(x.size(0), self.carry.in_features), x.new_zeros(x.size(0), 1)) if state is None else state
        )
        outputs = []
        for step in x.unbind(1):
            h = torch.where(torch.remainder(count, 2) == 0, self.step(step, h), h)
            count = count + 1
            outputs.append(h)
        return torch.stack(outputs, 1), (h, count)


def test_what_does_nothing_from_a_state_that_is_none_of_its_own_is_no_bug() -> None:
    contract = _model(_Ticks, states=("B H", "B 1"))
    given = replace(contract, capabilities=Capabilities(optional_state=False))
    for code in ("RP601", "RP603"):
        assert finding(code, _Ticks, contract) == ""
    assert finding("RP601", _Ticks, given).endswith("at any length: nothing changes with it")
    assert finding("RP603", _Ticks, given).endswith("nothing is carried from step to step")


class _MeanAndSpread(_Layer):
    """Returns a mean and, beside it, a spread from a head of its own."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.mean, self.spread = nn.Linear(hidden_size, 1), nn.Linear(hidden_size, 1)

    def forward(self, x: Tensor) -> Any:  # type: ignore[override]
        y = super().forward(x)
        return self.mean(y), nn.functional.softplus(self.spread(y))


class _SpreadCut(_MeanAndSpread):
    def forward(self, x: Tensor) -> Any:
        mean, spread = super().forward(x)
        return mean, spread.detach()


def test_a_head_beside_the_output_is_trained_and_one_that_is_cut_off_is_not() -> None:
    contract = infer_contract(_MeanAndSpread)
    assert finding("RP601", _MeanAndSpread, contract) == ""
    message = finding("RP601", _SpreadCut, replace(contract, build=_SpreadCut))
    assert message.startswith("no gradient of parameter spread.weight")


class _Policy(nn.Module):
    """Takes one observation a call, and remembers until it is reset."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(input_size, hidden_size)
        self.h: Tensor | None = None

    def reset(self) -> None:
        self.h = None

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.cell(x, None if self.h is None else self.h.detach())
        self.h = h
        return h


class _ForgetfulPolicy(_Policy):
    def forward(self, x: Tensor) -> Tensor:
        self.h = None
        return super().forward(x)


def test_recurrent_weights_of_a_policy_have_their_part_from_its_second_observation_on() -> None:
    contract = infer_contract(_Policy)
    assert contract.convention == "stateful"
    assert finding("RP601", _Policy, contract) == ""
    message = finding("RP601", _ForgetfulPolicy, replace(contract, build=_ForgetfulPolicy))
    assert message == "no gradient of parameter cell.weight_hh at any length: nothing changes with it"


class _FromTheEnd(_Layer):
    """Reads from the last step to the first."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flip(1)).flip(1)


class _FromTheEndForgetful(_FromTheEnd):
    def step(self, x: Tensor, h: Tensor) -> Tensor:
        return super().step(x, 0 * h)


class _FromTheEndCut(_FromTheEnd):
    def step(self, x: Tensor, h: Tensor) -> Tensor:
        return super().step(x, h.detach())


def test_what_is_carried_from_the_end_to_the_beginning_is_carried() -> None:
    assert finding("RP603", _FromTheEnd, _model(_FromTheEnd, causal=False)) == ""
    forgetful = finding("RP603", _FromTheEndForgetful, _model(_FromTheEndForgetful, causal=False))
    assert forgetful.endswith("nothing is carried from step to step")
    assert "the graph is cut" in finding("RP603", _FromTheEndCut, _model(_FromTheEndCut, causal=False))


class _RootOfZero(_Layer):
    def step(self, x: Tensor, h: Tensor) -> Tensor:
        size = (h @ self.carry.weight.T).square().sum(-1, keepdim=True).sqrt()
        return super().step(x, h) * (1 + size)


def test_a_gradient_that_is_not_finite_is_a_violation() -> None:
    assert "is not finite" in finding("RP601", _RootOfZero, _model(_RootOfZero))


class _InferenceOnly(_Layer):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return super().forward(x)


class _FrozenLayer(_Layer):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.requires_grad_(False)


@pytest.mark.parametrize("code", GRADIENTS)
def test_nothing_is_said_of_a_module_for_inference_alone(code: str) -> None:
    contract = _model(_InferenceOnly)
    if not_applicable(code, contract) is None:
        assert all(text.startswith("discarded") for text in outcomes(code, _InferenceOnly, contract))


@pytest.mark.parametrize("code", ["RP601", "RP602", "RP603", "RP604", "RP212"])
def test_the_input_of_a_frozen_module_has_a_gradient(code: str) -> None:
    assert set(outcomes(code, _FrozenLayer, _model(_FrozenLayer))) == {"passed"}


class _NoGradForward(_Layer):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return super().forward(x)


def test_a_trained_module_that_records_no_graph_is_a_violation() -> None:
    message = finding("RP601", _NoGradForward, _model(_NoGradForward))
    assert message.startswith("no gradient of input, parameter read.weight, parameter read.bias and 2 more, though")


class _Sign(_Layer):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).sign().long()


@pytest.mark.parametrize("code", ["RP601", "RP602", "RP604", "RP212"])
def test_nothing_is_said_of_results_that_are_integers(code: str) -> None:
    assert all(text.startswith("discarded") for text in outcomes(code, _Sign, _model(_Sign)))


def test_states_that_are_detached_by_contract_need_no_gradient() -> None:
    target = zoo.BUGS["DetachesPassedState"].module
    contract = infer_contract(target)
    declared = replace(contract, capabilities=replace(contract.capabilities, detached_cache=True))
    assert set(outcomes("RP601", target, declared)) == {"passed"}
    assert set(outcomes("RP602", target, declared)) == {"passed"}
    assert not_applicable("RP211", declared) == "its states are cut off from the graph by contract"


# -- RP602 ------------------------------------------------------------------------------------------------------------


def test_the_parameter_whose_gradient_is_wrong_is_named() -> None:
    message = finding("RP602", zoo.BUGS["CellCountsBiasTwice"].module)
    assert message.startswith("gradient of parameter bias_hh")
    differences, backward = message.rsplit("finite differences give ", 1)[1].split(", backward gives ")
    assert float(backward) == pytest.approx(2 * float(differences), rel=1e-4)


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad / (1 + (3 * x).square())


class _Spiking(_Layer):
    def step(self, x: Tensor, h: Tensor) -> Tensor:
        h = 0.5 * h + self.read(x) + self.carry(torch.tanh(h))
        return h - _Spike.apply(h - 0.2)


class _Rounded(_Layer):
    def step(self, x: Tensor, h: Tensor) -> Tensor:
        h = super().step(x, h)
        return h + ((8 * h).round() / 8 - h).detach()


@pytest.mark.parametrize("target", [_Spiking, _Rounded])
def test_surrogate_gradients_are_not_held_to_a_derivative_that_there_is_not(target: type[nn.Module]) -> None:
    found = outcomes("RP602", target, _model(target))
    assert all(text == "passed" or text.startswith("discarded") for text in found)
    assert finding("RP601", target, _model(target)) == ""


def test_kinks_are_no_bug() -> None:
    for seed in range(30):
        t = trial(
            PlainRNN,
            hyperparameters={**VALUES, "num_layers": 3, "nonlinearity": "relu", "bias": seed % 2 == 0},
            seq_len=7,
            batch=2,
            parameter_seed=seed,
            input=Source("impulse" if seed % 3 == 0 else "normal", seed),
            state=Source("zeros" if seed % 5 == 0 else "normal", seed),
            picks=(0,),
        )
        assert outcome("RP602", t) in (
            "passed",
            "discarded: differences and gradient disagree only along all directions together: a kink is near",
        )


class _HalfOfReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.relu()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 0.999 * grad * (x > 0)


class _ReLUWithWrongBackward(_Layer):
    def step(self, x: Tensor, h: Tensor) -> Tensor:
        return _HalfOfReLU.apply(self.read(x) + self.carry(h))


def test_kinks_do_not_hide_a_gradient_that_is_wrong_by_a_thousandth() -> None:
    assert "finite differences give" in finding("RP602", _ReLUWithWrongBackward, _model(_ReLUWithWrongBackward))


def test_finite_differences_need_float64() -> None:
    contract = replace(infer_contract(nn.GRU), logic_dtype="float32")
    assert not_applicable("RP602", contract) == "finite differences need float64, which it does not take"


def test_parameters_are_as_before_after_the_differences() -> None:
    t = _gru(picks=(0,))
    kept = [parameter.detach().clone() for parameter in t.subject.module.parameters()]
    given, state = t.input.clone(), t.state.clone()
    get("RP602").run(t)
    assert all(torch.equal(one, two) for one, two in zip(t.subject.module.parameters(), kept, strict=True))
    assert torch.equal(t.input, given)
    assert torch.equal(t.state, state)


# -- RP603 ------------------------------------------------------------------------------------------------------------


class _Forgets(_Layer):
    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), self.carry.in_features)
        return torch.stack([self.step(step, h) for step in x.unbind(1)], 1)


def test_a_module_that_carries_nothing_from_step_to_step_is_named() -> None:
    message = finding("RP603", _Forgets, _model(_Forgets))
    assert "depends on no input at another step: nothing is carried from step to step" in message


class _Window(_Layer):
    def forward(self, x: Tensor) -> Tensor:
        before = torch.cat((torch.zeros_like(x[:, :1]), x[:, :-1]), 1)
        return torch.tanh(self.read(x) + self.carry(torch.tanh(self.read(before))))


def test_a_window_that_ends_is_no_bug() -> None:
    found = outcomes("RP603", _Window, _model(_Window))
    assert finding("RP603", _Window, _model(_Window)) == ""
    assert any(text.startswith("discarded: its output does not depend on the inputs of some steps") for text in found)


def test_the_steps_between_which_the_graph_is_cut_are_named() -> None:
    t = trial(
        zoo.BUGS["TruncatesAfterEightSteps"].module,
        hyperparameters={**VALUES, "num_layers": 1, "nonlinearity": "tanh"},
        seq_len=13,
        picks=(0, 0),
    )
    assert outcome("RP603", t) == (
        "the output at step 12 depends on the input at step 7, but has no gradient to it: the graph is cut between "
        "these steps (detach, no_grad, .data)"
    )


@pytest.mark.parametrize("half", ["forward", "backward"])
def test_each_direction_is_looked_at(half: str) -> None:
    class Cut(PlainGRU):
        def run_direction(self, steps: Steps, state: Leaves, layer: int, direction: int) -> tuple[Steps, Leaves]:
            outputs: Steps = []
            for x in steps:
                step, state = super().run_direction([x], state, layer, direction)
                if ("forward", "backward")[direction] == half:
                    state = tuple(leaf.detach() for leaf in state)
                outputs += step
            return outputs, state

    t = trial(
        Cut,
        infer_contract(nn.GRU),
        hyperparameters={**VALUES, "num_layers": 1, "bidirectional": True},
        seq_len=5,
        picks=(0, 0),
    )
    assert outcome("RP603", t).startswith(f"the {half} half of the output at step")


# -- RP604, RP211, RP212 ----------------------------------------------------------------------------------------------


def test_the_gradient_of_a_batch_is_compared_for_input_state_and_parameters() -> None:
    t = _gru()
    compared: list[list[str]] = []
    t.same_gradients = lambda actual, expected, what: compared.append(sorted(expected))  # type: ignore[method-assign]
    get("RP604").run(t)
    assert compared == [sorted(t.gradients())]


def test_the_chunk_that_a_loss_does_not_reach_is_named() -> None:
    target = zoo.BUGS["ReturnsDetachedState"].module
    t = trial(target, hyperparameters=VALUES, seq_len=5, state=Source("normal", 1), splits=(2, 3), picks=(0,))
    assert outcome("RP211", t) == (
        "loss on the steps from 3 on, the sequence cut at 2, 3: no gradient reaches the input before step 3, which it "
        "does where the steps are run at once: the state comes back cut off from the graph"
    )


def test_a_second_backward_that_raises_says_which_call_it_was() -> None:
    target = zoo.BUGS["StartsFromLastStateTimesZero"].module
    t = trial(
        target,
        hyperparameters={**VALUES, "proj_size": 0},
        seq_len=2,
        state=Source("normal", 1),
        picks=(0,),
    )
    message = outcome("RP212", t)
    assert message.startswith("raised: a second chunk from no state, after backward of the first one, raised RuntimeE")
    assert "Trying to backward through the graph a second time" in message


class _KeepsSum(nn.Module):
    """Adds nothing to the value, and a path to the last call's weights to the graph, which no backward frees."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.layer = _Layer(input_size, hidden_size)
        self.kept: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layer(x)
        if self.kept is not None:
            output = output + self.kept - self.kept.detach()
        self.kept = self.layer.carry.bias + 0.0 if torch.is_grad_enabled() else None
        return output


def test_an_earlier_graph_that_can_be_walked_twice_is_seen_by_its_gradients() -> None:
    message = finding("RP212", _KeepsSum, _model(_KeepsSum))
    assert "after backward of the first one, against the same on a new module: gradient of parameter layer.c" in message
