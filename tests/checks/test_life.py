"""The life-cycle checks and RP406: they fire on what is wrong, and are silent on what only looks so."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from rnn_props import zoo
from rnn_props.checks import Advice, Discarded, Trial, Violation, get
from rnn_props.checks.life_threads import _Lines
from rnn_props.checks.life_weights import _addresses, _part, _shared
from rnn_props.contracts import Capabilities, Contract, integers
from rnn_props.execution.plans import Plans
from rnn_props.execution.profiles import PROFILES
from rnn_props.inference import infer_contract
from rnn_props.subjects import Factory, TargetRaisedError

CODES = ("RP406", "RP901", "RP902", "RP903", "RP904", "RP905", "RP906", "RP909", "RP910", "RP911")
SIX = ("RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell")
Found = Violation | TargetRaisedError


@lru_cache
def _contract(target: Any) -> Contract:
    return infer_contract(target)


def _trials(target: Any, code: str, *, profile: str = "quick", contract: Contract | None = None) -> Iterator[Trial]:
    contract = contract or _contract(target)
    factory = Factory(target, contract)
    for case in Plans(contract, PROFILES[profile], 0, None).cases(get(code)):
        yield Trial(case, contract, factory)


def _first(target: Any, code: str, **options: Any) -> Found | None:
    """What a check finds on a target, if anything; some case must have been concluded from."""
    concluded = 0
    for trial in _trials(target, code, **options):
        try:
            get(code).run(trial)
        except Discarded:
            continue
        except (Violation, TargetRaisedError) as found:
            return found
        concluded += 1
    assert concluded
    return None


class _Model(nn.Module):
    """A correct small model, (B, T, I) -> (B, O)."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__()
        self.rnn = nn.GRU(input_size, hidden_size, batch_first=True)
        self.head = nn.Linear(hidden_size, output_size)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.rnn(x)[0][:, -1])
        return result


# -- on right and on wrong modules ----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("name", SIX)
def test_torchs_own_modules_pass(name: str, code: str) -> None:
    assert _first(getattr(nn, name), code) is None


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("name", ["PlainLSTM", "MultiLayerLSTM", "StreamingTagger", "LengthsTagger"])
def test_correct_modules_pass(name: str, code: str) -> None:
    target = zoo.CORRECT[name].target
    if get(code).not_applicable(_contract(target)) is None:
        assert _first(target, code) is None


@pytest.mark.parametrize("code", CODES)
def test_instances_and_factories_pass(code: str) -> None:
    torch.manual_seed(0)
    assert _first(nn.LSTM(3, 5, 2), code) is None
    assert _first(_Model(3, 5, 2), code, contract=_instance_contract()) is None

    def make(input_size: int, hidden_size: int) -> nn.Module:
        return nn.GRU(input_size, hidden_size)

    assert _first(make, code) is None


def _instance_contract() -> Contract:
    return Contract(convention="model", input="B T 3", output="B 2")


BUGS = [specimen for specimen in zoo.BUGS.values() if specimen.code in CODES]


@pytest.mark.parametrize("specimen", BUGS, ids=lambda specimen: f"{specimen.code}-{specimen.name}")
def test_each_bug_is_found(specimen: zoo.Specimen) -> None:
    assert specimen.code is not None
    found = _first(specimen.target, specimen.code, profile="default")
    assert found is not None
    assert not isinstance(found, Advice)


