"""RP7xx: numbers. Each dtype against float64, within what rounding explains."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from rnn_props.cases import Case, Needs, Source, TensorSpec
from rnn_props.checks import when
from rnn_props.checks.registry import BASICS, check
from rnn_props.checks.trial import Advice, Trial
from rnn_props.contracts import Contract, Rules
from rnn_props.numerics import (
    ARITHMETIC,
    GRADIENT,
    UNIT_ROUNDOFF,
    Agreement,
    Arithmetic,
    Sensitivity,
    agreement,
    changed,
    excess,
    largest,
)
from rnn_props.subjects import DTYPES, Result, Subject, TargetRaisedError, Tree, leaves, map_tree, state_leaves

Results = dict[str, Tensor | None]

ILL_CONDITIONED = "ill-conditioned: rounding alone could explain any difference"
#: The length at which errors have had time to grow.
LONG = 512


def widest(contract: Contract) -> str:
    """The promised dtype with the most digits: what the others are held against."""
    return min(contract.capabilities.dtypes, key=lambda name: UNIT_ROUNDOFF[DTYPES[name]])


def several_dtypes(contract: Contract) -> str | None:
    if len(set(contract.capabilities.dtypes)) < 2:
        return "it promises one dtype: there is nothing to compare it with"
    return None


def results_of(result: Result) -> Results:
    """Output and leaves of the state, by name."""
    named = [*leaves(result.output, "output"), *state_leaves(result.state)]
    return {name: leaf for name, leaf in named if leaf.is_floating_point()}


def with_gradients(t: Trial, subject: Subject, inputs: Any, state: Tree) -> Results:
    """Results of a call and the gradients of a fixed projection of them, by name."""
    kept: list[Result] = []

    def loss(result: Result) -> Tensor:
        kept.append(result)
        return t.projection([result.output, result.state])

    found = t.gradients(inputs, state, subject=subject, loss=loss, lengths=t.lengths)
    return {**results_of(kept[0]), **{f"{GRADIENT}{name}": value for name, value in found.items()}}


def twin(t: Trial, subject: Subject, dtype: str) -> Subject:
    """The same module in another dtype, with the very values that the subject's parameters and buffers have."""
    other = t.factory.subject(t.case.hyperparameters, t.case.parameter_seed, dtype=dtype)
    with other.doing(f"copying its parameters into {dtype}") as module, torch.no_grad():
        own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        for name, value in (*subject.module.named_parameters(), *subject.module.named_buffers()):
            if name in own:
                own[name].copy_(value)
    return other


def in_dtype(tree: Tree, dtype: str) -> Tree:
    return map_tree(lambda leaf: leaf.to(DTYPES[dtype]) if leaf.is_floating_point() else leaf, tree)


def reference_of(
    t: Trial, against: Subject, run: Callable[[Any, Tree], Results], inputs: Any, state: Tree, arithmetic: Arithmetic
) -> Sensitivity:
    """What a run in some arithmetic is held against: the same run of a wider subject, and how noise changes it."""
    return Sensitivity(
        against.module,
        lambda inputs, state: tensors(run(inputs, state)),
        in_dtype(t.exact(inputs), against.dtype),
        in_dtype(state, against.dtype),
        arithmetic=arithmetic,
        factor=t.contract.tolerance,
    )


def rules_of(t: Trial) -> dict[str, Rules]:
    """The shape rules of results, and of the gradients of what goes in, by name."""
    rules: dict[str, Rules] = {"output": t.rules.output, f"{GRADIENT}input": t.rules.input}
    of_state = dict(zip(("h_n", "c_n"), t.leaf_rules, strict=False)) if len(t.leaf_rules) < 3 else {}
    return rules | of_state | {f"{GRADIENT}initial {name}": rule for name, rule in of_state.items()}


def hold(t: Trial, found: Agreement, what: str) -> None:
    """Fail where results are outside what rounding explains, and warn where the computation is to blame for it."""
    outside, unstable = found.worst(), found.worst("unstable")
    gap, bound = outside or unstable or (None, None)
    if gap is None or bound is None:
        return
    size = "" if math.isinf(gap.size) else f" (difference {gap.size:.2g}, rounding explains {bound.allowed:.1g})"
    if outside:
        t.fail(f"{what}: {gap.message}{size}", expected=gap.expected, actual=gap.actual)
    message = f"{what}: {gap.message}: the way it is computed loses digits at every step"
    raise Advice(message, expected=gap.expected, actual=gap.actual)


