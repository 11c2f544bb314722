"""Inference of modules that are nothing like torch.nn's: layout, state and split are found by calling them."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.inference import strangers
from torch import Tensor, nn

import rnn_props
from rnn_props import Adapter
from rnn_props.contracts import Complex, Contract, Layers, Record, from_toml, to_python, to_toml
from rnn_props.inference import infer_contract
from rnn_props.subjects import Factory, leaves, state_leaves, token_ids
from rnn_props.targets import TargetError, load, parse
from rnn_props.zoo.stepping import ConvolvedRecurrence

HOME = "tests.inference.strangers"
#: Convention, input, output, state.
EXPECTED: dict[str, tuple[str, str, str | None, Any]] = {
    "SplattedCell": ("cell", "B I", "B H", ("B H", "B H")),
    "NamedTupleGRU": ("rnn", "T B I", "T B H", Record(f"{HOME}:NamedState", {"voltage": "B H", "current": "B H"})),
    "DataclassState": ("rnn", "B T I", "B T H", Record(f"{HOME}:Memory", {"hidden": "B 1 H", "steps": "B 1"})),
    "DictStateGRU": ("rnn", "B T I", "B T H", {"h": "1 B H"}),
    "ListOfPairs": ("rnn", "B T I", "B T H", Layers(("B H", "B H"))),
    "KeepsInputs": ("rnn", "T B I", "T B H", Layers("B H", kind="tuple", first="B I")),
    "FlatState": ("rnn", "T B I", "T B H", "B 2*L*H"),
    "ComplexState": ("rnn", "B T I", "B T I", Complex("B H")),
    "BehindAFlag": ("rnn", "B T I", "B T H", "1 B H"),
    "FeaturesFirst": ("model", "B I T", "B O T", None),
    "Heads": ("model", "B T I", "B T I", None),
    "PartsOfTheLongest": ("lengths", "B T I", "B T H", None),
    "OwnInitialState": ("cell", "B I", "B H", ["B H"]),
    "LogSpace": ("rnn", "B T I", "B T I", "B I"),
    "CharacterModel": ("rnn", "B T", "B T V", ("L B H", "L B H")),
    "TextClassifier": ("lengths", "B T", "B O", None),
    "AnswersWithAnObject": ("rnn", "B T I", "B T H", "1 B H"),
    "AnswersWithADict": ("model", "B T I", "B T H", None),
    "WideAsItsState": ("rnn", "B T I", "B T 2", "1 B I"),
    "SizesInside": ("model", "B T 5", "B T 7", None),
}


def _of(name: str) -> Contract:
    return infer_contract(getattr(strangers, name))


@pytest.mark.parametrize("name", EXPECTED)
def test_layout_and_state_are_found_by_calling_it(name: str) -> None:
    contract = _of(name)
    assert (contract.convention, contract.input, contract.output, contract.state) == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_what_was_found_holds_for_other_sizes_and_survives_json_and_toml(name: str) -> None:
    contract = _of(name)
    assert Contract.from_json(contract.to_json()) == contract
    kept = from_toml(tomllib.loads(to_toml(contract, "a:b"))["tool"]["rnn_props"]["targets"]["a:b"]["contract"])
    assert {**kept.to_json(), "evidence": []} == {**contract.to_json(), "evidence": []}
    values = {key: domain.values[-1] for key, domain in contract.hyperparameters.items()}
    subject = Factory(getattr(strangers, name), contract).subject(values, 0, dtype="float32")
    rules, sizes = subject.rules(), contract.sizes(values, 4, 2)
    from rnn_props.contracts import map_structure

    state = map_structure(lambda rule: torch.rand(rule.shape(sizes)), rules.state)
    for given in (None, state) if contract.capabilities.optional_state else (state,):
        result = subject.call(torch.rand(rules.input.shape(sizes)), given)
        if rules.output is not None:
            assert tuple(result.output.shape) == rules.output.shape(sizes)
        if state is not None:
            shapes = [tuple(leaf.shape) for _, leaf in leaves(result.state)]
            assert shapes == [tuple(leaf.shape) for _, leaf in leaves(state)]


@pytest.mark.parametrize("name", ["SplattedCell", "NamedTupleGRU", "ListOfPairs", "KeepsInputs", "FeaturesFirst"])
def test_the_python_that_is_printed_makes_the_same_contract(name: str) -> None:
    contract = _of(name)
    scope: dict[str, Any] = {}
    exec(to_python(contract, f"{HOME}:{name}"), scope)
    written = scope["contract"]
    assert written.build is getattr(strangers, name)
    assert {**written.to_json(), "evidence": []} == {**contract.to_json(), "evidence": []}


def test_a_state_in_several_arguments_goes_in_by_their_names() -> None:
    contract = _of("SplattedCell")
    assert contract.arguments == {"state": "h_prev c_prev"}
    assert contract.result == "output, *state"
    assert not contract.capabilities.optional_state


def test_a_flag_that_makes_the_state_come_out_is_switched_on_and_said() -> None:
    contract = _of("BehindAFlag")
    assert contract.keywords == {"return_state": True}
    assert "passed to forward in every call: return_state=True" in contract.evidence


def test_widths_that_do_not_build_are_left_out_with_the_reason() -> None:
    contract = _of("Heads")
    assert contract.hyperparameters["d_model"].values == (4, 8, 12, 16, 24, 32)
    assert any("is left out: the constructor says 'd_model must be divisible by num_heads'" in item
               for item in contract.evidence)  # fmt: skip


def test_relative_lengths_are_told_from_numbers_of_steps() -> None:
    contract = _of("PartsOfTheLongest")
    assert contract.capabilities.relative_lengths
    subject = Factory(strangers.PartsOfTheLongest, contract).subject({"input_size": 2, "units": 3}, 0, dtype="float32")
    output = subject.call(torch.ones(2, 4, 2), lengths=[4, 1]).output
    assert [bool((row == 0).all()) for row in output[1]] == [False, True, True, True]


def test_a_state_in_log_space_is_drawn_without_negative_numbers() -> None:
    assert _of("LogSpace").capabilities.positive_state


def test_a_complex_state_keeps_its_imaginary_part_in_every_dtype() -> None:
    contract = _of("ComplexState")
    subject = Factory(strangers.ComplexState, contract).subject({"d_model": 2, "d_state": 3}, 0, dtype="float64")
    ((_, state),) = state_leaves(subject.call(torch.ones(2, 4, 2, dtype=torch.float64)).state)
    assert (state.dtype, tuple(state.shape)) == (torch.float64, (2, 3, 2))
    assert bool((state[..., 1] != 0).any())


class ScaledTwice(nn.Module):
    """Its parameters are complex: `module.to(torch.float64)` would keep their real part alone."""

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.turn = nn.Parameter(torch.polar(torch.ones(input_size), torch.rand(input_size)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.turn).imag.cumsum(1)


def test_complex_parameters_stay_complex() -> None:
    contract = infer_contract(ScaledTwice)
    subject = Factory(ScaledTwice, contract).subject({"input_size": 3}, 0, dtype="float64")
    assert subject.module.turn.dtype == torch.complex128
    assert (contract.input, contract.output) == ("B T I", "B T I")


def test_a_forward_that_fits_no_convention_is_an_error_that_shows_the_adapter() -> None:
    with pytest.raises(TargetError, match=r"its forward needs 'mask'.*write an adapter.*infer --adapter FILE"):
        _of("EquationsOfItsOwn")


@pytest.mark.parametrize("adapter", [strangers.MaskAdapter, strangers.MaskAdapter(), f"{HOME}:MaskAdapter"])
def test_an_adapter_says_how_to_call_and_split_and_the_rest_is_inferred(adapter: Any) -> None:
    contract = infer_contract(strangers.EquationsOfItsOwn, {}, adapter)
    assert (contract.input, contract.output, contract.state) == ("B T I", "B T H", "1 B H")
    again = Contract.from_json(contract.to_json())
    assert again.convention == f"{HOME}:MaskAdapter"
    subject = Factory(strangers.EquationsOfItsOwn, again).subject({"input_size": 2, "units": 3}, 0, dtype="float32")
    result = subject.call(torch.ones(2, 4, 2), torch.zeros(1, 2, 3))
    assert tuple(result.output.shape) == (2, 4, 3)


class BuildsItself(Adapter):
    def build(self, target: Any, **hyperparameters: Any) -> nn.Module:
        return nn.GRU(hyperparameters["input_size"], 4)


def test_an_adapter_builds_what_a_signature_does_not_show() -> None:
    contract = infer_contract(_opaque, {}, BuildsItself)
    assert (contract.input, contract.output, contract.state) == ("T B I", "T B 4", "1 B 4")


def _opaque(input_size: int, registry: Any = None) -> None:
    raise RuntimeError("never called")


def test_what_is_no_adapter_is_refused_with_the_methods_that_one_has() -> None:
    with pytest.raises(TargetError, match="none of the methods build, call, initial_state, split_state"):
        infer_contract(strangers.EquationsOfItsOwn, {}, nn.ReLU())
    assert load(parse(f"{HOME}:MaskAdapter")) is strangers.MaskAdapter


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, strangers.PassesAllOn, lambda module: torch.compile(module, backend="eager")],
    ids=["DataParallel", "PassesAllOn", "compiled"],
)
def test_a_wrapper_is_held_to_what_the_module_inside_promises(wrap: Callable[[nn.Module], nn.Module]) -> None:
    contract = infer_contract(wrap(nn.LSTM(3, 5)))
    assert contract.torch_module == "LSTM"
    assert any("passes everything on" in line for line in contract.evidence)


class ParallelLSTM(nn.DataParallel):
    """A class whose forward names no argument."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(nn.LSTM(input_size, hidden_size))


