"""RP6xx: gradients.

None and zeros are the same gradient, and two gradients that are both none agree about nothing: every comparison below
has a side on which something must be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rnn_props.cases import Needs
from rnn_props.checks import when
from rnn_props.checks.moves import (
    Draw,
    direction,
    elsewhere,
    from_own_state,
    in_some_mode,
    matters,
    mode_of,
    moved,
    other_draws,
    row_name,
    values_of,
)
from rnn_props.checks.registry import BASICS, check
from rnn_props.checks.trial import Trial
from rnn_props.contracts import Contract, ShapeRule
from rnn_props.numerics import UNIT_ROUNDOFF, largest
from rnn_props.numerics.derivatives import contradiction
from rnn_props.subjects import Result, Tree, join, leaves, state_leaves

Gradients = Mapping[str, Tensor | None]


def _main_result(result: Result) -> Any:
    """What a loss is usually made of."""
    return result.state if result.output is None else result.output


# -- RP601 ------------------------------------------------------------------------------------------------------------


@check(
    "RP601",
    "grad.reaches",
    when=when.differentiable,
    needs=Needs(lengths=(3, 4, 5, 13), batches=(2, 1, 3, 4), states=("random",), fills=("normal",), picks=1),
    explained_by=("RP205", "RP209", "RP306", "RP505"),
    share=0.6,
    hint="What has no gradient is either not used, or cut off: look for detach(), .data, torch.no_grad(), .item() and "
    "torch.tensor(...) between it and the output, and for in-place writes if backward raises.",
)
def reaches(t: Trial) -> None:
    """Every parameter, the input and every leaf of the initial state get a gradient: finite, and not all zeros.

    Why: What gets no gradient is never trained, and the loss still goes down, since everything else is. Nobody notices
    a layer that stayed at its random initial values.
    Causes:
    - `h.detach()`, `h.data`, `h.item()` or `torch.tensor(h)` on the way, often left over from truncating
      backpropagation between batches.
    - `with torch.no_grad():` around a layer that was frozen for an experiment.
    - An in-place write into a tensor that backward needs (`state[layer] = h`, `h[mask] = 0`, `out[t].copy_(h)`):
      backward raises then.
    - `output[:, -1]` of a bidirectional layer: its backward half has read one step there, so the recurrent weights of
      the backward direction do nothing. Take `h_n[-1]`, or `output[:, 0]` for that half.
    - A parameter that is made and never used, or whose term the equations have lost.
    - A square root or a norm at exactly zero, or `torch.where` over a branch that is NaN: the gradient is NaN.
    Fix: Detach only where the caller passes a state on, never inside `forward`. Build sequences and states with
    `torch.stack` from lists in place of writing into buffers. Delete parameters that have no part in the result.
    """
    in_some_mode(t)

    def loss(result: Result) -> Tensor:
        if not any(leaf.is_floating_point() for _, leaf in leaves(_main_result(result))):
            t.discard("its results are integers")
        return t.projection(_main_result(result))

    found = t.gradients(loss=loss)
    _finite(t, found)
    pieces = _pieces(t, found)
    _trained_or_recording(t, found)
    missing = {name for name, value in pieces.items() if largest(value) == 0}
    draws: list[Draw] = [(t, t.input, t.state)]
    for other, inputs, state in other_draws(t) if missing else ():
        missing -= _reached(other, inputs, state)
        draws.append((other, inputs, state))
        if not missing:
            return
    cut = [name for name in pieces if name in missing and matters(draws, name, _main_result)]
    if cut:
        t.fail(
            f"no gradient{mode_of(t)} of {_listed(cut)}, though the output changes with it: the graph is cut in "
            "between (detach, no_grad, .data, .item)",
            expected="a gradient",
            actual="none",
        )
    dead = [name for name in pieces if name in missing and not matters(draws, name, _everything)]
    if not dead or any(set(dead) & _reached(other, other.input, other.state) for other in elsewhere(t)):
        return
    if not set(dead) & (_reached_later(t) | _reached_beside(t)):
        t.fail(
            f"no gradient of {_listed(dead)} at any length: nothing changes with it{_why_dead(t, dead)}",
            expected="a gradient",
            actual="none",
        )


def _trained_or_recording(t: Trial, found: Gradients) -> None:
    """A module for inference alone has no parameter to train, and records no graph for its input: that is no bug."""
    if not any(name.startswith("parameter") for name in found) and all(value is None for value in found.values()):
        t.discard("nothing in it is trained, and it records no graph")


def _everything(result: Result) -> Any:
    return [result.output, result.state]


def _finite(t: Trial, found: Gradients) -> None:
    for name, value in found.items():
        if value is not None and not bool(torch.isfinite(value).all()):
            t.fail(f"gradient of {name}{mode_of(t)} is not finite", expected="finite", actual="NaN or infinity")


def _pieces(t: Trial, found: Gradients) -> dict[str, Tensor | None]:
    """Gradients of what must have one: leaves of the initial state by layer and direction, as far as they have any."""
    pieces = dict(found)
    if t.contract.vocabulary is not None:
        pieces.pop("input", None)  # token ids have no gradient
    for (name, leaf), rule in zip(state_leaves(t.state), t.leaf_rules if t.state is not None else (), strict=True):
        value = pieces.pop(f"initial {name}", None)
        if t.contract.capabilities.detached_cache or not leaf.is_floating_point():
            continue
        if rule.dimensions and rule.dimensions[0].text in ("L*D", "L"):
            for row in range(len(leaf)):
                pieces[row_name(f"initial {name}", row)] = None if value is None else value[row]
        else:
            pieces[f"initial {name}"] = value
    return pieces


def _reached(t: Trial, inputs: Any, state: Tree, **options: Any) -> set[str]:
    """What gets a gradient that is not zero; options are those of the call."""
    found = t.gradients(inputs, state, loss=lambda result: t.projection(_main_result(result)), **options)
    return {
        name
        for name, value in _pieces(t, found).items()
        if value is not None and not bool((value == 0).all())  # not finite is not zero
    }


def _reached_later(t: Trial) -> set[str]:
    """What gets a gradient in the second call after a reset: in one step from zeros, recurrent weights do nothing."""
    if t.contract.convention != "stateful":
        return set()
    t.call()
    return _reached(t, t.input, t.state, going_on=True)


def _reached_beside(t: Trial) -> set[str]:
    """The parameters that get a gradient from anything a call returns: a head beside the output, such as a variance or
    a value, is part of no other check."""
    returned = t.subject.call_raw(t.given, t.state, lengths=t.lengths, grad=True)
    trained = {name: value for name, value in t.subject.parameters_of().items() if value.requires_grad}
    parts = [leaf.sum() for _, leaf in leaves(returned) if leaf.requires_grad and leaf.is_floating_point()]
    found = t.subject.differentiate(sum(parts, torch.zeros(())), list(trained.values()))
    return {f"parameter {name}" for name, value in zip(trained, found, strict=True) if largest(value) > 0}


def _why_dead(t: Trial, names: Sequence[str]) -> str:
    single = t.rules.output is None or t.rules.output.axis("T") is None
    if single and not t.carries_state and all("_reverse" in name for name in names):
        return (
            ": of the backward direction the results hold a single step (as output[:, -1] does), so nothing that it "
            "carries from step to step arrives"
        )
    return ""


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


# -- RP602 ------------------------------------------------------------------------------------------------------------


def _double(contract: Contract) -> str | None:
    return None if contract.logic_dtype == "float64" else "finite differences need float64, which it does not take"


@check(
    "RP602",
    "grad.correct",
    when=when.all_of(
        when.differentiable,
        _double,
        when.lacks("surrogate_gradients", "its gradient stands in for the derivative by contract (spiking units)"),
    ),
    needs=Needs(lengths=(2, 3, 5, 13), batches=(2, 1, 3), states=("random", "none"), fills=("normal",), picks=1),
    after=(*BASICS, "RP601"),
    explained_by=("RP212", "RP603", "RP604", "RP904"),
    share=0.4,
    hint="The gradient is not the derivative of what forward computes: check the backward of a torch.autograd.Function "
    "term by term, and look for hooks that change gradients and for detach() on one of several paths.",
)
def correct(t: Trial) -> None:
    """Gradients agree with finite differences in float64, along random directions in input, state and parameters.

    Why: Training follows the gradient and not the function. A backward pass that is wrong by a factor, or in one gate,
    still trains: worse than it should, and nothing says so.
    Causes:
    - A `torch.autograd.Function` whose `backward` was derived by hand: a factor, a gate or a bias wrong, `tanh'` where
      `sigmoid'` is meant, saved tensors in another order.
    - `detach()` on one of two paths: h is cut, and c is not.
    - A hook that scales or clips gradients inside the module (`register_hook(lambda g: g.clamp(-1, 1))`).
    - A fused kernel that leaves out a term in its backward: the recurrent bias, the last step, the initial state.
    - A value that is cached, copied by `.data` or passed through numpy.
    Fix: Let autograd derive it from plain operations, and keep a backward of your own only beside
    `torch.autograd.gradcheck` in float64. Clip gradients in the training loop, where the optimizer is.
    """
    in_some_mode(t)
    seen: list[Result] = []

    def loss(result: Result) -> Tensor:
        seen.append(result)
        return t.projection(_main_result(result))

    found = t.gradients(loss=loss)
    if t.contract.capabilities.detached_cache:
        found = {name: value for name, value in found.items() if not name.startswith("initial ")}
    if all(value is None for value in found.values()):
        t.discard("there is no gradient to compare with")
    weights = t.weights_for(_main_result(seen[0]))
    scale = sum(
        float((leaf.detach() * weight).abs().sum())
        for (_, leaf), (_, weight) in zip(leaves(_main_result(seen[0])), leaves(weights), strict=True)
    )

    def disagreement(names: Sequence[str]) -> tuple[float, float] | None:
        """Along one direction in what the names stand for: the slope that differences give, and the claimed one."""
        way = direction(values_of(t, names), 1)
        claims = [(value, way[name]) for name in names if (value := found[name]) is not None]
        claimed = sum((float((value * part).sum()) for value, part in claims), 0.0)
        length = sum((float(value.square().sum()) for value, _ in claims), 0.0) ** 0.5

        def line(step: float) -> float:
            result = moved(t, {name: step * part for name, part in way.items()})
            return float(t.projection(_main_result(result), weights))

        slope = contradiction(line, claimed, unit=UNIT_ROUNDOFF[torch.float64], scale=scale, slack=1e-6 * length)
        return None if slope is None else (slope.value, claimed)

    if disagreement(list(found)) is None:
        return
    for name in found:
        wrong = disagreement([name])
        if wrong is not None:
            expected, actual = (f"{value:.9g}" for value in wrong)
            t.fail(
                f"gradient of {name}{mode_of(t)}, along a random direction: finite differences give {expected}, "
                f"backward gives {actual}",
                expected=expected,
                actual=actual,
            )
    t.discard("differences and gradient disagree only along all directions together: a kink is near")


# -- RP603 ------------------------------------------------------------------------------------------------------------


@check(
    "RP603",
    "grad.through_time",
    when=when.all_of(when.differentiable, when.has_sequence, when.real_input),
    needs=Needs(lengths=(2, 3, 5, 13), batches=(2, 1, 3), fills=("normal",), picks=2),
    after=(*BASICS, "RP601"),
    explained_by=("RP212", "RP301", "RP303", "RP304", "RP305"),
    share=0.5,
    hint="The state is cut off from the graph between steps: look for detach(), .data or torch.tensor(h) in the loop "
    "over time, and for steps that run under no_grad.",
)
def through_time(t: Trial) -> None:
    """The output at t has a gradient to every input s <= t that it depends on, and it depends on earlier ones.

    Why: Without a gradient through time a recurrent module learns only what it can tell from the present step. It
    trains, and never learns to remember.
    Causes:
    - `h = h.detach()` in the loop over steps, or every so many steps: truncation belongs between calls.
    - `h = h.data`, `torch.tensor(h)` or a round trip through numpy between two steps.
    - One direction, one layer or one branch (`if self.training`) that is cut, and not the others.
    - The new state is computed and never carried: `self.cell(x[t], h)` without `h =` in front of it.
    Fix: Carry the very tensor that the last step returned. Let the caller detach the state between chunks.
    """
    in_some_mode(t)
    length, bidirectional = t.sizes["T"], t.sizes["D"] == 2
    if length == 1 or t.rules.input.axis("T") is None:
        t.discard("there is one step")
    axis = None if t.rules.output is None else t.rules.output.axis("T")
    back = t.pick(1, (length + 1) // 2)
    last = length - 1 - back
    if axis is None:
        _steps_reached(t, "the output", _main_result, range(length), [length - 1])
    elif bidirectional and t.contract.convention == "rnn" and t.contract.capabilities.output_is_state:
        for half, name, step, seen in (
            (0, "forward", last, range(last + 1)),
            (1, "backward", back, range(back, length)),
        ):
            _steps_reached(t, f"the {name} half of the output at step {step}", _steps(axis, [step], half), seen, [step])
    elif bidirectional or t.contract.capabilities.causal:
        seen = range(length) if bidirectional else range(last + 1)
        _steps_reached(t, f"the output at step {last}", _steps(axis, [last]), seen, [last])
    else:  # it may read from the end to the beginning
        ends = [0, last] if last else [0]
        _steps_reached(t, f"the output at {_in_words(ends)}", _steps(axis, ends), range(length), ends)


def _in_words(steps: Sequence[int]) -> str:
    return f"step {steps[0]}" if len(steps) == 1 else f"steps {' and '.join(map(str, steps))}"


def _steps(axis: int, steps: Sequence[int], half: int | None = None) -> Callable[[Result], Tensor]:
    """From results to their output at some steps, or a half of that."""

    def part(result: Result) -> Tensor:
        output: Tensor = result.output.index_select(axis, torch.tensor(steps, device=result.output.device))
        return output if half is None else output.chunk(2, -1)[half]

    return part


def _steps_reached(
    t: Trial, what: str, part: Callable[[Result], Tensor], steps: Sequence[int], own: Sequence[int]
) -> None:
    """Part of the results, which is that of its own steps, has a gradient to the input at each of some steps."""
    gradient = _input_gradient(t, part)
    silent = {step for step in steps if largest(_at_step(t, gradient, step)) == 0}
    if not silent:
        return
    depends = dict.fromkeys(silent, 0)
    for other, inputs, state in ((t, t.input, t.state), *other_draws(t)):
        gradient = _input_gradient(other, part, inputs, state)
        silent = {step for step in silent if largest(_at_step(other, gradient, step)) == 0}
        before = part(other.call(inputs, state))
        for step in silent:
            move = torch.zeros_like(inputs)
            _at_step(other, move, step).fill_(1e-2)
            after = part(moved(other, {"input": move}, inputs=inputs, state=state))
            depends[step] += other.changed(after, before)
    # More than once, since a kink that was crossed by chance makes a difference where there is no gradient.
    cut = sorted(step for step in silent if depends[step] > 1)
    if cut:
        t.fail(
            f"{what} depends on the input at step {cut[-1]}{mode_of(t)}, but has no gradient to it: the graph is cut "
            "between these steps (detach, no_grad, .data)",
            expected="a gradient",
            actual="none",
        )
    others = set(steps) - set(own)
    if others and others <= silent and not any(depends[step] for step in others):
        for other in from_own_state(t):
            gradient = _input_gradient(other, part)
            if any(largest(_at_step(other, gradient, step)) > 0 for step in others):
                t.discard("its output depends on earlier inputs from its own initial state, and not from a drawn one")
        t.fail(
            f"{what} depends on no input at another step: nothing is carried from step to step",
            expected="a gradient",
            actual="none",
        )
    if silent:
        t.discard("its output does not depend on the inputs of some steps: there is no gradient to ask for")


def _input_gradient(t: Trial, part: Callable[[Result], Tensor], inputs: Any = None, state: Tree = ...) -> Tensor:
    found = t.gradients(inputs, state, loss=lambda result: t.projection(part(result)))
    _trained_or_recording(t, found)
    gradient = found["input"]
    return torch.zeros_like(t.input) if gradient is None else gradient


def _at_step(t: Trial, tensor: Tensor, step: int) -> Tensor:
    axis = t.rules.input.axis("T")
    assert axis is not None
    return tensor.select(axis, step)


# -- RP604 ------------------------------------------------------------------------------------------------------------


@check(
    "RP604",
    "grad.additive",
    when=when.all_of(when.differentiable, when.independent_rows),
    needs=Needs(lengths=(1, 2, 3, 5, 13), batches=(2, 3, 4, 5), fills=("normal",)),
    after=(*BASICS, "RP601"),
    explained_by=("RP206", "RP212", "RP301", "RP302", "RP303"),
    share=0.4,
    hint="The module changes gradients by something that all rows share: look for register_hook, division by the batch "
    "size, and clipping by a norm over the batch.",
)
def additive(t: Trial) -> None:
    """The gradient of a batch's loss is the sum of the gradients of its rows' losses.

    Why: Gradient accumulation, data parallel training and smaller batches at the end of an epoch count on this: what a
    row contributes does not depend on the rows beside it. If it does, changing the batch size changes the training.
    Causes:
    - A hook on a hidden tensor that divides by the batch size, or averages over the batch; the loss does that already.
    - Gradient clipping inside the module by the norm of a whole batch's gradient.
    - The backward of a `torch.autograd.Function` that uses the mean over rows where the sum is meant, or only the first
      row's saved values.
    - Rows that share a buffer which is written to between forward and backward.
    Fix: Leave scaling and clipping to the training loop. In a backward of your own, sum parameter gradients over the
    batch, and divide by nothing.
    """
    result = t.call()
    weights = Result(*t.weights_for([result.output, result.state]))

    def weighted(own: Result) -> Callable[[Result], Tensor]:
        return lambda result: t.projection([result.output, result.state], [own.output, own.state])

    together = t.gradients(loss=weighted(weights))
    if all(value is None for value in together.values()):
        t.discard("there is no gradient to compare")
    alone = []
    for row in range(t.sizes["B"]):
        given, state = t.rows_of_input(t.input, [row]), t.rows_of_state(t.state, [row])
        alone.append(t.gradients(given, state, loss=weighted(t.rows_of(weights, [row]))))
    rules: dict[str, ShapeRule] = {"input": t.rules.input}
    rules |= {f"initial {name}": rule for (name, _), rule in zip(state_leaves(t.state), t.leaf_rules, strict=False)}
    t.same_gradients(
        together,
        {name: _summed([found[name] for found in alone], rules.get(name)) for name in together},
        f"loss of a batch of {t.sizes['B']} against the sum over its rows",
    )


def _summed(parts: Sequence[Tensor | None], rule: ShapeRule | None) -> Tensor | None:
    """The gradients of each row's loss in one: side by side for what has rows, and the sum for what they share."""
    found = [part for part in parts if part is not None]
    if not found:
        return None
    filled = [torch.zeros_like(found[0]) if part is None else part for part in parts]
    if rule is not None and rule.axis("B") is not None:
        return join(filled, rule, "B")
    return torch.stack(filled).sum(0)
