"""How far torch's recurrent modules on an accelerator are from float64 on the CPU.

    python benchmarks/gpu_agreement.py                  every accelerator that torch sees
    python benchmarks/gpu_agreement.py --device cuda:1  that one (repeatable; sim is the simulated one)
    python benchmarks/gpu_agreement.py --write          and put the figures into docs/devices.md

Three tables, with the device's name and versions: the largest error of outputs, states and gradients in units of what
rounding explains (RP802, RP803, RP806) for each module; the same for torch's gates one setting at a time (TF32 on and
off); and the error against the length of the sequence, for each dtype, as a plot in text. Where no accelerator is
there it says so, and ends with status 3.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from rnn_props import devices
from rnn_props.api import Options, run
from rnn_props.numerics import ARITHMETIC, TF32, Arithmetic, Sensitivity, agreement
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
    yield "| module | output | state | gradients | verdict |"
    yield "|---|---:|---:|---:|---|"
    for target in report.targets:
        errors: dict[str, float] = {}
        for result in target.results:
            for kind, size in result.errors.items():
                errors[kind] = max(errors.get(kind, 0.0), size)
        shown = " | ".join(f"{errors[kind]:.3f}" if kind in errors else "" for kind in ("output", "state", "gradients"))
        yield f"| `{target.target}` on {device} | {shown} | {target.status} |"


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
    """A bar for each length: a character is a twentieth of what rounding explains."""
    for name in ("LSTM", "GRU"):
        for label, dtype in DTYPES.items():
            yield f"{name} in {label} on {device}"
            for length in lengths:
                torch.manual_seed(length)
                module = getattr(nn, name)(3, 16)
                x = torch.randn(length, 2, 3).to(dtype)
                arithmetic = TF32 if _rounds_to_tf32(device) and dtype == torch.float32 else ARITHMETIC[dtype]
                found = ratio(module, x, device, arithmetic)
                yield f"  T = {length:5}  {found:8.4f}  {'#' * min(round(20 * found), 60)}"


def _rounds_to_tf32(device: str) -> bool:
    return devices.kind_of(device) == "cuda" and torch.backends.cudnn.allow_tf32


def page(device: str, profile: str) -> Iterator[str]:
    facts = devices.set_up(device, 0)
    report = checked(device, profile)
    said = ", ".join(f"{name} {value}" for name, value in facts.items())
    yield f"### {device}: {said}"
    yield ""
    yield f"torch {torch.__version__}, profile {profile}, {time.strftime('%Y-%m-%d')}. Errors in units of the bound:"
    yield ""
    yield from largest_errors(report, device)
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
    lines: list[str] = []
    for device in devices.choose(wanted):
        if device.missing:
            print(f"{device.name} is not there: {device.missing}")
            return 2
        for line in page(device.name, options.profile):
            print(line, flush=True)
            lines.append(line)
    if options.write:
        text = PAGE.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        PAGE.write_text(f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