def test_a_class_that_passes_everything_on_is_held_to_what_is_inside() -> None:
    contract = infer_contract(ParallelLSTM)
    assert (contract.convention, contract.state) == ("rnn", ("L*D B P", "L*D B H"))


def _streaming_block(d_model: int) -> nn.Module:
    return ConvolvedRecurrence(d_model)


def test_the_step_of_what_a_factory_builds_is_found() -> None:
    assert infer_contract(_streaming_block).step == infer_contract(ConvolvedRecurrence).step != {}


def test_a_scripted_module_is_inferred_from_its_schema() -> None:
    with pytest.warns(DeprecationWarning, match="torch.jit.script"):
        contract = infer_contract(torch.jit.script(strangers.ForScript()))
    assert (contract.convention, contract.input, contract.state) == ("rnn", "T B 3", "1 B 5")
    assert not contract.capabilities.compile


def test_token_ids_are_made_of_real_numbers_and_differ_where_those_are_one_apart() -> None:
    values = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for count in (4, 5, 8, 17, 1000):
        ids = token_ids(values, count)
        assert ids.dtype == torch.int64
        assert 1 <= int(ids.min()) <= int(ids.max()) < count
        assert bool((ids != token_ids(values + 1, count)).all())
        assert torch.equal(token_ids(values * (1 + 1e-14), count), ids)


