"""RP310: the time that passes between steps, where a module takes it for each row and step."""

from __future__ import annotations

import torch
from torch import Tensor

from rnn_props.cases import Needs
from rnn_props.checks import when
from rnn_props.checks.registry import BASICS, check
from rnn_props.checks.trial import Trial
from rnn_props.contracts import Contract
from rnn_props.subjects import DTYPES


def _has_time_spans(contract: Contract) -> str | None:
    return None if "time_spans" in contract.arguments else "it takes no time between steps"


@check(
    "RP310",
    "batch.time_spans",
    when=when.all_of(_has_time_spans, when.independent_rows),
    needs=Needs(batches=(2, 3, 4, 5), lengths=(1, 2, 3, 5)),
    after=(*BASICS, "RP301"),
    hint="A time span has one number for each row and no axis of features: unsqueeze(-1) it before it meets the state.",
)
def time_spans(t: Trial) -> None:
    """With the time between steps given for each row and step, each row alone equals that row in the batch.

    Why: Irregularly sampled series are what such modules are for, and each row has time stamps of its own. If one row's
    spans reach another row, or one unit of the state, results depend on the batch, and nothing raises while sizes fit.
    Causes:
    - A span `(B,)` multiplied with a state `(B, H)`: it lines up with H, which raises for most sizes, and is silently
      wrong where B equals H or is 1.
    - `squeeze()` on the spans of a step, which takes away the batch axis, too.
    - One span for the whole batch: `timespans[0]`, or their mean.
    - Spans read in the layout of the input before it is transposed.
    Fix: Take a step's spans as `(B, 1)`, as in `timespans[:, step].unsqueeze(-1)`, whatever the batch is.
    """
    spans = _spans(t)
    together = t.call(time_spans=spans)
    axis = _batch_axis(t)
    for row in range(t.sizes["B"]):
        alone = t.call(
            t.rows_of_input(t.input, [row]), t.rows_of_state(t.state, [row]), time_spans=spans.narrow(axis, row, 1)
        )
        t.same_result(alone, t.rows_of(together, [row]), f"with time spans, batch row {row} alone")


def _batch_axis(t: Trial) -> int:
    axis, time = t.rules.input.axis("B"), t.rules.input.axis("T")
    assert axis is not None
    assert time is not None
    return 0 if axis < time else 1


def _spans(t: Trial) -> Tensor:
    """Spans between a half and three halves, in the layout of the input without its features."""
    sizes = (t.sizes["B"], t.sizes["T"]) if _batch_axis(t) == 0 else (t.sizes["T"], t.sizes["B"])
    generator = torch.Generator().manual_seed(t.case.input.seed + 31)
    return (0.5 + torch.rand(sizes, dtype=torch.float64, generator=generator)).to(DTYPES[t.case.dtype])
