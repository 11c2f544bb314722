"""What is asserted: one file a family, and the registry. Importing this package registers every check in it."""

import importlib
import pkgutil

from rnn_props.checks.registry import Check, Page, UnknownCheckError, all_checks, check, get, select
from rnn_props.checks.trial import Advice, Discarded, Trial, Violation

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

#: The name of the decorator for checks of one's own.
register_check = check

__all__ = [
    "Advice",
    "Check",
    "Discarded",
    "Page",
    "Trial",
    "UnknownCheckError",
    "Violation",
    "all_checks",
    "check",
    "get",
    "register_check",
    "select",
]
