"""The table of published modules: what was inferred of each, whether that is right, and the verdict.

    python benchmarks/real_modules.py [--infer-only] [--only GLOB] [--max-examples N] > table.md

The modules are those of tests/real/packages.py; what is not installed is listed as such.
"""

from __future__ import annotations

import argparse
import fnmatch
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.real.packages import KNOWN, Known

import rnn_props
from rnn_props.contracts import Contract, structure_text
from rnn_props.execution.pool import WorkersUnavailableError


@dataclass
class Row:
    """One line of the table."""

    known: Known
    inferred: str
    right: bool | None
    seconds: float
    ran: int = 0
    verdict: str = ""


def _text(agreed: tuple[str, str, str | None, str]) -> str:
    convention, given, output, state = agreed
    return f"{convention} ({given}) -> ({output or ''}), {state}"


def _found(contract: Contract) -> tuple[str, str, str | None, str]:
    return contract.convention, contract.input, contract.output, structure_text(contract.state)


def measure(known: Known, *, infer_only: bool, max_examples: int) -> Row:
    """Infer one module's contract, and check it."""
    started = time.perf_counter()
    try:
        contract = rnn_props.infer_contract(known.target, arguments=known.arguments)
    except (rnn_props.TargetError, WorkersUnavailableError) as error:
        missing = "there is no module" in str(error) or "importing" in str(error)
        return Row(known, f"{'not installed' if missing else 'error'}: {error}"[:120], None if missing else False, 0.0)
    found = _found(contract)
    row = Row(known, _text(found), found == known.agreed, time.perf_counter() - started)
    if not infer_only:
        report = rnn_props.check(
            known.target, contract=contract, profile="quick", max_examples=max_examples, seed=1, skip=("RP907", "RP908")
        )
        results = report.targets[0].results
        failed = sorted({item.code for item in results if item.status in ("failed", "error")})
        row.ran = sum(item.status not in ("not_applicable", "blocked", "skipped") for item in results)
        row.verdict = ", ".join(failed) or "clean"
        if set(failed) != known.codes:
            row.verdict += f" (expected {', '.join(sorted(known.codes)) or 'clean'})"
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--infer-only", action="store_true")
    parser.add_argument("--only", default="*")
    parser.add_argument("--max-examples", type=int, default=12)
    options = parser.parse_args()
    print("| class | inferred | right | checks run | verdict | infer s |\n|---|---|---|---|---|---|", flush=True)
    rows: list[Row] = []
    for known in KNOWN:
        if not fnmatch.fnmatch(known.target, options.only):
            continue
        row = measure(known, infer_only=options.infer_only, max_examples=options.max_examples)
        rows.append(row)
        right = {True: "yes", False: "NO", None: "-"}[row.right]
        cells = (f"`{known.target}`", row.inferred.replace("|", "/"), right, row.ran, row.verdict, f"{row.seconds:.1f}")
        print(f"| {' | '.join(map(str, cells))} |", flush=True)
    judged = [row for row in rows if row.right is not None]
    print(f"\n{sum(bool(row.right) for row in judged)} of {len(judged)} inferred as they are", end="")
    print(f", median {statistics.median(row.seconds for row in judged):.1f} s with start-up" if judged else "")


if __name__ == "__main__":
    main()
