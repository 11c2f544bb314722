"""Reading signatures."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from torch import Tensor, nn

from rnn_props.contracts import ROLE_NAMES
from rnn_props.contracts.presets import CELL_ARGUMENTS, SEQUENCE_ARGUMENTS
from rnn_props.inference.signature import Parameter, read_signatures, role_of


class Own(nn.Module):
    def __init__(self, input_size: int, *layers: int, units: int = 4, **options: Any) -> None:
        super().__init__()

    def forward(self, x: Tensor, hx: Tensor | None = None, *rest: Any) -> Tensor:
        return x


def test_a_class_has_the_arguments_of_its_constructor_and_of_forward() -> None:
    read = read_signatures(Own)
    assert read.constructor == (
        Parameter("input_size", True, None, "int"),
        Parameter("units", False, 4, "int"),
    )
    assert [item.name for item in read.forward] == ["x", "hx"]
    assert [item.required for item in read.forward] == [True, False]
    assert read.open_ended
    assert read.constructor_names() == {"input_size", "units"}


def test_a_factory_has_arguments_and_no_forward() -> None:
    def make(input_size: int, depth: int = 2) -> nn.Module:
        return nn.GRU(input_size, depth)

    read = read_signatures(make)
    assert [item.name for item in read.constructor] == ["input_size", "depth"]
    assert read.forward == ()
    assert not read.open_ended


def test_an_instance_has_a_forward_and_no_constructor() -> None:
    read = read_signatures(Own(3))
    assert read.constructor == ()
    assert [item.name for item in read.forward] == ["x", "hx"]


def test_a_subclass_without_a_constructor_of_its_own_has_that_of_torch() -> None:
    class Mine(nn.LSTM):
        pass

    class Changed(nn.LSTM):
        def __init__(self, input_size: int) -> None:
            super().__init__(input_size, 4)

    assert read_signatures(Mine).constructor == read_signatures(nn.LSTM).constructor
    assert "proj_size" in read_signatures(Mine).constructor_names()
    assert read_signatures(Changed).constructor_names() == {"input_size"}


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_torchs_layers_take_the_arguments_that_are_known_of_them(name: str) -> None:
    cls = getattr(nn, name)
    read = read_signatures(cls)
    values = {"input_size": 3, "hidden_size": 5, "nonlinearity": "relu", "device": "meta", "num_layers": 2}
    module = cls(**{item: values[item] for item in read.constructor_names() & set(values)})
    assert module.hidden_size == 5
    assert read.constructor_names() <= SEQUENCE_ARGUMENTS
    assert {item.name for item in read.constructor if item.required} == {"input_size", "hidden_size"}


@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell", "GRUCell"])
def test_torchs_cells_say_themselves_what_they_take(name: str) -> None:
    cls = getattr(nn, name)
    names = set(inspect.signature(cls).parameters)
    assert read_signatures(cls).constructor_names() == names <= CELL_ARGUMENTS


def test_every_name_of_a_role_is_known_and_others_are_not() -> None:
    for role, names in ROLE_NAMES.items():
        assert {role_of(name) for name in names} == {role}
    assert role_of("vocabulary") is None
