"""The fused LSTM and GRU cells: what torch asks of an accelerator for nn.LSTM, nn.GRU and their cells.

Torch has them for CUDA only, so these are written after their formulas. As on CUDA, gates in float16 and bfloat16 are
computed in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

_aten: Any = torch.ops.aten


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _lstm(
    input_gates: Tensor,
    hidden_gates: Tensor,
    cx: Tensor,
    input_bias: Tensor | None = None,
    hidden_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of an LSTM from its two products, each (B, 4*H), in the order input, forget, cell, output.

    Returns:
        h (B, H), c (B, H), and the gates after their nonlinearities (B, 4*H).
    """
    gates = _wide(input_gates) + _wide(hidden_gates)
    for bias in (input_bias, hidden_bias):
        if bias is not None:
            gates += bias
    i, f, g, o = gates.chunk(4, 1)
    i.sigmoid_()
    f.sigmoid_()
    g.tanh_()
    o.sigmoid_()
    cy = f * _wide(cx) + i * g
    hy = o * cy.tanh()
    return hy.to(cx.dtype), cy.to(cx.dtype), gates.to(cx.dtype)


def _lstm_backward(
    grad_hy: Tensor | None, grad_cy: Tensor | None, cx: Tensor, cy: Tensor, workspace: Tensor, has_bias: bool
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients of the gates (B, 4*H), of c before the step (B, H), and of a bias (4*H)."""
    if grad_hy is None and grad_cy is None:
        return None, None, None
    i, f, g, o = _wide(workspace).chunk(4, 1)
    tanh_c = _wide(cy).tanh()
    grad_h = torch.zeros_like(tanh_c) if grad_hy is None else _wide(grad_hy)
    grad_c = grad_h * o * (1 - tanh_c * tanh_c)
    if grad_cy is not None:
        grad_c += _wide(grad_cy)
    grad_gates = torch.cat(
        (
            grad_c * g * i * (1 - i),
            grad_c * _wide(cx) * f * (1 - f),
            grad_c * i * (1 - g * g),
            grad_h * tanh_c * o * (1 - o),
        ),
        1,
    )
    gates = grad_gates.to(workspace.dtype)
    return gates, (grad_c * f).to(cx.dtype), gates.sum(0) if has_bias else None


def _gru(
    input_gates: Tensor,
    hidden_gates: Tensor,
    hx: Tensor,
    input_bias: Tensor | None = None,
    hidden_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One step of a GRU from its two products, each (B, 3*H), in the order reset, update, new.

    Returns:
        h (B, H), and what the backward pass needs (B, 5*H): the reset, update and new gates after their
        nonlinearities, h before the step, and the hidden product of the new gate with its bias.
    """
    given, hidden = _wide(input_gates), _wide(hidden_gates)
    if input_bias is not None and hidden_bias is not None:
        given, hidden = given + input_bias, hidden + hidden_bias
    i_r, i_z, i_n = given.chunk(3, 1)
    h_r, h_z, h_n = hidden.chunk(3, 1)
    r = (i_r + h_r).sigmoid_()
    z = (i_z + h_z).sigmoid_()
    n = (i_n + r * h_n).tanh_()
    before = _wide(hx)
    hy = n + z * (before - n)
    return hy.to(hx.dtype), torch.cat((r, z, n, before, h_n), 1).to(hx.dtype)


def _gru_backward(
    grad_hy: Tensor, workspace: Tensor, has_bias: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """The gradients of both products (B, 3*H), of h before the step (B, H), and of both biases (3*H)."""
    r, z, n, before, h_n = _wide(workspace).chunk(5, 1)
    grad = _wide(grad_hy)
    grad_n = grad * (1 - z) * (1 - n * n)
    grad_r = grad_n * h_n * r * (1 - r)
    grad_z = grad * (before - n) * z * (1 - z)
    dtype = workspace.dtype
    of_input = torch.cat((grad_r, grad_z, grad_n), 1).to(dtype)
    of_hidden = torch.cat((grad_r, grad_z, grad_n * r), 1).to(dtype)
    of_biases = (of_input.sum(0), of_hidden.sum(0)) if has_bias else (None, None)
    return of_input, of_hidden, (grad * z).to(dtype), *of_biases


#: The kernels that torch's recurrent modules call on an accelerator.
CELLS: Mapping[Any, Callable[..., Any]] = {
    _aten._thnn_fused_lstm_cell.default: _lstm,
    _aten._thnn_fused_lstm_cell_backward_impl.default: _lstm_backward,
    _aten._thnn_fused_gru_cell.default: _gru,
    _aten._thnn_fused_gru_cell_backward.default: _gru_backward,
}
