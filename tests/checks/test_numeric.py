"""RP7xx on modules that are right, on ones that are wrong, and on ones that are unusual and no bug."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from check_runs import StateSpaceByFFT, outcomes
from torch import Tensor, nn

from rnn_props import zoo
from rnn_props.cases import Case, Source
from rnn_props.checks import Discarded, Trial, Violation, get
from rnn_props.contracts import Capabilities, Contract, integers
from rnn_props.execution.plans import Plans
from rnn_props.execution.profiles import PROFILES
from rnn_props.inference import infer_contract
from rnn_props.subjects import Factory, TargetRaisedError

CODES = ("RP701", "RP702", "RP703")
SIX = (nn.RNN, nn.GRU, nn.LSTM, nn.RNNCell, nn.GRUCell, nn.LSTMCell)


def _outcomes(code: str, target: Any, profile: str = "quick", seed: int = 0) -> Counter[str]:
    """How the cases of a check end on a target; the message, where one is violated."""
    contract = target if isinstance(target, Contract) else infer_contract(target)
    factory = Factory(target, contract)
    outcomes: Counter[str] = Counter()
    for case in Plans(contract, PROFILES[profile], seed, None).cases(get(code)):
        try:
            get(code).run(Trial(case, contract, factory))
        except Discarded as reason:
            outcomes[f"discarded: {reason}"] += 1
        except Violation as violation:
            outcomes[f"{type(violation).__name__}: {violation.message}"] += 1
        else:
            outcomes["passed"] += 1
    return outcomes


def _trial(target: Any, contract: Contract | None = None, **fields: Any) -> Trial:
    contract = contract or infer_contract(target)
    defaults = {name: domain.values[0] for name, domain in contract.hyperparameters.items()}
    sizes = {**defaults, **fields.pop("hyperparameters", {})}
    return Trial(Case(hyperparameters=sizes, **fields), contract, Factory(target, contract))


# -- bugs and correct modules ------------------------------------------------------------------------------------------


@pytest.mark.nightly
@pytest.mark.parametrize("name", [name for name, specimen in zoo.BUGS.items() if specimen.code in CODES])
def test_the_zoos_bugs_are_caught_and_by_no_check_that_they_do_not_explain(name: str) -> None:
    specimen = zoo.BUGS[name]
    assert specimen.code is not None
    caught = _outcomes(specimen.code, specimen.target, "default")
    kind = "Advice" if name == "PacksState" else "Violation"
    assert any(outcome.startswith(kind) for outcome in caught), caught
    for code in CODES:
        if specimen.code not in (code, *get(code).explained_by):
            assert not any(outcome.startswith(("Violation", "Advice")) for outcome in _outcomes(code, specimen.target))


@pytest.mark.slow
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("target", SIX, ids=lambda target: target.__name__)
def test_torchs_modules_pass_and_hardly_a_case_is_discarded(target: Any, code: str) -> None:
    outcomes = _outcomes(code, target, seed=1)
    assert outcomes["passed"] >= 0.9 * sum(outcomes.values())
    assert not any(outcome.startswith(("Violation", "Advice")) for outcome in outcomes), outcomes


# -- token ids ---------------------------------------------------------------------------------------------------------

#: Large numbers are read as other ids after a change by one part in 64 or noise of bfloat16, and as the same ones after
#: a change by one part in 262144.
_LARGE = {
    "hyperparameters": {"vocab_size": 4, "embedding_dim": 1, "hidden_dim": 1, "num_classes": 2},
    "seq_len": 2,
    "batch": 3,
    "input": Source("large"),
}


def test_ids_that_a_change_of_their_numbers_would_change_are_no_lost_digits() -> None:
    get("RP701").run(_trial(zoo.MaskedClassifier, **_LARGE))


def test_vectors_of_tokens_with_few_digits_are_found_by_changing_the_vectors() -> None:
    sizes = {"vocab_size": 4, "embedding_dim": 1, "hidden_dim": 1, "num_classes": 2}
    trial = _trial(
        zoo.LooksUpInBfloat16, hyperparameters=sizes, seq_len=5, batch=2, parameter_seed=907, input=Source("ones")
    )
    with pytest.raises(Violation, match="elements that follow a change of the embeddings by one part in 64"):
        get("RP701").run(trial)


class _WrongInBfloat16(zoo.MaskedClassifier):
    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        scores = super().forward(input_ids, attention_mask)
        return 1.25 * scores if scores.dtype == torch.bfloat16 else scores


def test_narrow_runs_of_a_module_of_token_ids_are_judged() -> None:
    """With other ids in each noisy run, noise would explain any result."""
    with pytest.raises(Violation, match="in bfloat16, against float64"):
        get("RP701").run(_trial(_WrongInBfloat16, **_LARGE, dtype="bfloat16"))


# -- unusual, and no bug -----------------------------------------------------------------------------------------------


class _Sequence(nn.Module):
    """A recurrence over `(T, B, I)` with a state `(1, B, H)`."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.width = hidden_size
        self.read = nn.Linear(input_size, hidden_size)
        self.recur = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        h = x.new_zeros(x.shape[1], self.width) if hx is None else hx[0]
        outputs = []
        for step in self.read(x).unbind(0):
            output, h = self.step(step, h)
            outputs.append(output)
        return torch.stack(outputs), h.unsqueeze(0)

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


