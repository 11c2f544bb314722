"""What the README and the docs say is so: generated pages, links, commands and options, files."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner

from rnn_props.checks import all_checks, select
from rnn_props.cli import cli

ROOT = Path(__file__).parents[2]
WRITTEN = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
PAGES = [*WRITTEN, *sorted((ROOT / "docs" / "checks").glob("*.md"))]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.M | re.S)


def page_id(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands() -> list[tuple[str, list[str]]]:
    """Every `rnn-props ...` of a code block or code span, in words."""
    found = []
    for page in WRITTEN:
        text = page.read_text(encoding="utf-8")
        blocks = [block for _, _, block in FENCE.findall(text)]
        lines = [line for block in blocks for line in block.splitlines()]
        spans = re.findall(r"`(rnn-props [^`\n]+)`", FENCE.sub("", text))
        for line in [*lines, *spans]:
            command = re.match(
                r"(?:- run: )?(?:\$ )?(?:\.venv/bin/)?(rnn-props (?:check|checks|doctor|explain)\b.*)", line.strip()
            )
            if command is not None:
                found.append((page_id(page), shlex.split(command[1], comments=True)[1:]))
    return found


@pytest.mark.parametrize("script", ["make_checks.py", "make_faults.py"])
def test_generated_pages_are_up_to_date(script: str) -> None:
    if script == "make_faults.py" and f"torch {torch.__version__.partition('+')[0]} " not in faults_page():
        pytest.skip("the page was measured with another version of torch")
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / script, "--check"], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr


def faults_page() -> str:
    return (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("page", "words"), commands(), ids=lambda item: item if isinstance(item, str) else " ".join(item)
)
def test_commands_use_options_that_exist(page: str, words: list[str]) -> None:
    if words[1:] in (["TARGET"], ["TARGET..."]):
        words = [words[0], "package.module:Name"]
    if words[1:] in (["CODE"], ["CODE..."]):
        words = [words[0], "RP201"]
    command = cli.commands[words[0]]
    context = command.make_context(words[0], list(words[1:]))
    assert context.params is not None
    if "--extension" in words:
        return  # the checks that it names are the reader's own
    assert select(context.params["checks"] if words[0] == "check" else context.params.get("codes", ()))


def test_there_are_commands_to_be_tested() -> None:
    assert len(commands()) > 10


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_between_pages_resolve(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        linked = page if not path else page.parent / path
        assert linked.is_file(), f"{page_id(page)} links to {target}, which is not there"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.M)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{page_id(page)} links to {target}; headings: {sorted(slugs)}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_files_codes_and_names_that_pages_mention_exist(page: Path) -> None:
    from rnn_props import zoo

    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"\bexamples/\w+\.py", text):
        assert (ROOT / name).is_file(), name
    for name in re.findall(r"rnn_props\.zoo:(\w+)", text):
        assert name in zoo.BUGS or name in zoo.CORRECT, name
    known = {check.code: check.name for check in all_checks()}
    for code, name in re.findall(r"\b(RP\w{3}) ([a-z]+\.[a-z_]+)\b", text):
        if name != "state.example":
            assert known[code] == name, f"{page_id(page)} says {code} {name}"


def test_every_option_of_check_is_documented() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    options = [
        option for item in cli.commands["check"].params if isinstance(item, click.Option) for option in item.opts
    ]
    assert [option for option in options if option.startswith("--") and option not in text] == []


def test_the_exit_statuses_of_the_readme_are_those_of_the_help() -> None:
    said = CliRunner().invoke(cli, ["check", "--help"]).output
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for status in re.findall(r"^\| (\d+) \|", readme, re.M):
        assert re.search(rf"\b{status}\b", said), status


def test_the_readme_has_every_family_of_checks() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    families = [row.replace("x", "?") for row in re.findall(r"^\| (RP\w+x) ", readme, re.M)]
    codes = [check.code for check in all_checks()]
    assert [code for code in codes if not any(fnmatch(code, family) for family in families)] == []
    assert [family for family in families if not any(fnmatch(code, family) for code in codes)] == []


def test_no_page_names_a_place_on_somebodys_machine() -> None:
    files = [*PAGES, ROOT / "Makefile", ROOT / ".ci" / "run", ROOT / "constraints.txt", ROOT / "mkdocs.yml"]
    for file in files:
        assert not re.search(r"(?<![\w.])/(home|opt|root|tmp|work|Users)/", file.read_text(encoding="utf-8")), file
