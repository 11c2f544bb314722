"""`[tool.rnn_props]` in `pyproject.toml`: what a repository agrees on for every run, and for each target.

What may stand there is said by a JSON Schema, `config.schema.json`, which editors read as well.
"""

from __future__ import annotations

import datetime
import difflib
import json
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

TABLE = ("tool", "rnn_props")
FILE_NAME = "pyproject.toml"

#: Where in a document something stands: the keys that lead to it, and indices into lists.
Place = tuple[str | int, ...]
#: What an entry of a target says of the contract, beside the state.
_PARTS = ("convention", "input", "output", "reset", "padding", "vocabulary", "tolerance")
#: Options of a run that an entry of a target may set, too.
_OPTIONS = ("profile", "max_examples", "devices")


class ConfigError(ValueError):
    """The configuration can't be used. The message names the file, the line, the key, and what to write instead."""


@dataclass(frozen=True, slots=True)
class Waiver:
    """A failure that is known.

    Attributes:
        reason: why it is let be.
        until: the first day on which it counts as a failure again, or None.
    """

    reason: str
    until: datetime.date | None = None

    def expired(self, today: datetime.date) -> bool:
        return self.until is not None and today >= self.until


@dataclass(frozen=True, slots=True)
class TargetConfig:
    """What is agreed on for one target.

    Attributes:
        arguments: constructor arguments that are held at a value.
        hyperparameters: for constructor arguments the values to draw from, simplest first.
        adapter: how to build and call it, as `file.py:NAME`; "" for none.
        whole: the contract, as a table; empty where it is inferred.
        parts: `convention`, `input`, `output`, `state`, `reset`, `padding`, `vocabulary`, `tolerance`, where given, as
            in a `Contract`.
        capabilities: as in `Capabilities`, where given.
        checks, skip: globs over codes and names.
        options: `profile`, `max_examples`, `devices`, in the place of those for every run.
        expected_failures: by code or name; `RP301@sim` is the check on that device alone.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    hyperparameters: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    adapter: str = ""
    whole: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Any] = field(default_factory=dict)
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    checks: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    expected_failures: Mapping[str, Waiver] = field(default_factory=dict)

    def without(self, arguments: Collection[str]) -> TargetConfig:
        """The same, but for the values of some constructor arguments, which are held at others."""
        values = {name: values for name, values in self.hyperparameters.items() if name not in arguments}
        return replace(self, hyperparameters=values)


@dataclass(frozen=True, slots=True)
class Config:
    """What a file says.

    Attributes:
        path: the file; None where there is none.
        options: what holds for every run: names and values as in `rnn_props.Options`.
        targets: by their text.
    """

    path: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    targets: Mapping[str, TargetConfig] = field(default_factory=dict)
    source: str = field(default="", repr=False)

    def without_selection(self) -> Config:
        """The same, but for the checks that are chosen or left out."""
        options = {name: value for name, value in self.options.items() if name not in ("checks", "skip")}
        targets = {name: replace(said, checks=(), skip=()) for name, said in self.targets.items()}
        return replace(self, options=options, targets=targets)

    def without_options(self, given: Collection[str]) -> Config:
        """The same, but for options of single targets in the place of which others are given."""
        targets = {
            name: replace(said, options={key: value for key, value in said.options.items() if key not in given})
            for name, said in self.targets.items()
        }
        return replace(self, targets=targets)

    def under(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a run, as keywords of `rnn_props.Options`: what is given comes before what the file says."""
        left = self.without_selection() if given.get("checks") else self
        left = left.without_options(given)
        skip = (*left.options.get("skip", ()), *given.get("skip", ()))
        return {**left.options, **given, "skip": skip, "config": left}

    def expired(self, today: datetime.date) -> Iterator[str]:
        """What to say of expected failures that are over."""
        for target, said in self.targets.items():
            for name, waiver in said.expected_failures.items():
                if waiver.expired(today):
                    yield f"{target}: {name} is no longer expected to fail since {waiver.until} ({waiver.reason})"

    def error(self, place: Place, message: str) -> ConfigError:
        """An error at a place of `[tool.rnn_props]`, to be raised by who knows what may stand there."""
        return _error(self.path or Path(FILE_NAME), self.source, place, message)