class _Normalised(_Sequence):
    """Layer norm, of a single feature where hidden_size is 1: its gradient is rounding alone."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(self.norm(x + self.recur(h)))
        return h, h


class _Spiking(_Sequence):
    """Spikes are 0 or 1: they stand still, and then they jump."""

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = 0.9 * h + 2 * x
        spikes = (h > 0.5).to(h.dtype)
        return spikes, h - 0.5 * spikes


class _Wide(_Sequence):
    """Float32 inside bfloat16 and float16, and inside float64 as well: a kernel of one dtype."""

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(x.float() + self.recur(h).float()).to(x.dtype)
        return h, h


class _Linear(_Sequence):
    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = 0.5 * h + x
        return h, h


class _Relu(_Sequence):
    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.relu(x + self.recur(h))
        return h, h


def _contract(build: Any, **capabilities: Any) -> Contract:
    return Contract(
        build=build,
        hyperparameters={"input_size": integers(1, 4), "hidden_size": integers(1, 4)},
        roles={"input_size": "input_size", "hidden_size": "hidden_size"},
        output="T B H",
        state="1 B H",
        capabilities=Capabilities(**capabilities),
    )


@pytest.mark.slow
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("target", [_Normalised, _Spiking, _Wide, _Linear, _Relu], ids=lambda target: target.__name__)
def test_unusual_modules_are_not_accused(target: Any, code: str) -> None:
    for seed in (0,) if code == "RP703" else (0, 1, 2):
        outcomes = _outcomes(code, _contract(target), "default", seed)
        assert not any(outcome.startswith(("Violation", "Advice")) for outcome in outcomes), outcomes
        assert outcomes["passed"] >= 0.6 * sum(outcomes.values()), outcomes


# -- RP701 -------------------------------------------------------------------------------------------------------------


def test_the_reference_has_the_rounded_weights_of_the_low_precision_run() -> None:
    """bfloat16 rounds weights by up to 2**-9: were the reference's not rounded, every case would show it."""
    sizes = {"input_size": 7, "hidden_size": 7, "num_layers": 3}
    for dtype in ("float32", "bfloat16", "float16"):
        get("RP701").run(_trial(nn.LSTM, hyperparameters=sizes, seq_len=8, batch=3, dtype=dtype, state=Source()))


