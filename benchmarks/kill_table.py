"""The kill table: every bug of the zoo under every check, which codes fire, how soon, and in what time.

python benchmarks/kill_table.py                    every bug at the default profile; prints the table
python benchmarks/kill_table.py --profile quick    the same at another profile
python benchmarks/kill_table.py --write            also writes the table into docs/kill-table.md
python benchmarks/kill_table.py RP2 Streaming      bugs whose code or name begins so
python benchmarks/kill_table.py --log FILE         goes on where a run with the same file was broken off

The examples needed are those of the expected check up to its first violation, shrinking not counted. Beside them stand
those that the same check needs where all of its cases are drawn at random, without the table of covering pairs; as many
cases, the same seed. Exit status 1 if a bug is not caught with its code among the first two that are shown.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from rnn_props import __version__, zoo
from rnn_props.checks import get
from rnn_props.execution.events import ignore
from rnn_props.execution.outcomes import TargetResult
from rnn_props.execution.runner import Runner
from rnn_props.options import Options, resolve
from rnn_props.reporting.causes import by_telling

PAGE = Path(__file__).parents[1] / "docs" / "kill-table.md"


@dataclass(frozen=True, slots=True)
class Kill:
    """What was seen of one bug.

    Attributes:
        fired: codes of the checks that are charged to it, the most telling first.
        examples: of the expected check up to its violation.
        drawn: the same without covering pairs; None where random cases do not show the bug at all.
    """

    specimen: zoo.Specimen
    fired: tuple[str, ...]
    examples: int
    drawn: int | None
    blocked: int
    seconds: float

    @property
    def caught(self) -> bool:
        return self.specimen.code in self.fired[:2]


def fired(result: TargetResult) -> tuple[str, ...]:
    """The codes that are charged to a target: failures first, then advice; each the most telling first."""
    charged = [found for found in by_telling(result.results) if found.findings and not found.inherited_from_torch]
    return tuple(found.code for found in sorted(charged, key=lambda found: found.status != "failed"))


def devices_for(specimen: zoo.Specimen) -> tuple[str, ...]:
    """The CPU and the simulated device; the CPU alone for the bugs of RP807, which on a device are RP801's."""
    return ("cpu",) if specimen.code == "RP807" else ("cpu", "sim")


def drawn(runner: Runner, specimen: zoo.Specimen) -> int | None:
    """The random examples that the expected check needs, or None where none of them shows the bug."""
    assert specimen.code is not None
    session = runner.open(f"rnn_props.zoo:{specimen.name}")
    try:
        key = specimen.code if "cpu" in get(specimen.code).on else f"{specimen.code}@sim"
        session.run([key])
        found = session.results[key]
        return found.until_failure or None
    finally:
        session.close()


def kill(runner: Runner, random: Runner, specimen: zoo.Specimen) -> Kill:
    started = time.monotonic()
    result = runner.run_target(f"rnn_props.zoo:{specimen.name}")
    seconds = time.monotonic() - started
    if result.message:
        raise SystemExit(f"{specimen.name} can't be used: {result.message}")
    expected = next((found for found in result.results if found.code == specimen.code), None)
    blocked = sum(found.status == "blocked" for found in result.results)
    examples = 0 if expected is None else expected.until_failure
    return Kill(specimen, fired(result), examples, drawn(random, specimen), blocked, seconds)


def logged(path: Path | None) -> dict[str, Kill]:
    """The kills of a run that was broken off, by the bug's name."""
    if path is None or not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {name: Kill(zoo.BUGS[name], tuple(codes), *rest) for name, codes, *rest in lines if name in zoo.BUGS}


def log(path: Path | None, item: Kill) -> None:
    if path is not None:
        row = [item.specimen.name, item.fired, item.examples, item.drawn, item.blocked, item.seconds]
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def rows(kills: list[Kill]) -> list[str]:
    lines = ["| bug | expected | fired | examples | drawn | blocked | seconds |", "|---|---|---|---:|---:|---:|---:|"]
    for item in kills:
        mark = "" if item.caught else " **missed**"
        random = "none" if item.drawn is None else item.drawn
        lines.append(
            f"| `{item.specimen.name}`: {item.specimen.summary} | {item.specimen.code} | {', '.join(item.fired)}{mark} "
            f"| {item.examples} | {random} | {item.blocked} | {item.seconds:.1f} |"
        )
    return lines