def find(start: Path) -> Path | None:
    """The nearest `pyproject.toml` with a table `[tool.rnn_props]`, in a folder or above it.

    Raises:
        ConfigError: a file on the way can't be read.
    """
    for folder in (start, *start.parents):
        path = folder / FILE_NAME
        if path.is_file() and _table(_document(path, _text(path))) is not None:
            return path
    return None


def read(path: Path | None) -> Config:
    """What a file says in `[tool.rnn_props]`; nothing where there is no file or table.

    Raises:
        ConfigError: the file can't be read, or something in the table means nothing.
    """
    if path is None:
        return Config()
    source = _text(path)
    table = _table(_document(path, source))
    if table is None:
        return Config(path, source=source)
    _validate(path, source, table)
    targets = {name: _target(path, source, name, entry) for name, entry in table.get("targets", {}).items()}
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in table.items()}
    options.pop("targets", None)
    return Config(path, options, targets, source)


def load_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the table."""
    text = resources.files("rnn_props").joinpath("config.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8, as TOML has to be") from None


def _document(path: Path, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is no TOML: {error}") from None


def _table(document: Mapping[str, Any]) -> dict[str, Any] | None:
    tool = document.get(TABLE[0])
    table = tool.get(TABLE[1]) if isinstance(tool, dict) else None
    return table if isinstance(table, dict) else None


def _target(path: Path, source: str, name: str, entry: Mapping[str, Any]) -> TargetConfig:
    place: Place = ("targets", name)
    if ":" not in name:
        message = "is no target: write 'package.module:attribute' or 'path/to/file.py:attribute'"
        raise _error(path, source, place, message)
    values: dict[str, Sequence[Any]] = {}
    for argument, domain in entry.get("hyperparameters", {}).items():
        if isinstance(domain, Mapping):
            if domain["min"] > domain["max"]:
                message = f"has 'min' above 'max' ({domain['min']} > {domain['max']})"
                raise _error(path, source, (*place, "hyperparameters", argument), message)
            domain = range(domain["min"], domain["max"] + 1)
        values[argument] = domain
    waivers = {
        pattern: Waiver(told) if isinstance(told, str) else Waiver(told["reason"], _date(told.get("until")))
        for pattern, told in entry.get("expected_failures", {}).items()
    }
    parts = {key: entry[key] for key in _PARTS if key in entry}
    if "state" in entry:
        parts["state"] = _as_tuples(entry["state"])
    return TargetConfig(
        arguments=entry.get("arguments", {}),
        hyperparameters=values,
        adapter=entry.get("adapter", ""),
        whole=entry.get("contract", {}),
        parts=parts,
        capabilities={
            name: tuple(value) if isinstance(value, list) else value
            for name, value in entry.get("capabilities", {}).items()
        },
        checks=tuple(entry.get("checks", ())),
        skip=tuple(entry.get("skip", ())),
        options={
            key: tuple(value) if isinstance(value := entry[key], list) else value for key in _OPTIONS if key in entry
        },
        expected_failures=waivers,
    )


def _as_tuples(structure: Any) -> Any:
    """TOML has lists alone; a state of several tensors is a tuple, as torch.nn.LSTM's."""
    if isinstance(structure, list):
        return tuple(_as_tuples(item) for item in structure)
    if isinstance(structure, dict):
        return {name: _as_tuples(item) for name, item in structure.items()}
    return structure


def _date(value: Any) -> datetime.date | None:
    return value if value is None or isinstance(value, datetime.date) else datetime.date.fromisoformat(value)


# -- errors ----------------------------------------------------------------------------------------------------------


