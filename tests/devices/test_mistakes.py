"""The simulated device is right until it is told to be wrong, and then wrong by as much as it should be."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from device_runs import moved
from torch import Tensor, nn

from rnn_props.devices import sim
from rnn_props.devices.mistakes import LARGE, STALE

#: The largest difference from float64 of a forward run of 32 steps with inputs of size 1: at least, at most.
SIZES = {
    None: (0.0, 1e-6),
    "tf32": (1e-5, 3e-3),
    "bfloat16_products": (1e-4, 3e-2),
    "lost_element": (1e-4, 2.0),
    "stale_memory": (1e-2, 2.0),
    "nondeterministic": (0.0, 2e-6),
}


def _output(module: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        output: Tensor = module(x)[0]
    return output.cpu()


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("cls", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_mistake_is_as_large_as_on_real_devices(cls: type[nn.Module], kind: Any) -> None:
    torch.manual_seed(0)
    module, x = cls(16, 32, 2), torch.randn(32, 4, 16)
    exact = _output(copy.deepcopy(module).double(), x.double())
    there = moved(module)
    with sim.wrong(kind):
        gap = (_output(there, x.to("sim")) - exact).abs().max().item()
    least, most = SIZES[kind]
    assert least <= gap <= most
    assert (_output(there, x.to("sim")) - exact).abs().max().item() < 1e-6


def test_no_mistake_is_made_that_was_not_asked_for() -> None:
    x, y = torch.randn(8, 8), torch.randn(8, 8)
    for _ in range(2 * STALE):
        assert torch.equal((x.to("sim") @ y.to("sim")).cpu(), x @ y)


@pytest.mark.parametrize(("kind", "bits"), [("tf32", 10), ("bfloat16_products", 7)])
def test_operands_are_rounded_to_so_many_bits(kind: Any, bits: int) -> None:
    one = torch.eye(2, device="sim")
    values = torch.tensor(
        [[1 + 2.0**-bits, 1 + 2.0 ** -(bits + 1)], [1 + 3 * 2.0 ** -(bits + 1), -(1 + 2.0 ** -(bits + 2))]]
    )
    with sim.wrong(kind):
        rounded = (values.to("sim") @ one).tolist()
        exact = (values.double().to("sim") @ one.double()).cpu()
        bias = torch.addmm(values.to("sim"), one * 0, one).cpu()
    assert rounded == [[1 + 2.0**-bits, 1.0], [1 + 2 * 2.0**-bits, -1.0]]
    assert torch.equal(exact, values.double())
    assert torch.equal(bias, values)


def test_infinities_stay_what_they_are_in_tf32() -> None:
    with sim.wrong("tf32"):
        result = torch.tensor([[float("inf"), 3.4e38]], device="sim") @ torch.ones(2, 1, device="sim")
    assert result.item() == float("inf")


def test_one_element_is_lost_of_a_large_result_only() -> None:
    x = torch.ones(4, 4, device="sim")
    with sim.wrong("lost_element"):
        assert ((x @ x) == 0).sum().item() == 1
        assert (torch.bmm(x[None], x[None]) == 0).sum().item() == 1
        assert (torch.ones(1, 2, device="sim") @ torch.ones(2, LARGE - 1, device="sim") == 0).sum().item() == 0


def test_a_stale_result_is_the_one_before_it() -> None:
    x = torch.ones(3, 3, device="sim")
    with sim.wrong("stale_memory"):
        results = [(x * step @ x)[0, 0].item() / 3 for step in range(1, STALE + 2)]
    assert results == [*range(1, STALE), STALE - 1, STALE + 1]


def test_square_results_are_transposed_and_others_are_not() -> None:
    x, y = torch.randn(3, 3), torch.randn(3, 4)
    with sim.wrong("transposed"):
        assert torch.equal((x.to("sim") @ x.to("sim")).cpu(), (x @ x).t())
        assert torch.equal(torch.mm(x.to("sim"), x.to("sim"), out=torch.empty(3, 3, device="sim")).cpu(), (x @ x).t())
        assert torch.equal((x.to("sim") @ y.to("sim")).cpu(), x @ y)


def test_noise_differs_from_call_to_call_and_not_from_run_to_run() -> None:
    x = torch.randn(8, 8, device="sim")
    runs = []
    for _ in range(2):
        with sim.wrong("nondeterministic"):
            runs.append([(x @ x).cpu() for _ in range(3)])
    assert all(torch.equal(first, second) for first, second in zip(*runs, strict=True))
    assert not torch.equal(runs[0][0], runs[0][1])
    torch.manual_seed(0)
    with sim.wrong("nondeterministic"):
        _ = x @ x
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), drawn), "torch's own generator was used"


def test_gradients_and_convolutions_are_wrong_too() -> None:
    x = torch.randn(6, 6)
    there = x.to("sim").requires_grad_()
    with sim.wrong("bfloat16_products"):
        (there @ there).square().sum().backward()
        convolved = torch.conv1d(there.detach()[None], there.detach()[:, :, None]).cpu()
    here = x.clone().requires_grad_()
    (here @ here).square().sum().backward()
    assert there.grad is not None
    assert here.grad is not None
    assert 1e-4 < ((there.grad.cpu() - here.grad).abs().max() / here.grad.abs().max()).item() < 1e-1
    assert 1e-4 < (convolved - torch.conv1d(x[None], x[:, :, None])).abs().max().item() < 1e-1


def test_blocks_nest_and_end() -> None:
    x = torch.arange(4.0, device="sim").view(2, 2)
    one = torch.eye(2, device="sim")
    with sim.wrong("transposed"):
        with sim.wrong(None):
            assert torch.equal(x @ one, x)
        assert torch.equal(x @ one, x.t())
    assert torch.equal(x @ one, x)


def test_an_unknown_mistake_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^kind must be one of tf32, bfloat16_products, .* or None \(got 'tf16'\)$"):
        sim.set_wrong("tf16")  # type: ignore[arg-type]
