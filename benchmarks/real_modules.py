"""The table of published modules: what was inferred of each, whether that is right, and the verdict.

    python benchmarks/real_modules.py [--only GLOB] [--infer-only] [--rows FILE] [--write]

The modules are those of tests/real/packages.py; what is not installed in the version named there is left out and
counted. RP907 and RP908 (torch.compile and torch.export) are left out: they take minutes a class.
--rows keeps what was measured in a file of JSON lines and measures what is not in it; --write writes
docs/real-modules.md.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib.metadata
import json
import statistics
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from tests.real.packages import KNOWN, Known

import rnn_props
from rnn_props.contracts import structure_text
from rnn_props.execution.events import ignore
from rnn_props.execution.pool import TargetUnusableError
from rnn_props.execution.runner import Runner
from rnn_props.options import Options, resolve

_ROOT = Path(__file__).resolve().parents[1]
_SKIPPED = ("RP907", "RP908")
_PAGE = _ROOT / "docs" / "real-modules.md"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; seconds are those of inference, imports left out."""

    known: Known
    inferred: str
    seconds: float
    ran: int = 0
    failed: tuple[str, ...] = ()

    @property
    def right(self) -> bool:
        return self.inferred == agreed_text(self.known.agreed)

    @property
    def expected(self) -> tuple[str, ...]:
        return tuple(sorted(self.known.codes))


def agreed_text(agreed: tuple[str, str, str | None, str]) -> str:
    convention, given, output, state = agreed
    return f"{convention} ({given}) -> ({output or ''}), {state}"


def is_installed(known: Known) -> bool:
    """Whether the package is there in the version that the verdict is of."""
    name, _, version = known.package.partition("==")
    try:
        found = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return not version or found == version


def measure(runner: Runner, known: Known, *, infer_only: bool) -> Row | None:
    """Infer one module's contract, and check it; None where it can't be imported."""
    try:
        nursery = runner.pool.open_target(known.target, 120.0)
    except TargetUnusableError as error:
        print(f"{known.target}: {error}", file=sys.stderr)
        return None
    started = time.perf_counter()
    try:
        contract = runner.describe(nursery, runner.options.of(known.target))
    except TargetUnusableError as error:
        return Row(known, f"error: {error}", time.perf_counter() - started)
    finally:
        runner.pool.close_target(nursery)
    seconds = time.perf_counter() - started
    text = agreed_text((contract.convention, contract.input, contract.output, structure_text(contract.state)))
    if infer_only:
        return Row(known, text, seconds)
    result = runner.run_target(known.target)
    failed = sorted({item.code for item in result.results if item.status in ("failed", "error")})
    return Row(known, text, seconds, result.ran, tuple(failed))


def kept_rows(file: Path) -> dict[str, Row]:
    """The rows of a file, by target; those of classes that are listed no longer are left out."""
    listed = {known.target: known for known in KNOWN}
    lines = file.read_text().splitlines() if file.exists() else []
    found = {}
    for data in map(json.loads, lines):
        known = listed.get(data.pop("target"))
        if known is not None:
            found[known.target] = Row(known, **{**data, "failed": tuple(data["failed"])})
    return found


def keep(file: Path, row: Row) -> None:
    """Append a row to a file."""
    data = {"target": row.known.target, "inferred": row.inferred, "seconds": row.seconds, "ran": row.ran}
    with file.open("a") as stream:
        stream.write(json.dumps({**data, "failed": row.failed}) + "\n")


def table(rows: Sequence[Row]) -> Iterator[str]:
    """The table, as lines of markdown."""
    yield "| class | of | inferred | right | checks run | verdict | infer s |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        verdict = ", ".join(row.failed) or "clean" if row.ran else "-"
        if row.ran and row.failed != row.expected:
            verdict += f" (expected {', '.join(row.expected) or 'clean'})"
        cells = (
            f"`{row.known.target}`", row.known.package.replace("==", " "), f"`{row.inferred}`".replace("|", "/"),
            "yes" if row.right else "NO", row.ran, verdict, f"{row.seconds:.1f}",
        )  # fmt: skip
        yield f"| {' | '.join(map(str, cells))} |"


