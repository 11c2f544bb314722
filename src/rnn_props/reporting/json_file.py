"""Writing the report to a file: tried before the run, done in one step after it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rnn_props.reporting.report import Report


class UnwritableError(Exception):
    """A file that can't be written. The message says why."""


def ensure_writable(path: Path) -> None:
    """Find out that a file can be written, and leave everything as it was.

    Raises:
        UnwritableError: it can't.
    """
    try:
        if path.is_dir():
            raise UnwritableError(f"cannot write {path}: it is a folder; name a file in it")
        if not path.parent.is_dir():
            raise UnwritableError(f"cannot write {path}: there is no folder {path.parent}")
        if path.exists() and not path.is_file():
            return  # a device or a pipe: opening it can block, or end what waits at the other side
        created = Path(os.path.realpath(path))
        existed = created.exists()
        with path.open("ab"):
            pass
        if not existed:
            created.unlink()  # where a symbolic link led to nothing, what it leads to
    except OSError as error:
        raise UnwritableError(f"cannot write {path}: {error.strerror or error}") from error


def write_json(report: Report, path: Path) -> None:
    """Write a report as JSON. The file is whole or not there: a reader never sees half of it.

    Raises:
        UnwritableError: it can't be written.
    """
    text = json.dumps(report.to_json(), indent=2, allow_nan=False) + "\n"
    try:
        _replace(Path(os.path.realpath(path)), text)  # through a symbolic link, not over it
    except OSError as error:
        raise UnwritableError(f"cannot write {path}: {error.strerror or error}") from error


def _replace(path: Path, text: str) -> None:
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")  # /dev/null and the like must not be replaced by a file
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        stream = temporary.open("x", encoding="utf-8")
    except OSError:
        path.write_text(text, encoding="utf-8")  # a writable file in a folder that takes no new ones
        return
    try:
        with stream:
            stream.write(text)
        if path.exists():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
