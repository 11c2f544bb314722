"""The pages on the three ways into a test suite: their files and commands, run; what they print is what is shown."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```(python|ini|console)\n(.*?)^```$", re.M | re.S)


def files_of(text: str) -> dict[str, str]:
    """The files that a page shows, by the name in their first line."""
    found = {}
    for language, body in _BLOCK.findall(text):
        if language != "console":
            first = body.partition("\n")[0]
            assert first.startswith("# "), f"a block of a page begins with the file's name (got {first!r})"
            found[first[2:]] = body
    return found


def commands_of(text: str) -> list[tuple[str, list[str]]]:
    """The commands that a page shows, and the lines that they print."""
    found: list[tuple[str, list[str]]] = []
    for language, body in _BLOCK.findall(text):
        for line in body.splitlines() if language == "console" else ():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def printed(expected: list[str], actual: str) -> str:
    """The first expected line that is not in the output after those before it, or ""; `...` stands for anything."""
    lines = iter(re.sub(r"\s*\[\s*\d+%\]", "", actual).splitlines())
    for wanted in expected:
        if wanted.strip() == "...":
            continue
        pattern = ".*".join(map(re.escape, wanted.strip().split("...")))
        if not any(re.search(pattern.replace(r"\ .*\ ", ".*"), line) for line in lines):
            return wanted
    return ""


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        pytest.param("pytest.md", marks=pytest.mark.nightly),
        "testing.md",
        pytest.param("generate.md", marks=pytest.mark.nightly),
    ],
)
def test_what_a_page_shows_is_what_happens(page: str, tmp_path: Path) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    for name, body in files_of(text).items():
        (tmp_path / name).write_text(body, encoding="utf-8")
    (tmp_path / "bin").mkdir()
    for command, module in (("pytest", "pytest"), ("rnn-props", "rnn_props")):
        script = tmp_path / "bin" / command
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n', encoding="utf-8")
        script.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "120"}
    assert commands_of(text)
    for command, expected in commands_of(text):
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=250
        )
        missing = printed(expected, done.stdout + done.stderr)
        assert missing == "", f"{command} does not print {missing!r}:\n{done.stdout}{done.stderr}"


def test_a_line_that_is_not_printed_is_noticed() -> None:
    assert printed(["a ... b", "...", "c"], "x\na 1 b\ny\nc\n") == ""
    assert printed(["c", "a"], "a\nc\n") == "a"
