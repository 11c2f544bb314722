"""RP907 and RP908: a module that is compiled, or exported, gives the results that it gives by itself."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from typing import Any

import torch
from torch import Tensor

from rnn_props.cases import Needs
from rnn_props.checks import when
from rnn_props.checks.devices import needs_no_values
from rnn_props.checks.life import repeatable
from rnn_props.checks.registry import check
from rnn_props.checks.trial import Advice, Trial
from rnn_props.contracts import Contract, ShapeRule
from rnn_props.subjects import Subject, TargetRaisedError, Tree, leaves, map_with_rules

#: What an exported program says to sizes that it was not made for.
_REFUSED = re.compile(r"^Guard failed|^Expected input at|^Runtime assertion failed")
#: Tracing costs as much a step and layer as a few hundred calls: a handful of small cases, each of which may take long.
_SMALL: dict[str, Any] = {"lengths": (2,), "batches": (2, 3), "fills": ("normal",)}
_SHALLOW = {"num_layers": (1, 2)}


@check(
    "RP907",
    "life.compile",
    when=when.all_of(when.capable("compile", "its contract does not promise torch.compile"), repeatable),
    needs=Needs(**_SMALL, states=("none", "random"), roles=_SHALLOW, picks=2),
    explained_by=("RP206", "RP506"),
    share=0.03,
    patience=6,
    compiler=True,
    hint="Look for torch.compiler.is_compiling() and what it chooses, for functions marked assume_constant_result or "
    "allow_in_graph, and for values that Python remembers from an earlier call.",
)
def compiles(t: Trial) -> None:
    """Compiled by `torch.compile`, a module gives the results of an eager call, for other batch sizes and lengths, too.

    Why: What is compiled is a record of one call, used again as long as its guards hold. Where they do not see what a
    result depends on, a compiled model is wrong without an error, and eager tests do not show it.
    Causes:
    - A branch on `torch.compiler.is_compiling()` that leaves something out.
    - `torch.compiler.assume_constant_result` on a function whose result depends on sizes or values.
    - `allow_in_graph` or a custom operator whose fake kernel says something else than the real one.
    - Numbers that are read through numpy, the environment or a C extension while the call is recorded.
    Fix: Let results depend on arguments, parameters and buffers only, and choose between paths by something that both
    kinds of call know. A module that is not meant to be compiled says so: `Capabilities(compile=False)`.
    """
    backend = "inductor" if t.thorough and t.pick(1, 2) else "eager"
    grown = "T" if t.rules.input.axis("T") is not None and t.pick(0, 2) else "B"
    subject = t.build()
    with _compiler(backend):
        module: Any = torch.compile(subject.module, backend=backend)
        compiled = subject.with_module(module)
        # Sizes of the first call are constants, of the second call variables; the third finds the variables compiled.
        for more in range(3):
            inputs, state = _grown(t, grown, more)
            expected = t.call(inputs, state, subject=subject).kept()
            try:
                result = t.call(inputs, state, subject=compiled)
            except TargetRaisedError as raised:
                if isinstance(raised.error, torch._dynamo.exc.TorchDynamoException):
                    t.discard(f"torch.compile can't compile it with backend {backend!r}: {_first_line(raised.error)}")
                raise
            after = f", called with {grown} = {t.sizes[grown] + more}, at first with {t.sizes[grown]}" if more else ""
            t.same_result(result, expected, f"compiled with backend {backend!r}{after}")


@contextmanager
def _compiler(backend: str) -> Iterator[None]:
    """What the compiler remembers is forgotten afterwards."""
    try:
        with _quiet(), _without_traces() if backend == "inductor" else nullcontext():
            yield
    finally:
        torch.compiler.reset()


@contextmanager
def _quiet() -> Iterator[None]:
    """What torch logs and prints while it records is not the user's concern; what it raises is."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


@contextmanager
def _without_traces() -> Iterator[None]:
    """Inductor starts no processes that stay, and what it compiles is removed."""
    from torch._inductor import config, utils

    cache = getattr(utils, "fresh_cache", None) or utils.fresh_inductor_cache  # its name before torch 2.8
    with config.patch(compile_threads=1), cache():
        yield


def _grown(t: Trial, letter: str, more: int) -> tuple[Any, Tree]:
    """An input and a state with one size larger than the case's; its own where it is not."""
    if not more:
        return t.input, t.state
    sizes: dict[str, Any] = {letter: t.sizes[letter] + more}
    return t.other_input(30 + more, **sizes), None if t.state is None else t.other_state(40 + more, **sizes)


def _calls_forward(contract: Contract) -> str | None:
    return None if contract.adapter is None else "an adapter calls it, and what is exported is forward"


