"""From what the user names to the object: ``package.module:attribute`` or ``path/to/file.py:attribute``.

Importing a target runs the user's code, so it is done in a worker process; only `parse` runs elsewhere.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any


class TargetError(Exception):
    """A target that cannot be used. The message says what was wrong and what to write instead."""


@dataclass(frozen=True, slots=True)
class Target:
    """A target's parts: where the code is, and the (dotted) attribute in it."""

    text: str
    location: str
    attribute: str

    @property
    def is_file(self) -> bool:
        return self.location.endswith(".py")

    @property
    def name(self) -> str:
        """The last part of the attribute, for headings and test ids."""
        return self.attribute.rpartition(".")[2]


def parse(text: str) -> Target:
    """Split a target's text.

    Raises:
        TargetError: the text is not of the form `package.module:attribute` or `path/to/file.py:attribute`.
    """
    location, colon, attribute = text.rpartition(":")
    if not colon or not location or not attribute:
        guess = ""
        if text.endswith(".py"):
            guess = f"; name the class too, such as '{text}:MyLSTM'"
        elif "." in text and "/" not in text:
            module, _, name = text.rstrip(":").rpartition(".")
            guess = f"; did you mean '{module}:{name}'?"
        raise TargetError(
            f"'{text}' is not a target: write 'package.module:attribute' or 'path/to/file.py:attribute'{guess}"
        )
    if not all(part.isidentifier() for part in attribute.split(".")):
        raise TargetError(f"'{text}': '{attribute}' is not the name of an attribute")
    return Target(text, location, attribute)


def load(target: Target) -> Any:
    """Import the target's module and return the attribute.

    Raises:
        TargetError: the file or module is missing, fails to import, or lacks the attribute. The message names the
            closest match where there is one.
    """
    module = _import_file(target) if target.is_file else _import_module(target)
    found: Any = module
    walked = target.location
    for part in target.attribute.split("."):
        if not hasattr(found, part):
            names = [name for name in dir(found) if not name.startswith("_")]
            raise TargetError(f"{walked} has no attribute '{part}'{_closest(part, names)}")
        found = getattr(found, part)
        walked = f"{walked}.{part}" if walked != target.location else f"{target.location}:{part}"
    return found


def load_module(text: str) -> ModuleType:
    """Import a module by its name, or by its file.

    Raises:
        TargetError: there is none, or it fails to import.
    """
    target = Target(text, text, "")
    return _import_file(target) if target.is_file else _import_module(target)


def name_of(target: Any) -> str:
    """The text by which another process can import an object; a text is taken to be one.

    Raises:
        TargetError: there is none; the message says what to do.
    """
    if isinstance(target, str):
        return target
    module_name, name = getattr(target, "__module__", None), getattr(target, "__qualname__", None)
    if not module_name or not name or name.endswith("<lambda>"):
        module_name, name = _global_name(target)
    if not module_name:
        raise TargetError(
            f"an object of type {type(target).__name__} has no name to import it by: put it into a module and pass "
            "'package.module:name'"
        )
    module = sys.modules.get(module_name)
    if "<locals>" in name or module is None or _found(module, name) is not target:
        raise TargetError(
            f"{name} can't be imported from {module_name}: worker processes need it at the top level of a module "
            "(not inside a function, nor under another name)"
        )
    file = getattr(module, "__file__", None)
    if module_name != "__main__" and (file is None or _importable(module_name, file)):
        return f"{module_name}:{name}"
    if file is None:
        raise TargetError(f"{name} was defined in an interactive session: put it into a file and pass 'file.py:{name}'")
    return f"{file}:{name}"


def _global_name(target: Any) -> tuple[str, str]:
    """The module and the name of a global variable that holds an object without a name of its own, or two "".

    An instance is sought in the module of its class first, since others import it from there.
    """
    own = getattr(target, "__module__", None) or type(target).__module__
    modules = [module for name in (own, "__main__") if (module := sys.modules.get(name)) is not None]
    for module in [*modules, *list(sys.modules.values())]:
        for name, value in list(getattr(module, "__dict__", {}).items()):
            if value is target and name.isidentifier():
                return module.__name__, name
    return "", ""


def _found(module: Any, name: str) -> Any:
    for part in name.split("."):
        module = getattr(module, part, None)
    return module


def _importable(module_name: str, file: str) -> bool:
    """Whether a module's name leads to its file by the import path alone."""
    try:
        spec = importlib.util.find_spec(module_name)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin) == Path(file) and any(_roots(file))


def _roots(file: str) -> Iterator[bool]:
    parents = {str(parent) for parent in Path(file).resolve().parents}
    for entry in sys.path:
        yield str(Path(entry or ".").resolve()) in parents


def _import_file(target: Target) -> ModuleType:
    path = Path(target.location)
    if not path.is_file():
        folder = path.parent if path.parent.is_dir() else Path()
        raise TargetError(
            f"there is no file {target.location}{_closest(path.name, (item.name for item in folder.glob('*.py')))}"
        )
    name = path.stem
    folder_text = str(path.resolve().parent)
    if folder_text not in sys.path:
        sys.path.insert(0, folder_text)
    present = sys.modules.get(name)
    if present is not None:
        origin = getattr(present, "__file__", None)
        if origin is not None and Path(origin).resolve() == path.resolve():
            return present
        name = f"rnn_props_target_{name}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"{target.location} cannot be imported as a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise TargetError(f"importing {target.location} failed: {_describe(error)}") from error
    return module


def _import_module(target: Target) -> ModuleType:
    try:
        return importlib.import_module(target.location)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if not (target.location == missing or target.location.startswith(f"{missing}.")):
            raise TargetError(f"importing {target.location} failed: {_describe(error)}") from error
        raise TargetError(f"there is no module '{missing}'{_closest_module(missing)}") from error
    except (Exception, SystemExit) as error:
        raise TargetError(f"importing {target.location} failed: {_describe(error)}") from error


def _describe(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it called sys.exit({error.code!r}); guard the call with if __name__ == '__main__'"
    return f"{type(error).__name__}: {error}"


def _closest(name: str, names: Iterable[str], likeness: float = 0.5) -> str:
    match = difflib.get_close_matches(name, list(names), n=1, cutoff=likeness)
    return f"; did you mean '{match[0]}'?" if match else ""


def _closest_module(missing: str) -> str:
    parent, _, name = missing.rpartition(".")
    if not parent:
        candidates = [item.name for item in pkgutil.iter_modules()]
        hint = _closest(name, candidates, likeness=0.75)
        return hint or "; is its package installed, and are you in the folder that it is imported from?"
    package = sys.modules.get(parent)
    path = getattr(package, "__path__", None)
    return _closest(name, [item.name for item in pkgutil.iter_modules(path)] if path else [])
