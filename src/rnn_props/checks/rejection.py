"""RP4xx: rejection of bad input. Every case has one fault, and runs in a worker process of its own kind."""

from __future__ import annotations

import copy
import re
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnn_props.cases import Needs
from rnn_props.checks import when
from rnn_props.checks.registry import BASICS, check
from rnn_props.checks.trial import ACCIDENTAL, Advice, Trial, Violation
from rnn_props.numerics import difference
from rnn_props.subjects import InnerCall, TargetRaisedError, clone, inner_calls, leaves

_AFTER = ("RP101", "RP102")
#: Dense and packed input, where packed input is taken.
_ROWS = ("full", "equal", "mixed")


def must_reject(t: Trial) -> None:
    """The faulty call must raise; what it must not do otherwise depends on how the judge read it."""
    verdict = t.verdict()
    assert t.case.fault is not None
    if (t.case.packing or t.case.fault.family == "lengths") and t.contract.torch_module is None:
        with inner_calls(t.subject.module) as calls:
            outcome = t.attempt()
    else:
        outcome, calls = t.attempt(), []
    if outcome.kind == "rejected":
        return
    if outcome.kind == "accidental":
        error = outcome.error
        raise Advice(
            f"{verdict.reason}: it stops by accident with {type(error).__name__}: {error}; "
            "a check of its own would say what is wrong",
            expected="a ValueError, TypeError or RuntimeError that says what is wrong",
            actual=type(error).__name__,
            kind="accidental",
        )
    inner = next((call.name for call in calls if _got_the_fault(t, call)), "")
    kind: type[Violation] = Advice if verdict.advice or inner else Violation
    by = f" (by the {inner} inside)" if inner else ""
    raise kind(
        f"{verdict.reason}, and it was accepted{by}", expected="an exception", actual="a result", kind="accepted"
    )


def _got_the_fault(t: Trial, call: InnerCall) -> bool:
    """Whether a layer of torch.nn inside a module took what is wrong with a packed call, as it is, or torch's
    `pack_padded_sequence` all the rows with the very lengths that are wrong.

    What torch itself does not look at is not for a module to refuse that hands it on.
    """
    assert t.case.fault is not None
    given, got = t.faulty.input, call.input
    if not t.case.packing:
        if call.lengths is None or tuple(got.shape)[call.batch_axis : call.batch_axis + 1] != (t.case.batch,):
            return False
        lengths = torch.as_tensor(call.lengths).cpu()
        return lengths.shape == t.faulty.lengths.shape and bool((lengths == t.faulty.lengths.long()).all())
    if not isinstance(got, PackedSequence):
        return False
    if t.case.fault.family == "state":
        handed, wanted = list(leaves(call.state)), list(leaves(t.faulty.state))
        return len(handed) == len(wanted) and all(
            _same(t, one, two) for (_, one), (_, two) in zip(handed, wanted, strict=True)
        )
    if t.case.fault.family == "lengths":  # the data may have become something else on the way, such as embeddings
        return len(got.data) == len(given.data) and _same(t, got.batch_sizes, given.batch_sizes)
    return _same(t, got.data, given.data)


def _same(t: Trial, one: Tensor, two: Tensor) -> bool:
    return one.dtype == two.dtype and not t.changed(one, two)


@check(
    "RP401",
    "reject.input",
    when=when.real_input,
    needs=Needs(faults="input", batched=None, batches=(2, 3, 4), lengths=(2, 3, 4), rows=_ROWS, packed=True),
    after=_AFTER,
    explained_by=("RP408",),
    each_fault=True,
    hint="Compare the input's number of dimensions, its last dimension and its dtype with what the module was built "
    "for, and raise a ValueError that has both.",
)
def reject_input(t: Trial) -> None:
    """Every fault in the input raises an exception.

    Why: Bad input that is accepted gives plausible numbers, and the mistake is found in the model's quality, if at all.
    An exception at the call costs a minute.
    Causes:
    - Nothing is compared, and what follows happens to take any size: `x[..., :input_size]`, `F.pad`, `x.view(-1,
      input_size)`, `flatten`.
    - `x.float()` or `x.to(self.weight.dtype)`: token numbers in int64 pass for features.
    - `if x.dim() == 2: ... else: ...` with four dimensions going down the path for three.
    - `for step in x` over a sequence of no steps: the loop never runs, and the initial state comes back as the result.
    Fix: At the top of `forward`, compare `x.dim()`, `x.size(-1)`, `x.dtype` and the number of steps with what the
    module was built for, and raise: `raise ValueError(f"expected input_size {self.input_size}, got {x.size(-1)}")`.
    """
    must_reject(t)


