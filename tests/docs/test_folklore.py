"""Each verdict of docs/folklore.md, as a property of torch's own modules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnn_props.cases import Case, Needs, input_spec, make_state
from rnn_props.cases.strategies import cases
from rnn_props.inference import infer_contract

PAGE = Path(__file__).parents[2] / "docs" / "folklore.md"
CONTRACTS = {kind: infer_contract(kind) for kind in (nn.RNN, nn.LSTM, nn.GRU)}
pytestmark = pytest.mark.filterwarnings("ignore:dropout option")  # one layer and dropout is a valid case
FEW = settings(max_examples=25, deadline=None)


def some_case(kind: type[nn.Module], **needs: Any) -> st.SearchStrategy[Case]:
    """Valid cases of one of torch's modules."""
    return cases(CONTRACTS[kind], Needs(**needs))


any_case = st.sampled_from(list(CONTRACTS)).flatmap(lambda kind: st.tuples(st.just(kind), some_case(kind)))


def build(kind: type[nn.Module], case: Case, **changes: Any) -> nn.Module:
    torch.manual_seed(case.parameter_seed)
    return kind(**{**case.hyperparameters, **changes}).double().eval()


def tensors(kind: type[nn.Module], case: Case) -> tuple[Tensor, Any]:
    return input_spec(case, CONTRACTS[kind]).make(), make_state(case, CONTRACTS[kind])


def first(state: Any) -> Tensor:
    return state[0] if isinstance(state, tuple) else state


@FEW
@given(any_case)
def test_f1_the_returned_state_has_a_row_for_each_layer_and_direction(drawn: tuple[Any, Case]) -> None:
    kind, case = drawn
    assume(case.hyperparameters["num_layers"] > 1)
    module = build(kind, case)
    _, state = module(*tensors(kind, case))
    directions = 2 if case.hyperparameters["bidirectional"] else 1
    assert first(state).shape[0] == case.hyperparameters["num_layers"] * directions

    bottom = build(kind, case, num_layers=1)
    bottom.load_state_dict({name: value for name, value in module.state_dict().items() if "_l0" in name})
    inputs, given_state = tensors(kind, case)
    if isinstance(given_state, tuple):
        given_state = tuple(leaf[:directions] for leaf in given_state)
    elif given_state is not None:
        given_state = given_state[:directions]
    _, alone = bottom(inputs, given_state)
    assert torch.allclose(first(alone), first(state)[:directions], atol=1e-12)


@FEW
@given(any_case)
def test_f2_the_shape_of_the_state_depends_on_proj_size_and_batch_and_not_on_batch_first(
    drawn: tuple[Any, Case],
) -> None:
    kind, case = drawn
    sizes = case.hyperparameters
    rows = sizes["num_layers"] * (2 if sizes["bidirectional"] else 1)
    width = sizes.get("proj_size") or sizes["hidden_size"]
    inputs, _ = tensors(kind, case)
    _, state = build(kind, case)(inputs)
    assert first(state).shape == (rows, case.batch, width)
    if kind is nn.LSTM:
        assert state[1].shape == (rows, case.batch, sizes["hidden_size"])
    _, transposed = build(kind, case, batch_first=not sizes["batch_first"])(inputs.transpose(0, 1))
    assert first(transposed).shape == first(state).shape
    _, single = build(kind, case)(inputs.select(0 if sizes["batch_first"] else 1, 0))
    assert first(single).shape == (rows, width)


def test_f2_the_repair_is_rejected_too() -> None:
    module, inputs = nn.RNN(3, 3, batch_first=True), torch.randn(10, 1, 3)
    for wrong in ((1, 1, 5), (1, 2, 3), (1, 1, 3)):
        with pytest.raises(RuntimeError, match=r"Expected hidden size \(1, 10, 3\)"):
            module(inputs, torch.zeros(wrong))
    module(inputs, torch.zeros(1, 10, 3))


@FEW
@given(some_case(nn.LSTM, states=("none",)))
def test_f3_and_f6_states_that_are_left_out_are_zeros(case: Case) -> None:
    module = build(nn.LSTM, case)
    inputs, _ = tensors(nn.LSTM, case)
    output, state = module(inputs)
    zeros = tuple(torch.zeros_like(leaf) for leaf in state)
    assert torch.equal(output, module(inputs, zeros)[0])
    assert torch.equal(output, module(inputs)[0]), "nothing is remembered"


