"""RP2xx: state."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

from rnn_props.cases import Needs
from rnn_props.checks import when
from rnn_props.checks.registry import BASICS, check
from rnn_props.checks.trial import Trial
from rnn_props.numerics import difference
from rnn_props.subjects import Result, TargetRaisedError, clone, state_leaves


@check(
    "RP203",
    "state.default_is_zero",
    when=when.all_of(
        when.has_state,
        when.capable("optional_state", "the state may not be left out"),
        when.lacks("nonzero_default_state", "the default state is not zero by contract"),
    ),
    needs=Needs(states=("none",)),
    hint="The state that is used when none is given must be zero in every layer, direction and leaf.",
)
def default_is_zero(t: Trial) -> None:
    """Leaving out the state equals passing zeros.

    Why: torch.nn promises zeros, so callers take the two for the same: `None` for the first chunk, `torch.zeros(...)`
    to start over. If they differ, a model that was reset is not a new one.
    Causes:
    - `torch.ones`, a bias or a learned `self.h0` as the default, without saying so.
    - Only the first layer, or only h, starts from zeros; deeper layers or the second direction start from what the one
      before them ended with.
    - A branch `if hx is None:` that does more than make the state, such as skipping a projection or a bias.
    Fix: Start `forward` with `if hx is None: hx = x.new_zeros(...)` for every row and leaf, and have one path from
    there on. Another default that is meant is declared in the contract: `Capabilities(nonzero_default_state=True)`.
    """
    t.same_result(t.call(state=None), t.call(state=t.other_state(0, "zeros")), "no state against zeros")


@check(
    "RP204",
    "state.final_output",
    when=when.all_of(
        when.has_sequence_state, when.capable("output_is_state", "its output is not its hidden state by contract")
    ),
    after=(*BASICS, "RP303"),
    explained_by=("RP305",),
    hint="h_n's last rows are the top layer's: forward from the last step, backward from the first. Check the order of "
    "layers and directions, and the end at which the backward pass stops.",
)
def final_output(t: Trial) -> None:
    """The top layer's final state is the last output (forward half) and the first output (backward half).

    Why: Classifiers read the sequence's summary from `h_n[-1]`, or from `h_n[-2]` and `h_n[-1]` with two directions. If
    another row or another end of the sequence stands there, they train on a state that has seen next to nothing, and
    only accuracy tells.
    Causes:
    - The backward direction's final state taken at the last step (`output[-1, :, H:]`), where it has read one input: it
      ends at step 0.
    - Rows ordered by direction first, as from `torch.cat((forward_states, backward_states))`: torch's order is
      `view(num_layers, num_directions, B, H)`.
    - Rows ordered from the top layer down, as from `states.insert(0, h)`.
    - An output that is no longer the top layer's h: a residual connection, a normalisation or a mean over layers after
      the recurrence.
    Fix: Append final states in a loop over layers with a loop over directions inside it. Run the backward direction
    over the flipped sequence, keep the state it ends with, and flip its outputs back. An output that is not meant to
    be h is declared in the contract: `Capabilities(output_is_state=False)`.
    """
    assert t.rules.output is not None
    result = t.call()
    hidden: Tensor = state_leaves(result.state)[0][1]
    axis = t.rules.output.axis("T")
    assert axis is not None
    directions = t.sizes["D"]
    width = result.output.shape[-1] // directions
    last = result.output.select(axis, t.sizes["T"] - 1).narrow(-1, 0, width)
    if hidden.dim() == last.dim():
        hidden = hidden.unsqueeze(0)  # a state without an axis of layers
    t.same(hidden[-directions], last, "against the last output: h_n of the top layer")
    if directions == 2:
        first = result.output.select(axis, 0).narrow(-1, width, width)
        t.same(hidden[-1], first, "against the first output: h_n of the top layer's backward direction")


#: Changes of a state that are tried until one shows: small ones, and ones that no saturation or dead unit hides.
_NUDGES = (1.0, -1.0, 1e3, -1e3, 1e6)


@check(
    "RP205",
    "state.used",
    when=when.has_state,
    needs=Needs(states=("random",), lengths=(1, 2, 3), fills=("normal", "integers"), picks=1),
    share=0.6,
    after=(*BASICS, "RP303"),
    explained_by=("RP204", "RP208", "RP301"),
    hint="A part of the initial state is ignored or shared: look for state[0] used for every layer, c or the second "
    "direction left out, or rows of the batch mixed.",
)
def used(t: Trial) -> None:
    """Every row and leaf of the initial state matters: changing it alone changes a result, and only what it may.

    Why: A state that is passed and not read is forgotten without an error: a language model starts anew at each chunk,
    an agent at each step. A state read from the wrong row goes on from another sequence's memory.
    Causes:
    - h is read from `hx`, and c starts from zeros.
    - Every layer starts from `hx[0]`, or the second direction from the first one's row: `hx[layer]` where `hx[layer *
      num_directions + direction]` is meant.
    - `hx.view(B, L*D, H)`, or `h_n.view(B, -1)`, on a state `(L*D, B, H)`: it deals the rows of layers out to the
      batch. A transpose is meant.
    - A test that resets silently, such as `if hx.shape != x.shape: hx = zeros`, which fires whenever input_size is not
      hidden_size.
    - Broadcasting that spreads one row's state over the others, as after `h.squeeze()` or `h.mean(0)`.
    Fix: Read `h[layer * num_directions + direction]`, and c in the same way, for each layer and direction. Raise on a
    state of the wrong shape; never replace it.
    """
    base = t.call()
    row = t.pick(0, t.sizes["B"])
    for index, (name, leaf) in enumerate(state_leaves(t.state)):
        layered = t.leaf_rules[index].dimensions[0].text in ("L*D", "L")
        for layer in range(leaf.shape[0]) if layered else (None,):
            _used_leaf(t, base, index, name, layer, row)


def _used_leaf(t: Trial, base: Result, index: int, name: str, layer: int | None, row: int) -> None:
    rule = t.leaf_rules[index]
    axis = rule.axis("B")
    place = name + ("" if layer is None else f"[layer and direction {layer}]") + f", batch row {row}"
    others = [other for other in range(t.sizes["B"]) if other != row]
    for nudge in _NUDGES:
        state = clone(t.state)
        leaf = state_leaves(state)[index][1]
        part = leaf if layer is None else leaf[layer]
        if axis is not None:
            part = part.select(axis - (layer is not None), row)
        direction = torch.randn(part.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
        part.add_((nudge * direction).to(part.dtype))
        result = t.call(state=state)
        if others and axis is not None and not t.contract.capabilities.per_tensor_quantised:
            t.same_result(
                t.rows_of(result, others), t.rows_of(base, others), f"other batch rows after a change of {place}"
            )
        if layer is not None and nudge == _NUDGES[0]:
            _lower_rows_unchanged(t, base, result, layer, place)
        if t.changed([result.output, result.state], [base.output, base.state]):
            return
    if t.sizes["T"] > 1 and t.contract.torch_module in (None, "RNN"):
        t.discard("in a longer sequence a unit that is switched off may hide the state")
    if t.sizes.get("H") == 1 and not t.contract.capabilities.torch_contract:
        t.discard("of a single unit a part of the state may act on other units alone")
    t.fail(
        f"changing {place} of the initial state changes nothing", expected="another result", actual="the same result"
    )


def _lower_rows_unchanged(t: Trial, base: Result, result: Result, layer: int, place: str) -> None:
    """Rows of lower layers, and of the other direction of the same layer, cannot see a change of this row."""
    directions = t.sizes["D"]
    own = layer // directions
    blind = [
        row
        for row in range(t.sizes["L"] * directions)
        if row // directions < own or (row // directions == own and row != layer)
    ]
    for (name, leaf), (_, before) in zip(state_leaves(result.state), state_leaves(base.state), strict=True):
        for row in blind:
            t.same(leaf[row], before[row], f"after a change of {place}: {name}[layer and direction {row}]")


@check(
    "RP206",
    "state.no_memory",
    when=when.not_stateful,
    needs=Needs(batches=(1, 2, 3, 4)),
    share=0.6,
    hint="Something is kept on self between calls: a state, a mask or a buffer cached by batch size or length.",
)
def no_memory(t: Trial) -> None:
    """A call's result does not depend on earlier calls, nor on other batch sizes in between (rejected ones: RP404).

    Why: What a call returns depends on what ran before it: a warm-up call, the order of an evaluation, another user's
    request. Results cannot be reproduced, and one sequence's data reaches the next.
    Causes:
    - `self.hidden = h` at the end of `forward`, read by the next call that passes no state.
    - A default state cached by batch size on `self`, then written to in place, or sliced for a smaller batch:
      `self.h0[:, :B]`.
    - A maximum, mean or length that is updated in eval mode and used for scaling.
    - A mask or table made for the first call's length and kept.
    Fix: Take everything from the arguments, and assign nothing to `self` in `forward` that depends on data. If the
    module keeps its state on purpose, its contract has to say so (`stateful`), and it needs a reset method.
    """
    first = t.call()
    first = first.kept()
    steps = {} if t.contract.one_step else {"T": t.sizes["T"] + 1}
    batch = t.sizes["B"]
    for other in (batch + 1, max(batch - 1, 1), batch):
        sizes = {**steps, "B": other} if t.case.batched else steps
        t.call(t.other_input(3, **sizes), t.other_state(4, "normal", **sizes) if t.state is not None else None)
        t.same_result(t.call(), first, f"the same call after one with batch {other}")
        if t.carries_state and t.contract.capabilities.optional_state:
            t.call(t.other_input(5), t.other_state(6))
            t.same_result(t.call(), first, "the same call after one with another state")


@check(
    "RP207",
    "state.arguments_untouched",
    needs=Needs(layouts=("contiguous", "offset")),
    share=0.6,
    after=("RP101", "RP102"),
    hint="An operation in place (mul_, add_, x[...] = ..., out=) works on the caller's tensor or on a view of it: work "
    "on a copy.",
)
def arguments_untouched(t: Trial) -> None:
    """Input and initial state are bit-identical after forward and backward.

    Why: Callers use their tensors again: the same input for a second model, the same state for several continuations. A
    write into them changes those results, and in training it breaks autograd (`modified by an inplace operation`).
    Causes:
    - `hx[layer] = h`, `hx[0].copy_(h)`: final states written into the tensor that was passed.
    - `x *= mask`, `x += position`, `x[mask] = 0`, `x.clamp_(-c, c)`: on a tensor, `*=` and `+=` work in place.
    - A write into a view: `transpose`, `view`, slices, `detach()` and `numpy()` share the caller's memory.
    - `F.dropout(x, p, inplace=True)` or `nn.ReLU(inplace=True)` as the first operation on an argument.
    - `x.contiguous()` or `x.to(dtype)` taken for a copy: where nothing is to be done, they return the caller's tensor.
    Fix: Write `x = x * mask` in place of `x *= mask`, collect new states in a list and `torch.stack` it, and `clone()`
    what has to be written to.
    """
    before = [clone(t.input), clone(t.state)]
    for grad in (False, True):
        result = t.call(grad=grad)
        doing = "a forward call"
        if grad:
            doing = "forward and backward"
            weights = [value for value in t.subject.parameters_of().values() if value.requires_grad]
            # A backward pass that fails is RP601's matter.
            with contextlib.suppress(TargetRaisedError):
                t.subject.differentiate(t.projection([result.output, result.state]), weights)
        for what, now, was in (("input", t.input, before[0]), ("initial state", t.state, before[1])):
            gap = difference(now, was, what)
            if gap is not None:
                t.fail(f"{doing} changed the caller's {gap.message}", expected=gap.expected, actual=gap.actual)


@check(
    "RP208",
    "state.round_trip",
    when=when.has_state,
    hint="What comes back as the state must be what goes in: the same structure, shapes and dtype, and not a view that "
    "the next call overwrites.",
)
def round_trip(t: Trial) -> None:
    """The returned state is accepted as the next initial state, and passing it on twice gives the same twice.

    Why: `output, state = module(x, state)` in a loop is what a state is for. If it cannot go in as it came out, or
    changes while the caller keeps it, there is no streaming, no truncated backpropagation and no beam search.
    Causes:
    - One structure out, another in: a list of pairs `(h, c)` a layer returned, two stacked tensors expected; `type(hx)
      is tuple` that refuses a named tuple.
    - Another layout out: `h.transpose(0, 1)`, a squeezed axis, or a view that is not contiguous returned by a module
      that demands contiguous states.
    - A buffer that every call writes to: `self.h.copy_(h); return self.h`. A state that was kept changes at the next
      call.
    - h in one dtype and c in another, after a cast of one of them.
    Fix: Return new tensors in the structure, shape and dtype that `forward` takes. Test structures with `isinstance(hx,
    tuple | list)`, and call `contiguous()` on a state that comes in instead of refusing it.
    """
    state = t.call().state
    kept = clone(state)
    following = t.other_input(11)
    once = t.call(following, state)
    once = once.kept()
    t.same(state, kept, "after it was passed on: returned state", t.rules.state)
    t.same_result(t.call(following, state), once, "the returned state passed on a second time")
    t.same_result(t.call(following, kept), once, "a copy of the returned state passed on")