def test_a_wrong_gradient_alone_is_seen() -> None:
    t = _trial(
        zoo.BUGS["SavesActivationsInHalf"].module, dtype="float32", seq_len=2, hyperparameters={"hidden_size": 3}
    )
    with pytest.raises(Violation, match=r"^in float32, against float64: gradient of .*rounding explains"):
        get("RP701").run(t)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_few_digits_in_float64_are_seen_although_all_dtypes_agree(dtype: str) -> None:
    t = _trial(
        zoo.BUGS["KeepsStateInBfloat16"].module,
        dtype=dtype,
        hyperparameters={"input_size": 3, "hidden_size": 5},
        seq_len=2,
    )
    with pytest.raises(Violation, match=r"^in float64, \w+ has fewer digits than float32: of \d+ elements"):
        get("RP701").run(t)


@pytest.mark.parametrize("seed", range(3))
def test_rounding_of_complex_numbers_is_no_lack_of_digits(seed: int) -> None:
    """Of `exp(z) - 1` for a small z it takes the last digits."""
    assert set(outcomes("RP701", StateSpaceByFFT, profile="default", seed=seed)) == {"passed"}


class _NoHalf(_Linear):
    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        if x.dtype == torch.float16:
            raise RuntimeError(self.words)
        return super().step(x, h)

    words = "\"addmm_impl_cpu_\" not implemented for 'Half'"


def test_a_dtype_that_torch_has_no_kernel_for_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    t = _trial(_NoHalf, _contract(_NoHalf), dtype="float16")
    with pytest.raises(Discarded, match="torch has no kernel for it in float16"):
        get("RP701").run(t)
    monkeypatch.setattr(_NoHalf, "words", "expected Half but found Float")
    with pytest.raises(TargetRaisedError, match="expected Half but found Float"):
        get("RP701").run(_trial(_NoHalf, _contract(_NoHalf), dtype="float16"))


class _Cancelling(_Sequence):
    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(x) * ((h + 5e3) - 5e3 + 1)
        return h, h


def test_a_formula_that_loses_digits_at_every_step_is_warned_of() -> None:
    seen = _outcomes("RP701", _contract(_Cancelling), "default")
    assert any(outcome.startswith("Advice: in ") and "loses digits at every step" in outcome for outcome in seen)
    assert not any(outcome.startswith("Violation") for outcome in seen)


def test_a_few_lost_bits_are_warned_of_and_no_failure() -> None:
    seen = _outcomes("RP701", zoo.BUGS["PacksState"].target, "default")
    assert not any(outcome.startswith("Violation") for outcome in seen)
    told = [
        outcome for outcome in seen if outcome.startswith("Advice: in float32, against float64: the typical error of ")
    ]
    assert told
    assert all(outcome.endswith("some of the last digits are lost on the way") for outcome in told)


@pytest.mark.parametrize("code", ["RP701", "RP703"])
def test_one_dtype_has_nothing_to_be_compared_with_and_quantised_numbers_have_few_digits(code: str) -> None:
    contract = _contract(_Linear)
    assert get(code).not_applicable(contract) is None
    single = replace(contract, capabilities=Capabilities(dtypes=("float32",)))
    assert get(code).not_applicable(single) == "it promises one dtype: there is nothing to compare it with"
    quantised = replace(contract, capabilities=Capabilities(per_tensor_quantised=True))
    assert "quantised" in (get(code).not_applicable(quantised) or "")


def test_without_float64_the_widest_dtype_is_the_reference() -> None:
    contract = _contract(_Linear, dtypes=("float32", "bfloat16"))
    contract = replace(contract, logic_dtype="float32")
    get("RP701").run(_trial(_Linear, contract, dtype="bfloat16", seq_len=3))
    with pytest.raises(Discarded, match="no dtype is wider"):
        get("RP701").run(_trial(_Linear, contract, dtype="float32", seq_len=3))


# -- RP702 -------------------------------------------------------------------------------------------------------------


class _ExponentialHead(_Linear):
    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        output, h = super().step(x, h)
        return torch.exp(output), h


class _NotANumber(_Linear):
    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        output, h = super().step(x, h)
        return torch.exp(output) / (1 + torch.exp(output)), h


