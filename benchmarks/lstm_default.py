"""What a run costs, beside what a hand-written test costs.

    python benchmarks/lstm_default.py

Three parts, in one run and one process:

1. `torch.nn.LSTM` at the default profile: time, examples, share of the time inside the module, memory.
2. Shapes and continuity alone, on one worker, beside a hand-written Hypothesis test of the same with element-level
   tensors: examples a second.
3. Modules with a bug, both ways: from the first case to one failure that is shrunk.
"""

from __future__ import annotations

import contextlib
import io
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import hypothesis_torch
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rnn_props.api import run
from rnn_props.execution.events import CheckFinished, CheckStarted, Event
from rnn_props.execution.outcomes import TargetResult
from rnn_props.options import Options
from rnn_props.reporting import ReportBuilder, environment
from rnn_props.zoo import BUGS

CODES = ("RP101", "RP102", "RP201")
EXAMPLES = 300
#: Bugs that both ways see.
TIMED_BUGS = ("IgnoresInitialCellState", "ReturnsOldCellState", "ReturnsCellStatesTopFirst")
#: Of times the best counts: other work on the machine only adds to them. The two ways take turns.
REPEATS = 3
_SIZES = ("input_size", "hidden_size", "num_layers")


# -- rnn_props -------------------------------------------------------------------------------------------------------


def checked(target: str, options: Options, *listeners: Callable[[Event], None]) -> TargetResult:
    """One target's result; listeners hear the events as well."""
    builder = ReportBuilder(environment())

    def listener(event: Event) -> None:
        builder(event)
        for other in listeners:
            other(event)

    run([target], options, listener)
    return builder.report().targets[0]


class Times:
    """A listener that adds up the time from the start to the end of some checks, on one worker."""

    def __init__(self, *codes: str) -> None:
        self.codes = codes
        self.seconds = 0.0
        self._started = 0.0

    def __call__(self, event: Event) -> None:
        if isinstance(event, CheckStarted) and event.code in self.codes:
            self._started = time.perf_counter()
        elif isinstance(event, CheckFinished) and event.result.code in self.codes:
            self.seconds += time.perf_counter() - self._started


# -- the hand-written test -------------------------------------------------------------------------------------------


@dataclass
class Count:
    """How often the test ran, and when it failed for the first time."""

    examples: int = 0
    failed_at: float = 0.0
    smallest: tuple[int, ...] = ()


def tensors(*shape: int) -> st.SearchStrategy[Tensor]:
    return hypothesis_torch.tensor_strategy(
        torch.float64,
        shape,
        elements=st.floats(-8, 8, width=32),
        device=torch.device("cpu"),
        layout=torch.strided,
        requires_grad=False,
    )


@st.composite
def calls(draw: st.DrawFn) -> tuple[dict[str, int | bool], Tensor, tuple[Tensor, Tensor], int]:
    """Sizes, an input, an initial state, and where to cut."""
    length, batch = draw(st.integers(2, 6)), draw(st.integers(1, 3))
    sizes = {
        "input_size": draw(st.integers(1, 4)),
        "hidden_size": draw(st.integers(1, 4)),
        "num_layers": draw(st.integers(1, 2)),
        "bias": draw(st.booleans()),
    }
    state = (sizes["num_layers"], batch, sizes["hidden_size"])
    return (
        sizes,
        draw(tensors(length, batch, sizes["input_size"])),
        (draw(tensors(*state)), draw(tensors(*state))),
        draw(st.integers(1, length - 1)),
    )


