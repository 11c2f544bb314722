"""Extensions: modules that register a user's own checks, faults and kinds of values when they are imported."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata

from rnn_props.targets import TargetError, load_module

#: The group of entry points under which installed packages name theirs.
GROUP = "rnn_props.extensions"


class ExtensionError(ValueError):
    """An extension can't be imported, or registers what there is already. The message says which, and why."""


def load_extensions(names: Iterable[str] = ()) -> None:
    """Import extensions: those that are named, and those of installed packages. What was imported stays as it is.

    Args:
        names: `package.module` or `path/to/file.py`.

    Raises:
        ExtensionError: one can't be imported.
    """
    for point in sorted(metadata.entry_points(group=GROUP), key=lambda point: point.name):
        _load(point.value, f"the extension '{point.name}' of an installed package")
    for name in names:
        _load(name, f"the extension '{name}'")


def _load(name: str, what: str) -> None:
    try:
        load_module(name)
    except TargetError as error:
        raise ExtensionError(f"{what} can't be used: {error}") from None
