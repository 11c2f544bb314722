"""The options of the command line, and what their values mean."""

from __future__ import annotations

import ast
import keyword
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

PROGRAM = "rnn-props"
#: By name alone: reading the profiles would import more than `--help` needs. A test holds the two together.
PROFILES = ("quick", "default", "nightly")


def say(kind: str, text: str) -> None:
    """One line on stderr; stdout is the report's."""
    click.echo(f"{PROGRAM}: {kind}: {' '.join(text.split())}", err=True)


def globs(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    parts = tuple(part.strip() for value in values for part in value.split(","))
    if "" in parts:  # an empty pattern would choose every check, most likely from a variable that is not set
        raise click.BadParameter("a code, a name or a glob is missing, such as 'RP2*' or 'state.*'")
    return parts


def _arguments(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for text in values:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals:
            raise click.BadParameter(f"'{text}' has no '='; write NAME=VALUE, such as num_layers=2")
        if not name.isidentifier() or keyword.iskeyword(name):
            raise click.BadParameter(f"'{name}' is not the name of an argument; write NAME=VALUE, such as num_layers=2")
        if name in arguments:
            raise click.BadParameter(f"'{name}' is given twice")
        arguments[name] = _value(name, value)
    return arguments


def _value(name: str, text: str) -> Any:
    """A Python literal, or else the text itself."""
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        literal = {"true": "True", "false": "False", "none": "None", "null": "None"}.get(text.strip().lower())
        if literal:
            say(
                "note", f"--arg {name}={text} passes the string '{text}'; write {name}={literal} for Python's {literal}"
            )
        return text
    if not _sendable(value):
        raise click.BadParameter(
            f"{name}: {type(value).__name__} values cannot be passed on; write a number, a string, True, False, None, "
            "or a list, tuple or dict of them"
        )
    return value


def _sendable(value: Any) -> bool:
    """Whether a value reaches a worker process unharmed."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _sendable(item) for key, item in value.items())
    if isinstance(value, tuple | list):
        return all(_sendable(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str)


def _json_path(context: click.Context, parameter: click.Parameter, value: str | None) -> Path | None:
    if value is None:
        return None
    if value in ("", "-"):
        raise click.BadParameter("name a file; the output on stdout is for people")
    return Path(value)


def adapter_text(context: click.Context | None, parameter: click.Parameter | None, value: str | None) -> str | None:
    """An adapter's text; one in a file is called ADAPTER unless it is named."""
    return f"{value}:ADAPTER" if value is not None and value.endswith(".py") else value


# fmt: off
ARG = click.option(
    "--arg", "arguments", multiple=True, callback=_arguments, metavar="NAME=VALUE",
    help="Constructor argument that is held at a value, a Python literal or else a string; repeatable.  "
    "[default: none]")
CONFIG = click.option(
    "--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
    help="Read [tool.rnn_props] from this file.  [default: the nearest pyproject.toml that has it]")
EXTENSION = click.option(
    "--extension", "extensions", multiple=True, metavar="MODULE",
    help="Import checks, faults and kinds of values of your own: package.module or path/to/file.py; repeatable.  "
    "[default: none]")
ADAPTER = click.option(
    "--adapter", callback=adapter_text, metavar="FILE[:NAME]",
    help="How to build and call a module that fits no convention ('rnn-props infer -h').  [default: none]")
_CHECK_OPTIONS = (
    click.option("--checks", multiple=True, callback=globs, metavar="GLOB",
                  help="Run only the checks whose code or name matches, such as RP2* or state.*; repeatable, or with "
                  "commas.  [default: all]"),
    click.option("--skip", multiple=True, callback=globs, metavar="GLOB",
                  help="Leave these checks out; repeatable, or with commas.  [default: none]"),
    CONFIG,
    EXTENSION,
    click.option("--profile", type=click.Choice(PROFILES), default="default", show_default=True,
                  help="How much is run."),
    click.option("--max-examples", type=click.IntRange(min=1), metavar="N",
                  help="The most cases that a check gets.  [default: the profile's]"),
    click.option("--seed", type=click.IntRange(0, 2**32 - 1), metavar="N",
                  help="Seed that decides every case; with it, failures of earlier runs are not replayed.  "
                  "[default: 0; nightly: a new one each time]"),
    click.option("--jobs", type=click.IntRange(1, 64), metavar="N",
                  help="Worker processes.  [default: one per core, at most 8]"),
    ARG,
    ADAPTER,
    click.option("--device", "devices", multiple=True, metavar="NAME", default=("cpu",),
                  help="Device to run on: cpu, sim (a simulated accelerator), cuda, cuda:N, mps, or all that are "
                  "there; repeatable.  [default: cpu]"),
    click.option("--require-device", "require_devices", multiple=True, metavar="NAME",
                  help="The same, but it is an error if the device is not there; repeatable.  [default: none]"),
    click.option("--strict", is_flag=True,
                  help="Warnings, and what is inherited from torch, are failures.  [default: off]"),
    click.option("--json", "json_path", callback=_json_path, metavar="FILE",
                  help="Write the report to a file as JSON.  [default: none]"),
    click.option("--no-color", is_flag=True,
                  help="No colours; the variable NO_COLOR does the same.  [default: off]"),
)
_GENERATE_OPTIONS = (
    click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE",
                 help="File to write.  [default: stdout; with --ci: .github/workflows/rnn-props.yml]"),
    click.option("--style", type=click.Choice(("pytest", "unittest")), default="pytest", show_default=True,
                 help="How tests are written."),
    click.option("--checks", multiple=True, callback=globs, metavar="GLOB",
                 help="Tests of these checks alone; repeatable, or with commas.  [default: all]"),
    click.option("--skip", multiple=True, callback=globs, metavar="GLOB",
                 help="No tests of these checks; repeatable, or with commas.  [default: none]"),
    CONFIG,
    EXTENSION,
    ARG,
    ADAPTER,
    click.option("--update", is_flag=True,
                 help="Add to the file the tests that it never had, and leave the rest as it is.  [default: off]"),
    click.option("--ci", type=click.Choice(("github",)),
                 help="Write a workflow in place of tests, with a job for each push and one for each night.  "
                 "[default: none]"),
)
# fmt: on

Decorator = Callable[[Callable[..., int]], Callable[..., int]]


def _together(options: Sequence[Decorator]) -> Decorator:
    """One decorator that adds all options; its help has them in their order."""

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        for option in reversed(options):  # as decorators are applied
            command = option(command)
        return command

    return decorate


#: The options of `rnn-props check`, and those of `rnn-props generate`.
checking = _together(_CHECK_OPTIONS)
generating = _together(_GENERATE_OPTIONS)
