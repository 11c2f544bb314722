"""RP2xx: state. The graph that a carried state brings along, and the one that it leaves behind."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from rnn_props.cases import Needs
from rnn_props.checks import when
from rnn_props.checks.moves import in_some_mode, mode_of
from rnn_props.checks.registry import BASICS, check
from rnn_props.checks.trial import Trial
from rnn_props.numerics import largest
from rnn_props.subjects import Result, TargetRaisedError, Tree, map_tree


@check(
    "RP211",
    "state.gradient_flow",
    when=when.all_of(
        when.has_sequence_state,
        when.differentiable,
        when.lacks("detached_cache", "its states are cut off from the graph by contract"),
    ),
    needs=Needs(
        splits=True,
        lengths=(2, 3, 4, 5, 6, 13),
        states=("random", "none"),
        fills=("normal",),
        roles={"bidirectional": (False,)},
        picks=1,
    ),
    after=(*BASICS, "RP208", "RP601"),
    explained_by=("RP201", "RP202", "RP212", "RP602", "RP603", "RP604"),
    share=0.5,
    hint="The state that is returned is cut off from the graph, in part or as a whole: look for detach(), .data or "
    "clone under no_grad where the final state is put together.",
)
def gradient_flow(t: Trial) -> None:
    """A loss on the last chunk reaches the first chunk's input, and the initial state, through the carried state.

    The gradient equals that of the same steps run at once.

    Why: Whoever passes a state on without detaching it wants to learn across the chunks: an encoder's state in a
    decoder, a policy's memory between two windows. A state that comes back cut off trains nothing before it.
    Causes:
    - `return output, h.detach()`, to spare callers the detaching: the caller may want the graph.
    - The final state written into a buffer (`self.h.copy_(h)`, `h_n.data[layer] = h`) or rebuilt by `torch.tensor`.
    - c returned from a fused or cached call that records no graph for it, h from the output that does.
    - One layer's state stored under `torch.no_grad()`.
    Fix: Return the tensors of the last step as they are, joined by `torch.stack` or `torch.cat`. Callers who want
    truncated backpropagation detach them; a module that truncates by design says so in its contract:
    `Capabilities(detached_cache=True)`.
    """
    in_some_mode(t)
    assert t.rules.output is not None
    edges = (0, *t.case.splits, t.sizes["T"])
    axis = t.rules.output.axis("T")

    def whole(inputs: Any, state: Tree) -> Result:
        result = t.call(inputs, state, grad=True)
        if axis is None:
            return result
        return Result(result.output.narrow(axis, edges[-2], edges[-1] - edges[-2]), result.state)

    def chunks(inputs: Any, state: Tree) -> Result:
        result = Result(None, state)
        for start, stop in itertools.pairwise(edges):
            result = t.call(t.steps(inputs, start, stop), result.state, grad=True)
        return result

    expected, actual = t.gradients(run=whole), t.gradients(run=chunks)
    if all(value is None for value in expected.values()):
        t.discard("there is no gradient to compare with")
    cuts = f"loss on the steps from {edges[-2]} on, the sequence cut at {', '.join(map(str, t.case.splits))}"
    for name in (name for name in expected if name == "input" or name.startswith("initial ")):
        one, other, what = expected[name], actual[name], name
        if name == "input" and one is not None and other is not None:
            one, other = t.steps(one, 0, edges[-2]), t.steps(other, 0, edges[-2])
            what = f"the input before step {edges[-2]}"
        if largest(one) > 0 and largest(other) == 0:
            t.fail(
                f"{cuts}{mode_of(t)}: no gradient reaches {what}, which it does where the steps are run at once: the "
                "state comes back cut off from the graph",
                expected="a gradient",
                actual="none",
            )
    t.same_gradients(actual, expected, f"{cuts}{mode_of(t)}")


@check(
    "RP212",
    "state.detach",
    when=when.all_of(when.differentiable, when.not_stateful),
    needs=Needs(fills=("normal",), states=("random", "none"), lengths=(1, 2, 3, 5), picks=1),
    after=(*BASICS, "RP601"),
    explained_by=("RP206", "RP208", "RP911"),
    share=0.5,
    hint="Something that an earlier call computed is kept on the module with its graph: look for self.hidden = h "
    "without detach(), and for weights or masks that are computed once in grad mode and kept.",
)
def detach(t: Trial) -> None:
    """After the carried state is detached, backward works chunk by chunk and touches no earlier graph.

    Why: This is truncated backpropagation, the usual way to train on long sequences. A module that holds on to an
    earlier graph raises at the second batch (`Trying to backward through the graph a second time`), or keeps every
    batch in memory.
    Causes:
    - `self.hidden = h` in forward, read by the next call, even if it is only multiplied by zero or by a mask.
    - A weight computed once and kept (`self.w = self.weight * self.mask`): the first backward frees its graph.
    - A learned initial state expanded once and kept for a batch size.
    - `retain_graph=True` as the cure: the graph then grows with every chunk.
    Fix: Compute what depends on parameters in each call. What has to be kept between calls is kept as
    `h.detach()`.
    """
    in_some_mode(t)
    seen: list[Result] = []

    def loss(result: Result) -> Tensor:
        seen.append(result)
        return t.projection([result.output, result.state])

    t.gradients(loss=loss)
    detached = map_tree(torch.Tensor.detach, seen[0].state)
    following = t.other_input(12)
    for state in (detached, None) if t.carries_state and t.contract.capabilities.optional_state else (detached,):
        fresh = t.build()
        fresh.module.train(t.subject.module.training)
        expected = t.gradients(following, state, subject=fresh)
        if all(value is None for value in expected.values()):
            t.discard("there is no gradient to compare with")
        start = "" if state is not None or not t.carries_state else " from no state"
        what = f"a second chunk{start}{mode_of(t)}, after backward of the first one"
        try:
            actual = t.gradients(following, state)
        except TargetRaisedError as raised:
            raise TargetRaisedError(raised.error, f"{what},") from raised.error
        t.same_gradients(actual, expected, f"{what}, against the same on a new module")
