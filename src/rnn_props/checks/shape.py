"""RP1xx: shapes and types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnn_props.cases import Needs
from rnn_props.checks import when
from rnn_props.checks.registry import check
from rnn_props.checks.trial import Trial
from rnn_props.contracts import Contract, ShapeRule
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
    """The output has the shape of its rule for every hyperparameter combination and size, batch 1 and length 1 too.

    Why: Code downstream indexes, joins and reshapes the output by its documented shape. A dimension that is lost or out
    of place raises far from its cause, or broadcasts and gives wrong numbers without an error.
    Causes:
    - `squeeze()` without a dimension, which also takes away a batch, a length or a hidden size of 1.
    - The batch size read from the wrong axis, as in `torch.zeros(L, x.size(0), H)` for an input `(T, B, I)`: right only
      while T equals B.
    - The second direction forgotten: `nn.Linear(hidden_size, O)` behind an output of `2 * hidden_size` features, or a
      default state of `num_layers` rows.
    - `Cell(input_size, hidden_size)` made for every layer: layers above the first read `num_directions * hidden_size`
      features, so this works only for one direction with input_size equal to hidden_size.
    - `proj_size` ignored: with it, each direction puts out proj_size features, not hidden_size.
    Fix: Unpack the sizes once, where the layout is known (`seq_len, batch, _ = x.shape`), name the dimension in every
    `squeeze`, and compute widths in one place from `num_directions` and `proj_size or hidden_size`.
    """
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
    """The returned state has the contract's structure, and each leaf the shape of its rule.

    Why: Callers index the state by layer and direction, `h_n[-1]` above all, and pass it to the next call. With the
    axes in another order that index picks a batch row in place of a layer, and nothing raises while the sizes happen to
    fit.
    Causes:
    - `h_n.transpose(0, 1)` with batch_first: in torch.nn, batch_first changes input and output and never the state.
    - Only the last layer's state is returned: the loop variable `h` after the loop over layers.
    - One row a layer in a bidirectional module, where there are `num_layers * num_directions` rows.
    - With `proj_size`, h as wide as c: h has proj_size features, c has hidden_size.
    - An LSTM or LSTMCell that returns h alone.
    Fix: Append the final state of every layer and direction to a list and `torch.stack` it along a new first axis. A
    layout of your own is no error if the contract states it: pass a `Contract` with your shape rules.
    """
    _structure(t, t.call().state, t.rules.state, "state")


def _structure(t: Trial, value: Any, rules: Any, what: str) -> None:
    if isinstance(rules, ShapeRule):
        t.shaped(value, rules, "h_n" if what == "state" else what)
    elif rules is None:
        return
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
    """An unbatched input gives unbatched results, equal to those of a batch of one.

    Why: torch.nn's layers take a single sequence `(T, I)`, and whoever puts yours in their place will pass one. A batch
    axis added in the wrong place gives plausible numbers: `(T, I)` run as `(B, I)` raises nothing.
    Causes:
    - The axis is added in one place and removed in another, as in `x.unsqueeze(1)` and `output.squeeze(0)`; the two
      agree while T is 1.
    - The axis is added to the input and not to h and c, or removed from the output and not from the state.
    - The state is dropped on this path: `hx = None` where `x.dim() == 2`, or h unsqueezed and c replaced by zeros.
    - The transposition for batch_first is applied to `(T, I)` too, which has no batch axis to move.
    Fix: At the top of `forward`, add the batch axis to the input and to every leaf of the state (for a state `(L*D, H)`
    that is `unsqueeze(1)`), run the batched path, and squeeze the same axes of output and state at the end.
    """
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
    if isinstance(rules, Mapping):
        return {key: _with_batch_axis(tree[key], rule) for key, rule in rules.items()}
    return type(rules)(_with_batch_axis(item, rule) for item, rule in zip(tree, rules, strict=True))


def _without_batch_axis(result: Result, rules: Any) -> Result:
    def strip(tree: Tree, rule: Any) -> Tree:
        if tree is None or rule is None:
            return tree
        if isinstance(rule, ShapeRule):
            axis = rule.axis("B")
            return tree if axis is None else tree.squeeze(axis)
        if isinstance(rule, Mapping):
            return {key: strip(tree[key], one) for key, one in rule.items()}
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
    """A batch of zero gives results of batch zero.

    Why: A batch becomes empty when rows are filtered out, or on the worker that gets no rows. torch.nn's layers return
    empty results then; a module that raises ends the run over a batch with nothing in it.
    Causes:
    - `view(T, B, -1)` or `reshape(B, -1)`: the size that stands for -1 cannot be inferred from no elements.
    - Rows run in a Python loop and joined by `torch.stack(rows)` or `torch.cat(rows)`: the list is empty.
    - `x.max()`, `lengths.max()` or `lengths.min()` over no elements.
    - `pack_padded_sequence`, which refuses an empty batch.
    - A guard such as `max(batch, 1)`, which makes one row out of none.
    Fix: Write the size out in place of -1 (`view(T, B, num_directions * hidden_size)`), keep the batch an axis of
    tensors and not of a Python loop, and return `x.new_zeros(...)` early where a reduction or packing has nothing to
    work on.
    """
    result = t.call()
    if t.rules.output is not None:
        t.shaped(result.output, t.rules.output, "output")
    if t.carries_state:
        _structure(t, result.state, t.rules.state, "state")


@check(
    "RP105",
    "type.dtype",
    needs=Needs(dtypes="each", lengths=(1, 2, 3), batches=(1, 2, 3), rows=("full", "mixed"), packed=True),
    after=("RP101", "RP102"),
    explained_by=("RP905",),
    hint="Make zeros and buffers like the input or the parameters (x.new_zeros(...), torch.zeros(..., "
    "dtype=x.dtype, device=x.device)): torch.zeros(...) alone is float32.",
)
def dtype(t: Trial) -> None:
    """Output and state have the input's dtype, for every dtype that the contract lists.

    Why: A tensor of another dtype either raises in the middle of the model (`mat1 and mat2 must have the same dtype`)
    or promotes what it meets: one float32 tensor turns the rest of a bfloat16 model into float32.
    Causes:
    - `torch.zeros(L, B, H)` as the initial state, without `dtype=`: float32, whatever the model is.
    - A mask, table or constant kept as a plain attribute (`self.scale = torch.ones(H)`), which `.double()` and
      `.half()` do not convert.
    - `.float()` in `forward`, for stability or for the loss, that is never cast back.
    - h converted and c forgotten.
    Fix: Make tensors from the input: `x.new_zeros(L, B, H)`, or `torch.zeros(..., dtype=x.dtype, device=x.device)`.
    Register constants with `register_buffer`. Where a step has to run in float32, end it with `.to(x.dtype)`.
    """
    result = t.call()
    wanted = DTYPES[t.case.dtype]
    output = result.output.data if isinstance(result.output, PackedSequence) else result.output
    given = "packed input" if t.case.packing else "input"
    for name, leaf in (*leaves(output, "output"), *state_leaves(result.state)):
        if leaf.dtype != wanted:
            t.fail(
                f"{name}: expected {wanted}, got {leaf.dtype} ({given} and parameters are {wanted})",
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
    """The constructor's dtype= and device= reach every parameter and buffer.

    Why: Whoever passes `dtype=` or `device=` counts on a module that is there entirely. A parameter left behind raises
    at the first call, or promotes the results; with `device="meta"` it takes the memory that this was meant to save.
    Causes:
    - `nn.Parameter(torch.empty(n, m))`, `nn.Linear(n, m)` or `register_buffer("h0", torch.zeros(H))` without the two
      arguments.
    - `device=None, dtype=None` in the signature, for the sake of torch's, and never used.
    - Passed on to the first layer, but not in the loop that makes the others, or to the weights but not to the biases.
    - `reset_parameters` that puts a new tensor in place of the parameter: `self.weight = nn.Parameter(torch.randn(n,
      m))`.
    Fix: Write `factory = {"device": device, "dtype": dtype}` at the top of the constructor, pass `**factory` to every
    `torch.empty`, sublayer and buffer, and initialise in place: `nn.init.uniform_(self.weight, -k, k)`.
    """
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
    explained_by=("RP910",),
    share=0.5,
    hint="torch.nn has weight_ih_l{layer}, weight_hh_l{layer}, bias_ih_l{layer}, bias_hh_l{layer}, with _reverse for "
    "the second direction; deeper layers take num_directions * (proj_size or hidden_size) features.",
)
def parameters(t: Trial) -> None:
    """Parameter names and shapes are the documented ones, and their number is the formula's.

    Why: Checkpoints are loaded by name and shape. A layer that looks like torch.nn's and names or shapes its parameters
    otherwise cannot exchange weights with it, and with `strict=False` a part of it silently keeps its random values.
    Causes:
    - One bias vector a layer where torch has `bias_ih` and `bias_hh` (in a GRU they are not interchangeable: the reset
      gate multiplies the new gate's hidden bias).
    - Weights kept transposed, `(input_size, 4 * hidden_size)` for `x @ W`: torch keeps `(4 * hidden_size, input_size)`
      for `F.linear`.
    - Another suffix than `_reverse` for the second direction, or one set of weights for both directions.
    - Biases that are registered although `bias=False`.
    - Deeper layers made for `input_size` features, or `weight_hh` of `(.., hidden_size)` with proj_size, where it is
      `(.., proj_size)`.
    Fix: Register `weight_ih_l{k}`, `weight_hh_l{k}`, `bias_ih_l{k}`, `bias_hh_l{k}` and, with proj_size,
    `weight_hr_l{k}`, each again with `_reverse` for the second direction, of the shapes in torch.nn's documentation.
    """
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


def _returns_containers(contract: Contract) -> str | None:
    if contract.state is None and contract.adapter is not None:
        return "its adapter takes apart what a call returns, and there is no state"
    return None


@check(
    "RP108",
    "shape.container",
    when=_returns_containers,
    hint="Return the state in the structure that is passed in: one tensor for RNN and GRU, the tuple (h, c) for LSTM; "
    "and return the same kind of thing from every call.",
)
def container(t: Trial) -> None:
    """Tuples stay tuples: h and (h, c) come back in the structure that they go in as, one row or one step or many.

    Why: Training loops tell modules apart by their state, as in `isinstance(state, tuple)` before detaching it, and
    torch's tree functions take a list and a tuple for different structures. Where a model returns a tuple for some
    batches and a tensor for others, the code around it unpacks rows of the tensor.
    Causes:
    - `return output, [h, c]`, or the list in which the final states were collected.
    - `return output, torch.stack((h, c))`: one tensor for the pair.
    - An RNN or GRU that returns the one-tuple `(h,)`, because it shares its code with an LSTM.
    - A short way out of `forward` for a batch of one or a sequence of one step, which returns the output alone.
    Fix: Convert once, right before `return`: `(h, c)` for an LSTM, the tensor itself for an RNN or GRU. `forward` may
    take a list as well; it returns a tuple.
    """
    if t.carries_state:
        _container(t, t.call().state, t.rules.state, "state")
    else:
        _same_kind_for_more(t)


def _same_kind_for_more(t: Trial) -> None:
    """What comes back for one row or one step is of the kind that comes back for several."""
    more = {letter: max(3, t.sizes.get(letter, 3)) for letter in ("T", "B")}
    one = _kinds(t.subject.call_raw(t.input, None))
    several = _kinds(t.subject.call_raw(t.other_input(1, **more), None))
    optional = "a NoneType"  # a part that is there at times
    if one != several and optional not in one and optional not in several:
        was = ", ".join(f"{letter}={t.sizes[letter]}" for letter in more if letter in t.sizes)
        now = ", ".join(f"{letter}={size}" for letter, size in more.items() if letter in t.sizes)
        t.fail(f"a call with {was} gave {one}, and one with {now} gave {several}", expected=several, actual=one)


def _kinds(value: Any) -> str:
    """The kind of a value and of what is in it, but for how many things a list has."""
    if isinstance(value, Tensor):
        return "a tensor"
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return f"({', '.join(map(_kinds, value))}{',' * (len(value) == 1)})"
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} with {', '.join(map(str, value))}"
    return f"a {type(value).__name__}"


def _container(t: Trial, value: Any, rules: Any, what: str) -> None:
    if isinstance(rules, ShapeRule):
        if not isinstance(value, Tensor):
            t.fail(f"{what}: expected a tensor, got {_kind(value)}", expected="Tensor", actual=type(value).__name__)
        return
    if rules is None:
        return
    wanted = type(rules)
    if not isinstance(value, wanted):
        t.fail(f"{what}: expected a {wanted.__name__}, got {_kind(value)}", expected=wanted.__name__,
               actual=type(value).__name__)  # fmt: skip
    items = rules.items() if isinstance(rules, Mapping) else enumerate(rules)
    for key, rule in items:
        _container(t, value[key], rule, f"{what}[{key!r}]")
