"""What is asserted: one file a family, and the registry. Importing this package registers every check."""

from rnn_props.checks import batch_time, mode, rejection, shape, state
from rnn_props.checks.registry import Check, UnknownCheckError, all_checks, check, get, select
from rnn_props.checks.trial import Advice, Discarded, Trial, Violation

__all__ = [
    "Advice",
    "Check",
    "Discarded",
    "Trial",
    "UnknownCheckError",
    "Violation",
    "all_checks",
    "batch_time",
    "check",
    "get",
    "mode",
    "rejection",
    "select",
    "shape",
    "state",
]
