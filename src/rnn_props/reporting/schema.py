"""The JSON Schema of the report, kept in the package."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any


def load_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the document that `--json` writes."""
    text = resources.files("rnn_props.reporting").joinpath("schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
