"""The tolerance as a whole: correct runs in low precision agree with float64, runs with a defect do not.

The runs are those of benchmarks/sensitivity.py, whose figures docs/tolerance.md shows.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rnn_props.contracts import ShapeRule
from rnn_props.numerics import ARITHMETIC, GRADIENT, Arithmetic, Sensitivity, agreement, largest
from rnn_props.subjects import TargetRaisedError


def _load_benchmark() -> Any:
    path = Path(__file__).parents[2] / "benchmarks" / "sensitivity.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_sensitivity", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


bench = _load_benchmark()
Example = bench.Example


def _examples(lengths: tuple[int, ...], hidden: tuple[int, ...]) -> st.SearchStrategy[Any]:
    return st.builds(
        Example,
        kind=st.sampled_from(bench.KINDS),
        dtype=st.sampled_from(list(bench.DTYPES)),
        gain=st.sampled_from(bench.GAINS) | st.floats(0.1, 3),
        length=st.sampled_from(lengths),
        hidden=st.sampled_from(hidden),
        features=st.integers(1, 9),
        batch=st.integers(1, 4),
        layers=st.integers(1, 3),
        bidirectional=st.booleans(),
        state=st.booleans(),
        fill=st.sampled_from([1.0, 20.0, 1e-3]),
        seed=st.integers(0, 10**6),
    )


# -- correct runs are inside -------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(_examples((1, 2, 5, 13, 40), (1, 2, 5, 16)))
def test_correct_runs_are_inside_in_every_dtype(example: Any) -> None:
    run = bench.judged(example, gradients=False)
    assert run.found.worst() is run.found.worst("unstable") is None
    assert not run.exceeds


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(_examples((1, 2, 5, 8), (1, 2, 5, 16)))
def test_their_gradients_are_inside_too(example: Any) -> None:
    run = bench.judged(example, gradients=True)
    assert run.found.worst() is run.found.worst("unstable") is None
    assert len(run.found.comparisons) == len(run.reference.values) > 4


@pytest.mark.slow
@pytest.mark.parametrize("dtype", list(bench.DTYPES))
@pytest.mark.parametrize("kind", [kind for kind in bench.KINDS if "Cell" not in kind])
def test_correct_runs_of_512_steps_are_inside(kind: str, dtype: str) -> None:
    for seed in range(3):
        run = bench.judged(Example(kind, dtype, length=512, hidden=5 + seed, seed=seed), gradients=False)
        assert run.found.worst() is run.found.worst("unstable") is None
        assert not run.exceeds


@pytest.mark.nightly
@settings(max_examples=600, deadline=None)
@given(_examples((1, 8, 64, 512), (1, 8, 64, 256)))
def test_correct_runs_are_inside_up_to_512_steps_and_256_features(example: Any) -> None:
    run = bench.judged(example, gradients=False)
    assert run.found.worst() is run.found.worst("unstable") is None
    assert not run.exceeds


@pytest.mark.nightly
@settings(max_examples=300, deadline=None)
@given(_examples((1, 8, 64, 200), (1, 8, 32)))
def test_gradients_are_inside_up_to_200_steps(example: Any) -> None:
    found = bench.judged(example, gradients=True).found
    assert found.worst() is found.worst("unstable") is None


@pytest.mark.parametrize("kind", ["RNN tanh", "GRU", "LSTM"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_more_digits_inside_are_welcome(kind: str, dtype: str) -> None:
    """Steps in float32 within a bfloat16 or float16 module."""

    def in_float32(step: Any, x: Tensor, state: Any, weights: Any) -> Any:
        wide = type(weights)(*(None if weight is None else weight.float() for weight in weights))
        return tuple(leaf.to(x.dtype) for leaf in step(x.float(), tuple(leaf.float() for leaf in state), wide))

    for seed in range(5):
        assert bench.defective(Example(kind, dtype, length=13, seed=seed), in_float32).found.worst() is None


# -- defects are outside -----------------------------------------------------------------------------------------------

KINDS = ("RNN tanh", "GRU", "LSTM", "LSTM proj")


@pytest.mark.parametrize("length", [1, 8, 64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("defect", ["recurrence in bfloat16", "state summed in float16", "noise of 256 ulp a step"])
def test_defects_in_float32_are_outside(kind: str, defect: str, length: int) -> None:
    for seed in range(3):
        example = Example(kind, length=length, hidden=8, features=5, seed=seed)
        assert bench.defective(example, bench.DEFECTS[defect]()).found.worst() is not None


@pytest.mark.parametrize("length", [8, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_noise_of_a_few_units_a_step_is_more_than_rounding_gives(kind: str, length: int) -> None:
    """The bound of the largest error has a margin for it; the typical error shows it, run by run."""
    for seed in range(3):
        run = bench.defective(Example(kind, length=length, hidden=8, features=5, seed=seed), bench.noisy(8))
        assert run.found.worst() is None
        assert run.exceeds


@pytest.mark.parametrize("kind", KINDS)
def test_noise_of_one_unit_a_step_is_within_what_rounding_explains(kind: str) -> None:
    for seed in range(3):
        example = Example(kind, length=8, hidden=8, features=5, seed=seed)
        run = bench.defective(example, bench.DEFECTS["noise of 1 ulp a step"]())
        assert run.found.worst() is None
        assert not run.exceeds


def test_eight_units_are_too_few_to_be_seen() -> None:
    """A recurrence in bfloat16 inside a float16 module: three bits are within the margin (docs/tolerance.md)."""
    seen = [bench.defective(Example("GRU", "float16", seed=seed), bench.in_bfloat16).found for seed in range(5)]
    assert all(found.judged for found in seen)
    assert not any(found.worst() for found in seen)


# -- one result at a time ----------------------------------------------------------------------------------------------


def _sensitivity(
    run: Any, *, weights: Any = (1.0,), inputs: Any = (1.0,), arithmetic: Arithmetic | None = None
) -> Sensitivity:
    """The sensitivity of a function of one parameter vector and one input vector, in float32 by default."""
    module = nn.ParameterList([torch.tensor(weights, dtype=torch.float64)])

    def of_module(inputs: Tensor, state: Any) -> Mapping[str, Tensor]:
        found: Mapping[str, Tensor] = run(module[0], inputs)
        return found

    arithmetic = arithmetic or ARITHMETIC[torch.float32]
    return Sensitivity(module, of_module, torch.tensor(inputs, dtype=torch.float64), None, arithmetic=arithmetic)


def test_a_small_result_is_not_hidden_by_a_large_one() -> None:
    reference = _sensitivity(lambda w, x: {"large": 1e4 * w * x, "small": 1e-2 * w * x})
    actual = {name: leaf.clone() for name, leaf in reference.values.items()}
    actual["small"] *= 1 + 1e-4
    found = agreement(actual, reference)
    assert [item.verdict for item in found.comparisons] == ["same", "outside"]
    assert found.worst() is not None
    assert found.worst()[0].message == "small[0]: expected 0.01, got 0.010001"
    assert found.worst()[0].size < reference.whole().allowed


def test_a_gradient_that_neither_side_has_is_the_same_and_has_no_error() -> None:
    reference = _sensitivity(lambda w, x: {f"{GRADIENT}parameter w": w * x})
    found = agreement({f"{GRADIENT}input": None, f"{GRADIENT}parameter w": torch.tensor([1.0])}, reference)
    assert [item.verdict for item in found.comparisons] == ["same", "same"]
    assert set(found.errors(reference)) == {"gradients"}


def test_the_worst_difference_is_the_one_that_rounding_explains_least() -> None:
    reference = _sensitivity(lambda w, x: {"large": 1e4 * w * x, "small": w * x})
    found = agreement({"large": reference.values["large"] + 10, "small": reference.values["small"] + 1}, reference)
    assert found.worst() is not None
    assert found.worst()[0].message.startswith("small")


def test_elements_are_named_by_the_rules() -> None:
    reference = _sensitivity(lambda w, x: {"output": (w * x).reshape(1, 2)}, weights=(1.0, 1.0))
    actual = {"output": torch.tensor([[1.0, 1.5]])}
    found = agreement(actual, reference, {"output": ShapeRule.parse("B H")})
    assert found.worst() is not None
    assert found.worst()[0].message == "output[B=0, H=1]: expected 1, got 1.5"


def test_of_ill_conditioned_results_nothing_is_concluded_and_they_are_counted() -> None:
    reference = _sensitivity(lambda w, x: {"chaos": torch.sin(1e9 * w * x), "calm": w * x})
    found = agreement({"chaos": -reference.values["chaos"], "calm": reference.values["calm"]}, reference)
    assert [item.verdict for item in found.comparisons] == ["ill-conditioned", "same"]
    assert (found.judged, found.worst()) == (1, None)


def test_a_gradient_that_is_all_rounding_is_not_judged() -> None:
    """Where tanh is 1 to the last digit, 1 - y*y is 0 or one unit."""
    reference = _saturated((8.5, 8.5))
    found = agreement({f"{GRADIENT}input": torch.zeros(2)}, reference)
    assert [item.verdict for item in found.comparisons] == ["ill-conditioned"]


def test_a_chaotic_module_is_ill_conditioned_as_a_whole() -> None:
    found = bench.judged(Example("RNN tanh", gain=8.0, length=64, hidden=64), gradients=False).found
    assert (found.judged, found.worst()) == (0, None)


def test_a_jump_that_noise_makes_in_some_runs_only_is_no_defect() -> None:
    """A threshold within a unit of the value: which side a run is on is chance."""
    reference = _sensitivity(lambda w, x: {"spike": (w - x > -1e-7).double() + 1})
    for side in (1.0, 2.0):
        assert agreement({"spike": torch.tensor([side])}, reference).worst() is None


def _saturated(inputs: tuple[float, ...]) -> Sensitivity:
    """The sensitivity of tanh and of its gradient."""

    def run(w: Tensor, x: Tensor) -> dict[str, Tensor]:
        inputs = x.detach().clone().requires_grad_()
        y = torch.tanh(w.detach() * inputs)
        (found,) = torch.autograd.grad(y.sum(), inputs)
        return {"output": y.detach(), f"{GRADIENT}input": found}

    return _sensitivity(run, inputs=inputs)


def test_the_gradient_of_a_saturated_tanh_is_explained_by_noise_at_every_operation_alone() -> None:
    name, reference = f"{GRADIENT}input", _saturated((5.0, 4.5))
    single = torch.tanh(torch.tensor([5.0, 4.5]))
    actual = {"output": single, name: 1 - single * single}
    gap = float((actual[name].double() - reference.values[name]).abs().max())
    assert gap > 3 * reference.bound(name).allowed
    assert [item.verdict for item in agreement(actual, reference).comparisons] == ["same", "explained"]
    assert agreement({**actual, name: actual[name] * 1.1}, reference).worst() is not None


def test_a_formula_that_cancels_is_unstable_and_no_defect() -> None:
    reference = _sensitivity(lambda w, x: {"output": (w * x + 1e4) - 1e4})
    single = (torch.tensor([1.0 / 3]) * 3 + 1e4 + 5e-4) - 1e4
    found = agreement({"output": single}, reference)
    assert [item.verdict for item in found.comparisons] == ["unstable"]
    assert found.worst() is None
    assert found.worst("unstable") is not None
    assert agreement({"output": single + 0.1}, reference).worst() is not None


def test_what_is_left_where_numbers_cancel_is_not_judged() -> None:
    """Layer norm of one feature is zero, but for rounding."""
    reference = _sensitivity(lambda w, x: {"c": 3 * w * x, "output": w * x - w * x})
    assert [item.verdict for item in agreement({"output": torch.tensor([1e-7])}, reference).comparisons] == [
        "ill-conditioned"
    ]
    assert agreement({"output": torch.tensor([1e-3])}, reference).worst() is not None


def test_an_overflow_beyond_the_dtypes_range_is_no_defect_and_one_within_it_is() -> None:
    for scale, outside in ((1e5, False), (2e3, False), (10.0, True)):
        reference = _sensitivity(lambda w, x, scale=scale: {"h": scale * w * x}, arithmetic=ARITHMETIC[torch.float16])
        found = agreement({"h": torch.tensor([math.inf])}, reference)
        assert (found.worst() is not None) is outside
        assert found.judged == outside


@pytest.mark.parametrize(("dtype", "outside"), [(torch.float16, False), (torch.bfloat16, True)])
def test_gradients_may_leave_the_range_of_float16_alone(dtype: torch.dtype, outside: bool) -> None:
    reference = _sensitivity(lambda w, x: {f"{GRADIENT}a": w * x, "h": w * x}, arithmetic=ARITHMETIC[dtype])
    assert (agreement({f"{GRADIENT}a": torch.tensor([math.nan])}, reference).worst() is not None) is outside
    assert agreement({"h": torch.tensor([math.nan])}, reference).worst() is not None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_where_the_reference_is_finite_is_outside(value: float) -> None:
    reference = _sensitivity(lambda w, x: {"h": w * x})
    assert agreement({"h": torch.tensor([value])}, reference).worst() is not None


def test_no_gradient_is_the_same_as_zeros_and_not_the_same_as_any_other() -> None:
    reference = _sensitivity(lambda w, x: {f"{GRADIENT}a": 0 * w * x, f"{GRADIENT}b": w * x})
    found = agreement({f"{GRADIENT}a": None, f"{GRADIENT}b": None, f"{GRADIENT}c": torch.zeros(1)}, reference)
    assert [item.verdict for item in found.comparisons] == ["same", "outside", "same"]
    assert agreement({f"{GRADIENT}c": torch.ones(1)}, reference).worst() is not None


def test_another_shape_is_outside() -> None:
    reference = _sensitivity(lambda w, x: {"h": w * x})
    found = agreement({"h": torch.ones(2)}, reference)
    assert found.worst() is not None
    assert found.worst()[0].message == "h: expected shape (1,), got shape (2,)"


def test_results_that_are_not_given_are_not_compared() -> None:
    reference = _sensitivity(lambda w, x: {"a": w * x, "b": w + x})
    assert [item.name for item in agreement({"a": torch.ones(1)}, reference).comparisons] == ["a"]


# -- sensitivity, result by result -------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999))
def test_more_runs_never_give_a_smaller_bound_and_the_same_runs_the_same(seed: int) -> None:
    example = Example("GRU", "bfloat16", seed=seed)
    module = bench.module_of(example)
    one, two = (bench.reference_of(example, module, gradients=False) for _ in range(2))
    few, many = one.bound("output", 2), one.bound("output", 8)
    assert few.sensitivity <= many.sensitivity
    assert two.bound("output", 8) == many
    assert two.bound("output", 2) == many  # what was measured is used


def test_sensitivity_is_in_proportion_to_the_unit() -> None:
    example = Example("LSTM", length=13)
    sizes = []
    for dtype in ("float32", "float16"):
        own = replace(example, dtype=dtype)
        sizes.append(bench.reference_of(own, bench.module_of(own), gradients=False).bound("output").sensitivity)
    assert 0.3 < sizes[1] / sizes[0] / 2**13 < 3


def test_the_bound_of_all_results_is_that_of_the_largest_and_can_be_measured_again() -> None:
    reference = _sensitivity(lambda w, x: {"large": 1e4 * w * x, "small": w * x})
    whole = reference.whole()
    assert whole.scale == largest(reference.values["large"]) == 1e4
    assert whole.sensitivity == reference.bound("large").sensitivity
    assert whole.rounded is not None
    again = whole.rounded()
    assert again.sensitivity >= whole.sensitivity
    assert again.rounded is None


def test_where_the_module_refuses_values_that_differ_by_rounding_nothing_is_concluded() -> None:
    def run(w: Tensor, x: Tensor) -> dict[str, Tensor]:
        if x != 1:
            raise TargetRaisedError(ValueError("the flag must be 1"), "calling it")
        return {"h": w * x}

    reference = _sensitivity(run)
    assert reference.bound("h").ill_conditioned
    assert [item.verdict for item in agreement({"h": torch.zeros(1)}, reference).comparisons] == ["ill-conditioned"]
