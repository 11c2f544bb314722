"""Gradients on the simulated device."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from device_runs import assert_same, moved
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

X, Y = torch.randn(4, 6), torch.randn(4, 6)


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.to("sim").requires_grad_()


def test_gradients_are_the_cpus() -> None:
    def loss(x: Tensor, y: Tensor) -> Tensor:
        h = torch.tanh(x @ y.t()) + F.layer_norm(x[:, :4], (4,))
        h = F.conv1d(h[None], y.t()[:2, :4, None]).softmax(-1)
        h = torch.cat([h[..., ::2], h[..., 1:3].flip(0)], -1)
        return (h.cumsum(1).square() * torch.where(h > 0.3, h, 0.1)).sum()

    here, there = (X.clone().requires_grad_(), Y.clone().requires_grad_()), (_leaf(X), _leaf(Y))
    loss(*here).backward()
    loss(*there).backward()
    for expected, actual in zip(here, there, strict=True):
        assert expected.grad is not None
        assert_same(expected.grad, actual.grad, atol=1e-6, layout=False)
        assert actual.is_leaf


def test_a_gradient_flows_across_a_move() -> None:
    x = X.clone().requires_grad_()
    (x.to("sim").square().sum().cpu() * 2).backward()
    assert x.grad is not None
    assert x.grad.is_cpu
    assert torch.equal(x.grad, 4 * X)


def test_gradients_accumulate_in_the_same_tensor() -> None:
    x = _leaf(X)
    x.sum().backward()
    grad = x.grad
    x.sum().backward()
    assert x.grad is grad
    assert x.grad.unique().tolist() == [2.0]
    x.grad.zero_()
    assert x.grad.sum().item() == 0


def test_a_graph_can_be_kept_and_is_freed_otherwise() -> None:
    x = _leaf(X)
    loss = x.square().sum()
    loss.backward(retain_graph=True)
    loss.backward()
    assert_same(4 * X, x.grad)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()


def test_grad_gives_gradients_of_gradients() -> None:
    x = _leaf(X)
    (first,) = torch.autograd.grad(x.pow(3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert_same(6 * X, second, atol=1e-6)
    (unused,) = torch.autograd.grad(x.sum(), _leaf(Y), allow_unused=True)
    assert unused is None


def test_views_and_writes_in_place_are_differentiated() -> None:
    def run(x: Tensor) -> Tensor:
        h = x * 1
        h[1:3].mul_(2)
        h[:, 0] = x[:, 1]
        h.t()[3].tanh_()
        return h.square().sum()

    here, there = X.clone().requires_grad_(), _leaf(X)
    run(here).backward()
    run(there).backward()
    assert here.grad is not None
    assert_same(here.grad, there.grad, atol=1e-6)


def test_writing_to_what_a_graph_needs_is_refused() -> None:
    x = _leaf(X)
    y = x.exp()
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        x.add_(1)


class _Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * 2

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        assert x.device == grads[0].device == torch.device("sim:0")
        return grads[0] * 2


def test_functions_of_the_users_own_are_called() -> None:
    x = _leaf(X)
    _Double.apply(x).sum().backward()
    assert_same(torch.full_like(X, 2), x.grad, layout=False)


def test_hooks_see_gradients_and_change_them() -> None:
    x, seen = _leaf(X), []
    x.register_hook(lambda grad: (seen.append(grad.device.type), grad * 3)[1])
    layer = nn.Linear(6, 2).to("sim")
    layer.register_forward_hook(lambda module, args, output: seen.append(output.device.type))
    layer.register_full_backward_hook(lambda module, before, after: seen.append(after[0].device.type))
    (layer(x).sum() * 0 + x.sum()).backward()
    assert seen == ["sim"] * 3
    assert_same(torch.full_like(X, 3), x.grad, layout=False)


def test_nothing_is_recorded_where_nothing_is_to_be() -> None:
    x = _leaf(X)
    with torch.no_grad():
        assert not (x * 2).requires_grad
    with torch.inference_mode():
        assert (x * 2).is_inference()
    assert not (x * 2).detach().requires_grad
    assert x.requires_grad_(False) is x
    assert not (x * 2).requires_grad


def test_a_gradient_on_another_device_is_refused() -> None:
    x = _leaf(X)
    with pytest.raises(RuntimeError, match="device"):
        x.grad = torch.ones(4, 6)
    with pytest.raises(RuntimeError, match="device"):
        (x * 2).backward(torch.ones(4, 6))


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop, torch.optim.Adagrad])
def test_training_is_the_same_on_both_devices(optimizer: Any) -> None:
    torch.manual_seed(0)
    here = nn.GRU(6, 4)
    there = moved(here)
    for module, x in ((here, X[:, None]), (there, X[:, None].to("sim"))):
        steps = optimizer(module.parameters(), lr=0.01)
        for _ in range(3):
            steps.zero_grad()
            module(x)[0].square().sum().backward()
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            steps.step()
    for expected, actual in zip(here.parameters(), there.parameters(), strict=True):
        assert_same(expected, actual, atol=1e-5)


def test_checkpointing_repeats_the_same_dropout() -> None:
    x = _leaf(X)
    result = checkpoint(lambda x: F.dropout(x.tanh(), 0.5), x, use_reentrant=False)
    result.sum().backward()
    assert ((x.grad == 0) == (result == 0)).all()


def test_backward_runs_in_any_thread() -> None:
    found: list[Any] = []

    def run() -> None:
        x = _leaf(X)
        x.sum().backward()
        found.append(x.grad)

    shared = _leaf(X)
    loss = shared.sum()
    threads = [threading.Thread(target=run), threading.Thread(target=loss.backward)]
    for thread in threads:
        thread.start()
        thread.join()
    assert_same([torch.ones_like(X)] * 2, [found[0], shared.grad], layout=False)
