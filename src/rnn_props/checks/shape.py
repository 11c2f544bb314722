"""RP1xx: shapes and types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rnn_props.cases import Needs
from rnn_props.checks import when
from rnn_props.checks.registry import check
from rnn_props.checks.trial import Trial
from rnn_props.contracts import ShapeRule
from rnn_props.contracts.presets import torch_parameters
from rnn_props.subjects import DTYPES, Result, Tree, leaves, state_leaves


@check(
    "RP101",
    "shape.output",
    when=when.has_output,
    after=(),
    hint="Look at axes taken from the wrong place (x.size(0) for x.size(1)), squeeze() on a size of one, the factor "
    "for two directions, and proj_size.",
)
def output_shape(t: Trial) -> None:
    """The output has the shape of its rule for every hyperparameter combination and size, batch 1 and length 1 too."""
    assert t.rules.output is not None
    t.shaped(t.call().output, t.rules.output, "output")


@check(
    "RP102",
    "shape.state",
    when=when.has_state,
    after=("RP101",),
    hint="The state has one row for each layer and direction, (num_layers*num_directions, batch, size); batch_first "
    "does not change it.",
)
def state_shape(t: Trial) -> None:
    """The returned state has the contract's structure, and each leaf the shape of its rule."""
    _structure(t, t.call().state, t.rules.state, "state")


def _structure(t: Trial, value: Any, rules: Any, what: str) -> None:
    if isinstance(rules, ShapeRule):
        t.shaped(value, rules, "h_n" if what == "state" else what)
    elif isinstance(rules, Mapping):
        if not isinstance(value, Mapping) or set(value) != set(rules):
            t.fail(f"{what}: expected a dict with {sorted(rules)}, got {_kind(value)}")
        for key, rule in rules.items():
            _structure(t, value[key], rule, f"{what}[{key!r}]")
    else:
        if isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == len(rules):
            value = list(value.unbind(0))  # what it is wrapped in is RP108's to say
        if not isinstance(value, tuple | list) or len(value) != len(rules):
            t.fail(f"{what}: expected {len(rules)} members, got {_kind(value)}")
        names = ("h_n", "c_n") if len(rules) == 2 else [f"{what}[{index}]" for index in range(len(rules))]
        for name, item, rule in zip(names, value, rules, strict=True):
            _structure(t, item, rule, name)


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"one tensor of shape {tuple(value.shape)}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return type(value).__name__


@check(
    "RP103",
    "shape.unbatched",
    when=when.capable("unbatched", "it takes no input without the batch dimension"),
    needs=Needs(batched=False),
    hint="An unbatched input has no batch axis, and neither have its state and results: add the axis on the way in, "
    "and take it away from output and state on the way out.",
)
def unbatched(t: Trial) -> None:
    """An unbatched input gives unbatched results, equal to those of a batch of one."""
    alone = t.call()
    batched_rules = t.contract.rules(t.case.hyperparameters)
    axis = batched_rules.input.axis("B")
    assert axis is not None
    state = _with_batch_axis(t.state, batched_rules.state)
    batch_of_one = t.call(t.input.unsqueeze(axis), state)
    if t.rules.output is not None:
        t.shaped(alone.output, t.rules.output, "output of an unbatched input")
    if t.carries_state:
        _structure(t, alone.state, t.rules.state, "state")
    t.same_result(alone, _without_batch_axis(batch_of_one, batched_rules), "unbatched against a batch of one")


def _with_batch_axis(tree: Tree, rules: Any) -> Tree:
    if tree is None or rules is None:
        return tree
    if isinstance(rules, ShapeRule):
        axis = rules.axis("B")
        return tree if axis is None else tree.unsqueeze(axis)
    return type(rules)(_with_batch_axis(item, rule) for item, rule in zip(tree, rules, strict=True))


def _without_batch_axis(result: Result, rules: Any) -> Result:
    def strip(tree: Tree, rule: Any) -> Tree:
        if tree is None or rule is None:
            return tree
        if isinstance(rule, ShapeRule):
            axis = rule.axis("B")
            return tree if axis is None else tree.squeeze(axis)
        return type(rule)(strip(item, one) for item, one in zip(tree, rule, strict=True))

    return Result(strip(result.output, rules.output), strip(result.state, rules.state))


@check(
    "RP104",
    "shape.empty_batch",
    when=when.capable("empty_batch", "it takes no batch of zero"),
    needs=Needs(batches=(0,), states=("none", "random")),
    hint="A batch of zero comes from filtering a batch: avoid max() and view(-1, ...) on what may have no element.",
)
def empty_batch(t: Trial) -> None:
    """A batch of zero gives results of batch zero."""
    result = t.call()
    if t.rules.output is not None:
        t.shaped(result.output, t.rules.output, "output")
    if t.carries_state:
        _structure(t, result.state, t.rules.state, "state")