def tenth(values: list[float] | list[int]) -> float:
    """The number that nine in ten of the values do not exceed."""
    return sorted(values)[math.ceil(0.9 * len(values)) - 1]


def summary(kills: list[Kill], profile: str) -> list[str]:
    alone = sum(item.fired == (item.specimen.code,) for item in kills)
    first = sum(item.fired[:1] == (item.specimen.code,) for item in kills)
    caught = sum(item.caught for item in kills)
    never = sum(item.drawn is None for item in kills)
    needed = [math.inf if item.drawn is None else item.drawn for item in kills]
    examples = [item.examples for item in kills]
    return [
        f"rnn-props {__version__}, torch {torch.__version__}, profile {profile}: {caught} of {len(kills)} bugs caught "
        f"with their code among the first two, {first} with it first, {alone} with it alone; "
        f"a median of {statistics.median(item.seconds for item in kills):.1f} s for a run with every check.",
        "",
        f"Examples of the expected check up to its first failure: median {statistics.median(examples):g}, nine in ten "
        f"within {tenth(examples):g}. With random cases alone: median {statistics.median(needed):g}, nine in ten "
        f"within {tenth(needed):g}; {never} of {len(kills)} bugs are not shown by them at all.",
    ]


HEAD = """\
# Kill table

<!-- Written by benchmarks/kill_table.py --write: run it again after a change to checks or zoo. -->

Every bug of `rnn_props.zoo` under every check: the check that has to catch it, the checks that fired (the most telling
first), the examples that the expected check needed, those that it needs where all are drawn at random, how many checks
were blocked as consequences, and the time of the whole run with its shrinking, on a machine that may have had other
work at the time. Checks run on the CPU and on the simulated device; for the bugs of RP807 on the CPU alone, since on a
device RP801 tells them first and RP807 rests on it.

"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prefixes", nargs="*", help="of codes or names; every bug without any")
    parser.add_argument("--profile", default="default")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, help="keep each bug's row in this file as it comes, and skip what is in it")
    parser.add_argument("--write", action="store_true", help="write docs/kill-table.md")
    options = parser.parse_args()
    chosen = [
        specimen
        for specimen in sorted(zoo.BUGS.values(), key=lambda specimen: (specimen.code or "", specimen.name))
        if specimen.code != "RP806"  # it needs CUDA
        and (not options.prefixes or f"{specimen.code} {specimen.name}".startswith(tuple(options.prefixes))
        or specimen.name.startswith(tuple(options.prefixes)))
    ]  # fmt: skip
    kills = []
    done = logged(options.log)
    for devices, group in itertools.groupby(chosen, devices_for):
        run = resolve(Options(profile=options.profile, jobs=options.jobs, seed=options.seed, devices=devices))
        without_pairs = replace(run, profile=replace(run.profile, pairs=False))
        with Runner(run, ignore) as runner, Runner(without_pairs, ignore) as random:
            for specimen in group:
                item = done.get(specimen.name)
                if item is None:
                    item = kill(runner, random, specimen)
                    log(options.log, item)
                kills.append(item)
                word = "ok    " if item.caught else "MISSED"
                codes = " ".join(item.fired)
                cost = f"{item.examples:4} examples, drawn {item.drawn or '-':>4}  {item.seconds:5.1f} s"
                print(f"{specimen.code} {specimen.name:34} {word} {codes:30} {cost}", flush=True)
    lines = summary(kills, options.profile)
    print("\n".join(lines))
    if options.write:
        PAGE.write_text(HEAD + "\n".join([*lines, "", *rows(kills)]) + "\n", encoding="utf-8")
    return 0 if all(item.caught for item in kills) else 1


if __name__ == "__main__":
    sys.exit(main())
