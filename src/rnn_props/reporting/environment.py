"""What a run ran on: the versions and settings that can change its outcome."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import warnings
from typing import Any

#: Values of `CI` that mean no, as a person would write them.
_NO = ("", "0", "false", "no", "off")


def environment() -> dict[str, Any]:
    """The environment as JSON data. Imports torch.

    `cuda` is the version that torch was built for, or None; the driver is not asked, since that can start CUDA in a
    process that forks. `devices` is filled by the run, with what workers say of the accelerators that they have. `tf32`
    is whether torch's settings let a CUDA build round float32 to TF32.
    """
    import torch

    cuda = torch.version.cuda
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": str(torch.__version__),
        "hypothesis": _version("hypothesis"),
        "hypothesis_torch": _version("hypothesis-torch"),
        "pytest": _version("pytest"),
        "cuda": cuda,
        "cudnn": _cudnn_version() if cuda is not None else None,
        "tf32": cuda is not None and _allows_tf32(),
        "threads": torch.get_num_threads(),
        "cpu_count": os.cpu_count() or 1,
        "ci": os.environ.get("CI", "").strip().lower() not in _NO,
        "devices": {},
    }


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cudnn_version() -> int | None:
    import torch

    cudnn: Any = torch.backends.cudnn
    try:
        version: int | None = cudnn.version()
    except RuntimeError:  # torch raises where it finds a cuDNN that it was not built for
        return None
    return version


def _allows_tf32() -> bool:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions of torch deprecate these names
        for settings in (torch.backends.cuda.matmul, torch.backends.cudnn):
            try:
                if settings.allow_tf32:
                    return True
            except RuntimeError:  # torch refuses the old names once somebody has set the new one
                if getattr(settings, "fp32_precision", "ieee") == "tf32":
                    return True
    return False