@pytest.mark.parametrize("code", CODES)
def test_each_check_has_two_bugs_at_least(code: str) -> None:
    assert len([specimen for specimen in BUGS if specimen.code == code]) >= 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ProjectionNotSaved", r"^a fresh instance with the saved state_dict: output\[.*\]: expected .*, got "),
        ("RegistersTableInForward", r"^loading its state_dict into a fresh instance raised RuntimeError: .*"),
        ("CallsThroughClosure", r"^a deep copy with weights of its own: output\["),
        ("CopiesShareBuffer", r"^a deep copy shares the memory of scale with the original$"),
        ("KeepsLastOutput", r"^deep-copying it after a call with gradients raised RuntimeError: Only Tensors created"),
        ("RemembersFirstDtype", r"^after a call in float64 and \.float\(\): a result is torch.float64, expected torch"),
        ("KeepsFirstWeights", r"^after weights were written in place: output\["),
        (
            "CellInPlainList",
            r"^results depend on cells\[0\]\.weight_ih, a tensor of shape .*: it is trained by no optim",
        ),
        ("HidesMatrixInPartial", r"^results depend on mix\.keywords\['weight'\], .* nor a buffer: it is not saved$"),
        ("LoopsOverOwnState", r"overtak.* in another thread: output\["),
        ("LeavesBiasesEmpty", r"^parameter bias_ih_l0 is not initialised$"),
        ("StartsFromEmptyBuffer", r"^output has numbers from memory .* \(buffer h0 is not initialised\)$"),
        (
            "SharesDirections",
            r"^parameter (\w+)_l0_reverse is \1_l0 under a second name, and both are used$",
        ),
        ("CountsCalls", r"^a call in eval mode changed the buffer calls$"),
        ("ClipsThirdLayer", r"^a call in training mode changed parameter weight_hh_l2\[\d, \d\]: expected .*, got "),
        ("LoadsSlices", r"^a state_dict in which \S+ has the shape \(.*\) in place of \(.*\) was loaded$"),
    ],
)
def test_findings_say_what_was_done_and_where(name: str, message: str) -> None:
    specimen = zoo.BUGS[name]
    assert specimen.code is not None
    found = _first(specimen.target, specimen.code, profile="default")
    assert found is not None
    with pytest.raises((Violation, TargetRaisedError), match=f"(?s){message}"):
        raise found


def test_stale_weights_are_found_in_an_instance_too() -> None:
    torch.manual_seed(0)
    stale = zoo.BUGS["HeadReadsThroughView"].module(3, 5, 2)
    assert isinstance(_first(stale, "RP904", contract=_instance_contract()), Violation)


# -- RP901 -----------------------------------------------------------------------------------------------------------


class _Marked(_Model):
    """Saves an object of a class of its own."""

    def get_extra_state(self) -> Any:
        return np.random.RandomState(0)

    def set_extra_state(self, state: Any) -> None:
        assert isinstance(state, np.random.RandomState)


def test_a_state_dict_that_torch_load_refuses_by_default_is_advice() -> None:
    found = _first(_Marked, "RP901")
    assert isinstance(found, Advice)
    assert found.message.startswith("torch.load refuses its state_dict unless weights_only=False: ")


# -- RP902 -----------------------------------------------------------------------------------------------------------


def test_a_class_without_a_name_is_not_pickled_and_its_copies_are_checked() -> None:
    class Local(_Model):
        pass

    assert _first(Local, "RP902") is None


class _NormalisedHead(_Model):
    """torch's older weight_norm, which keeps the head's weight with its history."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__(input_size, hidden_size, output_size)
        torch.nn.utils.weight_norm(self.head)


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
def test_a_history_that_torchs_own_layer_keeps_is_advice() -> None:
    found = _first(_NormalisedHead, "RP902")
    assert isinstance(found, Advice)
    assert found.message.endswith("(a layer of torch's own keeps a tensor with a history at head.weight)")
    for code in CODES:
        assert code == "RP902" or _first(_NormalisedHead, code) is None


class _LazyHead(_Model):
    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__(input_size, hidden_size, output_size)
        self.head = nn.LazyLinear(output_size)  # type: ignore[assignment]


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
@pytest.mark.parametrize("code", CODES)
def test_modules_whose_weights_are_made_at_the_first_call_pass(code: str) -> None:
    assert _first(_LazyHead, code) is None


class _Parametrised(_Model):
    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__(input_size, hidden_size, output_size)
        parametrizations.weight_norm(self.head)


@pytest.mark.parametrize("code", CODES)
def test_parametrised_modules_pass(code: str) -> None:
    assert _first(_Parametrised, code) is None


# -- RP903 and RP904 -------------------------------------------------------------------------------------------------


class _DoubleTable(_Model):
    """A buffer in float64, which a move to float32 and back rounds."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__(input_size, hidden_size, output_size)
        self.register_buffer("table", torch.from_numpy(np.linspace(0.1, 0.7, output_size)))
        self.table: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.table.to(x.dtype)


@pytest.mark.parametrize("code", CODES)
def test_what_a_move_rounds_is_not_held_against_it(code: str) -> None:
    assert _first(_DoubleTable, code) is None


class _OneDtype(_Model):
    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.float32:
            raise TypeError("float32 only")
        return super().forward(x)


def test_a_module_of_one_dtype_is_not_accused_of_moving_wrongly() -> None:
    contract = _contract(_OneDtype)
    assert contract.logic_dtype == "float32"
    for trial in _trials(_OneDtype, "RP903"):
        with pytest.raises(Discarded, match="there is no second dtype in which it works"):
            get("RP903").run(trial)
    alone = Contract(capabilities=Capabilities(dtypes=("float32",)), logic_dtype="float32")
    assert get("RP903").not_applicable(alone) == "it works in one dtype only"