@pytest.mark.slow
def test_a_model_of_token_ids_is_checked_like_any_other() -> None:
    (right,) = rnn_props.check(strangers.CharacterModel, profile="quick", seed=0, skip=("RP4*", "RP8*", "RP9*")).targets
    assert not [result for result in right.results if result.status in ("failed", "error", "skipped")]
    (wrong,) = rnn_props.check(strangers.MixesSentences, profile="quick", seed=0, checks=("RP3*",)).targets
    assert {result.code for result in wrong.results if result.status == "failed"} & {"RP301", "RP302"}


class PerStep(nn.Module):
    """Nothing passes between steps or rows.

    Shape: input (seq_len, batch, n_in) to (seq_len, batch, n_in).
    """

    def __init__(self, n_in: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_in, n_in)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.linear(x)
        return output


class Annotated(PerStep):
    """Takes (time, batch, features), if this sentence is right."""

    def forward(self, x: Float[Tensor, "batch time features"]) -> Tensor:  # noqa: F722, F821
        return super().forward(x)


class SaysOtherwise(PerStep):
    """Takes (time, batch, features), it says."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).cumsum(1)


def test_where_calls_tell_nothing_the_authors_word_is_taken() -> None:
    contract = infer_contract(PerStep)
    assert contract.input == "T B I"
    assert any("(seq_len, batch, n_in) in the class's docstring" in line for line in contract.evidence)
    assert infer_contract(Annotated).input == "B T I"


def test_a_docstring_that_calls_contradict_is_told() -> None:
    contract = infer_contract(SaysOtherwise)
    assert contract.input == "B T I"
    assert any(line.startswith("open: (time, batch, features)") for line in contract.evidence)
