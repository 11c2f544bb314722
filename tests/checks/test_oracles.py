"""Oracles: what is compared with torch.nn and with a reference, what is not, and which errors are the contract's."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import rnn_props
from rnn_props import zoo
from rnn_props.cases import Case, Source
from rnn_props.checks import Discarded, Trial, Violation, all_checks, get
from rnn_props.checks.registry import explaining
from rnn_props.contracts import Contract, free, integers
from rnn_props.execution.plans import Plans
from rnn_props.execution.profiles import PROFILES
from rnn_props.inference import infer_contract
from rnn_props.subjects import Factory
from rnn_props.zoo.drop_ins import PlainGRU, PlainLSTM, PlainRNN, gru_step
from rnn_props.zoo.fast import CompactGRUCell, FusedGRULayer, MinGRULoop, MinGRUScan, gru_by_formula, split_gates
from rnn_props.zoo.recurrent import Leaves, Weights

ROOT = Path(__file__).parents[2]
SIX = ("RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell")
QUICK: dict[str, Any] = {"profile": "quick", "seed": 0}


def _run(code: str, target: Any, contract: Contract | None = None, *, profile: str = "quick", seed: int = 0) -> str:
    """How a check ends in this process, on a profile's cases: `compared N`, a violation's message or `discarded`."""
    contract = contract or infer_contract(target)
    check = get(code)
    assert check.not_applicable(contract) is None
    compared, reason = 0, ""
    for case in Plans(contract, PROFILES[profile], seed, None).cases(check):
        try:
            check.run(Trial(case, contract, Factory(target, contract)))
        except Violation as violation:
            return violation.message
        except Discarded as discarded:
            reason = str(discarded)
            continue
        compared += 1
    return f"compared {compared}" if compared else f"discarded: {reason}"


def _specimens(code: str) -> list[str]:
    return [name for name, specimen in zoo.BUGS.items() if specimen.code == code]


# -- torch.nn ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIX)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_torchs_modules_and_plain_ones_agree_with_torch(name: str, seed: int) -> None:
    for target in (getattr(nn, name), getattr(zoo, f"Plain{name}")):
        outcome = _run("RPA01", target, seed=seed)
        assert outcome.startswith("compared")
        assert int(outcome.split()[1]) >= 10


@pytest.mark.parametrize("name", _specimens("RPA01"))
@pytest.mark.parametrize("seed", [0, 1])
def test_another_formula_is_seen_under_every_seed(name: str, seed: int) -> None:
    message = _run("RPA01", getattr(zoo, name), profile="default", seed=seed)
    torch_module = infer_contract(getattr(zoo, name)).torch_module
    assert f"against torch.nn.{torch_module} with the same weights: " in message
    assert "expected" in message


@pytest.mark.nightly
def test_bugs_that_show_in_a_corner_alone_are_caught_by_a_run() -> None:
    for name in ("ExchangesWeightsOfOneShape", "GatesAfterProjection", "CellIgnoresNonlinearity"):
        (target,) = rnn_props.check(f"rnn_props.zoo:{name}", checks=("RPA01",), seed=0).targets
        (found,) = target.results
        assert (found.status, found.inherited_from_torch) == ("failed", False)
        case = found.findings[0].case["hyperparameters"]
        if name == "ExchangesWeightsOfOneShape":
            assert case["num_layers"] > 1 or case["input_size"] == case["hidden_size"]
        elif name == "GatesAfterProjection":
            assert case["proj_size"] == 1
        else:
            assert case["nonlinearity"] == "relu"


class _WrongBackward(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(context: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return 1.5 * grad


class GradientsAreWrong(PlainGRU):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        return (gru_step(x, state[0], weights._replace(hh=_WrongBackward.apply(weights.hh))),)


class GradientsAreWrongInTraining(GradientsAreWrong):
    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        return super().cell(x, state, weights) if self.training else PlainGRU.cell(self, x, state, weights)


def test_right_results_with_wrong_gradients_are_seen() -> None:
    wrong = "against torch.nn.GRU with the same weights: gradient of parameter weight_hh_l"
    assert wrong in _run("RPA01", GradientsAreWrong)
    assert f"in training mode, {wrong}" in _run("RPA01", GradientsAreWrongInTraining)


class ClampsForRelu(PlainRNN):
    """At exactly zero its derivative is 1 where F.relu's is 0."""

    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        total = F.linear(x, weights.ih, weights.bias_ih) + F.linear(state[0], weights.hh, weights.bias_hh)
        return (total.clamp(min=0) if self.nonlinearity == "relu" else torch.tanh(total),)