@check(
    "RP402",
    "reject.state",
    when=when.has_state,
    needs=Needs(
        faults="state",
        batched=None,
        states=("random",),
        batches=(2, 3, 4),
        lengths=(2, 3, 4),
        rows=_ROWS,
        packed=True,
    ),
    after=_AFTER,
    explained_by=("RP408",),
    each_fault=True,
    hint="Compare every leaf of the given state with its rule before using it. A state of batch 1 broadcasts "
    "silently: every row then goes on from the same memory.",
)
def reject_state(t: Trial) -> None:
    """Every fault in the initial state raises an exception.

    Why: A wrong state that is accepted is a wrong memory: a state of one row is broadcast, so every sequence goes on
    from the same past; rows that do not fit are left unread. The numbers look like any others.
    Causes:
    - `F.linear(x, w_ih) + F.linear(h, w_hh)` without a comparison of sizes: one row of h broadcasts over all
      rows of x.
    - `h.expand(-1, B, -1)` to be helpful.
    - `h, c = hx[0], hx[1]`: it takes three members, or h and c stacked in one tensor. `h, c = hx` at least counts them.
    - `for layer in range(num_layers): hx[layer]`: the rows of a state with more layers stay unread.
    - `h.to(x.dtype)`: another dtype is cast and not noticed.
    Fix: Before using it, compare the shape of every leaf with `(num_layers * num_directions, B, H)` (h: `proj_size or
    hidden_size`), count the members, compare dtypes, and raise with both shapes in the message.
    """
    must_reject(t)


def _has_constructor(contract: Any) -> str | None:
    return None if contract.hyperparameters else "it has no constructor argument that is known"


@check(
    "RP403",
    "reject.hyperparameters",
    when=_has_constructor,
    needs=Needs(faults="hyperparameters", batches=(2,), lengths=(3,), states=("none", "random")),
    after=_AFTER,
    explained_by=("RP408",),
    share=0.5,
    each_fault=True,
    hint="Check the constructor's arguments where they come in: sizes are integers of at least 1, probabilities are "
    "in [0, 1], flags are bools.",
)
def reject_hyperparameters(t: Trial) -> None:
    """Every bad constructor argument raises, at construction or at the latest at first use.

    Why: Constructor arguments come from configuration files, as strings, floats and None. One that is accepted by
    accident trains another model than was asked for.
    Causes:
    - `range(num_layers)` with 0 or a negative number: there are no layers, and the input goes through unchanged.
    - `int(hidden_size)`, which rounds 64.7 down and takes True for 1.
    - `if nonlinearity == "relu": ... else: ...`: a misspelt name means tanh.
    - `if proj_size > 0:` that takes a negative size for none; a dropout above 1 that is clipped.
    - `if bidirectional:` that takes the string "False" for True.
    Fix: Check types and ranges in `__init__` before anything is built: sizes are of type int and at least 1,
    probabilities lie in [0, 1], flags are bools, and a chain of options ends in `else: raise ValueError(...)`.
    """
    must_reject(t)


