"""A workflow for continuous integration: the checks on every push, and a longer run with new seeds each night."""

from __future__ import annotations

import json
from collections.abc import Sequence

_TEXT = """\
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
  push:
    if: github.event_name == 'push' || github.event_name == 'pull_request'
    runs-on: ubuntu-latest
    timeout-minutes: 30
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with: {{python-version: "3.12", cache: pip}}
      - run: pip install torch rnn-props -e . --extra-index-url https://download.pytorch.org/whl/cpu
      - run: rnn-props check {targets} --json rnn-props.json
      - uses: actions/upload-artifact@v4
        if: always()
        with: {{name: rnn-props, path: rnn-props.json}}

  nightly:
    if: github.event_name == 'schedule' || github.event_name == 'workflow_dispatch'
    runs-on: ubuntu-latest
    timeout-minutes: 180
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with: {{python-version: "3.12", cache: pip}}
      - run: pip install torch rnn-props -e . --extra-index-url https://download.pytorch.org/whl/cpu
      # A new seed each night; the first line of the output names it, and --seed repeats it.
      - run: rnn-props check {targets} --profile nightly --json rnn-props.json
      - uses: actions/upload-artifact@v4
        if: always()
        with: {{name: rnn-props, path: rnn-props.json}}
"""


def github_workflow(targets: Sequence[str]) -> str:
    """The text of a workflow that checks targets, in YAML."""
    return _TEXT.format(targets=" ".join(map(_argument, targets)))


def _argument(target: str) -> str:
    """A target as a word of a shell's."""
    plain = all(character.isalnum() or character in "._:/-" for character in target)
    return target if plain else json.dumps(target)
