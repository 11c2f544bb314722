"""Which line of the user's an exception or a death comes from."""

from __future__ import annotations

import linecache
import re
import sysconfig
import traceback
from pathlib import Path

import torch

_OURS = str(Path(__file__).resolve().parents[1])
_ZOO = f"{_OURS}/zoo"
_TORCH = str(Path(torch.__file__).parent)
_PYTHON = sysconfig.get_path("stdlib")
#: Where torch hands over to the kernels of its recurrent modules.
_RECURRENT = str(Path(_TORCH, "nn", "modules", "rnn.py"))
#: A frame in what `faulthandler` writes, the innermost first.
_FRAME = re.compile(r'^  File "(.+)", line (\d+) in (.+)$', re.MULTILINE)


def own_frame(error: BaseException) -> str:
    """The innermost frame of an error that is neither torch's nor ours: where the user should look."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if _is_own(frame.filename):
            return _told(frame.filename, frame.lineno or 0, frame.name)
    return ""


def own_frame_of_death(trace: str) -> str:
    """The same of a process that died, from what `faulthandler` wrote."""
    for file, number, name in _FRAME.findall(trace):
        if _is_own(file):
            return _told(file, int(number), name)
    return ""


def died_in_torch(trace: str) -> bool:
    """Whether a process died inside a call that torch.nn's own recurrent modules made."""
    innermost = _FRAME.search(trace)
    return innermost is not None and innermost[1] == _RECURRENT


def _is_own(file: str) -> bool:
    if file.startswith(_PYTHON) and "-packages" not in file:
        return False
    return not file.startswith((_TORCH, "<")) and (not file.startswith(_OURS) or file.startswith(_ZOO))


def _told(file: str, number: int, name: str) -> str:
    return f"{file}:{number} in {name}: {linecache.getline(file, number).strip()}"