class SkipsZeroState(nn.Module):
    """A cell that does not multiply a state that it knows to be zero: no gradient, where torch has one of zeros."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__()
        for name, value in nn.LSTMCell(input_size, hidden_size, bias).named_parameters():
            self.register_parameter(name, value)
        self.bias_ih: Tensor | None = getattr(self, "bias_ih", None)
        self.bias_hh: Tensor | None = getattr(self, "bias_hh", None)

    def forward(self, x: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        gates = F.linear(x, self.weight_ih, self.bias_ih)
        if hx is not None:
            gates = gates + F.linear(hx[0], self.weight_hh)
        if self.bias_hh is not None:
            gates = gates + self.bias_hh
        enter, forget, new, leave = gates.chunk(4, -1)
        c = torch.sigmoid(enter) * torch.tanh(new)
        if hx is not None:
            c = c + torch.sigmoid(forget) * hx[1]
        return torch.sigmoid(leave) * torch.tanh(c), c


class NoisyInTraining(PlainLSTM):
    """Something of its own beside torch's arguments, and random in training mode."""

    def __init__(self, *arguments: Any, noise: float = 0.1, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.noise = noise

    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        h, c = super().cell(x, state, weights)
        return (h + self.noise * torch.randn_like(h) if self.training else h), c


@pytest.mark.parametrize("module", [ClampsForRelu, SkipsZeroState, NoisyInTraining])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_is_legitimately_different_is_not_held_against_a_module(module: type[nn.Module], seed: int) -> None:
    contract = infer_contract(module) if module is not NoisyInTraining else infer_contract(nn.LSTM)
    assert _run("RPA01", module, contract, profile="default", seed=seed).startswith("compared")


class PartOfTheSignature(nn.Module):
    """Two arguments of torch.nn.GRU's, and exactly its parameters."""

    order = (0, 1, 2)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        for name, value in nn.GRU(input_size, hidden_size).named_parameters():
            self.register_parameter(name, nn.Parameter(value.detach().clone()))
        self.width = hidden_size

    def forward(self, x: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        def ordered(stacked: Tensor) -> Tensor:
            return torch.cat([stacked.chunk(3)[index] for index in self.order])

        if x.dim() != 3:
            raise ValueError("expected (T, B, I)")
        ih, hh, bias_ih, bias_hh = (ordered(self.get_parameter(name)) for name in self.names)
        weights = Weights(ih, hh, bias_ih, bias_hh, None)
        h = x.new_zeros(x.shape[1], self.width) if hx is None else hx[0]
        states = []
        for step in x:
            h = gru_step(step, h, weights)
            states.append(h)
        return torch.stack(states), h.unsqueeze(0)


class PartWithOtherOrder(PartOfTheSignature):
    order = (1, 0, 2)


class PartWithOneMore(PartOfTheSignature):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.scale = nn.Parameter(torch.full((hidden_size,), 0.5))

    def forward(self, x: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        output, state = super().forward(x, hx)
        return output * self.scale, state


def test_of_a_part_of_torchs_signature_names_and_shapes_decide_whether_it_is_compared() -> None:
    assert not infer_contract(PartOfTheSignature).capabilities.torch_contract
    assert _run("RPA01", PartOfTheSignature).startswith("compared")
    assert _run("RPA01", PartWithOtherOrder).startswith("against torch.nn.GRU with the same weights: output")
    assert _run("RPA01", PartWithOneMore) == "discarded: its parameters are not those of torch.nn.GRU"


def test_arguments_with_other_names_are_passed_by_their_roles() -> None:
    def build(width: int, units: int, **others: Any) -> nn.Module:
        return PlainLSTM(width, units, **others)

    contract = infer_contract(PlainLSTM)
    renamed = {"input_size": "width", "hidden_size": "units"}
    contract = replace(
        contract,
        hyperparameters={renamed.get(name, name): domain for name, domain in contract.hyperparameters.items()},
        roles={role: renamed.get(name, name) for role, name in contract.roles.items()},
        constraints=("proj_size < units",),
    )
    assert _run("RPA01", build, contract).startswith("compared")


def test_a_module_that_is_built_already_is_compared_as_it_is() -> None:
    for module in (PlainLSTM(3, 5, 2, proj_size=2), PlainGRU(3, 5, bidirectional=True, batch_first=True)):
        contract = infer_contract(nn.LSTM if isinstance(module, PlainLSTM) else nn.GRU)
        held = {name: free(getattr(module, name)) for name in contract.hyperparameters}
        assert _run("RPA01", module, replace(contract, hyperparameters=held)).startswith("compared")
    assert _run("RPA01", nn.RNN(3, 5, nonlinearity="relu")).startswith("compared")


def test_arguments_that_are_held_go_to_torch_too() -> None:
    for arguments in ({"num_layers": 2, "dropout": 0.5}, {"bidirectional": True, "device": "cpu"}):
        assert _run("RPA01", PlainGRU, infer_contract(PlainGRU, arguments)).startswith("compared")


def test_a_contract_without_torchs_weights_is_not_compared_with_torch() -> None:
    reason = get("RPA01").not_applicable
    assert reason(infer_contract(zoo.LSTMModel)) == "its contract is not that of a module of torch.nn"
    assert reason(infer_contract(MinGRULoop)) == "its parameters are not named as torch.nn's"
    assert get("RPA02").not_applicable(infer_contract(nn.LSTM)) == "its contract names no reference"


def test_every_check_of_what_is_computed_comes_before_the_oracles_and_none_of_rejection_does() -> None:
    others = {check.code for check in all_checks() if not check.code.startswith("RPA")}
    about_results = {code for code in others if not code.startswith("RP4")}
    assert len(about_results) > 40
    assert set(explaining(get("RPA01"))) == about_results
    assert set(explaining(get("RPA02"))) == {*about_results, "RPA01"}


def test_a_bug_that_another_check_explains_is_not_reported_twice() -> None:
    (target,) = rnn_props.check("rnn_props.zoo:SingleStepForgetsHiddenBias", checks=("RP202", "RPA01"), **QUICK).targets
    assert {found.code: found.status for found in target.results} == {"RP202": "failed", "RPA01": "blocked"}


# -- a reference of the user's ----------------------------------------------------------------------------------------


def test_fast_modules_agree_with_the_slow_ones_that_their_contracts_name() -> None:
    for name in ("MinGRUScan", "FusedGRULayer", "CompactGRUCell"):
        contract = getattr(zoo, name)
        for seed in range(3):
            assert _run("RPA02", contract, contract, seed=seed).startswith("compared")


def through(module: nn.Module, x: Any, state: Any = None, **keywords: Any) -> Any:
    """What the module itself gives, as a function."""
    return module(x, **keywords) if state is None else module(x, state, **keywords)


@pytest.mark.parametrize("name", list(zoo.CORRECT))
def test_every_correct_module_is_its_own_reference_under_every_convention(name: str) -> None:
    specimen = zoo.CORRECT[name]
    for reference in (specimen.module, through):
        contract = replace(infer_contract(specimen.target), reference=reference, reference_weights={})
        assert _run("RPA02", specimen.module, contract) == "compared 20"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "ExchangesGateBiases" else pytest.mark.nightly)
        for name in _specimens("RPA02")
    ],
)
def test_a_difference_from_the_reference_is_caught_by_a_run(name: str) -> None:
    (target,) = rnn_props.check(f"rnn_props.zoo:{name}", checks=("RPA02",), seed=0).targets
    (found,) = target.results
    assert found.status == "failed"
    assert re.match(r"against (MinGRULoop|gru_by_formula|GRUCell): (output|state)\[", found.message)