def test_a_module_that_is_not_known_to_be_bounded_may_be_infinite_but_not_nan() -> None:
    seen = _outcomes("RP702", _contract(_ExponentialHead))
    assert any(outcome.startswith("Advice: output is infinite in float64") for outcome in seen)
    assert not any(outcome.startswith("Violation: output") for outcome in seen)
    seen = _outcomes("RP702", _contract(_NotANumber))
    assert any(outcome.startswith("Violation: output is NaN in float64 (input up to") for outcome in seen)


def test_a_module_that_is_not_known_to_be_bounded_is_run_in_its_logic_dtype() -> None:
    prepare = get("RP702").prepare
    assert prepare is not None
    for contract, dtype in ((_contract(_Linear), "float64"), (infer_contract(nn.LSTM), "float16")):
        assert prepare(Case(dtype="float16"), contract).dtype == dtype


def test_relu_may_grow() -> None:
    contract = infer_contract(nn.RNN)
    cases = Plans(contract, PROFILES["quick"], 0, None).cases(get("RP702"))
    assert {case.hyperparameters["nonlinearity"] for case in cases} == {"tanh"}
    assert {case.dtype for case in cases} == {"float64", "float32", "bfloat16", "float16"}


def test_the_message_says_how_large_input_and_state_were() -> None:
    t = _trial(zoo.BUGS["CellStateOverflows"].module, state=Source())
    with pytest.raises(Violation, match=r"^h_n is NaN in float64 \(input up to \d{4,}, state up to \d{4,}\)$"):
        get("RP702").run(t)


class _WeighedMean(nn.Module):
    """A mean of all inputs so far, weighed by exponentials of what is read from them.

    The state is (numerator, denominator, largest exponent); at first the latter is as good as minus infinity, and a
    state of zeros is none that a sequence comes to.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.weigh = nn.Linear(input_size, hidden_size)
        self.read = nn.Linear(input_size, hidden_size)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        if state is None:
            zeros = x.new_zeros(x.size(0), self.read.out_features)
            state = zeros, zeros, zeros - 1e30
        above, below, top = state
        means = []
        for step in x.unbind(1):
            exponent, value = self.weigh(step), self.read(step)
            now = torch.maximum(top - 1, exponent)
            old, new = torch.exp(top - 1 - now), torch.exp(exponent - now)
            above, below, top = old * above + new * value, old * below + new, now
            means.append(above / below)
        return torch.stack(means, 1), (above, below, top)


def test_zeros_are_not_asked_of_a_module_whose_own_first_state_is_another() -> None:
    contract = infer_contract(_WeighedMean)
    assert contract.capabilities.nonzero_default_state
    outcomes_seen = outcomes("RP702", _WeighedMean, profile="default")
    assert "discarded: zeros are no state that it comes to: its default is another" in outcomes_seen
    assert "passed" in outcomes_seen
    assert not any(text for text in outcomes_seen if text != "passed" and not text.startswith("discarded"))


# -- RP703 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [nn.GRU, nn.LSTMCell], ids=lambda target: target.__name__)
def test_all_of_512_steps_are_compared_in_every_low_precision(target: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from rnn_props.checks import numeric

    seen: dict[torch.dtype, list[tuple[int, ...]]] = {}
    compare = numeric.agreement

    def noted(actual: Any, reference: Any, rules: Any) -> Any:
        leaf = actual["output" if target is nn.GRU else "c_n"]
        seen.setdefault(leaf.dtype, []).append(tuple(leaf.shape))
        return compare(actual, reference, rules)

    monkeypatch.setattr(numeric, "agreement", noted)
    get("RP703").run(_trial(target, seq_len=512, batch=2, hyperparameters={"hidden_size": 3}, state=Source()))
    assert seen == {dtype: [(512, 2, 3)] for dtype in (torch.float32, torch.bfloat16, torch.float16)}


def test_a_bug_of_long_sequences_is_named_with_its_length_and_dtype() -> None:
    t = _trial(zoo.BUGS["HalvesLongCellStates"].module, seq_len=512)
    with pytest.raises(Violation, match=r"^at length 512 in float32, against float64: output\[T=\d+, B=0"):
        get("RP703").run(t)
