"""How well the bound by sensitivity tells rounding from defects.

    python benchmarks/sensitivity.py            print the figures (some minutes)
    python benchmarks/sensitivity.py --quick    the same with fewer cases (a minute)
    python benchmarks/sensitivity.py --write    and put them into docs/tolerance.md

Correct runs of torch's recurrent modules in low precision are held against float64: how many times S they are off, how
much of the bound that is, and how many are outside of it (none must be); and how large the typical error of float32 is,
in units of what noise at every operation explains. Then defects are put into float32 modules, and the runs are counted
that the bound rejects, and those whose typical error is too large.
"""

from __future__ import annotations

import argparse
import itertools
import math
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rnn_props.numerics import ARITHMETIC, GRADIENT, Agreement, Sensitivity, agreement, excess
from rnn_props.numerics.compare import typical
from rnn_props.numerics.excess import ENOUGH, explanations
from rnn_props.zoo.drop_ins import PlainGRU, PlainLSTM, PlainRNN
from rnn_props.zoo.recurrent import Leaves, Weights

PAGE = Path(__file__).parents[1] / "docs" / "tolerance.md"
BEGIN, END = "<!-- figures: written by benchmarks/sensitivity.py -->", "<!-- end of figures -->"

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
KINDS = ("RNN tanh", "RNN relu", "GRU", "LSTM", "LSTM proj", "RNNCell tanh", "RNNCell relu", "GRUCell", "LSTMCell")
GAINS = (0.1, 0.3, 1.0, 2.0, 3.0)
LENGTHS = (1, 8, 64, 512)
HIDDEN = (1, 8, 64, 256)
#: The longest runs of which gradients are compared, too: noise at every operation takes its time.
LONGEST_WITH_GRADIENTS = 64

Results = dict[str, Tensor]


@dataclass(frozen=True)
class Example:
    """One run: a module, made from the seed, with its weights multiplied by `gain`, and what goes into it."""

    kind: str
    dtype: str = "float32"
    gain: float = 1.0
    length: int = 8
    hidden: int = 8
    features: int = 3
    batch: int = 2
    layers: int = 1
    bidirectional: bool = False
    state: bool = True
    fill: float = 1.0
    seed: int = 0

    @property
    def is_cell(self) -> bool:
        return "Cell" in self.kind


