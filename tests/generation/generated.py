"""Generated test files: of modules that are known, linted, and run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from rnn_props import zoo
from rnn_props.checks import select
from rnn_props.generation import SuiteFile, suite_file
from rnn_props.inference import infer_contract

#: Rules beyond those that are on by default.
_RULES = "E,F,W,B,UP,SIM,PT,N,C4,RUF"


def written(name: str, checks: tuple[str, ...] = (), style: Any = "pytest") -> SuiteFile:
    """The test file of a module of torch's or of the zoo's."""
    home, module = ("torch.nn", torch.nn) if hasattr(torch.nn, name) else ("rnn_props.zoo", zoo)
    return suite_file(f"{home}:{name}", infer_contract(getattr(module, name)), select(checks), style)


def assert_lint_clean(folder: Path) -> None:
    """Every file of a folder is as ruff formats it, and ruff finds nothing in it."""
    for arguments in (["check", "--select", _RULES], ["format", "--check"]):
        done = python("-m", "ruff", *arguments, "--isolated", folder, cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr


def run_file(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a test file in an order and a cache of its own."""
    plain = ("-q", "-p", "no:cacheprovider", "-p", "no:randomly")
    return python("-m", "pytest", *plain, *arguments, path.name, cwd=path.parent)


def python(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
