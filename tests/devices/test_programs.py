"""Programs of views, writes and products leave the same memory behind on the simulated device as on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from device_runs import assert_same
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rnn_props.devices import sim
from rnn_props.subjects import filled_memory, hidden_tensors, registered_tensors

#: A step turns the present tensor into the next one; some write into it on the way.
STEPS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "first": lambda x, n: x[:n],
    "every other": lambda x, n: x[..., ::2],
    "row": lambda x, n: x[n % x.shape[0]] if x.dim() > 1 and x.shape[0] else x,
    "transpose": lambda x, n: x.transpose(0, -1),
    "unsqueeze": lambda x, n: x.unsqueeze(n % (x.dim() + 1)) if x.dim() < 4 else x,
    "squeeze": lambda x, n: x.squeeze() if x.squeeze().dim() else x,
    "flatten": lambda x, n: x.flatten(),
    "expand": lambda x, n: x[:1].expand(n, *x.shape[1:]) if x.shape[0] else x,
    "contiguous": lambda x, n: x.contiguous(),
    "clone": lambda x, n: x.clone(),
    "detach": lambda x, n: x.detach(),
    "fill": lambda x, n: x[:1].fill_(n),
    "add in place": lambda x, n: x.clone().add_(n),
    "zero a slice": lambda x, n: _then(x, x[..., :1].zero_()),
    "set a slice": lambda x, n: _set(x, slice(0, 1), float(n)),
    "set by mask": lambda x, n: _then(x, x.masked_fill_(x > n, -1.0)) if _is_own(x) else x,
    "copy": lambda x, n: _then(x, x[-1:].copy_(x[:1].clone())),
    "multiply": lambda x, n: x * n + x.sum(),
    "product": lambda x, n: x @ x.transpose(-1, -2) if x.dim() == 2 else x,
    "tanh in place": lambda x, n: _then(x, x.tanh_()) if _is_own(x) else x,
    "cat": lambda x, n: torch.cat([x, x], 0) if x.numel() < 200 else x,
    "flip": lambda x, n: x.flip(0),
    "data": lambda x, n: x.data,
}


def _then(x: Tensor, done: Tensor) -> Tensor:
    return x


def _set(x: Tensor, key: Any, value: float) -> Tensor:
    x[key] = value
    return x


def _is_own(x: Tensor) -> bool:
    """Whether no two elements share memory: torch refuses to write into the others in most ways."""
    return 0 not in x.stride() or x.numel() < 2


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(1, 3)), max_size=8),
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
)
def test_a_program_does_the_same_to_every_tensor_that_it_made(steps: list[tuple[str, int]], shape: list[int]) -> None:
    torch.manual_seed(0)
    here = [torch.randn(shape)]
    there = [here[0].to("sim")]
    for name, number in steps:
        try:
            expected = STEPS[name](here[-1], number)
        except (RuntimeError, IndexError) as error:
            try:
                STEPS[name](there[-1], number)
            except type(error):
                return
            raise AssertionError(f"{name} is refused on the CPU and not on the device") from error
        here.append(expected)
        there.append(STEPS[name](there[-1], number))
    assert_same(here, there)
    assert [item._version for item in here] == [item._version for item in there]
    shared = [[one.untyped_storage().data_ptr() == two.untyped_storage().data_ptr() for one in here] for two in here]
    assert shared == [[a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr() for a in there] for b in there]


def test_memory_that_nobody_initialised_is_filled_on_request() -> None:
    with filled_memory():
        ones = torch.ones(2, device="sim")
        for made in (torch.empty(2, 3, device="sim"), ones.new_empty(3), torch.empty_like(ones)):
            assert made.isnan().all()
        assert torch.empty(2, dtype=torch.int64, device="sim").tolist() == [torch.iinfo(torch.int64).max] * 2
    assert ones.sum().item() == 2


def test_tensors_that_are_not_registered_are_found_by_their_memory() -> None:
    class Holds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.LSTM(3, 3)
            self.view = self.layer.weight_hh_l0.detach()[1:]
            self.own = torch.ones(3)

    module = sim.move(Holds())
    module.own = module.own.to("sim")
    assert set(hidden_tensors(module)) == {"view", "own"}, "a move gives parameters other memory"
    module.view = module.layer.weight_hh_l0.detach()[1:]
    assert set(hidden_tensors(module)) == {"own"}
    assert {item.device.type for item in registered_tensors(module).values()} == {"sim"}
