"""Writing test files and workflows: text from a contract, never over what a user has edited."""

from rnn_props.generation.suite import STYLES, SuiteFile, suite_file
from rnn_props.generation.update import Update, UpdateError, updated
from rnn_props.generation.workflow import github_workflow

__all__ = ["STYLES", "SuiteFile", "Update", "UpdateError", "github_workflow", "suite_file", "updated"]
