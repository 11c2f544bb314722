"""RP906: two calls of one module at the same time."""

from __future__ import annotations

import sys
import sysconfig
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from rnn_props.cases import Needs
from rnn_props.checks import when
from rnn_props.checks.life import fresh
from rnn_props.checks.registry import BASICS, check
from rnn_props.checks.trial import Trial
from rnn_props.contracts import Contract
from rnn_props.subjects import Result, Stopwatch, Subject, TargetRaisedError, Tree

#: Seconds that a call waits for the one that overtakes it: longer only if it holds a lock that the other one needs.
_PATIENCE = 0.1
#: Interruptions of a case.
_ROUNDS = 4


def _no_reset(contract: Contract) -> str | None:
    return f"it keeps something between calls by contract: {contract.reset}() resets it" if contract.reset else None


@check(
    "RP906",
    "life.threads",
    when=when.all_of(when.not_stateful, _no_reset),
    needs=Needs(lengths=(1, 2, 3, 4, 9), batches=(1, 2, 3), picks=2),
    after=(*BASICS, "RP206"),
    explained_by=("RP208",),
    share=0.3,
    hint="forward keeps something on self while it runs: the state, gates, a mask, the batch size, a scratch buffer. "
    "Make it a local variable and pass it on.",
)
def threads(t: Trial) -> None:
    """A call that is overtaken by another call of the same module in a second thread gives the results that it gives
    alone, and so does the other one.

    Why: Servers answer requests, and `nn.DataParallel` and data loaders work, in threads that share one module. A call
    that works on `self` mixes one request with another, once in many thousand calls and never in a test.
    Causes:
    - `self.h = h` in the loop over time, read back at the next step.
    - A scratch buffer in `__init__` that every call writes to (`out=self.buffer`).
    - `self.batch_size = x.size(0)`, `self.mask = ...` or `self.lengths = ...`, set at the start of `forward` and read
      in a method.
    - A table that is put on `self` before it is filled.
    Fix: Pass everything as arguments and results of methods; assign to `self` in the constructor alone. A cache is
    built completely before it is put in its place.
    """
    lines = _Lines()
    first = t.call(guard=lambda: lines).kept()
    if lines.seen == 0:
        t.discard("it runs no Python code that could be interrupted")
    unused = fresh(t)
    for number in range(_ROUNDS):
        # The first round meets a module that has not been called; each second one brings another batch size.
        sizes = {"B": t.sizes["B"] + 1} if number % 2 and t.case.batched else {}
        other = t.other_input(31, **sizes), None if t.state is None else t.other_state(32, "normal", **sizes)
        second = t.call(*other).kept()
        share = (t.pick(0, 12) * 12 + t.pick(1, 12) + 144 * number / _ROUNDS) % 144 / 144
        line = 1 + int(share * lines.seen)
        overtaken, overtaking = _at_once(t, unused, other, line)
        t.same_result(overtaken, first, "overtaken by a call in another thread")
        t.same_result(overtaking, second, "a call that overtakes another one in another thread")


def _at_once(t: Trial, subject: Subject, other: tuple[Tensor, Tree], line: int) -> tuple[Result, Result]:
    """The case's call, and another one that runs from start to end in a second thread when the first is at a line."""
    outcome: list[Any] = []
    count = torch.get_num_threads()
    # Its time is part of the first one's.
    twin = Subject(subject.module, subject.contract, subject.hyperparameters, Stopwatch(), subject.dtype)

    def overtake() -> None:
        torch.set_num_threads(count)
        try:
            outcome.append(twin.call(*other).kept())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=overtake, daemon=True)

    def interrupt() -> None:
        thread.start()
        thread.join(_PATIENCE)

    try:
        result = t.call(subject=subject, guard=lambda: _Lines(line, interrupt)).kept()
    except TargetRaisedError as raised:
        raise TargetRaisedError(raised.error, "overtaken by a call in another thread, it") from raised.error
    finally:
        if thread.ident is None:
            thread.start()
        thread.join()
    if isinstance(outcome[0], TargetRaisedError):
        error = outcome[0].error
        raise TargetRaisedError(error, "a call that overtakes another one in another thread") from error
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return result, outcome[0]


class _Lines(AbstractContextManager["_Lines"]):
    """Counts the lines of Python that the target runs in this thread, and does something before one of them."""

    def __init__(self, at: int = 0, action: Callable[[], None] | None = None) -> None:
        self.seen = 0
        self._at = at
        self._action = action
        self._before: Any = None

    def __enter__(self) -> _Lines:
        self._before = sys.gettrace()
        sys.settrace(self._enter_frame)
        return self

    def __exit__(self, *exception: object) -> None:
        sys.settrace(self._before)

    def _enter_frame(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._at_event if _is_of_interest(frame.f_code.co_filename) else None

    def _at_event(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self.seen += 1
            if self.seen == self._at and self._action is not None:
                self._action()
        return self._at_event


_OWN = str(Path(__file__).parents[1])
_TORCH = str(Path(torch.__file__).parent)
_PYTHON = sysconfig.get_path("stdlib")


def _is_of_interest(file: str) -> bool:
    """The target's own code and torch's layers; what every layer runs on its way in is left out."""
    if file.startswith(_TORCH):
        return file.startswith(f"{_TORCH}/nn/modules/") and not file.endswith("module.py")
    if file.startswith(_OWN):
        return file.startswith(f"{_OWN}/zoo")
    return not file.startswith((_PYTHON, "<frozen")) or "site-packages" in file
