"""How far torch's recurrent modules on an accelerator are from float64 on the CPU.

    python benchmarks/gpu_agreement.py                  every accelerator that torch sees
    python benchmarks/gpu_agreement.py --device cuda:1  that one (repeatable; also sim, the simulated one, and cpu)
    python benchmarks/gpu_agreement.py --write          and put the figures into docs/devices.md, beside those of others

With the device's name and versions: for each module the largest error of outputs, states and gradients in units of
what rounding explains (RP802, RP803, RP806), and the seconds that RP801 to RP806 took; and the error against the length
of the sequence, for each dtype (on CUDA with TF32 off and on), as a plot in text. Where no accelerator is there it says
so, and ends with status 3.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rnn_props import devices
from rnn_props.api import run
from rnn_props.numerics import ARITHMETIC, TF32, Arithmetic, Sensitivity, agreement
from rnn_props.options import Options
from rnn_props.reporting import Report, ReportBuilder, environment

PAGE = Path(__file__).parents[1] / "docs" / "devices.md"
BEGIN, END = "<!-- figures: written by benchmarks/gpu_agreement.py -->", "<!-- end of figures -->"
MODULES = ("LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell")
CODES = ("RP801", "RP802", "RP803", "RP804", "RP805", "RP806")
LENGTHS = (1, 4, 16, 64, 256, 1024)
#: Operations of the simulated device take a thousand times as long.
SHORT = (1, 4, 16, 64)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def checked(device: str, profile: str) -> Report:
    """The checks of devices on torch's modules."""
    builder = ReportBuilder(environment())
    targets = [f"torch.nn:{name}" for name in MODULES]
    run(targets, Options(checks=CODES, devices=(device,), profile=profile, seed=0), builder)
    return builder.report()


def largest_errors(report: Report, device: str) -> Iterator[str]:
    yield "| module | output | state | gradients | verdict | seconds |"
    yield "|---|---:|---:|---:|---|---:|"
    for target in report.targets:
        errors: dict[str, float] = {}
        for result in target.results:
            for kind, size in result.errors.items():
                errors[kind] = max(errors.get(kind, 0.0), size)
        shown = " | ".join(f"{errors[kind]:.3f}" if kind in errors else "" for kind in ("output", "state", "gradients"))
        seconds = sum(result.duration_s for result in target.results)
        yield f"| `{target.target}` on {device} | {shown} | {target.status} | {seconds:.1f} |"


def ratio(module: nn.Module, x: torch.Tensor, device: str, arithmetic: Arithmetic) -> float:
    """The error of a run on a device, in units of its bound."""
    dtype = x.dtype
    exact = type(module)(3, 16).double()
    exact.load_state_dict({name: value.to(dtype).double() for name, value in module.state_dict().items()})
    reference = Sensitivity(
        exact, lambda inputs, state: {"output": exact(inputs)[0]}, x.double(), None, arithmetic=arithmetic
    )
    with torch.no_grad():
        output = module.to(device, dtype)(x.to(device))[0].cpu()
        return agreement({"output": output}, reference).errors(reference).get("output", 0.0)


def by_length(device: str, lengths: tuple[int, ...]) -> Iterator[str]:
    """A bar for each length: 60 characters are what rounding explains."""
    for name in ("LSTM", "GRU"):
        for label, dtype, tf32 in _settings(device):
            yield f"{name} in {label} on {device}"
            _allow_tf32(tf32)
            for length in lengths:
                torch.manual_seed(length)
                module = getattr(nn, name)(3, 16)
                x = torch.randn(length, 2, 3).to(dtype)
                found = ratio(module, x, device, TF32 if tf32 else ARITHMETIC[dtype])
                yield f"  T = {length:5}  {found:8.4f}  {'#' * min(round(60 * found), 60)}"


def _settings(device: str) -> Iterator[tuple[str, torch.dtype, bool]]:
    """What is plotted: a label, the dtype, and whether TF32 is on."""
    for label, dtype in DTYPES.items():
        if devices.kind_of(device) == "cuda" and dtype == torch.float32:
            yield f"{label}, TF32 on,", dtype, True
            yield f"{label}, TF32 off,", dtype, False
        else:
            yield label, dtype, False


def _allow_tf32(allowed: bool) -> None:
    settings: Any = (torch.backends.cuda.matmul, torch.backends.cudnn)
    for item in settings:
        item.allow_tf32 = allowed


def page(device: str, profile: str) -> Iterator[str]:
    report = None if device == "cpu" else checked(device, profile)
    facts = devices.set_up(device, 0)
    said = ", ".join(str(value) if name == "name" else f"{name} {value}" for name, value in facts.items())
    yield f"### {device}" if said == device else f"### {device}: {said}"
    yield ""
    yield f"torch {torch.__version__}, {time.strftime('%Y-%m-%d')}. Errors are in units of the bound: 1 is the most."
    if report is not None:
        yield f"RP801 to RP806 at the {profile} profile, with the seconds of their cases:"
        yield ""
        yield from largest_errors(report, device)
    yield ""
    yield "The error of the output against the sequence length; a full bar would be the bound:"
    yield ""
    yield "```"
    yield from by_length(device, SHORT if device == "sim" else LENGTHS)
    yield "```"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", action="append", default=[])
    parser.add_argument("--profile", default="default")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    wanted = options.device or [name for name in ("cuda", "mps") if not devices.choose([name])[0].missing]
    if not wanted:
        print("torch sees no accelerator here; name one with --device, such as sim")
        return 3
    pages: dict[str, str] = {}
    for device in devices.choose(wanted):
        if device.missing:
            print(f"{device.name} is not there: {device.missing}")
            return 2
        lines: list[str] = []
        for line in page(device.name, options.profile):
            print(line, flush=True)
            lines.append(line)
        pages[lines[0]] = "\n".join(lines)
    if options.write:
        _write(pages)
    return 0


def _write(pages: Mapping[str, str]) -> None:
    """Put sections into the page, each in the place of the one of the same heading, and leave the others."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    inside, _, after = rest.partition(END)
    kept = [f"### {section.strip()}" for section in inside.split("### ")[1:]]
    sections = {section.partition("\n")[0]: section for section in kept} | dict(pages)
    PAGE.write_text(f"{before}{BEGIN}\n\n" + "\n\n".join(sections.values()) + f"\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