@FEW
@given(any_case)
def test_f4_the_input_may_be_batch_first_or_without_a_batch(drawn: tuple[Any, Case]) -> None:
    kind, case = drawn
    first_axis = case.hyperparameters["batch_first"]
    inputs, _ = tensors(kind, case)
    assert inputs.shape[:2] == ((case.batch, case.seq_len) if first_axis else (case.seq_len, case.batch))
    output, _ = build(kind, case)(inputs)
    single, _ = build(kind, case)(inputs.select(0 if first_axis else 1, 0))
    assert torch.allclose(single, output.select(0 if first_axis else 1, 0), atol=1e-12)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_f5_two_dimensions_are_accepted_and_other_ranks_raise_value_error(kind: type[nn.Module]) -> None:
    module = kind(3, 4)
    assert module(torch.zeros(5, 3))[0].shape == (5, 4)
    for shape in ((3,), (1, 5, 2, 3), (1, 1, 5, 2, 3)):
        with pytest.raises(ValueError, match="2D or 3D"):
            module(torch.zeros(shape))


@FEW
@given(any_case, st.integers(1, 4))
def test_f7_the_output_is_as_wide_as_the_hidden_size_at_any_depth(drawn: tuple[Any, Case], depth: int) -> None:
    kind, case = drawn
    sizes = case.hyperparameters
    width = (2 if sizes["bidirectional"] else 1) * (sizes.get("proj_size") or sizes["hidden_size"])
    output, _ = build(kind, case, num_layers=depth)(tensors(kind, case)[0])
    assert output.shape[-1] == width


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_f8_every_unit_depends_on_every_other_one_step_before(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    module = kind(2, 5).double()
    inputs, hidden = torch.randn(1, 2, dtype=torch.float64), torch.randn(1, 5, dtype=torch.float64)

    def step(h: Tensor) -> Tensor:
        output: Tensor = module(inputs, (h, torch.randn_like(h).detach()) if kind is nn.LSTM else h)[0]
        return output[0]

    influence = torch.autograd.functional.jacobian(step, hidden).reshape(5, 5)
    assert (influence != 0).all()


@FEW
@given(any_case)
def test_f9_features_have_to_match_input_size_and_not_hidden_size(drawn: tuple[Any, Case]) -> None:
    kind, case = drawn
    features, hidden = case.hyperparameters["input_size"], case.hyperparameters["hidden_size"]
    assume(features != hidden)
    inputs, _ = tensors(kind, case)
    module = build(kind, case)
    module(inputs)
    with pytest.raises(RuntimeError, match=rf"Expected {features}, got {hidden}"):
        module(torch.zeros(*inputs.shape[:2], hidden, dtype=torch.float64))


def test_f10_mismatches_raise_other_errors_or_none() -> None:
    h = torch.zeros(1, 2, 4)
    with pytest.raises(TypeError):
        nn.LSTM(3, 4.0)
    with pytest.raises(IndexError):
        nn.LSTM(3, 4)(torch.zeros(5, 2, 3), (h,))
    with pytest.raises(AttributeError):
        nn.GRU(3, 4)(torch.zeros(5, 2, 3), (h, h))
    with pytest.raises(RuntimeError):
        nn.GRU(3, 4)(torch.zeros(5, 2, 3), torch.zeros(1, 3, 4))
    with pytest.raises(ValueError, match="greater than zero"):
        nn.GRU(0, 4)
    assert nn.GRU(3, True)(torch.zeros(5, 2, 3))[0].shape == (5, 2, 1), "nothing at all"


@FEW
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
def test_f11_lengths_and_weights_of_other_sizes_are_rejected(batch: int, hidden: int, layers: int) -> None:
    module = nn.GRU(3, hidden, layers)
    inputs, lengths = torch.zeros(5, batch, 3), torch.full((batch,), 4)
    packed = pack_padded_sequence(inputs, lengths)
    with pytest.raises(RuntimeError, match="Expected hidden size"):
        module(packed, torch.zeros(layers, batch + 1, hidden))
    with pytest.raises(RuntimeError, match="batch_size"):
        pack_padded_sequence(inputs, torch.full((batch + 1,), 4))
    with pytest.raises(RuntimeError, match="size mismatch"):
        module.load_state_dict(nn.GRU(3, hidden + 1, layers).state_dict())


def test_every_claim_of_the_page_has_a_verdict_and_a_test() -> None:
    rows = re.findall(r"^\| F(\d+)\. .* \| (true|true, with exceptions|mostly|false) \| .* \|$", PAGE.read_text(), re.M)
    claims = [int(number) for number, _ in rows]
    assert claims == list(range(1, 12))
    tested = {
        int(number) for name in globals() if name.startswith("test_f") for number in re.findall(r"_?f(\d+)_", name)
    }
    assert tested == set(claims)