def module_of(example: Example, classes: Any = nn) -> nn.Module:
    """The example's module, its weights rounded to the example's dtype."""
    name, _, variant = example.kind.partition(" ")
    options: dict[str, Any] = {}
    if variant in ("tanh", "relu"):
        options["nonlinearity"] = variant
    if variant == "proj" and example.hidden > 1:
        options["proj_size"] = max(1, example.hidden // 2)
    if not example.is_cell:
        options |= {"num_layers": example.layers, "bidirectional": example.bidirectional}
    with torch.random.fork_rng():
        torch.manual_seed(example.seed)
        module: nn.Module = getattr(classes, name)(example.features, example.hidden, **options)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(example.gain)
    return module.to(DTYPES[example.dtype])


def input_of(example: Example, module: Any) -> tuple[Tensor, Any]:
    """Input `(T, B, I)` and initial state, or None, rounded to the example's dtype."""
    generator = torch.Generator().manual_seed(example.seed + 1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(DTYPES[example.dtype])

    inputs = draw(example.length, example.batch, example.features) * example.fill
    if not example.state:
        return inputs, None
    rows = () if example.is_cell else (example.layers * (1 + example.bidirectional),)
    width = getattr(module, "proj_size", 0) or example.hidden
    h, c = draw(*rows, example.batch, width), draw(*rows, example.batch, example.hidden)
    return inputs, ((h, c) if example.kind.startswith("LSTM") else h)


def forward(module: nn.Module, inputs: Tensor, state: Any) -> Results:
    """Output and state, or all states of a cell, by name."""
    if "Cell" not in type(module).__name__:
        output, state = module(inputs, state)
        return {"output": output, **_named(state)}
    steps = []
    for step in inputs.unbind(0):
        state = module(step, state)
        steps.append(_named(state))
    return {name: torch.stack([step[name] for step in steps]) for name in steps[0]}


def _named(state: Any) -> Results:
    return {"h_n": state[0], "c_n": state[1]} if isinstance(state, tuple) else {"h_n": state}


def with_gradients(module: nn.Module, inputs: Tensor, state: Any) -> Results:
    """The results and the gradients of a fixed projection of them, by name."""
    inputs = inputs.detach().clone().requires_grad_()
    leaves = {} if state is None else _named(state)
    leaves = {name: leaf.detach().clone().requires_grad_() for name, leaf in leaves.items()}
    state = None if state is None else tuple(leaves.values()) if len(leaves) == 2 else leaves["h_n"]
    results = forward(module, inputs, state)
    generator = torch.Generator().manual_seed(0)
    loss = torch.zeros((), dtype=torch.float64)
    for leaf in results.values():
        loss = loss + (leaf.double() * torch.randn(leaf.shape, generator=generator).bfloat16().double()).sum()
    of = {"input": inputs, **leaves, **dict(module.named_parameters())}
    found = torch.autograd.grad(loss, list(of.values()))
    return {**results, **{GRADIENT + name: value for name, value in zip(of, found, strict=True)}}


def plain(module: nn.Module, inputs: Tensor, state: Any) -> Results:
    with torch.no_grad():
        return forward(module, inputs, state)


def reference_of(example: Example, module: nn.Module, *, gradients: bool) -> Sensitivity:
    """The float64 run of torch's module with the very weights and inputs of the example's."""
    wide = module_of(example).double()
    wide.load_state_dict(module.state_dict())
    inputs, state = input_of(example, module)
    state = tuple(leaf.double() for leaf in state) if isinstance(state, tuple) else state
    state = state.double() if isinstance(state, Tensor) else state
    run = with_gradients if gradients else plain
    arithmetic = ARITHMETIC[DTYPES[example.dtype]]
    return Sensitivity(wide, lambda *given: run(wide, *given), inputs.double(), state, arithmetic=arithmetic)


@dataclass(frozen=True)
class Judged:
    """A run in the example's dtype, held against float64."""

    results: Results
    reference: Sensitivity
    found: Agreement

    @property
    def exceeds(self) -> bool:
        """Whether a typical error is more than rounding gives."""
        return excess(self.results, self.reference, self.found) is not None

    def typical(self, name: str) -> float | None:
        """The typical error of a result in units of what noise explains; None of few elements."""
        expected = self.reference.values[name]
        if int(expected.count_nonzero()) < ENOUGH:
            return None
        noise = max(itertools.islice(explanations(name, expected, self.reference), 3))
        return typical(self.results[name], expected) / noise


def judged(example: Example, *, gradients: bool, module: nn.Module | None = None) -> Judged:
    """A run of torch's module, or of another one in its place."""
    module = module or module_of(example)
    run = with_gradients if gradients else plain
    reference = reference_of(example, module, gradients=gradients)
    results = run(module, *input_of(example, module))
    return Judged(results, reference, agreement(results, reference))


# -- defects -----------------------------------------------------------------------------------------------------------

Defect = Callable[[Any, Leaves, Leaves], Leaves]


def in_bfloat16(step: Callable[[Any, Leaves, Weights], Leaves], x: Tensor, state: Leaves, weights: Weights) -> Leaves:
    """The recurrence in bfloat16."""
    low = Weights(*(None if weight is None else weight.bfloat16() for weight in weights))
    return tuple(leaf.to(x.dtype) for leaf in step(x.bfloat16(), tuple(leaf.bfloat16() for leaf in state), low))


def summed_in_float16(
    step: Callable[[Any, Leaves, Weights], Leaves], x: Tensor, state: Leaves, weights: Weights
) -> Leaves:
    """What a step adds to the state is added in float16."""
    new = step(x, state, weights)
    return tuple((old.half() + (leaf - old).half()).to(x.dtype) for old, leaf in zip(state, new, strict=True))


def noisy(units: float) -> Callable[..., Leaves]:
    """Every step's state is off by up to some units of the last place, at random."""
    generator = torch.Generator().manual_seed(0)

    def noise(step: Callable[[Any, Leaves, Weights], Leaves], x: Tensor, state: Leaves, weights: Weights) -> Leaves:
        unit = 2 * ARITHMETIC[x.dtype].unit

        def shaken(leaf: Tensor) -> Tensor:
            return leaf * (1 + units * unit * (torch.rand(leaf.shape, generator=generator) * 2 - 1)).to(leaf.dtype)

        return tuple(map(shaken, step(x, state, weights)))

    return noise


DEFECTS: dict[str, Callable[[], Callable[..., Leaves]]] = {
    "recurrence in bfloat16": lambda: in_bfloat16,
    "state summed in float16": lambda: summed_in_float16,
    **{f"noise of {units} ulp a step": (lambda units=units: noisy(units)) for units in (1, 2, 4, 8, 16, 64, 256)},
}


class Plain:
    """The zoo's modules, under torch's names."""

    RNN, GRU, LSTM = PlainRNN, PlainGRU, PlainLSTM


def defective(example: Example, defect: Callable[..., Leaves]) -> Judged:
    """A float32 run with a defect in every step, held against the float64 run without."""
    module: Any = module_of(example, Plain)
    step = module.cell
    module.cell = lambda x, state, weights: defect(step, x, state, weights)
    return judged(example, gradients=False, module=module)


# -- tables ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One result of one run."""

    example: Example
    is_gradient: bool
    verdict: str
    of_sensitivity: float | None
    of_bound: float | None
    typical: float | None


def examples(count: int, seed: int) -> Iterator[Example]:
    """For each cell type and dtype some runs, every gain, length and size in turn, the rest at random."""
    draw = random.Random(seed)
    for kind, dtype in itertools.product(KINDS, DTYPES):
        grid = list(itertools.product(GAINS, LENGTHS, HIDDEN))
        draw.shuffle(grid)
        grid = [point for point in grid if point[1] * point[2] <= 2**15 and not ("Cell" in kind and point[1] > 64)]
        for gain, length, hidden in (grid * (count // len(grid) + 1))[:count]:
            yield Example(
                kind, dtype, gain, length, hidden,
                features=draw.choice((1, 3, hidden)), batch=draw.choice((1, 2, 4)), layers=draw.choice((1, 1, 2)),
                bidirectional=draw.random() < 0.3, state=draw.random() < 0.7, fill=draw.choice((1.0, 1.0, 20.0, 1e-3)),
                seed=draw.randrange(10**6),
            )  # fmt: skip


def measured(example: Example) -> list[Row]:
    gradients = example.length <= LONGEST_WITH_GRADIENTS and example.length * example.hidden <= 512
    run = judged(example, gradients=gradients)
    more = excess(run.results, run.reference, run.found)
    rows = []
    for item in run.found.comparisons:
        bound = item.bound or run.reference.bound(item.name)
        size = 0.0 if item.gap is None else item.gap.size
        known = item.verdict != "ill-conditioned" and not bound.ill_conditioned
        of_gradient = item.name.startswith(GRADIENT)
        single = example.dtype == "float32" and known and not of_gradient
        rows.append(
            Row(
                example, of_gradient, "excess" if more is not None and more.name == item.name else item.verdict,
                size / bound.sensitivity if known and bound.sensitivity else None,
                size / bound.allowed if known and bound.allowed else None,
                run.typical(item.name) if single else None,
            )
        )  # fmt: skip
    return rows


def summary(rows: Sequence[Row]) -> list[str]:
    """Results, ill-conditioned ones, err/S (median, 95th percentile, largest), largest err/bound, false alarms."""
    ratios = sorted(row.of_sensitivity for row in rows if row.of_sensitivity is not None)
    parts = [row.of_bound for row in rows if row.of_bound is not None]
    ill = sum(row.verdict == "ill-conditioned" for row in rows)
    spread = [statistics.median(ratios), ratios[int(0.95 * len(ratios))], ratios[-1]] if ratios else [math.nan] * 3
    return [
        str(len(rows)),
        f"{100 * ill / max(len(rows), 1):.0f}%",
        *(f"{value:.2g}" for value in spread),
        f"{max(parts, default=math.nan):.2g}",
        str(sum(row.verdict in ALARMS for row in rows)),
    ]


ALARMS = ("outside", "unstable", "excess")
HEAD = ("results", "ill-conditioned", "err/S, median", "95%", "largest", "largest err/bound", "false alarms")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    head = list(head)
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def correct_runs(count: int) -> Iterator[str]:
    rows = [row for example in examples(count, 0) for row in measured(example)]
    for is_gradient, title in ((False, "Outputs and states"), (True, "Gradients")):
        part = [row for row in rows if row.is_gradient == is_gradient]
        yield f"**{title}, by cell type and dtype**\n"
        keys = list(itertools.product(KINDS, DTYPES))
        groups = {key: [row for row in part if (row.example.kind, row.example.dtype) == key] for key in keys}
        yield from table(("cell", "dtype", *HEAD), ([*key, *summary(groups[key])] for key in keys))
    yield "**Outputs and states, by gain, length and hidden size**\n"
    part = [row for row in rows if not row.is_gradient]
    lines = []
    for name, values in (("gain", GAINS), ("length", LENGTHS), ("hidden", HIDDEN)):
        for value, dtype in itertools.product(values, DTYPES):
            group = [row for row in part if getattr(row.example, name) == value and row.example.dtype == dtype]
            lines.append([f"{name} {value:g}", dtype, *summary(group)])
    yield from table(("", "dtype", *HEAD), lines)
    yield from typical_errors(part)
    yield f"{len(rows)} results of {len({row.example for row in rows})} runs.\n"


def typical_errors(rows: Sequence[Row]) -> Iterator[str]:
    yield "**Typical errors of float32, in units of what noise explains**\n"
    lines = []
    for size in HIDDEN:
        found = sorted(row.typical for row in rows if row.typical is not None and row.example.hidden == size)
        spread = [statistics.median(found), found[int(0.95 * len(found))], found[-1]] if found else [math.nan] * 3
        lines.append([f"hidden {size}", str(len(found)), *(f"{value:.2g}" for value in spread)])
    yield from table(("", "results", "median", "95%", "largest"), lines)


def defects(count: int) -> Iterator[str]:
    kinds = ("RNN tanh", "GRU", "LSTM")
    lengths = (8, 64, 512)
    yield "**Defects in float32: runs that the bound rejects, and those with it whose typical error is too large**\n"
    lines = []
    for name, make in DEFECTS.items():
        cells = []
        for kind, length in itertools.product(kinds, lengths):
            base = Example(kind, length=length, hidden=8, features=5)
            runs = [defective(replace(base, seed=seed), make()) for seed in range(count)]
            outside = [run.found.worst() is not None for run in runs]
            noticed = [out or run.exceeds for out, run in zip(outside, runs, strict=True)]
            cells.append(f"{100 * sum(outside) / count:.0f}%, {100 * sum(noticed) / count:.0f}%")
        lines.append([name, *cells])
    yield from table(("defect", *(f"{kind}, T={length}" for kind, length in itertools.product(kinds, lengths))), lines)


def figures(*, quick: bool) -> str:
    started = time.process_time()
    parts = [*correct_runs(3 if quick else 16), *defects(2 if quick else 10)]
    parts.append(
        f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}, "
        f"{time.strftime('%Y-%m-%d')}, {time.process_time() - started:.0f} s of one core."
    )
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer cases")
    parser.add_argument("--write", action="store_true", help=f"put the figures into {PAGE.name}")
    options = parser.parse_args()
    torch.set_num_threads(1)
    text = figures(quick=options.quick)
    print(text)
    if options.write:
        page = PAGE.read_text(encoding="utf-8")
        before, after = page.partition(BEGIN)[0], page.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
