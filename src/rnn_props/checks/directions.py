"""Layers and directions: which half reads the sequence from which end, and whose state stands in which row."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from rnn_props.cases import Needs
from rnn_props.checks import when
from rnn_props.checks.registry import BASICS, check
from rnn_props.checks.trial import Trial
from rnn_props.contracts import Contract, ShapeRule
from rnn_props.subjects import Result, Subject, Tree, cut, map_tree, state_leaves

_DIRECTIONS = ("forward", "backward")
_BIDIRECTIONAL = when.all_of(
    when.has_sequence_state,
    when.capable("bidirectional", "it has no bidirectional configuration"),
    when.unquantised,
)


def _has_halves(contract: Contract) -> str | None:
    """The output has a half for each direction."""
    rule = None if contract.output is None else ShapeRule.parse(contract.output)
    if rule is None or rule.axis("T") is None:
        return "the output has no time axis"
    if "D" not in rule.dimensions[-1].names or not contract.capabilities.output_is_state:
        return "its output is not the hidden states of the two directions, side by side"
    return None


@check(
    "RP305",
    "time.directions",
    when=when.all_of(_BIDIRECTIONAL, _has_halves),
    needs=Needs(
        lengths=(2, 3, 4, 5, 6, 13), picks=1, roles={"bidirectional": (True,), "num_layers": (1,)}, fills=("normal",)
    ),
    explained_by=("RP203", "RP301", "RP303", "RP304"),
    share=0.5,
    hint="The backward direction reads a flipped sequence, and what it gives is flipped back: look for a flip that is "
    "left out, made twice, or made along another axis than time.",
)
def directions(t: Trial) -> None:
    """The forward half at t ignores inputs after t; the backward half at t ignores inputs before t.

    At the last step the backward half depends on the last input alone.

    Why: Taggers read both halves at a step: what was before it, and what comes after. If the backward half belongs to
    another step, shapes are right, training runs, and every label is made from the wrong context.
    Causes:
    - The outputs of the backward direction are not flipped back before they are joined: step t holds step T-1-t.
    - The input of the backward direction is not flipped: both halves read from left to right.
    - `flip(0)` with batch_first, where time is axis 1, or `flip([0, 1])`.
    - The halves are joined the wrong way round: `torch.cat((backward, forward), -1)`.
    - A shift by one, from joining the outputs of one direction with the states before the step of the other.
    Fix: Flip along the time axis on the way in and again on the way out: `torch.cat((forward(x),
    backward(x.flip(time)).flip(time)), -1)`.
    """
    length = t.sizes["T"]
    before = t.call().output
    for step in {1 + t.pick(0, length - 1), length - 1}:
        _half_kept(t, before, 0, (0, step), (step, length), f"inputs after step {step - 1}")
        _half_kept(t, before, 1, (step, length), (0, step), f"inputs before step {step}")


def _half_kept(t: Trial, before: Tensor, half: int, kept: tuple[int, int], changed: tuple[int, int], what: str) -> None:
    """One half of the output stays as it was over some steps when the inputs of others change."""
    assert t.rules.output is not None
    time = t.rules.input.axis("T")
    assert time is not None
    start, stop = changed
    inputs = t.input.clone()
    inputs.narrow(time, start, stop - start).mul_(-2.0).add_(1.5)
    after = t.call(inputs).output
    # Steps and the half that may change are taken from before, so that a message has the element's own place.
    now = before.clone()
    part = cut(now, t.rules.output, "T", *kept).chunk(2, -1)[half]
    part.copy_(cut(after, t.rules.output, "T", *kept).chunk(2, -1)[half])
    t.same(now, before, f"after a change of the {what}: {_DIRECTIONS[half]} half of the output", t.rules.output)


@check(
    "RP306",
    "time.reversal",
    when=when.all_of(_BIDIRECTIONAL, when.capable("torch_weights", "its parameters are not named as torch.nn's")),
    needs=Needs(
        lengths=(2, 1, 3, 4, 5, 13), roles={"bidirectional": (True,)}, states=("random", "none"), fills=("normal",)
    ),
    after=(*BASICS, "RP107"),
    explained_by=("RP203", "RP204", "RP205", "RP303", "RP305", "RP904"),
    share=0.5,
    hint="The two directions are not treated alike: one of them uses weights or biases of the other, leaves something "
    "out, or reads its sequence in the other's order in some layer.",
)
def reversal(t: Trial) -> None:
    """Reversing the input and exchanging the directions' weights and states reverses and exchanges the results.

    Why: The two directions are one computation, run from two ends. Where they are not, half of what a bidirectional
    layer learns is something else than its parameters say.
    Causes:
    - The backward direction runs with the forward direction's weights, in every layer or in deeper ones alone.
    - One direction leaves out a bias, a normalisation or the initial state.
    - A deeper layer's backward direction reads the sequence from left to right, since the flip was made once, before
      the first layer.
    - Parameters are looked up by position, and the list of one direction is shorter.
    Fix: Let both directions call one function, with the suffix of the parameters' names and the order of the steps as
    its only arguments.
    """
    time = t.rules.input.axis("T")
    assert time is not None
    result = t.call()
    other = t.build()
    _write(other, _exchanged(t))
    reversed_input = t.input.flip(time).contiguous()
    mirrored = t.call(reversed_input, _exchange_rows(t, t.state), subject=other)
    assert t.rules.output is not None
    forward, backward = mirrored.output.flip(t.rules.output.axis("T")).chunk(2, -1)
    t.same_result(
        Result(torch.cat((backward, forward), -1), _exchange_rows(t, mirrored.state)),
        result,
        "the reversed input with the weights of the two directions exchanged, taken back",
    )


def _exchanged(t: Trial) -> dict[str, Tensor]:
    """The parameters with the two directions exchanged.

    What a deeper layer reads are the two halves of the output below, which are exchanged with it.
    """
    weights = t.subject.parameters_of()
    found = {}
    for name in weights:
        other = name.removesuffix("_reverse") if name.endswith("_reverse") else f"{name}_reverse"
        value = weights[other].detach()
        if name.startswith("weight_ih") and _layer(name) > 0:
            value = torch.cat(value.chunk(2, 1)[::-1], 1)
        found[name] = value
    return found


def _layer(name: str) -> int:
    match = re.search(r"_l(\d+)", name)
    assert match is not None
    return int(match[1])


def _exchange_rows(t: Trial, state: Tree) -> Tree:
    def exchange(leaf: Tensor) -> Tensor:
        return leaf.reshape(t.sizes["L"], 2, *leaf.shape[1:]).flip(1).reshape(leaf.shape)

    return map_tree(exchange, state)


def _write(subject: Subject, values: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in subject.parameters_of().items():
            parameter.copy_(values[name])


@check(
    "RP209",
    "state.rows",
    when=when.all_of(
        when.has_sequence_state,
        when.capable("torch_weights", "its parameters are not named as torch.nn's (RP205 changes single rows)"),
    ),
    needs=Needs(lengths=(1, 2, 3, 5, 13), states=("random",), fills=("normal",), roles={"num_layers": (2, 3, 1)}),
    after=(*BASICS, "RP107"),
    explained_by=(
        *("RP201", "RP202", "RP204", "RP205", "RP206", "RP208", "RP210"),
        *("RP301", "RP302", "RP303", "RP304", "RP305", "RP306", "RP309"),
    ),
    share=0.5,
    hint="Compare the layers' wiring with the names: which parameters a layer and direction runs with, what it reads, "
    "and in which row its state stands (layer * num_directions + direction).",
)
def rows(t: Trial) -> None:
    """Each layer's and direction's row is that layer's own state: a stack equals its layers run one by one.

    Why: Weights and states move between models layer by layer: pretrained layers are copied, some are frozen, an
    encoder's rows start a decoder. Where a layer of the stack is not the layer of that name, all of it goes wrong
    without an error.
    Causes:
    - Layers above the first run with another layer's parameters, or the two directions with each other's.
    - The two halves of a layer's output are joined in another order than the next layer's weights were made for.
    - A layer reads the stack's input, or the layer two below it, and not the layer below.
    - A residual connection, normalisation or activation between layers that a stack of torch.nn's layers does not have.
    - Rows are numbered `direction * num_layers + layer`.
    Fix: In one loop over layers and one over directions inside it, use `_l{layer}` and `_l{layer}_reverse` and row
    `layer * num_directions + direction`. Feed each layer `torch.cat((forward, backward), -1)` of the one below.
    """
    assert t.rules.output is not None
    count, directions = t.sizes["L"], t.sizes["D"]
    if count * directions == 1:
        t.discard("there is one row")
    result = t.call()
    below = t.input
    for layer in range(count):
        outputs = []
        for direction in range(directions):
            single = _single(t, layer, direction)
            row = layer * directions + direction
            state = _row_of(t.state, row)
            alone = _run_alone(t, single, below, state, backward=direction == 1)
            outputs.append(alone.output)
            where = f"layer {layer}, {_DIRECTIONS[direction]}, against that layer alone"
            for (name, leaf), (_, expected) in zip(state_leaves(result.state), state_leaves(alone.state), strict=True):
                t.same(leaf[row], expected[0], f"{where}: {name}[{row}]")
        below = torch.cat(outputs, -1)
    t.same(result.output, below, "against its layers one by one: output", t.rules.output)


def _row_of(state: Tree, row: int) -> Tree:
    """The state of a module with one row."""
    return map_tree(lambda leaf: leaf[row : row + 1].clone(), state)


def _single(t: Trial, layer: int, direction: int) -> Subject:
    """One layer in one direction, as a module of its own with the parameters of that layer and direction."""
    features = t.sizes["I"] if layer == 0 else t.sizes["D"] * t.sizes["P"]
    wanted = {"num_layers": 1, "bidirectional": False, "input_size": features, "dropout": 0.0}
    changes = {name: wanted[role] for role, name in t.contract.roles.items() if role in wanted}
    single = t.build(**changes)
    weights = t.subject.parameters_of()
    ending = f"_l{layer}" + ("_reverse" if direction else "")
    own = {name: f"{name.removesuffix('_l0')}{ending}" for name in single.parameters_of()}
    if len(own) * t.sizes["L"] * t.sizes["D"] != len(weights) or not set(own.values()) <= set(weights):
        t.discard("it can't be built with one layer and one direction")
    _write(single, {name: weights[there].detach() for name, there in own.items()})
    return single


def _run_alone(t: Trial, single: Subject, inputs: Tensor, state: Tree, *, backward: bool) -> Result:
    time = t.rules.input.axis("T")
    assert time is not None
    given = (inputs.flip(time) if backward else inputs).contiguous()
    result = t.call(given, state, subject=single)
    return Result(result.output.flip(time) if backward else result.output, result.state)
