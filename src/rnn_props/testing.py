"""What a model repository needs to write recurrent tests of its own: seeded modules, tensors, states and packed batches
from shape rules, tolerances by sensitivity, comparison of nested results, runs in chunks, a state machine.

The pytest plugin has three fixtures beside it: `rnn_props_device`, `rnn_props_dtype` and `rnn_props_seed`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from rnn_props.cases import Call, Source, TensorSpec, Verdict, judge, make_call, make_input, make_state
from rnn_props.contracts import ShapeRule, Structure, map_structure, parse_structure
from rnn_props.devices import available, move, set_up
from rnn_props.numerics import UNIT_ROUNDOFF, Bound, difference, largest, sensitivity_bound
from rnn_props.subjects import Tree, kept_clean, leaves, map_tree

__all__ = [
    "Bound",
    "Call",
    "StreamMachine",
    "Verdict",
    "accelerators",
    "assert_close",
    "judge",
    "make_call",
    "make_input",
    "make_state",
    "packed",
    "run_in_chunks",
    "seeded",
    "state",
    "tensor",
    "tolerance",
]


def accelerators() -> list[str]:
    """The devices other than the CPU on which tests can run here: `sim`, the simulated one, and real ones."""
    return [device.name for device in available() if device.kind != "cpu"]


def seeded(
    build: Callable[..., nn.Module],
    *args: Any,
    seed: int = 0,
    dtype: torch.dtype | None = None,
    device: str = "cpu",
    **keywords: Any,
) -> nn.Module:
    """A module in eval mode whose parameters follow from the seed alone; the global generator is left as it was.

    Args:
        build: a class or factory, called with the arguments and keywords.
        seed: of torch's generator while it is built.
        dtype: of its parameters; what the constructor makes by default.
        device: to which it is moved, such as `cpu`, `cuda` or `sim`.

    Raises:
        TypeError: what was built is no `torch.nn.Module`.
    """
    with kept_clean(seed):
        module = build(*args, **keywords)
    if not isinstance(module, nn.Module):
        raise TypeError(f"build must give a torch.nn.Module (got {type(module).__name__})")
    if device != "cpu":
        set_up(device)
    return move(module.to(dtype=dtype).eval(), device) if device != "cpu" else module.to(dtype=dtype).eval()


def tensor(
    rule: str,
    *,
    fill: str = "normal",
    seed: int = 0,
    layout: str = "contiguous",
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    **sizes: int,
) -> Tensor:
    """A tensor of a shape rule: `tensor("T B I", T=5, B=2, I=3)` is of shape (5, 2, 3).

    The values follow from the arguments alone: they are drawn in float64 on the CPU, and the same on every device.

    Args:
        rule: the shape, as in a contract.
        fill: one of `rnn_props.cases.FILLS`, such as `normal`, `zeros` or `impulse` (one at a single step).
        seed: of the values.
        layout: one of `rnn_props.cases.LAYOUTS`, such as `contiguous`, `transposed` or `strided`.
        dtype, device: of the tensor.
        sizes: of the rule's letters and names.

    Raises:
        ShapeRuleError: the rule can't be read, or a size is missing.
        ValueError: there is no such fill or layout.
    """
    parsed = ShapeRule.parse(rule)
    if device != "cpu":
        set_up(device)
    spec = TensorSpec(parsed.shape(sizes), dtype, Source(fill, seed, layout), parsed.axis("T"))
    return spec.make(device)


def state(
    rules: Structure,
    *,
    fill: str = "normal",
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    **sizes: Any,
) -> Tree:
    """A state: a tree of tensors for a tree of shape rules, each leaf with values of its own.

    `state(("L B H", "L B H"), L=1, B=2, H=4)` is a pair of tensors of shape (1, 2, 4).

    Args and errors: as in `tensor`.
    """
    count = iter(range(1000))

    def leaf(rule: ShapeRule) -> Tensor:
        own = seed + 7919 * next(count)
        return tensor(str(rule), fill=fill, seed=own, dtype=dtype, device=device, **sizes)

    return map_structure(leaf, parse_structure(rules))


def packed(padded: Tensor, lengths: Sequence[int], *, batch_first: bool = False) -> PackedSequence:
    """A padded batch of shape (T, B, *), or (B, T, *) with `batch_first`, packed by the lengths of its rows.

    Rows that are sorted by length are packed with `enforce_sorted`, others without.

    Raises:
        RuntimeError, ValueError: torch's own, for lengths that do not fit.
    """
    ordered = list(lengths) == sorted(lengths, reverse=True)
    return pack_padded_sequence(
        padded, torch.tensor(list(lengths), dtype=torch.int64), batch_first=batch_first, enforce_sorted=ordered
    )


def tolerance(
    module: nn.Module,
    inputs: Any,
    state: Tree = None,
    *,
    dtype: torch.dtype | None = None,
    call: Callable[[nn.Module, Any, Tree], Tree] | None = None,
) -> Bound:
    """The largest difference that rounding in `dtype` can explain in a module's results.

    Measured on a copy in float64: parameters, input and state get noise of twice the unit roundoff, four times. See the
    page on tolerance.

    Args:
        module: the module.
        inputs, state: of the call; a state of None is left out.
        dtype: the arithmetic that results are computed in; the input's dtype by default.
        call: from a module, an input and a state to results; `module(inputs)` or `module(inputs, state)` by default.

    Returns:
        A bound: `allowed` is the largest difference; where `ill_conditioned` is true, nothing can be concluded.
    """
    run = call or _call
    given = inputs.data if isinstance(inputs, PackedSequence) else inputs
    reference = copy.deepcopy(module).to("cpu", torch.float64)
    exact = [_exact(item) for item in (inputs, state)]
    return sensitivity_bound(
        reference, lambda x, hx: run(reference, x, hx), exact[0], exact[1], dtype=dtype or given.dtype
    )


def _call(module: nn.Module, inputs: Any, state: Tree) -> Tree:
    return module(inputs) if state is None else module(inputs, state)


def _exact(tree: Tree) -> Tree:
    """A tree on the CPU, its floating-point tensors in float64."""
    if isinstance(tree, PackedSequence):
        return tree.cpu().double()
    return map_tree(lambda leaf: leaf.cpu().double() if leaf.is_floating_point() else leaf.cpu(), tree)


def assert_close(
    actual: Tree,
    expected: Tree,
    *,
    within: Bound | float | None = None,
    name: str = "result",
    rules: Structure = None,
) -> None:
    """Two nested results agree; the message names the leaf and its worst element.

    Args:
        actual, expected: tensors, or trees (tuples, lists, dicts) of them, on any device.
        within: the largest difference that is allowed, or a `tolerance`; by default 32 units in the last place of the
            largest number that is expected, in the coarser dtype of the two.
        name: what the results are called in the message.
        rules: shape rules of the leaves, by which the place of an element is named: `output[T=4, B=0, H=2]`.

    Raises:
        AssertionError: they differ in structure, shape or value.
        ValueError: the tolerance is that of an ill-conditioned run, which shows nothing.
    """
    __tracebackhide__ = True
    if isinstance(within, Bound) and within.ill_conditioned:
        raise ValueError("the run is ill-conditioned: rounding alone could explain any difference; use other inputs")
    gap = difference(_on_cpu(actual), _on_cpu(expected), name, parse_structure(rules))
    if gap is None:
        return
    units = [UNIT_ROUNDOFF.get(leaf.dtype, 0.0) for tree in (actual, expected) for _, leaf in leaves(tree)]
    allowed = 32 * max(units, default=0.0) * largest(_on_cpu(expected))
    if within is not None:
        allowed = within.allowed if isinstance(within, Bound) else within
    if not gap.size <= allowed:
        raise AssertionError(f"{gap.message} (difference {gap.size:.2g}, allowed {allowed:.2g})")


def _on_cpu(tree: Tree) -> Tree:
    return map_tree(lambda leaf: leaf.detach().cpu(), tree)


def run_in_chunks(
    module: Callable[..., Any], inputs: Tensor, state: Tree = None, *, splits: Sequence[int], time_axis: int = 0
) -> tuple[Tensor, Tree]:
    """A module's output and final state for a sequence that goes in in pieces, the state carried from one to the next.

    Args:
        module: called as `module(chunk)` or `module(chunk, state)`, gives `(output, state)`.
        inputs: the whole sequence.
        state: the initial state, or None to leave it out.
        splits: where the sequence is cut: increasing steps, each in 1..T-1.
        time_axis: of input and output: 0 for (T, B, I), 1 for (B, T, I).

    Raises:
        ValueError: a split is outside of the sequence, or they do not increase.
    """
    steps = inputs.shape[time_axis]
    cuts = [0, *splits, steps]
    if any(one >= two for one, two in pairwise(cuts)):
        raise ValueError(f"splits must increase and lie in 1..{steps - 1} (got {tuple(splits)})")
    outputs = []
    for start, stop in pairwise(cuts):
        chunk = inputs.narrow(time_axis, start, stop - start)
        output, state = module(chunk) if state is None else module(chunk, state)
        outputs.append(output)
    return torch.cat(outputs, time_axis), state


@dataclass(frozen=True, slots=True)
class _Stream:
    """A sequence that is fed bit by bit: its state, and everything that it was fed."""

    state: Tree
    fed: tuple[Tensor, ...] = ()


class StreamMachine(RuleBasedStateMachine):
    """Streams that are begun, fed in chunks, forked and reset in any order: each must give what the whole sequence
    gives in one call.

    Write a subclass with `build`, set the sizes, add rules of your own (they take `streams`), and run it as a test:
    `TestMyLSTM = MyLSTMStreams.TestCase`. It is meant for modules that are called as `(input, state?) -> (output,
    state)` and go in one direction.

    Attributes:
        features, batch, time_axis: of the input that is fed.
        dtype: of modules and inputs. In float64, a small tolerance tells rounding from errors.
        within: the largest difference that is allowed; as in `assert_close`.
    """

    features: int = 3
    batch: int = 2
    time_axis: int = 0
    dtype: torch.dtype = torch.float64
    within: float | None = 1e-10

    streams: Bundle[_Stream] = Bundle("streams")
    _seeds = st.integers(0, 999)

    def build(self) -> nn.Module:
        """The module under test; its parameters follow from a seed, so every example has the same."""
        raise NotImplementedError(f"{type(self).__name__} needs a method `build` that gives the module to be tested")

    def __init__(self) -> None:
        super().__init__()
        self.module = seeded(self.build, dtype=self.dtype)
        self.reference = copy.deepcopy(self.module)

    def inputs(self, steps: int, seed: int) -> Tensor:
        """Input of so many steps."""
        order = "T B I" if self.time_axis == 0 else "B T I"
        return tensor(order, T=steps, B=self.batch, I=self.features, seed=seed, dtype=self.dtype)

    @initialize(target=streams)
    def begin(self) -> _Stream:
        return _Stream(None)

    @rule(target=streams, stream=streams, steps=st.integers(1, 4), seed=_seeds)
    def feed(self, stream: _Stream, steps: int, seed: int) -> _Stream:
        """Going on from a stream's state; the stream itself stays, so it may go on otherwise, too."""
        chunk = self.inputs(steps, seed)
        with torch.no_grad():
            output, state = _call(self.module, chunk, stream.state)
            after = replace(stream, state=state, fed=(*stream.fed, chunk))
            whole, final = self.reference(torch.cat(after.fed, self.time_axis))
        last = whole.narrow(self.time_axis, whole.shape[self.time_axis] - steps, steps)
        assert_close(output, last, within=self.within, name=f"output of {len(after.fed)} chunks")
        assert_close(state, final, within=self.within, name=f"after {len(after.fed)} chunks: state")
        return after