# -- RP701 ------------------------------------------------------------------------------------------------------------


@check(
    "RP701",
    "numeric.precision",
    when=when.all_of(
        several_dtypes,
        when.lacks("per_tensor_quantised", "its numbers are quantised by contract: they have few digits"),
    ),
    needs=Needs(dtypes="each", lengths=(1, 2, 3, 5, 8), batches=(1, 2, 3)),
    explained_by=("RP105", "RP601", "RP702", "RP901", "RP903", "RP904", "RP905"),
    share=0.4,
    hint="Look for .half(), .bfloat16(), .to(torch.float16) and autocast inside forward and backward, and for "
    "constants and buffers that are kept in fewer digits than the input has.",
)
def precision(t: Trial) -> None:
    """In float32, bfloat16 and float16, outputs, states and gradients are those of float64 within what rounding
    explains; and float64 has no fewer digits than float32.

    Why: Digits that are lost inside can't be got back: training stalls at a loss that it should pass, and results
    change with the batch or the device by far more than their dtype says.
    Causes:
    - A part of the computation that is cast down for speed or memory, such as a state kept in float16 between steps,
      and cast up again on the way out: dtypes look right, digits are gone.
    - A sum over time or features that is accumulated in float16 or bfloat16.
    - An autograd.Function that saves its tensors in fewer digits than they have.
    - A state that is packed into fewer bits between steps. A few bits lost are advice, from about 8 units of the last
      place at every step on.
    - Formulas that cancel: a variance as mean(x*x) - mean(x)**2, sqrt(1 - a*a) for a near 1, differences of running
      sums.
    Fix: Compute in the dtype of the input, or in more digits (float32 inside bfloat16 and float16), and cast once, at
    the end. Rewrite what cancels (log1p, expm1, torch.var, logcumsumexp).
    """
    wide = widest(t.contract)
    if t.case.dtype == wide != "float64":
        t.discard("no dtype is wider")
    against = t.subject if t.case.dtype == wide else twin(t, t.subject, wide)
    if wide == "float64":
        _resolution(t, against, in_dtype(t.exact(t.input), wide), in_dtype(t.state, wide))
    if t.case.dtype == wide:
        return
    reference = reference_of(
        t,
        against,
        lambda inputs, state: with_gradients(t, against, inputs, state),
        t.input,
        t.state,
        ARITHMETIC[DTYPES[t.case.dtype]],
    )
    rules = rules_of(t)
    try:
        runs = [results_of(t.call()), with_gradients(t, t.subject, t.input, t.state)]
    except TargetRaisedError as raised:
        if "not implemented for" in str(raised.error):
            t.discard(f"torch has no kernel for it in {t.case.dtype}")
        raise
    found = [agreement(run, reference, rules) for run in runs]
    for item in found:
        hold(t, item, f"in {t.case.dtype}, against {wide}")
    if not any(item.judged for item in found):
        t.discard(ILL_CONDITIONED)
    more = excess(runs[0], reference, found[0])
    if more is not None:
        raise Advice(
            f"in {t.case.dtype}, against {wide}: the typical error of {more.name} is {more.factor:.1f} times what "
            f"rounding every operation gives: some of the last digits are lost on the way",
            expected=f"a typical error of {more.explained:.2g}",
            actual=f"{more.error:.2g}",
        )


def tensors(results: Results) -> dict[str, Tensor]:
    return {name: value for name, value in results.items() if value is not None}


#: Changes of the input, as parts of it: one that float32 has in 64 steps and float16 has not, and one that all have.
_FINE, _COARSE = 2.0**-18, 2.0**-6


