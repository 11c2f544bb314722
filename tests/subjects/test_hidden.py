"""The finder of tensors that a module reaches and has not registered."""

from __future__ import annotations

import functools
import weakref
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnn_props.subjects import filled_memory, hidden_tensors, registered_tensors


@dataclass
class _Settings:
    scale: Tensor = field(default_factory=lambda: torch.ones(3))


class _Slotted:
    __slots__ = ("weight",)

    def __init__(self) -> None:
        self.weight = torch.ones(3)


class _Reaches(nn.Module):
    def __init__(self, **attributes: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)
        for name, value in attributes.items():
            setattr(self, name, value)


def _closure_over(layer: nn.Linear) -> Any:
    def run(x: Tensor) -> Tensor:
        result: Tensor = layer(x)
        return result

    return run


@pytest.mark.parametrize(
    ("attributes", "paths"),
    [
        ({"h0": torch.ones(3)}, ["h0"]),
        ({"cells": [nn.Linear(3, 3, bias=False)]}, ["cells[0].weight"]),
        ({"cells": {"up": (nn.Linear(3, 3),)}}, ["cells['up'][0].weight", "cells['up'][0].bias"]),
        ({"settings": _Settings()}, ["settings.scale"]),
        ({"slotted": _Slotted()}, ["slotted.weight"]),
        ({"mix": functools.partial(torch.add, torch.ones(3), alpha=2)}, ["mix.args[0]"]),
        ({"run": _closure_over(nn.Linear(3, 3, bias=False))}, ["run.layer.weight"]),
        ({"run": nn.Linear(3, 3, bias=False).forward}, ["run.__self__.weight"]),
        ({"holder": [nn.Sequential(nn.Linear(3, 3, bias=False))]}, ["holder[0].0.weight"]),
    ],
)
def test_tensors_are_found_wherever_python_can_hide_them(attributes: dict[str, Any], paths: list[str]) -> None:
    assert list(hidden_tensors(_Reaches(**attributes))) == paths


def test_a_list_of_the_class_that_all_instances_share_is_found() -> None:
    class Shares(_Reaches):
        cells = [nn.Linear(3, 3, bias=False)]  # noqa: RUF012 - the mistake that is looked for

    assert list(hidden_tensors(Shares())) == ["cells[0].weight"]


def test_what_is_registered_is_not_hidden_by_whatever_way_it_is_reached() -> None:
    module = _Reaches()
    module.again = [module.layer]
    module.rows = module.layer.weight[0]
    module.transposed = {"w": module.layer.weight.detach().t()}
    module.run = _closure_over(module.layer)
    module.owner = weakref.ref(module)
    module.register_buffer("mask", torch.ones(3), persistent=False)
    module.masks = (module.mask,)
    module.circle = [module]
    assert hidden_tensors(module) == {}


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"])
def test_torchs_own_modules_hide_nothing(name: str) -> None:
    assert hidden_tensors(getattr(nn, name)(3, 5)) == {}
    assert hidden_tensors(nn.Sequential(getattr(nn, name)(3, 5)).double()) == {}


def test_tensors_that_share_their_memory_are_given_once() -> None:
    whole = torch.ones(4, 3)
    assert list(hidden_tensors(_Reaches(whole=whole, rows=list(whole)))) == ["whole"]


def test_a_container_of_very_many_things_is_not_looked_into() -> None:
    assert hidden_tensors(_Reaches(data=[torch.ones(3) for _ in range(1000)])) == {}


def test_what_has_no_memory_yet_is_left_out() -> None:
    module = nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 2, bias=False))
    assert list(registered_tensors(module)) == ["1.weight"]
    assert (
        hidden_tensors(_Reaches(later=[nn.LazyLinear(3)], nothing=torch.empty(0), away=torch.ones(3, device="meta")))
        == {}
    )


def test_memory_that_nobody_wrote_is_nan_while_it_is_asked_for_and_settings_come_back() -> None:
    before = torch.get_deterministic_debug_mode(), torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    with filled_memory():
        made = [torch.empty(3), torch.Tensor(3), torch.zeros(1).new_empty(3), torch.empty_like(torch.zeros(3))]
        number = torch.empty(3, dtype=torch.int64)
    assert all(bool(tensor.isnan().all()) for tensor in made)
    assert bool((number == torch.iinfo(torch.int64).max).all())
    after = torch.get_deterministic_debug_mode(), torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    assert after == before
