"""RP806: the settings with which CUDA computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from rnn_props.cases import Needs
from rnn_props.checks import when
from rnn_props.checks.devices import on_device
from rnn_props.checks.numeric import ILL_CONDITIONED, hold, reference_of, results_of, rules_of, twin, widest
from rnn_props.checks.registry import BASICS, check
from rnn_props.checks.trial import Trial
from rnn_props.numerics import ARITHMETIC, TF32, Arithmetic, agreement
from rnn_props.subjects import DTYPES, TargetRaisedError, Tree, map_tree


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    settings: Any = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [item.allow_tf32 for item in settings]
    try:
        for item in settings:
            item.allow_tf32 = allowed
        yield
    finally:
        for item, value in zip(settings, before, strict=True):
            item.allow_tf32 = value


@contextmanager
def _deterministic() -> Iterator[None]:
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("warn")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)


@contextmanager
def _another_stream() -> Iterator[None]:
    cuda: Any = torch.cuda
    stream = cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream().wait_stream(stream)


@dataclass(frozen=True, slots=True)
class _Mode:
    """A setting to compute with.

    Attributes:
        guard: to call in.
        arithmetic: what float32 results may have been rounded to in it.
        prepare: what is done to input and state on the device.
        large_row: whether the first row of the input is a thousand times as large as the others.
    """

    guard: Callable[[], AbstractContextManager[Any]]
    arithmetic: Arithmetic = ARITHMETIC[torch.float32]
    prepare: Callable[[Tree], Tree] = lambda tree: tree
    large_row: bool = False


def _strided(tree: Tree) -> Tree:
    """The same values in memory that is not contiguous."""
    return map_tree(lambda leaf: torch.stack((leaf, leaf), -1)[..., 0], tree)


def _autocast(dtype: torch.dtype) -> _Mode:
    return _Mode(lambda: torch.autocast("cuda", dtype), ARITHMETIC[dtype])


MODES: dict[str, _Mode] = {
    "TF32 on": _Mode(lambda: _tf32(True), TF32),
    "TF32 off": _Mode(lambda: _tf32(False)),
    "cuDNN off": _Mode(lambda: torch.backends.cudnn.flags(enabled=False, allow_tf32=False)),
    "deterministic algorithms": _Mode(_deterministic, TF32),
    "autocast to float16": _autocast(torch.float16),
    "autocast to bfloat16": _autocast(torch.bfloat16),
    "another stream": _Mode(_another_stream, TF32),
    "input and state not contiguous": _Mode(nullcontext, TF32, _strided),
    "one row of large values": _Mode(nullcontext, TF32, large_row=True),
}


@check(
    "RP806",
    "device.modes",
    on=frozenset({"cuda"}),
    when=when.lacks("per_tensor_quantised", "its numbers are quantised by contract: they have few digits"),
    needs=Needs(
        dtypes="each",
        lengths=(1, 2, 3, 5, 8, 17, 33),
        batches=(1, 2, 3, 5, 7),
        states=("none", "random"),
        fills=("normal",),
        rows=("full", "mixed", "one_short", "sorted"),
        packed=True,
        roles={"dropout": (0.0,)},
        picks=1,
    ),
    after=(*BASICS, "RP801", "RP802"),
    explained_by=("RP701",),
    hint="Look for code that takes the default settings for granted: a stream that is not waited for, a kernel that "
    "reads memory as if it were contiguous, an operation that autocast leaves in another dtype.",
)
def modes(t: Trial) -> None:
    """With TF32 on and off, without cuDNN, with deterministic algorithms, under autocast, on another stream, with
    memory that is not contiguous and beside a row of large values, results are those of float64 within what rounding
    explains in that setting.

    Why: These settings are the caller's, and are changed for the whole process. A module that is right with the
    defaults alone is wrong in somebody's training script.
    Causes:
    - A kernel that is launched on the default stream: on another one it reads what is not written yet.
    - `torch.empty` and atomic additions whose order shows in the result.
    - A product under autocast whose result meets a float32 state in a kernel that takes one dtype.
    - A flattened weight that is used without cuDNN as well, in cuDNN's layout.
    Fix: Launch kernels on `torch.cuda.current_stream()`, call `contiguous()` before reading memory, and mark custom
    functions with `torch.amp.custom_fwd(device_type="cuda", cast_inputs=torch.float32)`.
    """
    if t.case.dtype != "float32":
        t.discard("the settings are about float32")
    name, mode = list(MODES.items())[t.pick(0, len(MODES))]
    given = _with_a_large_row(t) if mode.large_row else t.given
    wide = widest(t.contract)
    against = twin(t, t.subject, wide)
    reference = reference_of(
        t,
        against,
        lambda inputs, state: results_of(against.call(inputs, state, lengths=t.lengths)),
        given,
        t.state,
        mode.arithmetic,
    )
    subject = on_device(t)
    inputs, state = subject.here(given), subject.here(t.state)
    if not t.case.packing:
        inputs = mode.prepare(inputs)
    try:
        results = results_of(subject.call(inputs, mode.prepare(state), lengths=t.lengths, guard=mode.guard))
    except TargetRaisedError as raised:
        known = ("contiguous", "not implemented for")  # cuDNN documents that it takes no state that is not contiguous
        if any(text in str(raised.error) for text in known):
            t.discard(f"it has no kernel for it: {raised}")
        raise
    found = agreement(
        {key: value if value is None else value.to(DTYPES["float32"]) for key, value in results.items()},
        reference,
        rules_of(t),
    )
    t.note(found.errors(reference))
    hold(t, found, f"with {name} on {t.device}, against {wide} on the CPU")
    if not found.judged:
        t.discard(ILL_CONDITIONED)


def _with_a_large_row(t: Trial) -> Any:
    if t.case.packing or not t.case.batched or t.sizes["B"] < 2:
        t.discard("it has no other row")
    axis = t.rules.input.axis("B")
    if axis is None or not t.input.is_floating_point():
        t.discard("its input has no rows to make larger")
    larger = t.input.clone()
    larger.select(axis, 0).mul_(1024)
    return larger
