"""A workflow for continuous integration: the checks on every push, and a longer run with new seeds each night."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

_HEAD = """\
# Written by `rnn-props generate --ci github`. The file is yours: edit it.
name: rnn-props

on:
  push:
  pull_request:
  schedule:
    - cron: "17 3 * * *"
  workflow_dispatch:

permissions:
  contents: read

jobs:
"""
_JOB = """\
  {name}:
    if: github.event_name == '{first}' || github.event_name == '{second}'
    runs-on: ubuntu-latest
    timeout-minutes: {minutes}
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with: {{python-version: "3.12", cache: pip}}
      # rnn-props is not on PyPI yet: write "rnn-props @ git+URL" in place of its name, with the repository's address.
      - run: pip install torch rnn-props -e . --extra-index-url https://download.pytorch.org/whl/cpu
{remark}      - run: |
          rnn-props check {targets} {options}--json rnn-props.json
      - uses: actions/upload-artifact@v4
        if: always()
        with: {{name: rnn-props, path: rnn-props.json}}
"""
_NEW_SEED = "      # A new seed each night; the first line of the output names it, and --seed repeats it.\n"


def github_workflow(targets: Sequence[str]) -> str:
    """The text of a workflow that checks targets, in YAML."""
    named = " ".join(map(shlex.quote, targets))
    push = _JOB.format(
        name="push", first="push", second="pull_request", minutes=30, remark="", targets=named, options=""
    )
    nightly = _JOB.format(
        name="nightly",
        first="schedule",
        second="workflow_dispatch",
        minutes=180,
        remark=_NEW_SEED,
        targets=named,
        options="--profile nightly ",
    )
    return f"{_HEAD}{push}\n{nightly}"
