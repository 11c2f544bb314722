"""Property-based test suites for recurrent PyTorch modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rnn_props import strategies, testing
    from rnn_props.api import TargetChecks, assert_conforms, check, checks_for, infer_contract
    from rnn_props.cases import Case, Fault, Needs, Source, register_fault, register_fill
    from rnn_props.checks import register_check
    from rnn_props.contracts import Capabilities, Contract
    from rnn_props.options import Options
    from rnn_props.pytest_items import parametrize
    from rnn_props.reporting.report import Report
    from rnn_props.subjects import Adapter
    from rnn_props.suite import Suite
    from rnn_props.targets import TargetError

#: Where each public name is defined. Names are looked up when they are first used, so that importing the package
#: (as the pytest plugin does in every session) imports neither torch nor Hypothesis.
_HOMES = {
    "Adapter": "rnn_props.subjects",
    "Capabilities": "rnn_props.contracts",
    "Case": "rnn_props.cases",
    "Contract": "rnn_props.contracts",
    "Fault": "rnn_props.cases",
    "Needs": "rnn_props.cases",
    "Options": "rnn_props.options",
    "Report": "rnn_props.reporting.report",
    "Source": "rnn_props.cases",
    "Suite": "rnn_props.suite",
    "TargetChecks": "rnn_props.api",
    "TargetError": "rnn_props.targets",
    "assert_conforms": "rnn_props.api",
    "check": "rnn_props.api",
    "checks_for": "rnn_props.api",
    "parametrize": "rnn_props.pytest_items",
    "register_check": "rnn_props.checks",
    "register_fault": "rnn_props.cases",
    "register_fill": "rnn_props.cases",
    "infer_contract": "rnn_props.api",
}

__all__ = [
    "Adapter",
    "Capabilities",
    "Case",
    "Contract",
    "Fault",
    "Needs",
    "Options",
    "Report",
    "Source",
    "Suite",
    "TargetChecks",
    "TargetError",
    "__version__",
    "assert_conforms",
    "check",
    "checks_for",
    "infer_contract",
    "parametrize",
    "register_check",
    "register_fault",
    "register_fill",
    "strategies",
    "testing",
]


#: Modules that are names of the package themselves.
_MODULES = ("strategies", "testing")


def __getattr__(name: str) -> Any:
    import importlib

    if name in _MODULES:
        return importlib.import_module(f"rnn_props.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'rnn_props' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
