"""Results made by hand, as a run would give them, to see how they are told."""

from __future__ import annotations

from typing import Any

from rnn_props.cases import Case, Source
from rnn_props.cases.case import Fault
from rnn_props.contracts import Contract
from rnn_props.contracts.presets import cell_contract, sequence_contract
from rnn_props.execution.events import (
    CheckFinished,
    CheckStarted,
    ContractSettled,
    Event,
    RunFinished,
    RunStarted,
    TargetFinished,
    TargetStarted,
)
from rnn_props.execution.outcomes import CheckResult, Finding, Status, TargetResult, target_status

ENVIRONMENT: dict[str, Any] = {
    "python": "3.11.0",
    "platform": "Linux",
    "torch": "2.13.0+cpu",
    "hypothesis": "6.170.15",
    "hypothesis_torch": "2.0.7",
    "pytest": "9.2.0",
    "cuda": None,
    "cudnn": None,
    "tf32": False,
    "threads": 2,
    "cpu_count": 2,
    "ci": False,
    "devices": {},
}
LSTM = "mypkg.models:MyLSTM"
SEED = 7

CONTRACT: Contract = sequence_contract(
    "LSTM",
    ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional", "proj_size"),
    full=True,
)
CELL_CONTRACT: Contract = cell_contract("GRUCell", ("input_size", "hidden_size", "bias"), full=False)

CASE = Case(
    hyperparameters={"input_size": 2, "hidden_size": 3, "num_layers": 2, "bidirectional": True},
    seq_len=2,
    parameter_seed=3,
    input=Source("integers", 5),
    state=Source("normal", 1, "transposed"),
    splits=(1,),
)


def finding(shrunk: Case = CASE, **changes: Any) -> Finding:
    """A violation; keywords replace its fields."""
    fields: dict[str, Any] = {
        "kind": "violated",
        "status": "failed",
        "message": "chunks of 1 and 1: output[T=1, B=0, D*P=2]: expected 0.128374651, got -0.400128 "
        "(difference 0.53, rounding explains 1e-15)",
        "expected": "0.128374651",
        "actual": "-0.400128",
        "case": shrunk.to_json(),
        "case_id": shrunk.case_id,
        "case_repr": repr(shrunk),
    }
    return Finding(**(fields | changes))


def result(code: str, check: str, status: Status = "passed", **changes: Any) -> CheckResult:
    """How a check went; keywords replace its fields."""
    ran = status in ("passed", "failed", "warned", "expected_failure")
    fields: dict[str, Any] = {
        "code": code,
        "check": check,
        "statement": f"The statement of {check}.",
        "status": status,
        "examples": 100 if ran else 0,
        "duration_s": 0.4 if ran else 0.0,
        "time_in_target_s": 0.2 if ran else 0.0,
    }
    return CheckResult(**(fields | changes))


def target(name: str, *results: CheckResult, contract: Contract | None = CONTRACT, **changes: Any) -> TargetResult:
    fields: dict[str, Any] = {
        "target": name,
        "status": target_status(results),
        "contract": None if contract is None else contract.to_json(),
        "results": results,
        "duration_s": 6.1,
        "peak_memory_mb": 301.25,
    }
    return TargetResult(**(fields | changes))


def faulty(name: str, message: str, **changes: Any) -> Finding:
    """What a rejection check found of one fault."""
    case = Case(
        hyperparameters={"input_size": 1, "hidden_size": 1},
        batch=2,
        state=Source(),
        fault=Fault(name, **changes.pop("fault_fields", {})),
    )
    fault = case.fault
    assert fault is not None
    return finding(case, **({"kind": "accepted", "message": message, "fault": fault.key} | ANSWERS | changes))


ANSWERS = {"expected": "an exception", "actual": "a result"}