def summary(rows: Sequence[Row], missing: Sequence[Known]) -> str:
    """What the rows come to, in a few sentences."""
    right, seconds = sum(row.right for row in rows), [row.seconds for row in rows]
    said = [
        f"{right} of {len(rows)} classes ({100 * right / len(rows):.0f}%) are inferred as they are, with no option.",
        f"`rnn-props infer` takes {statistics.median(seconds):.1f} s (median; {max(seconds):.1f} s at most) after "
        "start-up, imports left out.",
    ]
    checked = [row for row in rows if row.ran]
    if checked:
        expected = sum(row.failed == row.expected for row in checked)
        clean = sum(not row.failed for row in checked)
        said.append(
            f"{len(checked)} were checked: {clean} are clean, the verdict of {expected} is the one that "
            "tests/real/packages.py records."
        )
    if missing:
        names = sorted({known.package for known in missing})
        said.append(
            f"Not installed or not importable here, so left out: {', '.join(names)} ({len(missing)} of the list)."
        )
    return textwrap.fill(" ".join(said), 118)


def page(rows: Sequence[Row], missing: Sequence[Known]) -> str:
    """docs/real-modules.md, whole."""
    return f"""# Published modules

What inference makes of modules that other people wrote, with no option, and what the checks then say. This page is
written by `benchmarks/real_modules.py --write` from what is installed of `tests/real/requirements.txt`.

{summary(rows, missing)}

- **Right** means: convention, input, output and state are those of `tests/real/packages.py`, a list that was made by
  reading the classes and their documentation, not from what is inferred. Classes of these packages that take a
  configuration object, or return one with a cache, need an adapter or a factory and are not on it, so the percentage
  says nothing of them; `tests.real.factories:mamba` is such a factory, of four lines.
- **Verdict** has the checks that fail, with `--profile quick --seed 1`, torch {torch.__version__.partition("+")[0]} on
  the CPU. Each code was confirmed by hand in plain PyTorch: the [field notes](field-notes.md) say how.
  {" and ".join(_SKIPPED)} (torch.compile and torch.export) are left out for their time.
- The seconds are those of a machine with two busy cores.
- Advice is not in the table: what is legal and worth knowing, such as a state of batch 1 that is broadcast.

{chr(10).join(table(rows))}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", metavar="GLOB", help="classes to take, by target")
    parser.add_argument("--infer-only", action="store_true", help="run no checks")
    parser.add_argument("--rows", type=Path, metavar="FILE", help="keep rows here, and measure what is not there")
    parser.add_argument("--write", action="store_true", help=f"write {_PAGE.relative_to(_ROOT)}")
    options = parser.parse_args()
    chosen = [known for known in KNOWN if fnmatch.fnmatch(known.target, options.only)]
    present = [known for known in chosen if is_installed(known)]
    rows = {} if options.rows is None else kept_rows(options.rows)
    resolved = resolve(Options(profile="quick", seed=1, skip=_SKIPPED, jobs=1))
    own = {known.target: replace(resolved, arguments=known.arguments) for known in present}
    with Runner(replace(resolved, targets=own), ignore) as runner:
        for known in present:
            if known.target not in rows and (row := measure(runner, known, infer_only=options.infer_only)) is not None:
                rows[known.target] = row
                print(*list(table([row]))[2:], flush=True)
                if options.rows is not None:
                    keep(options.rows, row)
    found = [rows[known.target] for known in present if known.target in rows]
    missing = [known for known in chosen if known.target not in {row.known.target for row in found}]
    if not found:
        sys.exit("none of these classes is installed")
    print(f"\n{summary(found, missing)}\nrnn_props {rnn_props.__version__}")
    if options.write:
        _PAGE.write_text(page(found, missing))


if __name__ == "__main__":
    main()
