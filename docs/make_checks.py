"""Write docs/checks.md, the list of all checks, and docs/checks/CODE.md, a page for each, from the registry.

python docs/make_checks.py           write the pages
python docs/make_checks.py --check   exit with 1 if one of them is not up to date
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from rnn_props.checks import Check, all_checks
from rnn_props.reporting.explain import Block, Code, Explanation, explanation, sections

DOCS = Path(__file__).parent
PAGES = DOCS / "checks"

#: By the beginning of their codes, the longer before the shorter.
FAMILIES = {
    "RP1": ("Shapes and types", "What comes out has the shape, structure and dtype that was agreed."),
    "RP2": ("State", "The state is all that one call hands to the next, and nothing else is remembered."),
    "RP35": ("Packed sequences and lengths", "A row of a padded or packed batch is a sequence of its own."),
    "RP3": (
        "Batch, time and layout",
        "Rows of a batch are strangers, the future is unknown, strides do not count.",
    ),
    "RP4": ("Rejection", "Bad input raises. Each case has one fault; [faults](faults.md) lists them."),
    "RP5": ("Mode and randomness", "Eval mode is repeatable, and no global switch is left thrown."),
    "RP6": ("Gradients", "Gradients reach everything that results depend on, and are right."),
    "RP7": ("Numbers", "Results in each dtype are as near to float64 as rounding allows."),
    "RP8": ("Devices", "Results do not depend on where they are computed."),
    "RP9": ("Life cycle", "Saved, copied, moved and trained, a module is what it was."),
    "RPA": ("Oracles", "Results equal those of another implementation."),
}

HEAD = """\
# Checks

<!-- Written by docs/make_checks.py from the registry: edit the checks, not this page. -->

{count} checks. Codes and names stay: a code is never given to another check. Each code leads to a page that says why
the rule matters, what usually breaks it and how to fix that, where it does not apply, and which checks must not fail
before it, so that one bug is one failure. *Zoo* counts the modules of `rnn_props.zoo` with a bug that the check has to
catch.

`rnn-props explain RP201` prints such a page, `rnn-props checks` this list; both have `--json`.
"""

NOTE = "<!-- Written by docs/make_checks.py from the check's docstring: edit that, not this page. -->"


def files() -> dict[Path, str]:
    """Every page with its text."""
    explained = [explanation(item) for item in all_checks()]
    return {DOCS / "checks.md": index(explained)} | {PAGES / f"{item.check.code}.md": page(item) for item in explained}


def index(explained: list[Explanation]) -> str:
    parts = [HEAD.format(count=len(explained))]
    for family, members in groupby(explained, key=lambda item: _family(item.check)):
        title, sentence = FAMILIES.get(family, ("", ""))
        parts += [f"## {family.ljust(5, 'x')} {title}".rstrip() + "\n", *([f"{sentence}\n"] if sentence else [])]
        parts += ["| code | name | statement | zoo |", "|---|---|---|---|", *map(_row, members), ""]
    return "\n".join(parts)


def _family(item: Check) -> str:
    return next((family for family in FAMILIES if item.code.startswith(family)), item.code[:3])


def _row(item: Explanation) -> str:
    check = item.check
    statement = _prose(check.statement, check.code, "checks/")
    statement += " Advice: it warns, and never fails without `--strict`." if check.advice else ""
    cells = (f"[{check.code}](checks/{check.code}.md)", f"`{check.name}`", statement, str(len(item.bugs)))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def page(item: Explanation) -> str:
    parts = [f"# {item.title}", NOTE]
    for section in sections(item):
        parts += [f"## {section.title}"] if section.title else []
        parts += [text for block in section.blocks for text in _markdown(block, item.check.code)]
    parts.append(f"In a terminal: `rnn-props explain {item.check.code}`. [All checks](../checks.md)")
    return "\n\n".join(parts) + "\n"


def _markdown(block: Block, own: str) -> Iterator[str]:
    if isinstance(block, Code):
        yield f"```{block.language}\n{block.text}\n```"
    elif isinstance(block, str):
        yield _prose(block, own)
    else:
        yield "\n".join(f"- {_prose(text, own)}" for text in block)


def _prose(text: str, own: str, folder: str = "") -> str:
    """Text in which nothing but code in backticks is markup, and other checks' codes are links to their pages."""
    parts = text.split("`")
    for place in range(0, len(parts), 2):
        plain = re.sub(r"[*\[\]\\]|(?<!\w)_|_(?!\w)", lambda match: chr(92) + match[0], parts[place])
        plain = plain.replace("<", "&lt;")
        parts[place] = re.sub(r"\bRP\w{3}\b", lambda match: _link(match[0], own, folder), plain)
    return "`".join(parts)


def _link(code: str, own: str, folder: str) -> str:
    known = code != own and any(item.code == code for item in all_checks())
    return f"[{code}]({folder}{code}.md)" if known else code


def main() -> int:
    wanted = files()
    stray = set(PAGES.glob("*.md")) - set(wanted)
    if sys.argv[1:] == ["--check"]:
        wrong = [path for path, text in wanted.items() if not path.is_file() or path.read_text("utf-8") != text]
        names = sorted(str(path.relative_to(DOCS.parent)) for path in [*wrong, *stray])
        if names:
            print(f"not up to date: {', '.join(names)}: run python docs/make_checks.py", file=sys.stderr)
        return 1 if names else 0
    PAGES.mkdir(exist_ok=True)
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
    for path in stray:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
