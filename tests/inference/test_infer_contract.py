"""Inference: the contract that each kind of target gets, and what is said where it gets none."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnn_props.checks import get
from rnn_props.contracts import Capabilities, Contract, Domain, integers
from rnn_props.inference import ProbeError, infer_contract
from rnn_props.subjects import Factory
from rnn_props.targets import TargetError
from rnn_props.zoo import BUGS, CORRECT

TORCH = ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell")
PAIR = ("L*D B P", "L*D B H")
#: Convention, input, output, state.
EXPECTED: dict[str, tuple[str, str, str | None, Any]] = {
    "RNN": ("rnn", "T B I", "T B D*P", "L*D B H"),
    "GRU": ("rnn", "T B I", "T B D*P", "L*D B H"),
    "LSTM": ("rnn", "T B I", "T B D*P", PAIR),
    "RNNCell": ("cell", "B I", None, "B H"),
    "GRUCell": ("cell", "B I", None, "B H"),
    "LSTMCell": ("cell", "B I", None, ("B H", "B H")),
}
#: Modules with lengths or a kept state: tests/inference/test_infer_conventions.py is about them.
OTHER_CONVENTIONS = {
    "PaddedGRU",
    "SentenceEncoder",
    "LengthsTagger",
    "StreamingTagger",
    "StreamingSummary",
    "MinGRULoop",
    "DecayingGRU",
    "EpisodeLSTM",
    "MaskedClassifier",
    "ConvolvedRecurrence",
}
MODELS: dict[str, tuple[str, str]] = {
    "LSTMModel": ("B T I", "B O"),
    "MultiLayerLSTM": ("B T I", "B O"),
    "LSTMCellModel": ("B T I", "B O"),
    "RNNTagger": ("B T I", "B T O"),
    "TimeFirstGRU": ("T B I", "T B O"),
    "TimeFirstLast": ("T B I", "B O"),
    "SequenceClassifier": ("B T I", "B O"),
    "BidirectionalEncoder": ("B T I", "B 2*H"),
    "RunningMeanForecaster": ("B T I", "B T O"),
}


def _agreed(contract: Contract) -> tuple[str, str, str | None, Any]:
    return contract.convention, contract.input, contract.output, contract.state


def _error(target: Any, **arguments: Any) -> str:
    with pytest.raises(TargetError) as caught:
        infer_contract(target, arguments)
    return str(caught.value)


# -- torch and the zoo ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TORCH)
def test_torchs_own_modules_are_held_to_their_documentation(name: str) -> None:
    contract = infer_contract(getattr(nn, name))
    assert _agreed(contract) == EXPECTED[name]
    assert contract.torch_module == name
    assert contract.evidence == (f"it is torch.nn.{name}",)
    able = contract.capabilities
    assert (able.torch_contract, able.torch_weights, able.unbatched, able.empty_batch, able.factory) == (True,) * 5
    assert ("nonlinearity" in contract.hyperparameters) == name.startswith("RNN")
    assert ("proj_size" in contract.hyperparameters) == (name == "LSTM")


@pytest.mark.parametrize("name", TORCH)
def test_a_module_with_torchs_signature_gets_torchs_contract_to_the_letter(name: str) -> None:
    plain, own = infer_contract(CORRECT[f"Plain{name}"].module), infer_contract(getattr(nn, name))
    assert _agreed(plain) == _agreed(own)
    for field in ("torch_module", "hyperparameters", "roles", "constraints", "capabilities", "logic_dtype"):
        assert getattr(plain, field) == getattr(own, field), field
    assert plain.evidence[0] == (
        f"constructor and forward have the signature of torch.nn.{name}: held to its whole contract"
    )


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_hides_its_state_gets_its_layout(name: str) -> None:
    contract = infer_contract(CORRECT[name].module)
    assert _agreed(contract) == ("model", *MODELS[name], None)
    assert contract.torch_module is None
    assert contract.capabilities.causal
    assert contract.capabilities.empty_batch
    assert not contract.capabilities.unbatched


def test_every_correct_module_of_the_zoo_is_in_one_of_the_tables() -> None:
    inferred = {name for name, specimen in CORRECT.items() if specimen.contract is None}
    assert inferred == set(MODELS) | {f"Plain{name}" for name in TORCH} | OTHER_CONVENTIONS


#: A cell that keeps c to itself returns what a GRU cell returns: nothing in its signature tells the two apart. A tagger
#: that gives its last step alone is a classifier.
_LOOKS_LIKE_ANOTHER = {"CellForgetsCellState", "ReadsLastStepOfBothDirections"}


def _made_from(cls: type) -> type | None:
    return next((base for base in cls.__mro__ if base.__name__ in CORRECT), None)


@pytest.mark.parametrize(
    "name",
    sorted(
        name
        for name, bug in BUGS.items()
        if bug.contract is None and name not in _LOOKS_LIKE_ANOTHER and _made_from(bug.module) is not None
    ),
)
def test_a_bug_is_not_learned_as_the_rule(name: str) -> None:
    """A buggy module of the zoo gets the contract of the correct one that it is made from."""
    cls = BUGS[name].module
    parent = _made_from(cls)
    assert _agreed(infer_contract(cls)) == _agreed(infer_contract(parent))


@pytest.mark.parametrize("name", ["TimeFirstGRU", "RNNTagger"])
def test_what_was_inferred_holds_for_other_sizes(name: str) -> None:
    cls = CORRECT[name].module
    contract = infer_contract(cls)
    values = {"input_size": 2, "hidden_size": 4, "output_size": 6}
    subject = Factory(cls, contract).subject(values, 0, dtype="float64")
    rules, sizes = subject.rules(), contract.sizes(values, 5, 2)
    output = subject.call(torch.zeros(rules.input.shape(sizes)).double()).output
    assert rules.output is not None
    assert tuple(output.shape) == rules.output.shape(sizes)


# -- signatures -------------------------------------------------------------------------------------------------------


class FewArguments(nn.Module):
    """torch's signature, in part."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, batch_first: bool = False) -> None:
        super().__init__()
        self.inner = nn.GRU(input_size, hidden_size, num_layers, batch_first=batch_first)

    def forward(self, x: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        output, state = self.inner(x, hidden)
        return output, state


def test_a_drop_in_with_part_of_torchs_arguments_is_held_to_that_part() -> None:
    contract = infer_contract(FewArguments)
    assert _agreed(contract) == EXPECTED["GRU"]
    assert set(contract.hyperparameters) == {"input_size", "hidden_size", "num_layers", "batch_first"}
    able = contract.capabilities
    assert (able.torch_contract, able.torch_weights, able.bidirectional, able.factory) == (False,) * 4
    assert (able.batch_first, able.unbatched, able.empty_batch, able.optional_state) == (True,) * 4
    assert contract.evidence == (
        "constructor and forward have the signature of torch.nn.GRU: held to the part of its contract that the "
        "signature has",
        "a call gave output and tensor",
        "packed sequences are taken",
    )


class NormalisesItsOutput(nn.Module):
    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, bidirectional: bool = False) -> None:
        super().__init__()
        self.inner = nn.GRU(input_size, hidden_size, num_layers, bidirectional=bidirectional)
        self.normalise = nn.LayerNorm(hidden_size * (2 if bidirectional else 1))

    def forward(self, x: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        output, state = self.inner(x, hx)
        return self.normalise(output), state


def test_a_drop_in_whose_output_is_made_of_its_state_is_not_held_to_halves_of_directions() -> None:
    contract = infer_contract(NormalisesItsOutput)
    assert contract.torch_module == "GRU"
    assert not contract.capabilities.output_is_state
    assert "the output's last step is not the state's first part" in contract.evidence
    assert all(get(code).not_applicable(contract) for code in ("RP204", "RP305"))


class NeedsItsState(nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.inner = nn.LSTM(input_size, hidden_size)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if x.dim() != 3:
            raise ValueError("the input is (T, B, I)")
        output, final = self.inner(x, state)
        return output, final


class _BatchedCell(nn.Module):
    """A cell as most are written: its zero state has a row for each of the input, and nothing is said of one alone."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.read = nn.Linear(input_size, hidden_size)
        self.carry = nn.Linear(hidden_size, hidden_size)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        if hx is None:
            hx = input.new_zeros(input.size(0), self.carry.in_features)
        return torch.tanh(self.read(input) + self.carry(hx))


class _SingleRowCell(_BatchedCell):
    """Takes one row, too, and leaves the batch dimension that it put in front."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return super().forward(input.reshape(-1, input.size(-1)), hx)


@pytest.mark.parametrize(("target", "unbatched"), [(_BatchedCell, False), (_SingleRowCell, True)])
def test_an_unbatched_input_that_is_taken_for_a_batch_is_no_promise(target: type[nn.Module], unbatched: bool) -> None:
    contract = infer_contract(target)
    assert contract.torch_module is not None
    assert contract.capabilities.unbatched == unbatched


def test_a_state_that_must_be_given_is_found_out() -> None:
    contract = infer_contract(NeedsItsState)
    assert _agreed(contract) == EXPECTED["LSTM"]
    assert not contract.capabilities.optional_state
    assert not contract.capabilities.torch_contract


class OnlyFloat32(nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.inner = nn.GRU(input_size, hidden_size, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.inner(x, torch.zeros(1, x.shape[0], self.inner.hidden_size))[0]
        return output


def test_a_module_that_runs_in_float32_alone_is_checked_in_float32() -> None:
    contract = infer_contract(OnlyFloat32)
    assert _agreed(contract) == ("model", "B T I", "B T H", None)
    assert contract.logic_dtype == "float32"
    assert "bfloat16" not in contract.capabilities.dtypes
    assert contract.evidence[-1] == "the simplest call does not run in float64: logic is checked in float32"


class OtherNames(nn.Module):
    def __init__(self, n_in: int, units: int, num_classes: int, depth: int = 1, bidir: bool = False) -> None:
        super().__init__()
        self.inner = nn.GRU(n_in, units, depth, bidirectional=bidir)
        self.head = nn.Linear(units * (2 if bidir else 1), num_classes)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.inner(x)[0])
        return scores


def test_arguments_are_known_by_the_names_that_people_give_them() -> None:
    contract = infer_contract(OtherNames)
    assert _agreed(contract) == ("model", "T B I", "T B O", None)
    assert contract.roles == {
        "input_size": "n_in", "hidden_size": "units", "output_size": "num_classes", "num_layers": "depth",
        "bidirectional": "bidir",
    }  # fmt: skip
    assert contract.hyperparameters["units"] == integers(1, 7)
    assert contract.hyperparameters["depth"] == integers(1, 3)


class HiddenDirections(nn.Module):
    """Two directions inside, whatever the arguments are."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.inner = nn.LSTM(input_size, hidden_size, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.inner(x)[0]
        return output


def test_a_model_with_hidden_directions_is_not_held_to_causality() -> None:
    contract = infer_contract(HiddenDirections)
    assert _agreed(contract) == ("model", "B T I", "B T 2*H", None)
    assert not contract.capabilities.causal
    assert contract.evidence[-1] == "outputs depend on later inputs too"


class DirectionsByArgument(nn.Module):
    def __init__(self, input_size: int, hidden_size: int, bidirectional: bool = False) -> None:
        super().__init__()
        self.inner = nn.GRU(input_size, hidden_size, batch_first=True, bidirectional=bidirectional)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.inner(x)[0]
        return output


def test_a_second_direction_that_doubles_the_width_is_part_of_the_rule() -> None:
    contract = infer_contract(DirectionsByArgument)
    assert contract.output == "B T D*H"
    assert contract.capabilities.causal


class FixedWidths(nn.Module):
    """No sizes in the constructor."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.GRU(3, 8)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.inner(x)[0]
        return output


def test_sizes_that_are_no_arguments_stand_as_numbers() -> None:
    assert _agreed(infer_contract(FixedWidths)) == ("model", "T B 3", "T B 8", None)


def _make_tagger(input_size: int, hidden_size: int, output_size: int) -> nn.Module:
    return CORRECT["RNNTagger"].module(input_size, hidden_size, output_size)


def test_a_function_that_returns_a_module_is_a_target() -> None:
    contract = infer_contract(_make_tagger)
    assert _agreed(contract) == ("model", "B T I", "B T O", None)
    assert set(contract.hyperparameters) == {"input_size", "hidden_size", "output_size"}


def test_a_contract_stands_for_itself() -> None:
    contract = Contract(build=nn.GRU, hyperparameters={"hidden_size": integers(1, 3)})
    assert infer_contract(contract) is contract


# -- instances --------------------------------------------------------------------------------------------------------


def test_an_instance_is_taken_as_it_is() -> None:
    module = nn.LSTM(3, 5, num_layers=2, batch_first=True, bidirectional=True, proj_size=2)
    contract = infer_contract(module)
    assert _agreed(contract) == EXPECTED["LSTM"]
    values = {name: domain.values for name, domain in contract.hyperparameters.items()}
    assert values["hidden_size"] == (5,)
    assert values["num_layers"] == (2,)
    assert values["proj_size"] == (2,)
    assert {domain.kind for domain in contract.hyperparameters.values()} == {"free"}
    assert contract.capabilities.torch_contract
    assert not contract.capabilities.factory
    given = {name: value[0] for name, value in values.items()}
    sizes, rules = contract.sizes(given, 6, 4), contract.rules(given)
    output, (h, c) = module(torch.zeros(rules.input.shape(sizes)))
    assert rules.output is not None
    assert tuple(output.shape) == rules.output.shape(sizes) == (4, 6, 4)
    assert [tuple(leaf.shape) for leaf in (h, c)] == [rule.shape(sizes) for rule in rules.state]


def test_the_sizes_of_a_model_are_read_off_it() -> None:
    contract = infer_contract(CORRECT["LSTMModel"].module(4, 6, 3))
    assert _agreed(contract) == ("model", "B T I", "B O", None)
    assert {name: domain.values for name, domain in contract.hyperparameters.items()} == {
        "input_size": (4,), "hidden_size": (6,), "output_size": (3,),
    }  # fmt: skip
    assert contract.evidence[0] == "it is a module: its sizes are read off it, not varied"


# -- arguments of the user's ------------------------------------------------------------------------------------------


class NeedsMore(nn.Module):
    def __init__(self, input_size: int, hidden_size: int, vocabulary: int) -> None:
        super().__init__()
        self.inner = nn.GRU(input_size, hidden_size, batch_first=True)
        self.head = nn.Linear(hidden_size, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.inner(x)[0])
        return scores


def test_an_argument_that_must_be_given_and_is_not_known_is_named_with_the_option() -> None:
    assert _error(NeedsMore) == (
        "its constructor needs 'vocabulary', and the name does not say what it is; "
        "give a value with --arg vocabulary=VALUE"
    )
    contract = infer_contract(NeedsMore, {"vocabulary": 11})
    assert _agreed(contract) == ("model", "B T I", "B T 11", None)
    assert contract.fixed == {"vocabulary": 11}


def test_an_argument_of_the_users_is_held_and_the_others_vary() -> None:
    contract = infer_contract(nn.LSTM, {"num_layers": 2})
    assert contract.hyperparameters["num_layers"] == Domain("size", (2,))
    assert contract.hyperparameters["hidden_size"] == integers(1, 7)
    assert "held at your values: num_layers=2" in contract.evidence
    few = infer_contract(OtherNames, {"units": 4})
    assert few.hyperparameters["units"].values == (4,)
    assert few.roles["hidden_size"] == "units"


def test_an_argument_that_the_constructor_lacks_is_named_with_those_that_it_has() -> None:
    assert _error(NeedsMore, hiden_size=3) == (
        "its constructor has no argument 'hiden_size' (given with --arg or in the configuration); it has: hidden_size, "
        "input_size, vocabulary"
    )
    assert _error(nn.LSTM(3, 5), hidden_size=3) == (
        "its constructor has no argument 'hidden_size' (given with --arg or in the configuration); it has: none"
    )


class OpenEnded(nn.Module):
    def __init__(self, input_size: int, **options: Any) -> None:
        super().__init__()
        self.inner = nn.GRU(input_size, options["width"])

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.inner(x)[0]
        return output


def test_a_constructor_that_takes_any_keyword_takes_the_users() -> None:
    contract = infer_contract(OpenEnded, {"width": 9})
    assert _agreed(contract) == ("model", "T B I", "T B 9", None)


# -- what can't be inferred -------------------------------------------------------------------------------------------


class NoModule:
    pass


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            NoModule,
            "it is the class NoModule, which is no torch.nn.Module; a target is a module class, a factory that returns "
            "a module, or a module",
        ),
        (
            3,
            "it is an object of type int; a target is a torch.nn.Module class, a factory that returns a module, or a "
            "module",
        ),
    ],
)
def test_what_is_no_module_is_named(target: Any, message: str) -> None:
    assert _error(target) == message