#: Finished in another order than that of their codes, as side by side they do.
MIXED: tuple[CheckResult, ...] = (
    result("RP102", "shape.state", examples=1234, duration_s=12.34),
    result("RP101", "shape.output"),
    result(
        "RP201",
        "state.continuity",
        "failed",
        examples=37,
        statement="A sequence run whole equals the same sequence run in chunks with the state carried: outputs and "
        "final state.",
        hint="Look for a state that is reset, dropped or reordered at the start of a call (zeros made although a "
        "state was given, h and c exchanged, layers taken from the wrong row).",
        findings=(
            finding(where="/home/me/project/mypkg/models.py:45 in forward: h = x.new_zeros(2 * self.num_layers, 1)"),
            finding(kind="raised", message="RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x3 and 4x3)"),
        ),
    ),
    result("RP202", "state.stepwise", "blocked", reason="RP201 failed"),
    result("RP210", "state.batch_slice", "blocked", reason="RP201 failed"),
    result("RP207", "state.arguments_untouched", discarded=12),
    result("RP303", "batch.first", "not_applicable", reason="it has no batch_first"),
    result(
        "RP402",
        "reject.state",
        "warned",
        findings=(
            faulty(
                "state.batch_one",
                "state has batch 1 where the input has 2, and it was accepted",
                status="warned",
                inherited_from_torch=True,
            ),
            faulty(
                "state.extra_member",
                "the state is a tuple of 3 where it should be one of 2 [h, c], and it was accepted by torch's own "
                "flattening of what it is given, which looks at the first two members only and never counts",
                status="warned",
                inherited_from_torch=True,
            ),
        ),
    ),
    result(
        "RP403",
        "reject.hyperparameters",
        "warned",
        findings=(
            faulty(
                "hyperparameters.none",
                "dropout=None: it stops by accident with TypeError: '<' not supported between instances of "
                "'NoneType' and 'int'; a check of its own would say what is wrong",
                kind="accidental",
                status="warned",
                fault_fields={"argument": "dropout"},
            ),
        ),
    ),
    result(
        "RP408",
        "reject.crash",
        "failed",
        statement="No bad input kills the process, or hangs it.",
        hint="A kernel was reached with sizes that do not fit.",
        findings=(
            faulty(
                "state.hidden_size",
                "state[0] has hidden size 2 where it should be 1",
                kind="crashed",
                signal="SIGSEGV",
                where="models.py:50 in forward: return self.kernel(x, h[0], *c)",
            ),
        ),
    ),
    result("RP105", "type.dtype", "skipped", reason="the time limit of the check was reached before its first case"),
    result("RP506", "mode.no_grad", "expected_failure", reason="known", findings=()),
    result("RP505", "mode.globals", "error", reason="ZeroDivisionError: division by zero\n  mode.py:20 in globals"),
)

FAILED = target(LSTM, *MIXED)
PASSED = target(
    "cells.py:Cell",
    result("RP101", "shape.output", "not_applicable", reason="a cell returns its state alone (RP102 holds its shape)"),
    result("RP102", "shape.state"),
    contract=CELL_CONTRACT,
)
UNUSABLE = target(
    "mypkg.modles:MyLSTM",
    contract=None,
    status="error",
    message="there is no module 'mypkg.modles'; did you mean 'mypkg.models'?",
    duration_s=0.2,
)


def events(*targets: TargetResult, interrupted: bool = False, finish: bool = True) -> list[Event]:
    """What a run of these targets gives off; with `finish` false the last target does not come to its end."""
    found: list[Event] = [RunStarted(tuple(item.target for item in targets), 13, "default", SEED, 2)]
    for item in targets:
        found.append(TargetStarted(item.target))
        if item.contract is not None:
            found.append(ContractSettled(item.target, item.contract, len(item.results)))
        for one in item.results:
            found += [CheckStarted(item.target, one.code, one.check), CheckFinished(item.target, one)]
        if finish or item is not targets[-1]:
            found.append(TargetFinished(item))
    return [*found, RunFinished(6.3, interrupted)]