def _validate(path: Path, source: str, table: Mapping[str, Any]) -> None:
    """Hold the table against the schema."""
    import jsonschema  # type: ignore[import-untyped]

    validator = jsonschema.Draft202012Validator(load_schema(), format_checker=jsonschema.FormatChecker(["date"]))
    error = jsonschema.exceptions.best_match(validator.iter_errors(_plain(table)))
    if error is None:
        return
    error = _inside(error)
    place: Place = tuple(error.absolute_path)
    message = _told(error)
    if error.validator == "additionalProperties":
        unknown = next(name for name in error.instance if name not in error.schema["properties"])
        place = (*place, unknown)
        known = sorted(error.schema["properties"])
        message = f"is not known{_closest(unknown, known)}; there are {', '.join(known)}"
    raise _error(path, source, place, message)


def _inside(error: Any) -> Any:
    """Of alternatives, the error of the one that has the value's type."""
    while error.validator == "anyOf":
        meant = [other for other in error.context if other.validator != "type" or other.path]
        if not meant:
            break
        error = meant[0]
    return error


def _told(error: Any) -> str:
    got = f"(got {error.instance!r})"
    if error.validator == "anyOf":
        kinds = [_KINDS[other.validator_value] for other in error.context]
        return f"must be {' or '.join(kinds)} {got}"
    if error.validator == "enum":
        near = _closest(str(error.instance), error.validator_value)
        return f"must be one of {', '.join(error.validator_value)}{near} {got}"
    if error.validator == "type":
        return f"must be {_KINDS[error.validator_value]} {got}"
    if error.validator == "minimum":
        return f"must be at least {error.validator_value} {got}"
    if error.validator == "maximum":
        return f"must be at most {error.validator_value} {got}"
    if error.validator in ("minLength", "minItems", "minProperties"):
        return "must not be empty"
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        return f"needs '{missing}'"
    if error.validator == "format":
        return f"must be a date, such as 2030-01-31 {got}"
    return f"can't be used: {error.message}"


_KINDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "an integer",
    "number": "a number",
    "object": "a table",
    "string": "a string",
}


def _plain(value: Any) -> Any:
    """TOML's data as JSON's: dates as text."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else value


def _closest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def _error(path: Path, source: str, place: Place, message: str) -> ConfigError:
    line = _line(source, place)
    at = f"{path}:{line}" if line else str(path)
    *tables, key = [part for part in place if isinstance(part, str)] or [""]
    header = ".".join(part if re.fullmatch(r"[\w-]+", part) else json.dumps(part) for part in (*TABLE, *tables))
    return ConfigError(f"{at}: '{key}' in [{header}] {message}" if key else f"{at}: [{header}] {message}")


def _line(source: str, place: Place) -> int:
    """The line of the last key on the way to a place that stands on a line of its own; 0 where none does."""
    wanted = (*TABLE, *(part for part in place if isinstance(part, str)))
    best, found = 0, 0
    for number, keys in _keys(source):
        if keys == wanted[: len(keys)] and len(keys) > best:
            best, found = len(keys), number
    return found


def _keys(source: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The lines that begin with a table's header or a key, and all keys that lead there."""
    table: tuple[str, ...] = ()
    for number, line in enumerate(source.splitlines(), 1):
        header = re.match(r"\s*\[(?P<key>[^\[\]]+)\]", line)
        pair = re.match(r"""\s*(?P<key>(?:[\w.\s-]|"[^"]*"|'[^']*')+?)\s*=""", line)
        try:
            if header:
                table = _path_of(tomllib.loads(f"[{header['key']}]"))
                yield number, table
            elif pair:
                yield number, (*table, *_path_of(tomllib.loads(f"{pair['key']} = {{}}")))
        except tomllib.TOMLDecodeError:
            continue  # the inside of a text or list of several lines


def _path_of(document: Mapping[str, Any]) -> tuple[str, ...]:
    path: tuple[str, ...] = ()
    while document:
        ((key, document),) = document.items()
        path = (*path, key)
    return path