@check(
    "RP105",
    "type.dtype",
    needs=Needs(dtypes="each", lengths=(1, 2, 3), batches=(1, 2, 3)),
    after=("RP101", "RP102"),
    hint="Make zeros and buffers like the input or the parameters (x.new_zeros(...), torch.zeros(..., "
    "dtype=x.dtype, device=x.device)): torch.zeros(...) alone is float32.",
)
def dtype(t: Trial) -> None:
    """Output and state have the input's dtype, for every dtype that the contract lists."""
    result = t.call()
    wanted = DTYPES[t.case.dtype]
    named = [*leaves(result.output, "output"), *state_leaves(result.state)]
    for name, leaf in named:
        if leaf.dtype != wanted:
            t.fail(
                f"{name}: expected {wanted}, got {leaf.dtype} (input and parameters are {wanted})",
                expected=str(wanted),
                actual=str(leaf.dtype),
            )


@check(
    "RP106",
    "type.factory",
    when=when.capable("factory", "its constructor takes no dtype= and device="),
    needs=Needs(lengths=(1,), batches=(1,), states=("none",), fills=("normal",)),
    after=(),
    share=0.5,
    hint="Pass device=device, dtype=dtype to every torch.empty, nn.Parameter, nn.Linear and register_buffer.",
)
def factory_arguments(t: Trial) -> None:
    """The constructor's dtype= and device= reach every parameter and buffer."""
    wanted = torch.float64
    for device in ("cpu", "meta"):
        keywords = {**t.case.hyperparameters, "dtype": wanted, "device": torch.device(device)}
        module = t.factory.module(keywords, t.case.parameter_seed)
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if tensor.is_floating_point() and tensor.dtype != wanted:
                t.fail(
                    f"{name} is {tensor.dtype} although the constructor was given dtype={wanted}",
                    expected=str(wanted),
                    actual=str(tensor.dtype),
                )
            if tensor.device.type != device:
                t.fail(
                    f"{name} is on {tensor.device} although the constructor was given device='{device}'",
                    expected=device,
                    actual=str(tensor.device),
                )


@check(
    "RP107",
    "shape.parameters",
    when=when.capable("torch_weights", "its parameters are not named as torch.nn's"),
    needs=Needs(lengths=(1,), batches=(1,), states=("none",), fills=("normal",)),
    after=(),
    share=0.5,
    hint="torch.nn has weight_ih_l{layer}, weight_hh_l{layer}, bias_ih_l{layer}, bias_hh_l{layer}, with _reverse for "
    "the second direction; deeper layers take num_directions * (proj_size or hidden_size) features.",
)
def parameters(t: Trial) -> None:
    """Parameter names and shapes are the documented ones, and their number is the formula's."""
    expected = torch_parameters(t.contract, t.case.hyperparameters)
    actual = {name: tuple(value.shape) for name, value in t.subject.module.named_parameters()}
    for name, shape in expected.items():
        if name not in actual:
            t.fail(f"there is no parameter {name} of shape {shape}", expected=name, actual=", ".join(actual) or "none")
        if actual[name] != shape:
            t.fail(
                f"parameter {name}: expected shape {shape}, got {actual[name]}",
                expected=str(shape),
                actual=str(actual[name]),
            )
    extra = [name for name in actual if name not in expected]
    if extra:
        t.fail(f"parameter {extra[0]} is not one of the documented ones", expected=", ".join(expected), actual=extra[0])


@check(
    "RP108",
    "shape.container",
    when=when.has_state,
    hint="Return the state in the structure that is passed in: one tensor for RNN and GRU, the tuple (h, c) for LSTM.",
)
def container(t: Trial) -> None:
    """Tuples stay tuples: h and (h, c) come back in the structure that they go in as."""
    _container(t, t.call().state, t.rules.state, "state")


def _container(t: Trial, value: Any, rules: Any, what: str) -> None:
    if isinstance(rules, ShapeRule):
        if not isinstance(value, Tensor):
            t.fail(f"{what}: expected a tensor, got {_kind(value)}", expected="Tensor", actual=type(value).__name__)
        return
    wanted = type(rules)
    if not isinstance(value, wanted):
        t.fail(f"{what}: expected a {wanted.__name__}, got {_kind(value)}", expected=wanted.__name__,
               actual=type(value).__name__)  # fmt: skip
    items = rules.items() if isinstance(rules, Mapping) else enumerate(rules)
    for key, rule in items:
        _container(t, value[key], rule, f"{what}[{key!r}]")
