"""Write docs/checks.md from the registry.

python docs/make_checks.py           write the page
python docs/make_checks.py --check   exit with 1 if the page is not up to date
"""

from __future__ import annotations

import sys
from dataclasses import fields, replace
from itertools import groupby
from pathlib import Path

from rnn_props.checks import Check, all_checks
from rnn_props.contracts import Capabilities, Contract
from rnn_props.contracts.presets import (
    CELL_ARGUMENTS,
    FULL_SEQUENCE_ARGUMENTS,
    cell_contract,
    sequence_contract,
)
from rnn_props.zoo import BUGS

PAGE = Path(__file__).with_name("checks.md")

FAMILIES = {
    "RP1": ("Shapes and types", "What comes out has the shape, structure and dtype that was agreed."),
    "RP2": ("State", "The state is all that one call hands to the next, and nothing else is remembered."),
    "RP3": (
        "Batch, time and layout",
        "Rows of a batch are strangers, the future is unknown, strides do not count.",
    ),
    "RP4": ("Rejection", "Bad input raises. Each case has one fault; [faults](faults.md) lists them."),
    "RP5": ("Mode and randomness", "Eval mode is repeatable, and no global switch is left thrown."),
}

HEAD = """\
# Checks

<!-- Written by docs/make_checks.py from the registry: edit the checks, not this page. -->

{count} checks. Codes and names stay: a code is never given to another check. Where a check does not apply, its status
is `not_applicable`, with the reason. *Rests on* names the checks that must not fail first: if one of them does, this
one is `blocked`, so that one bug is one failure. *Zoo* counts the modules of `rnn_props.zoo` with a bug that this
check has to catch.

`rnn-props checks` prints the same list, `rnn-props checks --json` with hints as data.
"""


def page() -> str:
    checks = all_checks()
    parts = [HEAD.format(count=len(checks))]
    for family, members in groupby(checks, key=lambda item: item.code[:3]):
        title, sentence = FAMILIES[family]
        parts += [f"## {family}xx {title}\n", f"{sentence}\n"]
        parts += ["| code | name | statement | does not apply where | rests on | zoo |", "|---|---|---|---|---|---|"]
        parts += [_row(item) for item in members]
        parts.append("")
    parts.append("## Where to look first\n")
    parts.append("The hint that a failure ends with.\n")
    parts += [f"- **{item.code} {item.name}**: {item.hint}" for item in checks]
    return "\n".join(parts) + "\n"


def _row(item: Check) -> str:
    advice = " Advice: it warns, and never fails without `--strict`." if item.advice else ""
    bugs = sum(bug.code == item.code for bug in BUGS.values())
    cells = (item.code, f"`{item.name}`", item.statement + advice, exceptions(item), ", ".join(item.after), str(bugs))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def exceptions(item: Check) -> str:
    """The reasons why a check does not apply: contracts that each lack one thing are asked."""
    reasons = dict.fromkeys(reason for contract in _contracts() if (reason := item.not_applicable(contract)))
    return "; ".join(reasons)


def _contracts() -> list[Contract]:
    """Contracts that between them lack each thing that a check can ask for."""
    full = sequence_contract("LSTM", {*FULL_SEQUENCE_ARGUMENTS, "proj_size", "device", "dtype"}, full=True)
    found = [full, cell_contract("GRUCell", CELL_ARGUMENTS, full=True)]
    model = Contract(convention="model", hyperparameters=full.hyperparameters, roles=full.roles, output="B O")
    found.append(replace(model, capabilities=full.capabilities))
    found.append(replace(full, hyperparameters={}))
    for item in fields(Capabilities):
        value = getattr(full.capabilities, item.name)
        if isinstance(value, bool):
            found.append(replace(full, capabilities=replace(full.capabilities, **{item.name: not value})))
    return found


def main() -> int:
    text = page()
    if sys.argv[1:] == ["--check"]:
        if PAGE.read_text(encoding="utf-8") == text:
            return 0
        print("docs/checks.md is not up to date: run python docs/make_checks.py", file=sys.stderr)
        return 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