@check(
    "RP404",
    "reject.clean",
    needs=Needs(faults="call", batches=(2, 3, 4), lengths=(2, 3, 4), states=("random", "none"), picks=1),
    after=(*BASICS, "RP206"),
    explained_by=("RP408",),
    share=0.5,
    hint="Check everything before changing anything: a rejected call must not leave a state, a cache or an argument "
    "half written.",
)
def reject_clean(t: Trial) -> None:
    """After a rejected call the arguments are untouched, and the module gives the results that it gave before.

    Why: Servers and notebooks catch the exception and go on. A module that kept half of the rejected call gives wrong
    results to the next, valid one.
    Causes:
    - `self.hidden = hx` or `self.batch_size = ...` before the checks.
    - A loop over layers that writes layer 0's state to `self` before layer 1 raises.
    - `try: ... except Exception: self.fallback = True`: one bad call changes all later ones.
    - A temporary change (swapped weights, `self.eval()`, a global flag) without `try` and `finally`.
    Fix: Check everything first, compute into local variables, and assign to `self` last. Put temporary changes into a
    context manager or a `finally`.
    """
    t.verdict()
    # The call that comes first after the rejected one is the one that shows what was left behind.
    states = [t.state]
    if t.carries_state and t.contract.capabilities.optional_state and t.state is not None:
        states = [t.state, None] if t.pick(0, 2) else [None, t.state]
    before = [t.call(state=state).kept() for state in states]
    given = [clone(t.faulty.input), clone(t.faulty.state)]
    outcome = t.attempt(t.subject)
    if outcome.kind == "accepted":
        t.discard("the call was accepted, which another check holds against it")
    for what, now, was in (("input", t.faulty.input, given[0]), ("initial state", t.faulty.state, given[1])):
        gap = difference(now, was, what)
        if gap is not None:
            t.fail(f"the rejected call changed the caller's {gap.message}", expected=gap.expected, actual=gap.actual)
    for state, expected in zip(states, before, strict=True):
        t.same_result(t.call(state=state), expected, "the valid call after the rejected one")


@check(
    "RP405",
    "reject.message",
    needs=Needs(faults="size", batches=(2, 3, 4), lengths=(2, 3, 4), states=("random",)),
    after=_AFTER,
    explained_by=("RP408",),
    share=0.5,
    advice=True,
    hint="Write both sizes into the message: expected input_size 3, got 4.",
)
def reject_message(t: Trial) -> None:
    """The message of a rejection names the size that was expected and the one that was given.

    Why: A message with both sizes says at once which argument is off and by how much; one without them sends its reader
    to the debugger.
    Causes:
    - `assert x.size(-1) == self.input_size` without a message.
    - `except RuntimeError: raise ValueError("bad input") from None`, which throws torch's own message away.
    - A message with the expected size alone.
    Fix: Name both: `raise ValueError(f"expected input_size {self.input_size}, got {x.size(-1)}")`.
    """
    t.verdict()
    outcome = t.attempt()
    if outcome.kind != "rejected":
        t.discard("the call was not rejected")
    wanted, given = _sizes_at_fault(t)
    message = str(outcome.error)
    numbers = {int(number) for number in re.findall(r"\d+", message)}
    if not {wanted, given} <= numbers:
        raise Advice(
            f"the message does not name both sizes, {wanted} and {given}: "
            f"{type(outcome.error).__name__}: {message or '(no message)'}",
            expected=f"a message with {wanted} and {given}",
            actual=message,
        )


def _sizes_at_fault(t: Trial) -> tuple[int, int]:
    """The size that was right and the one that the fault made of it."""
    for valid, faulty in _pairs((t.input, t.state), (t.faulty.input, t.faulty.state)):
        for one, two in zip(valid.shape, faulty.shape, strict=False):
            if one != two:
                return one, two
    return t.discard("the fault changes no size")


def _pairs(one: Any, two: Any) -> list[tuple[Tensor, Tensor]]:
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        return [(one, two)]
    if isinstance(one, tuple | list) and isinstance(two, tuple | list):
        return [pair for first, second in zip(one, two, strict=False) for pair in _pairs(first, second)]
    return []


