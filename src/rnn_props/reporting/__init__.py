"""What comes out of a run: the report as data, JSON, and text for people.

The text outputs are not imported here: `rnn_props.reporting.terminal` needs rich, and a run into a pipe does not.
"""

from rnn_props.reporting.environment import environment
from rnn_props.reporting.json_file import UnwritableError, ensure_writable, write_json
from rnn_props.reporting.report import Collector, Report, ReportBuilder
from rnn_props.reporting.schema import load_schema

__all__ = [
    "Collector",
    "Report",
    "ReportBuilder",
    "UnwritableError",
    "ensure_writable",
    "environment",
    "load_schema",
    "write_json",
]