class NeedsAGraph(nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        return x


def test_a_forward_that_needs_more_than_the_input_is_named() -> None:
    assert _error(NeedsAGraph) == (
        "its forward needs 'graph' beside the input, and the name does not say what it is; write an adapter that "
        "passes it ('rnn-props infer --adapter FILE' makes a stub), or give a Contract with keywords={'graph': VALUE}"
    )


class ConstructorRaises(nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        raise FileNotFoundError("no weights here")

    def forward(self, x: Tensor) -> Tensor:
        return x


class ForwardRaises(nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return self.missing(x)  # type: ignore[no-any-return, operator]


def test_a_constructor_that_raises_is_named_with_its_line() -> None:
    with pytest.raises(ProbeError) as caught:
        infer_contract(ConstructorRaises)
    first, second = str(caught.value).splitlines()
    assert first == (
        "its simplest configuration does not work: building it with input_size=3, hidden_size=5 raised "
        "FileNotFoundError: no weights here (if it needs more than sizes, write a function that makes it, and name "
        "that as the target)"
    )
    assert second.startswith(f"  at {__file__}:")
    assert second.endswith('in __init__: raise FileNotFoundError("no weights here")')


def test_a_forward_that_raises_is_named_with_its_line() -> None:
    with pytest.raises(ProbeError) as caught:
        infer_contract(ForwardRaises)
    first, second = str(caught.value).splitlines()
    assert first == (
        "its simplest configuration does not work: calling it in float32 raised AttributeError: 'ForwardRaises' object "
        "has no attribute 'missing' (if it is called in another way, write an adapter: 'rnn-props infer --adapter "
        "FILE' makes a stub)"
    )
    assert "in forward: return self.missing(x)" in second


def _gives_no_module(input_size: int) -> list[int]:
    return [input_size]


def test_a_factory_that_gives_no_module_is_named() -> None:
    assert _error(_gives_no_module) == (
        "its simplest configuration does not work: calling the target with input_size=3 gave a list of 1, which is no "
        "torch.nn.Module"
    )


class GivesAWord(nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> str:
        return "done"


def test_a_result_that_is_no_tensor_is_named() -> None:
    assert re.fullmatch(
        r"a call with an input of shape \(\d+, \d+, 3\) gave a str; expected a tensor, or a tuple that begins with .*",
        _error(GivesAWord),
    )


class MixesEverything(nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean()


def test_an_axis_that_cannot_be_told_is_an_error_with_the_remedy() -> None:
    assert re.fullmatch(
        r"which axis of the input is the batch cannot be told: a change in any row shows in others "
        r"\(output \(\d+, \d+, 3\)\); give a Contract with input='B T I' or input='T B I'",
        _error(MixesEverything),
    )


class IgnoresBatchFirst(nn.Module):
    def __init__(self, input_size: int, hidden_size: int, batch_first: bool = False) -> None:
        super().__init__()
        self.inner = nn.GRU(input_size, hidden_size, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.inner(x)[0]
        return output


def test_a_batch_first_that_changes_nothing_is_said_and_no_role() -> None:
    contract = infer_contract(IgnoresBatchFirst)
    assert contract.input == "B T I"
    assert "batch_first" not in contract.roles
    assert str(contract.rules({"batch_first": True}).input) == "B T I"
    assert any("batch_first changes nothing" in sentence for sentence in contract.evidence)


def test_inference_leaves_the_generator_and_the_target_alone() -> None:
    before = torch.get_rng_state()
    infer_contract(CORRECT["RNNTagger"].module)
    assert torch.equal(torch.get_rng_state(), before)


def test_inference_gives_the_same_contract_every_time() -> None:
    for name in ("PlainLSTM", "TimeFirstLast", "RunningMeanForecaster"):
        torch.rand(1)
        assert infer_contract(CORRECT[name].module) == infer_contract(CORRECT[name].module)


def test_capabilities_are_those_of_the_contract_and_not_of_the_class() -> None:
    assert infer_contract(nn.LSTM).capabilities != Capabilities()