@check(
    "RP408",
    "reject.crash",
    needs=Needs(
        faults="any",
        batched=None,
        batches=(1, 2, 3, 4),
        lengths=(2, 3),
        states=("random",),
        rows=_ROWS,
        packed=True,
    ),
    after=(),
    each_fault=True,
    hint="A kernel was reached with sizes that do not fit. Check shapes in Python before calling it: a crash takes the "
    "user's process and all its work with it.",
)
def reject_crash(t: Trial) -> None:
    """No bad input kills the process, or hangs it.

    Why: A segmentation fault cannot be caught: it takes the notebook, the training run or the server with it. And a
    kernel that reads past the end of a tensor may also return what it finds there.
    Causes:
    - A native kernel called with sizes that nobody compared: `torch._VF.lstm`, `torch.ops.aten.*`, or an extension in
      C++, CUDA or Triton, most often with a state of fewer layers or rows.
    - `nn.LSTM` with a PackedSequence, or `nn.LSTMCell` with an input of one dimension, called with a state that does
      not fit: torch 2.13 does not check these itself, and dies.
    - A loop that ends only if sizes fit, such as `while position != batch: position += rows`.
    Fix: Compare rank and sizes of input and state in Python before any kernel gets them, packed input included, and end
    loops with `<`. What torch's own module does in the same case is listed as inherited from torch.
    """
    t.verdict()
    t.attempt()


@check(
    "RP406",
    "reject.weights",
    needs=Needs(batches=(2, 3), lengths=(2, 3), fills=("normal",), picks=3),
    after=(*BASICS, "RP206"),
    explained_by=("RP901", "RP904"),
    share=0.6,
    hint="An overridden load_state_dict or _load_from_state_dict copies with copy_, which broadcasts, or by slices, or "
    "leaves out what does not fit. Compare shapes and raise, as torch's own does.",
)
def reject_weights(t: Trial) -> None:
    """`load_state_dict` raises where one parameter has a wrong size in an otherwise right state_dict, writes nothing of
    it, and takes the right one afterwards.

    Why: A checkpoint of another configuration that loads without an error gives a model that is part trained and part
    random, or has one row's weights in all of them. Only its results tell.
    Causes:
    - `own[name].copy_(value)` for each entry: `copy_` broadcasts a size of 1.
    - Loading what fits: `if own[name].shape == value.shape`, without an error for the rest.
    - Slices (`own[name][:n] = value[:n]`) or padding, written for vocabularies and used for every parameter.
    - `try: ... except RuntimeError: pass` around each entry.
    Fix: Leave the copying to `nn.Module.load_state_dict`, which raises with a list of all sizes that do not fit.
    Resizing that is meant belongs in a function of its own, which the caller calls by name.
    """
    before = t.call().kept()
    with t.subject.doing("taking its state_dict") as module:
        own = copy.deepcopy(module.state_dict())
    shapes = {name: tuple(value.shape) for name, value in t.subject.parameters_of().items()}
    names = [name for name, shape in shapes.items() if shape and name in own and tuple(own[name].shape) == shape]
    if not names:
        t.discard("it has no parameters")
    name = names[(t.pick(0, 12) * 12 + t.pick(1, 12)) % len(names)]
    wrong = _wrong_shapes(shapes[name])
    shape = wrong[t.pick(2, len(wrong))]
    values = copy.copy(own)
    values[name] = torch.randn(shape, dtype=own[name].dtype, generator=torch.Generator().manual_seed(41))
    what = f"a state_dict in which {name} has the shape {shape} in place of {shapes[name]}"
    try:
        with t.subject.doing(f"loading {what}") as module:
            module.load_state_dict(values)
    except TargetRaisedError as raised:
        error = raised.error
    else:
        raise Violation(f"{what} was loaded", expected="an exception", actual="no exception", kind="accepted")
    t.same_result(t.call(), before, f"after {what} was rejected")
    with t.subject.doing("loading its own state_dict after a rejected one") as module:
        module.load_state_dict(own)
    t.same_result(t.call(), before, "after its own state_dict was loaded again")
    if isinstance(error, ACCIDENTAL):
        raise Advice(
            f"{what}: it stops by accident with {type(error).__name__}: {error}",
            expected="a RuntimeError that says what is wrong",
            actual=type(error).__name__,
            kind="accidental",
        )


def _wrong_shapes(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Shapes that a parameter of this shape can't have come from: more, fewer, one that broadcasts, transposed."""
    first, rest = shape[0], shape[1:]
    wrong = [(first + 1, *rest), (*shape[:-1], shape[-1] + 1), (first - 1, *rest), (1, *rest), shape[::-1]]
    return list(dict.fromkeys(other for other in wrong if other != shape and 0 not in other))
