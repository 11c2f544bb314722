"""Tensors of the simulated device: made, moved, viewed and computed with as on the CPU."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from device_runs import assert_same, on_both
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rnn_props.devices import sim

X, Y = torch.randn(4, 6), torch.randn(4, 6)

FACTORIES: dict[str, Callable[[Any], Tensor]] = {
    "empty": lambda d: torch.empty(2, 3, device=d).zero_(),
    "empty_strided": lambda d: torch.empty_strided((2, 3), (1, 2), device=d).fill_(1),
    "nothing": lambda d: torch.empty(0, 3, device=d),
    "zeros": lambda d: torch.zeros(2, 3, device=d),
    "ones": lambda d: torch.ones(2, dtype=torch.float64, device=d),
    "full": lambda d: torch.full((2,), 3, device=d),
    "rand": lambda d: torch.rand(3, device=d),
    "randn": lambda d: torch.randn(3, device=d, requires_grad=True),
    "randint": lambda d: torch.randint(0, 9, (3,), device=d),
    "randperm": lambda d: torch.randperm(5, device=d),
    "normal": lambda d: torch.normal(0.0, 1.0, (3,), device=d),
    "arange": lambda d: torch.arange(5, device=d),
    "arange of floats": lambda d: torch.arange(1.0, 5, 0.5, device=d),
    "linspace": lambda d: torch.linspace(0, 1, 5, device=d),
    "logspace": lambda d: torch.logspace(0, 1, 5, device=d),
    "eye": lambda d: torch.eye(3, 2, device=d),
    "tril_indices": lambda d: torch.tril_indices(3, 3, device=d),
    "hann_window": lambda d: torch.hann_window(4, device=d),
    "tensor": lambda d: torch.tensor([[1, 2], [3, 4]], device=d),
    "tensor of one": lambda d: torch.tensor(1.5, device=d),
    "as_tensor": lambda d: torch.as_tensor(np.arange(3), device=d),
    "zeros_like": lambda d: torch.zeros_like(X.to(d).t()),
    "ones_like": lambda d: torch.ones_like(X, device=d, dtype=torch.int64),
    "full_like": lambda d: torch.full_like(X.to(d), 2),
    "empty_like": lambda d: torch.empty_like(X.to(d)).zero_(),
    "rand_like": lambda d: torch.rand_like(X.to(d)),
    "randn_like": lambda d: torch.randn_like(X, device=d),
    "new_zeros": lambda d: X.to(d).new_zeros(3),
    "new_ones": lambda d: X.to(d).new_ones(3),
    "new_full": lambda d: X.to(d).new_full((2, 2), 3.0),
    "new_empty": lambda d: X.to(d).new_empty(2).zero_(),
    "new_tensor": lambda d: X.to(d).new_tensor([1.0, 2.0]),
    "bool": lambda d: torch.zeros(2, dtype=torch.bool, device=d),
    "complex": lambda d: torch.randn(2, dtype=torch.complex64, device=d),
}


@pytest.mark.parametrize("make", FACTORIES.values(), ids=FACTORIES)
def test_a_factory_makes_what_it_makes_on_the_cpu(make: Callable[[Any], Tensor]) -> None:
    torch.manual_seed(0)
    expected = make("cpu")
    for device in ("sim", "sim:0", torch.device("sim")):
        torch.manual_seed(0)
        assert_same(expected, make(device))


def test_a_tensor_says_where_it_is() -> None:
    x = torch.ones(2, 3, device="sim")
    assert type(x) is Tensor
    assert x.device == torch.device("sim:0")
    assert (x.device.type, x.get_device(), x.is_cpu, x.is_cuda, x.is_meta) == ("sim", 0, False, False, False)
    assert repr(x) == "tensor([[1., 1., 1.],\n        [1., 1., 1.]], device='sim:0')"


def test_the_default_device_can_be_this_one() -> None:
    with torch.device("sim"):
        assert torch.get_default_device().type == "sim"
        assert (
            torch.zeros(2).device.type == nn.Linear(2, 2).weight.device.type == torch.tensor(1.0).device.type == "sim"
        )
    assert torch.zeros(2).device.type == "cpu"


ELEMENTWISE = (
    "add",
    "sub",
    "mul",
    "div",
    "maximum",
    "atan2",
    "fmod",
    "remainder",
    "pow",
    "hypot",
    "lt",
    "eq",
    "logical_or",
)
SOME = st.sampled_from(["4 6", "6", "4 1", "1", "", "1 4 6", "0 6"])


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(ELEMENTWISE),
    shapes=st.tuples(SOME, SOME),
    dtypes=st.tuples(*[st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool])] * 2),
    number=st.sampled_from([None, 2, 0.5, True]),
    transposed=st.booleans(),
)
def test_elementwise_operations_have_the_cpus_results_dtypes_and_strides(
    name: str, shapes: tuple[str, str], dtypes: tuple[torch.dtype, torch.dtype], number: Any, transposed: bool
) -> None:
    torch.manual_seed(0)
    left, right = (
        (4 * torch.rand([int(size) for size in shape.split()])).to(dtype)
        for shape, dtype in zip(shapes, dtypes, strict=True)
    )
    left = left.mT.contiguous().mT if transposed and left.dim() > 1 else left
    other = right if number is None else number
    function = getattr(torch, name)
    try:
        function(left, other)
    except (RuntimeError, TypeError) as refused:  # shapes that do not broadcast, no such operation on bool, a number
        with pytest.raises(type(refused)):
            function(left.to("sim"), other.to("sim") if isinstance(other, Tensor) else other)
        return
    assert_same(*on_both(function, left, other))


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "matmul": lambda x, y: x @ y.t(),
    "matrix and vector": lambda x, y: x @ y[0],
    "batched matmul": lambda x, y: x.view(2, 2, 6) @ y.view(2, 6, 2),
    "addmm": lambda x, y: torch.addmm(x[:, 0], x, y.t(), beta=0.5, alpha=2),
    "linear": lambda x, y: F.linear(x.view(2, 2, 6), y, y[:, 0]),
    "bilinear": lambda x, y: F.bilinear(x, y, x.new_ones(2, 6, 6)),
    "einsum": lambda x, y: torch.einsum("ij,kj->ik", x, y),
    "outer": lambda x, y: torch.outer(x[0], y[0]),
    "conv1d": lambda x, y: F.conv1d(x[None], y[:, :4, None].expand(4, 4, 3), padding=1),
    "grouped conv1d": lambda x, y: F.conv1d(x[None], y[:, None, :3], groups=4),
    "conv_transpose1d": lambda x, y: F.conv_transpose1d(x[None], y.view(4, 2, 3)),
    "softmax": lambda x, y: x.softmax(-1),
    "log_softmax": lambda x, y: F.log_softmax(x, 0),
    "layer_norm": lambda x, y: F.layer_norm(x, (6,), y[0], y[1]),
    "group_norm": lambda x, y: F.group_norm(x[None], 2),
    "batch_norm": lambda x, y: F.batch_norm(x, None, None, training=True),
    "activations": lambda x, y: F.gelu(x) + F.silu(x) + F.elu(x) + F.leaky_relu(x) + F.softplus(x) + F.hardtanh(x),
    "glu": lambda x, y: F.glu(x),
    "cat": lambda x, y: torch.cat([x, y], 1),
    "stack": lambda x, y: torch.stack([x, y], -1),
    "flip": lambda x, y: x.flip(0),
    "roll": lambda x, y: x.roll(1, 0),
    "repeat": lambda x, y: x.repeat(2, 1).repeat_interleave(2, 1),
    "pad": lambda x, y: F.pad(x, (1, 2)),
    "cumulative": lambda x, y: (x.cumsum(0), x.cumprod(1), x.cummax(1), x.logcumsumexp(0)),
    "reductions": lambda x, y: (
        x.sum(),
        x.mean(0),
        x.amax(1),
        x.prod(),
        x.var(1),
        x.norm(),
        x.logsumexp(0),
        x.median(),
    ),
    "places": lambda x, y: (x.argmax(1), x.max(0), x.sort(1), x.topk(2), x.kthvalue(2)),
    "where": lambda x, y: torch.where(x > 0, x, y) + torch.where(x > 0, x, 0.0),
    "masks": lambda x, y: (x.masked_fill(x > 0, -1.0), x[x > 0], (x > 0).nonzero(), x.masked_select(y > 0)),
    "gather": lambda x, y: x.gather(1, y.abs().long()),
    "scatter": lambda x, y: torch.zeros_like(x).scatter_add_(1, y.abs().long(), x),
    "embedding": lambda x, y: F.embedding(y.abs().long(), x),
    "one_hot": lambda x, y: F.one_hot(y.abs().long(), 6),
    "losses": lambda x, y: (F.mse_loss(x, y), F.cross_entropy(x, y[:, 0].abs().long()), F.smooth_l1_loss(x, y)),
    "unique": lambda x, y: x.round().unique(return_counts=True),
    "triangles": lambda x, y: (x.tril(), x.triu(1)),
    "numbers": lambda x, y: 1 - x + 2 * x / 3 - x**2 + 2**x,
    "integers": lambda x, y: ((x * 9).int() // 2, (x * 9).long() % 4, (x * 9).long() << 1),
    "casts": lambda x, y: (x.double(), x.half(), x.bfloat16(), x.long(), x.bool(), x.to(torch.float64)),
    "complex numbers": lambda x, y: torch.complex(x, y).conj() @ torch.complex(y, x).t(),
    "conjugates": lambda x, y: (torch.complex(x, y).conj() * 2, torch.complex(x, y).conj().imag + 1),
    "copies of conjugates": lambda x, y: (
        torch.complex(x, y).conj().clone(),
        torch.complex(x, y).conj().resolve_conj(),
    ),
    "fft": lambda x, y: torch.fft.irfft(torch.fft.rfft(x)),
    "linalg": lambda x, y: (torch.linalg.inv(x[:, :4]), torch.linalg.svdvals(x), torch.linalg.matrix_exp(x[:, :4])),
    "foreach": lambda x, y: torch._foreach_add([x, y], 1.0),
    "vmap": lambda x, y: torch.vmap(lambda a, b: (a * b).sum())(x, y),
    "vmapped gradient": lambda x, y: torch.vmap(torch.func.grad(lambda a, b: (a.tanh() * b).sum()))(x, y),
}


@pytest.mark.parametrize("function", OPERATIONS.values(), ids=OPERATIONS)
def test_an_operation_has_the_cpus_result_to_the_bit(function: Callable[[Tensor, Tensor], Any]) -> None:
    assert_same(*on_both(function, X, Y))


def test_attention_agrees_within_rounding() -> None:
    query = X.view(1, 2, 2, 6)
    assert_same(*on_both(lambda q: F.scaled_dot_product_attention(q, q, q), query), atol=1e-6, layout=False)
    module = nn.MultiheadAttention(6, 2, batch_first=True)
    expected, actual = on_both(lambda m, x: m(x, x, x)[0].detach(), module, X[None])
    assert_same(expected, actual, atol=1e-6, layout=False)


VIEWS: dict[str, Callable[[Tensor], Any]] = {
    "slice": lambda x: x[1:3, ::2],
    "select": lambda x: x[1],
    "transpose": lambda x: x.t(),
    "permute": lambda x: x.view(2, 2, 6).permute(2, 0, 1),
    "view": lambda x: x.view(6, 4),
    "reshape": lambda x: x.reshape(2, -1),
    "expand": lambda x: x[:, :1].expand(4, 5),
    "unsqueeze": lambda x: x.unsqueeze(1).squeeze(1),
    "unbind": lambda x: x.unbind(0),
    "split": lambda x: x.split(4, 1),
    "chunk": lambda x: x.chunk(3, 1),
    "narrow": lambda x: x.narrow(1, 1, 2),
    "diagonal": lambda x: x.diagonal(),
    "unfold": lambda x: x.unfold(1, 3, 1),
    "as_strided": lambda x: x.as_strided((2, 2), (1, 2), 1),
    "bits": lambda x: x.view(torch.int32),
    "detach": lambda x: x.detach(),
    "data": lambda x: x.data,
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_a_view_shares_memory_both_ways(view: Callable[[Tensor], Any]) -> None:
    assert_same(*on_both(view, X))
    x = X.to("sim")
    seen = view(x)
    first = seen[0] if isinstance(seen, tuple) else seen
    assert first.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    version = x._version
    first.zero_()
    assert x._version == version + (0 if first.grad_fn is None and view is VIEWS["data"] else 1)
    assert (x == 0).sum().item() >= first.to(torch.float32).unique().numel()
    x.fill_(3.0)
    assert (first == (0x40400000 if first.dtype == torch.int32 else 3)).all()


def test_what_is_no_view_shares_nothing() -> None:
    x = X.to("sim")
    for other in (
        x.clone(),
        x.contiguous().clone(),
        x.t().contiguous(),
        x.repeat(1, 1),
        x.to(torch.float64),
        x[[0, 1]],
    ):
        assert other.untyped_storage().data_ptr() != x.untyped_storage().data_ptr()
    assert x.contiguous() is x
    assert x.to("sim") is x


def _chained(x: Tensor, y: Tensor) -> Tensor:
    x = x.clone()
    assert x.add_(y) is x
    assert x.mul_(2).sub_(1).div_(y).clamp_(-9, 9).abs_().sqrt_() is x
    x += 1
    x[0] = 5.0
    x[:, 1] = y[:, 1]
    x[x > 4] = 0.0
    x[1:3].copy_(y[:2])
    x.t().tanh_()
    return x


SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "t_": lambda x: x.t_(),
    "transpose_": lambda x: x.transpose_(0, 1),
    "unsqueeze_": lambda x: x.unsqueeze_(0),
    "squeeze_": lambda x: x[:, :1].squeeze_(1),
    "resize_ to less": lambda x: x.resize_(2, 3),
    "resize_ to more": lambda x: x.resize_(4, 7)[:3],
    "set_": lambda x: x.set_(x.clone().t()),
    "data": lambda x: _with_data(x, x.t() * 2),
}


def _with_data(x: Tensor, data: Tensor) -> Tensor:
    x.data = data
    return x


def test_operations_in_place_change_their_tensor() -> None:
    assert_same(*on_both(_chained, X, Y))


@pytest.mark.parametrize("change", SHAPES.values(), ids=SHAPES)
def test_a_tensor_can_change_its_shape_in_place(change: Callable[[Tensor], Tensor]) -> None:
    assert_same(*on_both(lambda x: change(x.clone()), X))


def test_results_go_where_out_says() -> None:
    def into(x: Tensor, y: Tensor) -> Any:
        device = x.device
        same, empty = torch.zeros(4, 6, device=device), torch.empty(0, device=device)
        turned, wide = torch.zeros(6, 4, device=device).t(), torch.zeros(4, 12, device=device)
        assert torch.add(x, y, out=same) is same
        assert torch.mm(x, y.t(), out=empty) is empty
        torch.sub(x, y, out=turned)
        torch.mul(x, y, out=wide[:, ::2])
        values, places = torch.max(
            x, 1, out=(torch.empty(0, device=device), torch.empty(0, dtype=torch.long, device=device))
        )
        torch.neg(same, out=same)
        return same, empty, turned, wide, values, places

    assert_same(*on_both(into, X, Y))


RANDOM: dict[str, Callable[[Tensor], Tensor]] = {
    "dropout": lambda x: F.dropout(x, 0.5),
    "alpha_dropout": lambda x: F.alpha_dropout(x, 0.5, training=True),
    "feature dropout": lambda x: F.dropout1d(x, 0.5),
    "bernoulli": lambda x: torch.bernoulli(x.sigmoid()),
    "bernoulli_": lambda x: torch.empty_like(x).bernoulli_(0.3),
    "normal_": lambda x: x.clone().normal_(),
    "uniform_": lambda x: x.clone().uniform_(-1, 1),
    "exponential_": lambda x: x.clone().exponential_(),
    "multinomial": lambda x: x.abs().multinomial(2),
    "gumbel_softmax": lambda x: F.gumbel_softmax(x),
    "rrelu": lambda x: F.rrelu(x, training=True),
    "orthogonal_": lambda x: nn.init.orthogonal_(x.clone()),
    "trunc_normal_": lambda x: nn.init.trunc_normal_(x.clone()),
}


@pytest.mark.parametrize("function", RANDOM.values(), ids=RANDOM)
def test_random_operations_follow_the_seed_and_are_the_cpus(function: Callable[[Tensor], Tensor]) -> None:
    assert_same(*on_both(function, X, seed=3))
    torch.manual_seed(3)
    first, second = function(X.to("sim")), function(X.to("sim"))
    assert not torch.equal(first, second)


def test_values_come_back_as_python_numbers() -> None:
    x = torch.tensor([[1.0, 2.5]], device="sim")
    assert x.tolist() == [[1.0, 2.5]]
    assert (x.sum().item(), float(x[0, 0]), int(x[0, 0]), bool(x.sum() > 3), len(x)) == (3.5, 1.0, 1, True, 1)
    assert [row.tolist() for row in x] == [[1.0, 2.5]]
    assert torch.equal(x, x.clone())
    assert torch.allclose(x, x + 1e-9)
    assert f"{x[0, 1]:.1f}" == "2.5"


def test_moving_keeps_values_and_strides() -> None:
    for tensor in (
        X,
        X.t(),
        X.bfloat16(),
        X > 0,
        torch.tensor(1.0),
        torch.empty(0, 2),
        torch.complex(X, Y).conj(),
        X[1:, 2:],
    ):
        there = tensor.to("sim")
        assert_same(tensor.clone(), there)
        for back in (
            there.cpu(),
            there.to("cpu"),
            there.to(torch.device("cpu")),
            torch.empty_like(tensor).copy_(there),
        ):
            assert back.device.type == "cpu"
            assert torch.equal(back, tensor)
    assert_same(X.double(), X.to("sim", torch.float64))
    assert_same(X.double(), torch.empty(4, 6, dtype=torch.float64, device="sim").copy_(X))


def test_copies_of_every_kind_are_on_the_device() -> None:
    x = X.to("sim")
    whole, part = copy.deepcopy((x, x[1]))
    assert whole.untyped_storage().data_ptr() == part.untyped_storage().data_ptr() != x.untyped_storage().data_ptr()
    parameter = nn.Parameter(x)
    for other in (whole, copy.copy(x), pickle.loads(pickle.dumps(x)), copy.deepcopy(parameter)):
        assert_same(X, other.detach())
    assert type(copy.deepcopy(parameter)) is type(pickle.loads(pickle.dumps(parameter))) is nn.Parameter


def test_saved_tensors_load_on_either_device() -> None:
    saved = io.BytesIO()
    torch.save({"x": X.to("sim"), "view": X.to("sim")[1:]}, saved)
    for device in ("cpu", "sim", None):
        saved.seek(0)
        loaded = torch.load(saved, map_location=device)
        assert loaded["x"].device.type == (device or "sim")
        assert torch.equal(loaded["x"].cpu(), X)
        assert torch.equal(loaded["view"].cpu(), X[1:])


class _Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(3)
        self.lstm = nn.LSTM(3, 3)
        self.listed = [self.first.weight]

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(self.norm(self.second(self.first(x))))[0] * self.listed[0].sum()


def test_a_module_moves_and_is_whole() -> None:
    module = _Tied()
    with torch.no_grad():
        expected = module(X[:, :3])
    before = dict(module.named_parameters())
    assert sim.move(module) is module
    assert all(parameter is before[name] for name, parameter in module.named_parameters())
    assert module.second.weight is module.first.weight is module.listed[0]
    assert {type(item) for item in module.parameters()} == {nn.Parameter}
    assert all(item.is_leaf and item.requires_grad and item.device.type == "sim" for item in module.parameters())
    assert all(item.device.type == "sim" for item in module.buffers())
    assert all(mine is own for mine, own in zip(module.lstm._flat_weights, module.lstm.parameters(), strict=True))
    result = module(X[:, :3].to("sim"))
    assert_same(expected, result.detach(), atol=1e-6)
    module.to("cpu")
    assert {item.device.type for item in (*module.parameters(), *module.buffers())} == {"cpu"}


@pytest.mark.parametrize("move", [lambda m: m.to("sim"), lambda m: m.sim(), lambda m: m.to(torch.device("sim:0"))])
def test_a_module_moves_without_help_too(move: Callable[[nn.Module], nn.Module]) -> None:
    lstm = nn.LSTM(3, 3)
    move(lstm)
    assert {type(item) for item in lstm.parameters()} == {nn.Parameter}
    assert all(mine is own for mine, own in zip(lstm._flat_weights, lstm.parameters(), strict=True))
    lstm.double()
    assert lstm(torch.randn(2, 3, dtype=torch.float64, device="sim"))[0].dtype == torch.float64


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_a_module_moves_while_a_graph_refers_to_its_parameters() -> None:
    module = nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 3)), nn.GRU(3, 3))
    loss = module(X[:, :3])[0].sum()
    expected = loss.item()
    sim.move(module)
    assert {item.device.type for item in module.parameters()} == {"sim"}
    assert abs(module(X[:, :3].to("sim"))[0].sum().item() - expected) < 1e-5
    assert not torch.__future__.get_swap_module_params_on_conversion()


def test_a_module_that_can_not_be_moved_says_why() -> None:
    class Stays(nn.Module):
        def _apply(self, fn: Any, recurse: bool = True) -> Any:
            raise RuntimeError("it stays here")

    with pytest.raises(RuntimeError, match=r"^it stays here$"):
        sim.move(Stays())
    assert not torch.__future__.get_swap_module_params_on_conversion()


def test_autocast_changes_nothing() -> None:
    with torch.autocast("sim", dtype=torch.bfloat16):
        assert nn.LSTM(3, 4).to("sim")(torch.ones(2, 3, device="sim"))[0].dtype == torch.float32


def test_a_module_can_be_built_there() -> None:
    torch.manual_seed(0)
    there = nn.LSTM(3, 4, device="sim")
    torch.manual_seed(0)
    for expected, actual in zip(nn.LSTM(3, 4).parameters(), there.parameters(), strict=True):
        assert_same(expected, actual)


def test_state_dicts_load_across_devices() -> None:
    here, there = nn.LSTM(3, 4), nn.LSTM(3, 4, device="sim")
    there.load_state_dict(here.state_dict())
    for expected, actual in zip(here.parameters(), there.parameters(), strict=True):
        assert_same(expected, actual)
    other = nn.LSTM(3, 4)
    other.load_state_dict(there.state_dict())
    assert torch.equal(other.weight_ih_l0, here.weight_ih_l0)
