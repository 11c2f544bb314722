"""The command line. Commands are thin, and import what they need when they run: `--help` answers at once."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnn_props import __version__
from rnn_props.arguments import DEVICES, PROFILES, devices, globs, keyword_arguments

if TYPE_CHECKING:
    from rnn_props.execution.events import Event
