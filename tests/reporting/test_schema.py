from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_results import CELL_CONTRACT, ENVIRONMENT, FAILED, LSTM, PASSED, UNUSABLE, events, faulty, finding, result
from sample_results import target as target_of

from rnn_props.cases import Case, Source
from rnn_props.cases.case import Fault
from rnn_props.cases.specs import FILLS, LAYOUTS
from rnn_props.contracts import Contract
from rnn_props.execution.outcomes import STATUSES
from rnn_props.reporting import Report, ReportBuilder, environment, load_schema

SCHEMA = load_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def document(*targets: Any, **options: Any) -> dict[str, Any]:
    builder = ReportBuilder(ENVIRONMENT)
    for event in events(*targets, **options):
        builder(event)
    data: dict[str, Any] = json.loads(json.dumps(builder.report().to_json(), allow_nan=False))
    return data


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("options", [{}, {"interrupted": True, "finish": False}])
def test_reports_are_as_the_schema_says(options: dict[str, bool]) -> None:
    VALIDATOR.validate(document(UNUSABLE, PASSED, FAILED, **options))


def test_a_report_on_this_machine_is_as_the_schema_says() -> None:
    VALIDATOR.validate(Report(environment=environment(), targets=(FAILED,)).to_json())


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_is_in_the_schema(status: Any) -> None:
    VALIDATOR.validate(document(target_of(LSTM, result("RP101", "shape.output", status))))


@pytest.mark.parametrize("kind", ["violated", "raised", "accepted", "accidental", "crashed", "hung"])
def test_every_kind_of_finding_is_in_the_schema(kind: str) -> None:
    VALIDATOR.validate(
        document(target_of(LSTM, result("RP408", "reject.crash", "failed", findings=(faulty("x.y", "m", kind=kind),))))
    )


SOURCES = st.builds(
    Source,
    fill=st.sampled_from(FILLS),
    seed=st.integers(0, 99),
    layout=st.sampled_from(LAYOUTS),
    values=st.lists(st.floats(), max_size=3).map(tuple),
)
CASES = st.builds(
    Case,
    hyperparameters=st.dictionaries(st.text(max_size=5), st.integers() | st.booleans() | st.none(), max_size=3),
    seq_len=st.integers(0, 9),
    batch=st.integers(0, 9),
    batched=st.booleans(),
    dtype=st.sampled_from(["float64", "bfloat16"]),
    parameter_seed=st.integers(0, 9),
    parameter_scale=st.floats(0, 4),
    input=SOURCES,
    state=st.none() | SOURCES,
    splits=st.lists(st.integers(1, 9), max_size=3).map(tuple),
    picks=st.lists(st.integers(0, 9), max_size=3).map(tuple),
    fault=st.none() | st.builds(Fault, st.just("state.rank"), st.integers(-1, 2), st.text(max_size=3)),
)


@given(CASES)
@pytest.mark.nightly
def test_every_case_is_as_the_schema_says(case: Case) -> None:
    found = finding(case)
    VALIDATOR.validate(document(target_of(LSTM, result("RP201", "state.continuity", "failed", findings=(found,)))))


@pytest.mark.parametrize(
    "contract",
    [
        CELL_CONTRACT,
        Contract(convention="model", output=None, hyperparameters={"n": st.integers()}, fixed={"k": (1, 2)}),
        Contract(state=["B H", {"c": ("B H",)}, None]),
    ],
)
def test_every_contract_is_as_the_schema_says(contract: Contract) -> None:
    VALIDATOR.validate(document(target_of(LSTM, result("RP101", "shape.output"), contract=contract)))


def objects(data: Any) -> Iterator[dict[str, Any]]:
    """Every object of the document whose keys the schema fixes."""
    yield data
    yield data["environment"]
    for item in data["targets"]:
        yield item
        if item["contract"] is not None:
            yield item["contract"]
        for row in item["results"]:
            yield row
            yield from row["findings"]


def test_a_key_more_or_less_is_against_the_schema_wherever_it_is() -> None:
    data = document(FAILED)
    for index, item in enumerate(objects(data)):
        for key in (*item, None):
            changed = copy.deepcopy(data)
            place = list(objects(changed))[index]
            if key is None:
                place["surplus"] = 1
            else:
                del place[key]
            assert not VALIDATOR.is_valid(changed), f"{key} of {sorted(item)}"
        if index > 8:  # the rest are objects of the same kinds
            break


def test_an_unknown_status_is_against_the_schema() -> None:
    data = document(PASSED)
    data["targets"][0]["status"] = "fine"
    assert not VALIDATOR.is_valid(data)


def described(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property in the schema, with its path."""
    if isinstance(schema, dict):
        for name, value in schema.get("properties", {}).items() if isinstance(schema.get("properties"), dict) else ():
            yield f"{path}/{name}", value
        for name, value in schema.items():
            yield from described(value, f"{path}/{name}")
    elif isinstance(schema, list):
        for index, value in enumerate(schema):
            yield from described(value, f"{path}/{index}")


def test_every_key_has_a_description() -> None:
    found = list(described(SCHEMA))
    assert len(found) > 80
    assert [path for path, value in found if not value.get("description", "").strip().endswith(".")] == []