class _EmptiesItsCache(_Model):
    """Fuses weights for calls without gradients, and notices every way of writing them."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__(input_size, hidden_size, output_size)
        self.cache: tuple[Any, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        weight = self.head.weight
        key = (weight.data_ptr(), weight._version, weight.dtype)
        if self.cache is None or self.cache[0] != key:
            self.cache = (key, weight.detach().t().contiguous())
        table = weight.t() if torch.is_grad_enabled() else self.cache[1]
        return self.rnn(x)[0][:, -1] @ table + self.head.bias


def test_a_cache_that_notices_new_weights_is_right() -> None:
    assert _first(_EmptiesItsCache, "RP904") is None
    assert _first(_EmptiesItsCache, "RP903") is None


# -- RP905 -----------------------------------------------------------------------------------------------------------


class _Weighted(_Model):
    """Weights the outputs with a tensor that is not registered."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__(input_size, hidden_size, output_size)
        self.weights = self.make(output_size)

    def make(self, size: int) -> Tensor:
        return torch.arange(1.0, size + 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.weights.to(x)


class _MovedAlong(_Weighted):
    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self.weights = fn(self.weights)
        return super()._apply(fn, recurse)


class _Number(_Weighted):
    def make(self, size: int) -> Tensor:
        return torch.tensor(0.5)


class _SavedByItself(_Weighted):
    def make(self, size: int) -> Tensor:
        return torch.randn(size)

    def get_extra_state(self) -> Any:
        return {"weights": self.weights}

    def set_extra_state(self, state: Any) -> None:
        self.weights = state["weights"]


class _Unread(_Weighted):
    def make(self, size: int) -> Tensor:
        return torch.randn(size)

    def forward(self, x: Tensor) -> Tensor:
        self.weights = torch.full_like(self.weights, 2.0)
        return super().forward(x)


class _Order(_Weighted):
    """A random order of the outputs, which is lost with the instance."""

    def make(self, size: int) -> Tensor:
        return torch.randperm(size)

    def forward(self, x: Tensor) -> Tensor:
        return _Model.forward(self, x)[:, self.weights]


def test_a_constant_that_stays_behind_is_advice() -> None:
    found = _first(_Weighted, "RP905")
    assert isinstance(found, Advice)
    assert "the constant weights, which is neither a parameter nor a buffer: .to(device) leaves it" in found.message


@pytest.mark.parametrize("target", [_MovedAlong, _Number, _SavedByItself, _Unread])
def test_tensors_that_are_taken_care_of_otherwise_are_no_finding(target: type[_Weighted]) -> None:
    assert _first(target, "RP905") is None


def test_a_random_order_of_integers_that_is_not_saved_is_found() -> None:
    found = _first(_Order, "RP905")
    assert isinstance(found, Violation)
    assert not isinstance(found, Advice)


def test_hidden_tensors_are_put_back_after_they_were_changed() -> None:
    trial = next(iter(_trials(_Weighted, "RP905")))
    weights = trial.subject.module.weights
    before = weights.clone()
    with pytest.raises(Advice):
        get("RP905").run(trial)
    assert torch.equal(weights, before)


# -- RP906 -----------------------------------------------------------------------------------------------------------


class _Scratch(_Model):
    """Keeps its input on itself while it runs."""

    x: Tensor

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        result = super().forward(x)
        return result + self.x.mean((1, 2)).unsqueeze(-1)


_LOCK = threading.Lock()


class _Locked(_Scratch):
    def forward(self, x: Tensor) -> Tensor:
        with _LOCK:
            return super().forward(x)


def test_what_one_call_writes_and_another_one_reads_is_found_unless_a_lock_keeps_them_apart() -> None:
    assert isinstance(_first(_Scratch, "RP906"), Violation)
    assert _first(_Locked, "RP906") is None


def test_the_same_interruption_is_found_each_time() -> None:
    trials = list(_trials(zoo.BUGS["LoopsOverOwnState"].target, "RP906"))

    def caught(trial: Trial) -> str:
        try:
            get("RP906").run(Trial(trial.case, trial.contract, trial.factory))
        except (Violation, TargetRaisedError) as violation:
            return str(violation)
        return ""

    assert [caught(trial) for trial in trials] == [caught(trial) for trial in trials]


def test_lines_of_the_target_are_counted_and_tracing_ends_with_the_call() -> None:
    before, model, x = sys.gettrace(), _Model(3, 5, 2), torch.zeros(2, 4, 3)
    counted = []
    for _ in range(2):
        with _Lines() as lines:
            model(x)
        counted.append(lines.seen)
    assert counted[0] == counted[1] > 1
    assert sys.gettrace() is before
    reached: list[int] = []
    with _Lines(counted[0], lambda: reached.append(1)):
        model(x)
    assert reached == [1]


# -- RP909 -----------------------------------------------------------------------------------------------------------


class _MaskOfNaN(_Model):
    """NaN and empty memory that are meant: a mask's filling, and a buffer that every call fills first."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__(input_size, hidden_size, output_size)
        self.register_buffer("missing", torch.full((output_size,), float("nan")))
        self.register_buffer("scratch", torch.empty(output_size), persistent=False)
        self.scratch: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.scratch.zero_()


class _UnfilledOutput(_Model):
    def forward(self, x: Tensor) -> Tensor:
        output = super().forward(x)
        made = torch.empty_like(output)
        made[:, :1] = output[:, :1]
        return made


def test_memory_that_is_filled_before_it_is_read_is_no_finding() -> None:
    assert _first(_MaskOfNaN, "RP909") is None


def test_results_from_memory_that_forward_never_filled_are_found() -> None:
    found = _first(_UnfilledOutput, "RP909", contract=_model_contract())
    assert isinstance(found, Violation)
    assert found.message == "output has numbers from memory that nobody wrote to"


def _model_contract(**capabilities: Any) -> Contract:
    roles = ("input_size", "hidden_size", "output_size")
    return Contract(
        convention="model", input="B T I", output="B O", roles={name: name for name in roles},
        hyperparameters={name: integers(1, 5) for name in roles}, capabilities=Capabilities(**capabilities),
    )  # fmt: skip


# -- RP910 -----------------------------------------------------------------------------------------------------------


class _SecondName(_Model):
    """One layer under two names, of which forward uses one."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__(input_size, hidden_size, output_size)
        self.layers = nn.ModuleList([self.rnn, self.head])


class _Tied(_Model):
    """A residual layer that is the head once more where sizes allow it."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__(input_size, hidden_size, output_size)
        self.more = nn.Linear(output_size, output_size)
        self.most = nn.Linear(output_size, output_size)
        self.most.weight = self.more.weight

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.most(torch.tanh(self.more(super().forward(x))))
        return result


def test_a_second_name_that_forward_does_not_use_is_no_finding() -> None:
    assert _first(_SecondName, "RP910") is None


def test_tied_weights_are_a_finding_unless_the_contract_says_so() -> None:
    found = _first(_Tied, "RP910")
    assert isinstance(found, Violation)
    assert found.message == "parameter most.weight is more.weight under a second name, and both are used"
    tied = _model_contract(tied_weights=True)
    assert get("RP910").not_applicable(tied) == "some of its weights are tied by contract"
    assert Contract.from_json(tied.to_json()).capabilities.tied_weights


class _LanguageModel(nn.Module):
    """Scores tokens with their own embeddings; `layers` places for one layer or more, as a subclass has it."""

    def __init__(self, vocab_size: int, hidden_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, hidden_size)
        self.layers = nn.ModuleList(nn.GRU(hidden_size, hidden_size, batch_first=True) for _ in range(2))
        self.scores = nn.Linear(hidden_size, vocab_size)
        self.scores.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        y = self.embedding(tokens)
        for layer in self.layers:
            y = layer(y)[0]
        result: Tensor = self.scores(y)
        return result


class _OneLayerTwice(_LanguageModel):
    def __init__(self, vocab_size: int, hidden_size: int) -> None:
        super().__init__(vocab_size, hidden_size)
        self.layers[1] = self.layers[0]


def test_an_embedding_that_scores_tokens_too_is_tied_on_purpose_and_a_layer_used_twice_beside_it_is_not() -> None:
    assert _first(_LanguageModel, "RP910") is None
    found = _first(_OneLayerTwice, "RP910")
    assert isinstance(found, Violation)
    assert "layers.1." in found.message


def test_shared_memory_is_told_from_neighbours_in_one_storage() -> None:
    flat = torch.arange(12.0)
    whole = nn.ParameterList([flat[:6], flat[6:], flat[:6].view(2, 3).t(), torch.ones(2)])
    assert list(_shared(whole)) == [("0", "2")]
    table = flat.view(3, 4)
    assert not _addresses(table[:, :2]) & _addresses(table[:, 2:])
    assert _addresses(table[:, 1:3]) & _addresses(table[:, 2:])


def test_parting_gives_the_second_name_a_copy_of_the_outermost_thing_that_is_shared() -> None:
    layer = nn.Sequential(nn.Linear(2, 2))
    module = nn.ModuleDict({"one": layer, "two": nn.ModuleList([layer])})
    _part(module, "one.0.weight", "two.0.0.weight")
    assert list(_shared(module)) == []
    assert module["one"] is layer
    rnn = nn.GRU(2, 2, bidirectional=True)
    rnn.weight_hh_l0_reverse = rnn.weight_hh_l0
    assert list(_shared(rnn)) == [("weight_hh_l0", "weight_hh_l0_reverse")]
    _part(rnn, "weight_hh_l0", "weight_hh_l0_reverse")
    assert list(_shared(rnn)) == []
    assert torch.equal(rnn.weight_hh_l0, rnn.weight_hh_l0_reverse)


# -- RP911 -----------------------------------------------------------------------------------------------------------


class _Normalised(_Model):
    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__(input_size, hidden_size, output_size)
        self.norm = nn.BatchNorm1d(output_size)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm(super().forward(x))
        return result


class _OwnStatistics(_Model):
    """Remembers the size of its outputs in training, and divides by it in eval mode alone."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__(input_size, hidden_size, output_size)
        self.register_buffer("size", torch.ones(output_size))
        self.size: Tensor

    def forward(self, x: Tensor) -> Tensor:
        output = super().forward(x)
        if self.training:
            with torch.no_grad():
                self.size.lerp_(output.square().mean(0), 0.1)
            return output / (output.square().mean(0) + 1e-3).sqrt()
        return output / (self.size + 1e-3).sqrt()


class _SpectralNorm(_Model):
    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__(input_size, hidden_size, output_size)
        parametrizations.spectral_norm(self.head)


@pytest.mark.parametrize("target", [_Normalised, _OwnStatistics, _SpectralNorm])
def test_statistics_that_training_collects_are_no_finding(target: type[_Model]) -> None:
    assert _first(target, "RP911") is None
    assert _first(target, "RP901") is None


class _NewParameter(_Model):
    def forward(self, x: Tensor) -> Tensor:
        self.head.weight = nn.Parameter(self.head.weight.detach().clone())
        return super().forward(x)


def test_a_parameter_that_forward_exchanges_for_another_object_is_found() -> None:
    found = _first(_NewParameter, "RP911")
    assert isinstance(found, Violation)
    assert found.message == (
        "after a call in eval mode there is another object in the place of the parameter head.weight, which an "
        "optimiser holds on to"
    )


class _StaysFused(_Model):
    """Halves its weights on the way into training mode, and forgets to double them on the way out."""

    def train(self, mode: bool = True) -> Any:
        with torch.no_grad():
            if mode and not self.training:
                self.head.weight.mul_(0.5)
        return super().train(mode)


def test_what_switching_the_mode_does_to_parameters_is_found() -> None:
    assert isinstance(_first(_StaysFused, "RP911"), Violation)


# -- RP406 -----------------------------------------------------------------------------------------------------------


def test_torch_copies_what_fits_before_it_raises_for_what_does_not() -> None:
    """Why RP406 gives every other entry the module's own values: with others, torch.nn would be accused."""
    module = nn.GRU(3, 5)
    values = {name: torch.zeros_like(value) for name, value in module.state_dict().items()}
    values["weight_hh_l0"] = torch.zeros(1, 5)
    with pytest.raises(RuntimeError, match="size mismatch for weight_hh_l0"):
        module.load_state_dict(values)
    assert not module.weight_ih_l0.any()
    assert module.weight_hh_l0.any()


class _HalfWritten(_Model):
    """Writes the rows that fit before it compares sizes."""

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                rows = min(len(parameter), len(state_dict[name]))
                if parameter[:rows].shape == state_dict[name][:rows].shape:
                    parameter[:rows] = state_dict[name][:rows]
        return super().load_state_dict(state_dict, strict, assign)


class _ByAccident(_Model):
    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        try:
            return super().load_state_dict(state_dict, strict, assign)
        except RuntimeError:
            raise KeyError("weight") from None


def test_what_a_rejected_state_dict_leaves_behind_is_found() -> None:
    found = _first(_HalfWritten, "RP406")
    assert isinstance(found, Violation)
    assert " was rejected: output[" in found.message


def test_a_rejection_by_accident_is_advice() -> None:
    found = _first(_ByAccident, "RP406")
    assert isinstance(found, Advice)
    assert found.kind == "accidental"