@check(
    "RP908",
    "life.export",
    when=when.all_of(
        when.capable("export", "its contract does not promise torch.export"),
        when.not_stateful,
        needs_no_values,
        _calls_forward,
    ),
    needs=Needs(**_SMALL, states=("none", "random"), roles=_SHALLOW, picks=1),
    explained_by=("RP104", "RP206", "RP301", "RP302", "RP303", "RP304", "RP907"),
    share=0.03,
    patience=6,
    compiler=True,
    hint="Look for torch.compiler.is_compiling() or is_exporting() and what they choose, and for sizes that become "
    "Python numbers: len(x), int(x.shape[0]), a size that is remembered on self.",
)
def exports(t: Trial) -> None:
    """Exported by `torch.export`, a module gives the results of an eager call, at every batch size and length that the
    exported program takes.

    Why: The exported program is what is deployed, far from the tests of the module. What was a number in Python while
    it was recorded is a constant there.
    Causes:
    - A size or a flag that is remembered on `self`, and read while the program is recorded.
    - A branch on `torch.compiler.is_exporting()` or `is_compiling()` that leaves something out, such as a given state.
    - A table or mask that is cached at the first call: recorded first, the module keeps a tensor without values.
    - Advice only: `len(x)`, `int(x.shape[0])` or a loop over rows, which fix the batch size of the program.
    Fix: Read sizes from the arguments with `x.size(...)` where they are used, keep nothing from call to call, and make
    constants in the constructor. A module that is not meant to be exported says so: `Capabilities(export=False)`.
    """
    if not hasattr(torch.export.Dim, "AUTO"):
        t.discard(f"torch {torch.__version__} has no torch.export.Dim.AUTO")
    with _quiet():
        _exported_agrees(t)


def _exported_agrees(t: Trial) -> None:
    subject = t.build()
    expected = t.call().kept()
    if t.pick(0, 2):  # what is kept from earlier calls may be recorded, and what is recorded may be kept
        sizes: dict[str, Any] = {"B": t.sizes["B"] + 2, "T": t.sizes["T"] - 1}
        t.call(t.other_input(31, **sizes), None if t.state is None else t.other_state(41, **sizes), subject=subject)
    program = _exported(t, subject)
    t.same_result(t.call(subject=program), expected, "the exported program")
    try:
        t.same_result(t.call(subject=subject), expected, "the module itself, after it was exported")
    except TargetRaisedError as raised:
        t.fail(f"after it was exported, {raised}", expected="what it gave before", actual=_first_line(raised.error))
    fixed = ""
    for letter in ("B", "T"):
        if t.rules.input.axis(letter) is None:
            continue
        inputs, state = _grown(t, letter, 1)
        what = (
            f"exported with {letter} = {t.sizes[letter]} and called with {letter} = {t.sizes[letter] + 1}, the program"
        )
        try:
            result = t.call(inputs, state, subject=program)
        except TargetRaisedError as raised:
            if not _REFUSED.search(str(raised.error)):
                t.fail(f"{what} raises {type(raised.error).__name__}: {_first_line(raised.error)}")
            if letter == "B":  # a loop over steps fixes their number, in torch's own modules, too
                fixed = f"{what} refuses: {_first_line(raised.error)}"
        else:
            t.same_result(result, t.call(inputs, state), what)
    if fixed:
        raise Advice(fixed, expected="any batch size", actual=f"only {t.sizes['B']}")


def _exported(t: Trial, subject: Subject) -> Subject:
    """The module as a program, in which every size that torch can keep variable is variable."""
    from torch.export import Dim, dynamic_shapes

    arguments, keywords = subject.call_arguments(t.input, t.state, None)
    collection: Any = dynamic_shapes.ShapesCollection
    shapes = collection()

    def vary(leaf: Tensor, rule: ShapeRule) -> None:
        shapes[leaf] = {axis: Dim.AUTO for letter in ("B", "T") if (axis := rule.axis(letter)) is not None}

    vary(arguments[0], t.rules.input)
    if t.state is not None:
        map_with_rules(vary, t.state, t.rules.state)
    given = {id(leaf) for _, leaf in leaves(t.state)}
    for flags in (value for value in keywords.values() if isinstance(value, Tensor) and id(value) not in given):
        shapes[flags] = dict.fromkeys(range(flags.dim()), Dim.AUTO)
    try:
        with subject.doing("exporting it") as module, torch.no_grad():
            program = torch.export.export(module, arguments, keywords, dynamic_shapes=shapes, strict=False)
            return subject.with_module(program.module())
    except TargetRaisedError as raised:
        t.discard(f"torch.export can't export it: {type(raised.error).__name__}: {_first_line(raised.error)}")


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