def _resolution(t: Trial, subject: Subject, inputs: Tensor, state: Tree) -> None:
    """In float64 a change of the input that float32 would notice is not lost, where a large one is not.

    Of a module of token ids the vectors that they stand for are changed.
    """
    tables = _tables(subject) if t.contract.vocabulary is not None else []
    base = results_of(subject.call(inputs, state, lengths=t.lengths))

    def after_a_change(part: float) -> Results:
        with changed(tables, lambda table: _nudged(table, part)):
            return results_of(subject.call(_nudged(inputs, part), _nudged(state, part), lengths=t.lengths))

    fine, coarse = after_a_change(_FINE), after_a_change(_COARSE)
    for name, values in tensors(base).items():
        after, far = fine.get(name), coarse.get(name)
        if after is None or far is None or not values.shape == after.shape == far.shape:
            continue
        moved = (far - values).abs()
        scale = largest(values)
        # What moves by a large part of the whole has jumped (a spike, a maximum): it may stand still before it jumps.
        follows = (moved > scale * _COARSE / 16) & (moved < scale / 4)
        lost = int((follows & (after == values)).sum())
        count = int(follows.sum())
        if count >= 4 and 2 * count >= int((values != 0).sum()) and 2 * lost > count:
            t.fail(
                f"in float64, {name} has fewer digits than float32: of {count} elements that follow a change of the "
                f"{'embeddings' if tables else 'input'} by one part in {1 / _COARSE:.0f}, {lost} do not change at all "
                f"with one part in {1 / _FINE:.0f}",
                expected="digits of float64",
                actual="fewer than float32 has",
            )


def _tables(subject: Subject) -> list[Tensor]:
    """The weights of the module's embeddings."""
    kinds = nn.Embedding, nn.EmbeddingBag
    return [module.weight for module in subject.module.modules() if isinstance(module, kinds)]


def _nudged(tree: Any, part: float) -> Any:
    """Every element changed by up to a part of it, in the same direction for every part."""
    generator = torch.Generator().manual_seed(0)

    def nudge(leaf: Tensor) -> Tensor:
        direction = 1 - 0.5 * torch.rand(leaf.shape, dtype=torch.float64, generator=generator)
        return leaf * (1 + part * direction) if leaf.is_floating_point() else leaf

    return map_tree(nudge, tree)


# -- RP702 ------------------------------------------------------------------------------------------------------------


def _in_range(case: Case, contract: Contract) -> Case:
    """A module that is not known to be bounded may leave a small range by its definition."""
    return case if contract.capabilities.torch_contract else replace(case, dtype=contract.logic_dtype)


@check(
    "RP702",
    "numeric.saturation",
    needs=Needs(
        dtypes="each",
        lengths=(1, 2, 3, 4),
        batches=(1, 2, 3),
        fills=("normal", "ones", "impulse", "integers", "zeros"),
        roles={"nonlinearity": ("tanh",)},
    ),
    prepare=_in_range,
    explained_by=("RP105", "RP601"),
    share=0.5,
    hint="Look for torch.exp of something that has no upper bound, and for a torch.where whose other branch overflows: "
    "its gradient is NaN although its value is not taken.",
)
def saturation(t: Trial) -> None:
    """Large finite inputs and states give finite results and finite gradients.

    Why: Gates are meant to saturate. One outlier in the data, or a state that has grown, otherwise turns into NaN, and
    one NaN in a gradient into a model that is lost.
    Causes:
    - A sigmoid, tanh or softplus that is written with torch.exp: `exp(x) / (1 + exp(x))` is inf / inf for large x.
    - `torch.where(x > 0, a(x), b(x))` with a branch that overflows where it is not taken: the value is right, and the
      gradient is NaN.
    - Exponential gates, softmax or a scan in log space without the running maximum subtracted.
    Fix: Use torch.sigmoid, torch.tanh, F.softplus, F.logsigmoid, torch.logsumexp and torch.logcumsumexp. Clamp the
    argument of exp before torch.where, not its result.
    """
    if t.contract.capabilities.nonzero_default_state and t.case.state is not None and t.case.state.fill == "zeros":
        t.discard("zeros are no state that it comes to: its default is another")
    # The range of float16 has no room for more; sums of gradients over rows and steps pass even so.
    factor = 1e3 if t.case.dtype == "float16" else 1e4
    inputs, state = t.input * factor, map_tree(lambda leaf: leaf * factor, t.state)
    size = f"input up to {largest(inputs):.0f}" + ("" if t.state is None else f", state up to {largest(state):.0f}")
    _finite(t, results_of(t.call(inputs, state)), size)
    if t.case.dtype != "float16":
        _finite(t, with_gradients(t, t.subject, inputs, state), size)


