"""Tensor specs: values that depend on the spec alone, and memory that is laid out as asked."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn_props.cases import FILLS, LAYOUTS, Source, TensorSpec

SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)
WIDE = st.lists(st.integers(2, 4), min_size=2, max_size=4).map(tuple)
KEEPING = [layout for layout in LAYOUTS if layout != "expanded"]
FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
DRAWN = st.builds(
    Source,
    fill=st.sampled_from(FILLS),
    seed=st.integers(0, 999),
    values=st.lists(st.floats(-8, 8), max_size=5).map(tuple),
)


def _with_layout(source: Source, layout: str) -> Source:
    return Source(source.fill, source.seed, layout, source.values)


@settings(deadline=None)
@given(SHAPES, DRAWN, st.sampled_from(FLOATS))
def test_a_layout_changes_where_values_lie_and_not_what_they_are(
    shape: tuple[int, ...], source: Source, dtype: torch.dtype
) -> None:
    made = [TensorSpec(shape, dtype, _with_layout(source, layout), 0).make() for layout in KEEPING]
    for tensor in made:
        assert (tuple(tensor.shape), tensor.dtype) == (shape, dtype)
        assert torch.equal(tensor, made[0])


@given(WIDE, st.integers(0, 99))
def test_a_layout_that_was_asked_for_is_really_there(shape: tuple[int, ...], seed: int) -> None:
    tensor = {name: TensorSpec(shape, torch.float64, Source("normal", seed, name)).make() for name in LAYOUTS}
    assert tensor["contiguous"].is_contiguous()
    assert not tensor["transposed"].is_contiguous()
    assert tensor["transposed"].transpose(0, -1).is_contiguous()
    assert not tensor["strided"].is_contiguous()
    assert tensor["strided"].stride(-1) == 2
    assert tensor["offset"].storage_offset() > 0
    assert tensor["expanded"].stride(0) == 0


@given(WIDE, DRAWN)
def test_an_expanded_tensor_repeats_one_slice(shape: tuple[int, ...], source: Source) -> None:
    tensor = TensorSpec(shape, torch.float64, _with_layout(source, "expanded"), 1).make()
    assert tuple(tensor.shape) == shape
    for row in tensor:
        assert torch.equal(row, tensor[0])


@given(SHAPES, DRAWN, st.sampled_from(LAYOUTS))
def test_the_same_spec_gives_the_same_values_whatever_the_global_generator_does(
    shape: tuple[int, ...], source: Source, layout: str
) -> None:
    spec = TensorSpec(shape, torch.float32, _with_layout(source, layout), 0)
    torch.manual_seed(1)
    first = spec.make()
    state = torch.get_rng_state()
    torch.manual_seed(2)
    second = spec.make()
    assert torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state), "making a tensor used the global generator"


@given(SHAPES, DRAWN, st.sampled_from(FLOATS))
def test_values_are_drawn_in_float64_and_cast(shape: tuple[int, ...], source: Source, dtype: torch.dtype) -> None:
    exact = TensorSpec(shape, torch.float64, source, 0).make()
    assert torch.equal(TensorSpec(shape, dtype, source, 0).make(), exact.to(dtype))


@given(WIDE, st.integers(0, 999), st.data())
def test_an_impulse_is_one_at_a_single_step_and_zero_elsewhere(
    shape: tuple[int, ...], seed: int, data: st.DataObject
) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    tensor = TensorSpec(shape, torch.float64, Source("impulse", seed), axis).make()
    steps = tensor.movedim(axis, 0)
    ones = [index for index, step in enumerate(steps) if bool((step == 1).all())]
    zeros = [index for index, step in enumerate(steps) if bool((step == 0).all())]
    assert len(ones) == 1
    assert len(zeros) == shape[axis] - 1


def test_an_impulse_without_a_time_axis_is_ones() -> None:
    assert torch.equal(TensorSpec((2, 3), torch.float64, Source("impulse", 4)).make(), torch.ones(2, 3).double())


def test_different_seeds_give_different_values() -> None:
    made = {tuple(TensorSpec((3,), torch.float64, Source("normal", seed)).make().tolist()) for seed in range(50)}
    assert len(made) == 50


@given(SHAPES, st.integers(0, 99))
def test_fills_are_what_their_names_say(shape: tuple[int, ...], seed: int) -> None:
    made = {fill: TensorSpec(shape, torch.float64, Source(fill, seed)).make() for fill in FILLS}
    assert bool((made["zeros"] == 0).all())
    assert bool((made["ones"] == 1).all())
    assert bool((made["integers"] == made["integers"].round()).all())
    assert torch.equal(made["large"], made["normal"] * 20)
    assert torch.equal(made["tiny"], made["normal"] * 1e-3)


def test_single_values_are_used_over_and_over() -> None:
    source = Source("values", values=(1.0, -2.0, 0.5))
    assert TensorSpec((2, 2), torch.float64, source).make().tolist() == [[1.0, -2.0], [0.5, 1.0]]


def test_an_unknown_fill_or_layout_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"^fill must be one of zeros, ones, .* \(got 'gaussian'\)$"):
        Source("gaussian")
    with pytest.raises(ValueError, match=r"^layout must be one of contiguous, .* \(got 'fortran'\)$"):
        Source(layout="fortran")


def test_a_tensor_can_be_made_on_another_device() -> None:
    made = TensorSpec((2, 3), torch.float32, Source("normal", 0, "strided")).make("meta")
    assert (made.device.type, tuple(made.shape), made.stride()) == ("meta", (2, 3), (6, 2))