def test_the_example_passes_and_its_planted_bug_is_seen_by_the_reference_alone() -> None:
    example = f"{ROOT}/examples/fast_against_slow.py"
    (right,) = rnn_props.check(f"{example}:contract", **QUICK).targets
    assert [(found.code, found.message) for found in right.results if found.findings] == []
    assert {found.status for found in right.results} == {"passed", "not_applicable"}
    assert "RPA02" in {found.code for found in right.results if found.status == "passed"}
    (wrong,) = rnn_props.check(f"{example}:exchanged", **QUICK).targets
    assert [found.code for found in wrong.results if found.status not in ("passed", "not_applicable")] == ["RPA02"]


@pytest.mark.nightly
def test_the_page_on_oracles_shows_what_is_so(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "oracles.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    file = tmp_path / "page_on_oracles.py"
    file.write_text("\n".join(blocks), encoding="utf-8")
    for name in ("contract", "with_function"):
        (target,) = rnn_props.check(f"{file}:{name}", checks=("RPA02",), **QUICK).targets
        assert [(found.status, found.message) for found in target.results] == [("passed", "")]
    shown = re.search(r"exchanged\nRPA02 oracle.reference  FAILED\n  (.*?) \(difference", page)
    assert shown is not None
    (wrong,) = rnn_props.check(f"{ROOT}/examples/fast_against_slow.py:exchanged", checks=("RPA02",), seed=0).targets
    (found,) = wrong.results
    assert found.message.startswith(shown[1])
    assert f"case {found.findings[0].case_id}:\n    {found.findings[0].case_repr}" in page


def _contract(build: type[nn.Module], **changes: Any) -> Contract:
    """The contract of `(T, B, I)` and `(1, B, H)`, as the fast modules of the zoo have it."""
    return replace(zoo.MinGRUScan, build=build, **changes)


class ScanWithWrongGradient(MinGRUScan):
    def squash_gate(self, gate: Tensor) -> Tensor:
        squashed: Tensor = torch.sigmoid(_WrongBackward.apply(gate))
        return squashed


class FusedWithWrongGradient(FusedGRULayer):
    def gate_biases(self) -> Tensor:
        biases: Tensor = _WrongBackward.apply(self.bias)
        return biases


def test_gradients_are_compared_through_the_function_that_brings_the_weights_over() -> None:
    message = _run("RPA02", ScanWithWrongGradient, _contract(ScanWithWrongGradient))
    assert re.match(r"against MinGRULoop: gradient of (input|parameter project\.)", message)
    message = _run("RPA02", FusedWithWrongGradient, replace(zoo.FusedGRULayer, build=FusedWithWrongGradient))
    assert message.startswith("against gru_by_formula: gradient of parameter bias")


@torch.no_grad()
def formula_without_gradients(*arguments: Any) -> tuple[Tensor, Tensor]:
    return gru_by_formula(*arguments)


def detached(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return split_gates({name: value.detach() for name, value in weights.items()})


def test_of_a_reference_without_gradients_only_results_are_compared() -> None:
    contract = replace(zoo.FusedGRULayer, build=FusedWithWrongGradient, reference=formula_without_gradients)
    assert _run("RPA02", FusedWithWrongGradient, contract).startswith("compared")
    # The input's gradient is still compared; that of the gate's weights can't be led back.
    contract = _contract(MinGRUScan, reference_weights=detached)
    assert _run("RPA02", MinGRUScan, contract).startswith("compared")
    contract = _contract(ScanWithWrongGradient, reference_weights=detached)
    assert _run("RPA02", ScanWithWrongGradient, contract).startswith("against MinGRULoop: gradient of input")


class TiedLoop(MinGRULoop):
    """Gate and candidate share their weights."""

    def make_parameters(self) -> None:
        super().make_parameters()
        self.to_candidate.weight = self.to_gate.weight


class TiedWithOneName(MinGRULoop):
    def make_parameters(self) -> None:
        self.shared = nn.Parameter(torch.randn(self.hidden_size, self.input_size))
        self.one, self.two = (nn.Parameter(torch.randn(self.hidden_size)) for _ in range(2))
        self.register_buffer("offset", torch.tensor(0.25))

    def to_gate(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return F.linear(x, self.shared, self.one + self.offset)

    def to_candidate(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return F.linear(x, self.shared, self.two)


class LoopWithOffset(MinGRULoop):
    def make_parameters(self) -> None:
        super().make_parameters()
        self.register_buffer("offset", torch.tensor(0.0))

    def run(self, x: Tensor, h: Tensor) -> Tensor:
        bias = self.to_gate.bias
        states = []
        for step in x.unbind(0):
            gate = torch.sigmoid(F.linear(step, self.to_gate.weight, bias + self.offset))
            h = (1 - gate) * h + gate * torch.tanh(self.to_candidate(step))
            states.append(h)
        return torch.stack(states)


def test_tied_weights_and_buffers_go_over_too() -> None:
    names = {
        "to_gate.weight": "shared", "to_candidate.weight": "shared", "to_gate.bias": "one", "to_candidate.bias": "two",
    }  # fmt: skip
    contract = _contract(TiedWithOneName, reference=LoopWithOffset, reference_weights=names)
    assert _run("RPA02", TiedWithOneName, contract).startswith("compared")
    assert _run("RPA02", TiedLoop, _contract(TiedLoop, reference=MinGRULoop, reference_weights={})).startswith(
        "compared"
    )


class VariantOfGRU(PlainGRU):
    """With torch.nn.GRU's signature and weights, and another function: it keeps a tenth more of the old state."""

    def cell(self, x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        (new,) = super().cell(x, state, weights)
        return (0.9 * new + 0.1 * state[0],)


@pytest.mark.nightly
def test_what_torch_does_as_well_is_no_excuse_against_the_reference() -> None:
    contract = replace(infer_contract(nn.GRU), reference=VariantOfGRU)
    for target in (PlainGRU, nn.GRU):
        (result,) = rnn_props.check(target, contract=contract, checks=("RPA02",), **QUICK).targets
        (found,) = result.results
        assert (found.status, found.inherited_from_torch) == ("failed", False)
    (result,) = rnn_props.check(VariantOfGRU, contract=contract, checks=("RPA02",), **QUICK).targets
    assert result.results[0].status == "passed"


def test_names_that_neither_side_has_in_a_configuration_are_left_alone() -> None:
    contract = zoo.CompactGRUCell
    case = Case(hyperparameters={"input_size": 3, "hidden_size": 5, "bias": False}, batch=2)
    get("RPA02").run(Trial(case, contract, Factory(CompactGRUCell, contract)))


def test_a_function_gets_what_the_convention_gives() -> None:
    seen: list[tuple[Any, ...]] = []

    def spy(*arguments: Any, **keywords: Any) -> tuple[Tensor, Tensor]:
        seen.append((*arguments, keywords))
        return gru_by_formula(*arguments)

    contract = replace(zoo.FusedGRULayer, reference=spy)
    for state in (None, Source("normal", 1)):
        case = Case(hyperparameters={"input_size": 3, "hidden_size": 5}, seq_len=4, batch=2, state=state)
        trial = Trial(case, contract, Factory(FusedGRULayer, contract))
        get("RPA02").run(trial)
        module, given, initial, keywords = seen[0]
        assert module is trial.subject.module
        assert torch.equal(given, trial.input)
        assert initial is None if state is None else torch.equal(initial, trial.state)
        assert keywords == {}
        seen.clear()


def test_parameters_of_the_module_are_as_before_a_comparison() -> None:
    checks: list[tuple[str, Callable[..., nn.Module], Contract]] = [
        ("RPA01", PlainLSTM, infer_contract(PlainLSTM)),
        ("RPA02", MinGRUScan, zoo.MinGRUScan),
    ]
    for code, build, contract in checks:
        hyperparameters = {name: domain.values[0] for name, domain in contract.hyperparameters.items()}
        trial = Trial(Case(hyperparameters=hyperparameters, batch=2), contract, Factory(build, contract))
        before = {name: value.clone() for name, value in trial.subject.module.state_dict().items()}
        get(code).run(trial)
        after = trial.subject.module.state_dict()
        assert all(torch.equal(value, after[name]) for name, value in before.items())
        assert not trial.subject.module.training


def test_sizes_of_a_reference_may_be_of_any_domain() -> None:
    contract = replace(zoo.MinGRUScan, hyperparameters={"input_size": integers(2, 2), "hidden_size": integers(9, 9)})
    assert _run("RPA02", MinGRUScan, contract).startswith("compared")