def _finite(t: Trial, results: Results, size: str) -> None:
    for name, leaf in tensors(results).items():
        if bool(torch.isfinite(leaf).all()):
            continue
        kind = "NaN" if bool(leaf.isnan().any()) else "infinite"
        message = f"{name} is {kind} in {t.case.dtype} ({size})"
        if kind == "infinite" and not t.contract.capabilities.torch_contract:
            raise Advice(message, expected="finite", actual=kind)  # it may grow without bound by its definition
        t.fail(message, expected="finite", actual=kind)


# -- RP703 ------------------------------------------------------------------------------------------------------------


@check(
    "RP703",
    "numeric.long",
    when=when.all_of(
        several_dtypes,
        when.lacks("per_tensor_quantised", "its numbers are quantised by contract: they have few digits"),
    ),
    needs=Needs(
        lengths=(LONG,),
        batches=(1, 2),
        states=("none", "random"),
        fills=("normal",),
        roles={"num_layers": (1, 2), "dropout": (0.0,)},
    ),
    after=(*BASICS,),
    explained_by=("RP105", "RP309", "RP701", "RP702"),
    share=0.03,
    patience=10.0,
    hint="Look for what grows or shrinks with the length: running products and sums, step counters, a state that is "
    "renormalised or converted now and then.",
)
def long(t: Trial) -> None:
    """The error of float32, bfloat16 and float16 at length 512 stays within what rounding explains.

    Why: Short test sequences show nothing of it. On real ones, results of the last steps are noise or NaN.
    Causes:
    - A scan as a running product or sum that is divided out again: the product underflows after some 100 steps.
    - A step counter or position in the input's dtype: bfloat16 counts to 256.
    - A state that is stored in fewer digits where sequences are long.
    Fix: Run the recurrence step by step or scan in log space with the maximum subtracted; count in int64; accumulate in
    float32.
    """
    wide = widest(t.contract)
    inputs = _long_input(t)
    judged = 0
    for dtype in sorted(set(t.contract.capabilities.dtypes) - {wide}, key=t.contract.capabilities.dtypes.index):
        low = t.factory.subject(t.case.hyperparameters, t.case.parameter_seed, dtype=dtype)
        against = twin(t, low, wide)
        given, state = in_dtype(inputs, dtype), in_dtype(t.state, dtype)
        reference = reference_of(
            t,
            against,
            lambda inputs, state, against=against: _run_long(t, against, inputs, state),  # type: ignore[misc]
            given,
            state,
            ARITHMETIC[DTYPES[dtype]],
        )
        try:
            run = _run_long(t, low, given, state)
        except TargetRaisedError as raised:
            if "not implemented for" in str(raised.error):
                continue
            raise
        found = agreement(run, reference, rules_of(t))
        hold(t, found, f"at length {LONG} in {dtype}, against {wide}")
        judged += found.judged
    if not judged:
        t.discard(ILL_CONDITIONED)


def _long_input(t: Trial) -> Tensor:
    """The case's input; for a cell, its inputs at all steps, `(T, B, I)`."""
    if not t.contract.one_step:
        return t.input
    return TensorSpec((LONG, *t.input.shape), t.input.dtype, Source("normal", t.case.input.seed)).make()


def _run_long(t: Trial, subject: Subject, inputs: Tensor, state: Tree) -> Results:
    if not t.contract.one_step:
        return results_of(subject.call(inputs, state, lengths=t.lengths))
    steps: list[dict[str, Tensor]] = []
    try:
        for step in inputs.unbind(0):
            result = subject.call(step, state)
            state = result.state
            steps.append({name: leaf for name, leaf in results_of(result).items() if leaf is not None})
    except TargetRaisedError as raised:
        raise TargetRaisedError(raised.error, f"calling it {LONG} times in {subject.dtype}") from raised.error
    return {name: torch.stack([step[name] for step in steps]) for name in steps[0]}