def hand_written(module: type[nn.Module], count: Count, *, shrink: bool) -> Callable[[], None]:
    """The test that a careful author writes: shapes and continuity, with tensors drawn element by element."""
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)

    @seed(0)
    @settings(
        settings.get_profile("default"),
        max_examples=EXAMPLES,
        phases=phases,
        database=None,
        derandomize=False,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(calls())
    def test(call: tuple[dict[str, int | bool], Tensor, tuple[Tensor, Tensor], int]) -> None:
        sizes, inputs, state, cut = call
        count.examples += 1
        torch.manual_seed(0)
        with torch.no_grad():
            lstm = module(**sizes).double().eval()
            output, (h, c) = lstm(inputs, state)
            assert output.shape == (*inputs.shape[:2], sizes["hidden_size"])
            assert h.shape == c.shape == state[0].shape
            one, carried = lstm(inputs[:cut], state)
            two, (h_end, c_end) = lstm(inputs[cut:], carried)
            pairs = ((torch.cat([one, two]), output), (h_end, h), (c_end, c))
        if not all(torch.allclose(left, right, rtol=1e-9, atol=1e-9) for left, right in pairs):
            count.failed_at = count.failed_at or time.perf_counter()
            count.smallest = (*inputs.shape, *sizes.values())
            raise AssertionError("cut sequence and whole sequence differ")

    return test


def quietly(test: Callable[[], None]) -> float:
    """Run a test, whether it fails or not; seconds."""
    started = time.perf_counter()
    with contextlib.suppress(AssertionError), contextlib.redirect_stdout(io.StringIO()):
        test()
    return time.perf_counter() - started


# -- the report ------------------------------------------------------------------------------------------------------


def peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def whole_run() -> Iterator[str]:
    before = peak_mb()
    result = checked("torch.nn:LSTM", Options(seed=0))
    examples = sum(item.examples for item in result.results)
    spent = sum(item.duration_s for item in result.results)
    jobs = min(os.cpu_count() or 1, 8)
    yield f"torch.nn:LSTM, default profile, {result.ran} checks, {jobs} workers"
    yield f"  wall time                         {result.duration_s:8.1f} s"
    yield f"  examples                          {examples:8d}"
    yield f"  examples a second                 {examples / result.duration_s:8.0f}"
    yield f"  checks' own time                  {spent:8.1f} s"
    yield f"    of it inside the module         {result.time_in_target_s / spent:8.0%}"
    yield f"  peak memory of the parent         {peak_mb():8.0f} MB  ({before:.0f} MB with everything imported)"
    yield f"  peak memory of the largest worker {result.peak_memory_mb:8.0f} MB"


def speed() -> Iterator[str]:
    ours, theirs = [], []
    for _ in range(REPEATS):
        times = Times(*CODES)  # from the drawing of cases to the last outcome; what the checks rest on is left out
        result = checked("torch.nn:LSTM", Options(checks=CODES, max_examples=EXAMPLES, seed=0, jobs=1), times)
        ours.append((times.seconds, sum(item.examples for item in result.results)))
        count = Count()
        theirs.append((quietly(hand_written(nn.LSTM, count, shrink=False)), count.examples))
        assert not count.failed_at, "nn.LSTM failed the hand-written test"
    (seconds, examples), (other_seconds, other_examples) = min(ours), min(theirs)
    rates = examples / seconds, other_examples / other_seconds
    yield f"shapes and continuity ({', '.join(CODES)}), one process"
    yield from table("examples", f"{examples}", f"{other_examples}")
    yield from table("seconds", f"{seconds:.2f}", f"{other_seconds:.2f}")
    yield from table("examples a second", f"{rates[0]:.0f}", f"{rates[1]:.0f}", rates[0] / rates[1])


def shrinking(bug: str) -> Iterator[str]:
    code = BUGS[bug].code
    assert code is not None
    ours, theirs, shrunk = [], [], []
    for _ in range(REPEATS):
        times = Times(code)
        result = checked(f"rnn_props.zoo:{bug}", Options(checks=(code,), seed=0, jobs=1), times)
        (found,) = (item for item in result.results if item.code == code)
        assert found.status == "failed", found
        ours.append(times.seconds)
        count = Count()
        started = time.perf_counter()
        seconds = quietly(hand_written(BUGS[bug].module, count, shrink=True))
        assert count.failed_at, "the hand-written test did not see the bug"
        theirs.append(seconds)
        shrunk.append(started + seconds - count.failed_at)
    yield f"one failure of {bug} ({code}), from the first case to the smallest"
    yield from table("seconds", f"{min(ours):.2f}", f"{min(theirs):.2f}", min(theirs) / min(ours))
    yield from table("  of it shrinking", "", f"{min(shrunk):.2f}")
    yield from table("runs of the test", "", f"{count.examples}")
    small = found.findings[0].case
    sizes = small["hyperparameters"]
    smallest = (small.get("seq_len", 1), small.get("batch", 1), *(sizes[name] for name in _SIZES))
    other = (*count.smallest[:3], *count.smallest[4:6])
    yield from table("smallest T, B, I, H, L", *(" ".join(map(str, shape)) for shape in (smallest, other)))


def table(what: str, ours: str, theirs: str, ratio: float | None = None) -> Iterator[str]:
    yield f"  {what:30} {ours:>12} {theirs:>14}" + (f"   {ratio:.1f} times" if ratio is not None else "")


def main() -> None:
    torch.set_num_threads(1)
    surroundings = environment()
    print(
        f"Python {surroundings['python']}, torch {surroundings['torch']}, hypothesis {surroundings['hypothesis']}, "
        f"{platform.machine()}, {surroundings['cpu_count']} cores, {time.strftime('%Y-%m-%d')}\n"
    )
    for line in whole_run():
        print(line)
    print(f"\n  {'':30} {'rnn_props':>12} {'hand-written':>14}")
    for part in (speed(), *map(shrinking, TIMED_BUGS)):
        for line in part:
            print(line)


if __name__ == "__main__":
    main()
