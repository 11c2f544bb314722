"""Write the tables of docs/faults.md: every fault, what the judge says of it, what torch's own modules do.

    python docs/make_faults.py           write the page
    python docs/make_faults.py --check   exit with 1 if the page is not up to date

Each call is made in a process of its own, since some of them kill it.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from rnn_props.cases import Case, Source, faults_for, judge, make_call
from rnn_props.checks.trial import Trial
from rnn_props.contracts import Contract
from rnn_props.inference import infer_contract
from rnn_props.subjects import Factory

PAGE = Path(__file__).with_name("faults.md")
MODULES = ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell")
FAMILIES = {
    "input": "Input (RP401)",
    "state": "State (RP402)",
    "hyperparameters": "Hyperparameters (RP403)",
    "lengths": "Lengths of packed sequences (RP407)",
}

#: input_size, hidden_size and batch of the calls that each fault is put into; where they end differently, the table
#: has every end.
SIZES = ((3, 4, 6), (1, 1, 6), (3, 5, 6), (1, 2, 2), (1, 1, 1))

#: What each fault in a tensor does.
MEANINGS = {
    "input.features_more": "one feature too many",
    "input.features_less": "one feature too few",
    "input.rank_0": "a number in place of a sequence",
    "input.rank_1": "one step's features alone",
    "input.rank_more": "one more dimension in front",
    "input.dtype_integer": "int64",
    "input.dtype_float": "another floating dtype than the parameters",
    "input.empty_sequence": "no steps",
    "lengths.rows_missing": "one row of data too few for its batch sizes",
    "lengths.rows_more": "one row of data too many for its batch sizes",
    "lengths.zero": "a last step with no row",
    "lengths.negative": "a last step with -1 rows",
    "lengths.growing": "batch sizes that grow",
    "lengths.float": "batch sizes in float64",
    "state.batch_more": "one row too many",
    "state.batch_less": "one row too few",
    "state.batch_one": "one row for the whole batch",
    "state.layers_more": "one layer too many",
    "state.layers_less": "one layer too few",
    "state.directions": "directions left out, or doubled",
    "state.batch_first": "batch in front, as in the input of batch_first",
    "state.hidden_more": "one unit too many",
    "state.hidden_less": "one unit too few",
    "state.hidden_one": "one unit for all",
    "state.rank_less": "the first dimension taken off",
    "state.rank_more": "one more dimension in front",
    "state.unbatched": "no batch dimension beside a batched input",
    "state.dtype": "another floating dtype than the parameters",
    "state.missing_member": "(h,) alone",
    "state.extra_member": "(h, c, h)",
    "state.swapped_members": "(c, h)",
    "state.first_member_alone": "h in place of (h, c)",
    "state.stacked": "both members in one tensor",
    "state.wrapped": "(h, h) in place of h",
}

HEAD = """\
# Faults

<!-- Written by docs/make_faults.py: edit that file, not this page. -->

A *fault* is one deliberate defect in a call that is valid otherwise. The checks RP401 to RP408 put faults into cases,
one at a time, and each faulty call runs in a worker process.

Whether a faulty call is really wrong is not for the fault to say. An independent *judge* gets the concrete call
(arguments and tensors, not the name of the fault) and the contract, and says:

- **invalid**: the call must raise. Only this is asserted on.
- **advice**: it should raise, but accepting it has a reading that makes sense, such as a state of batch 1 that is
  broadcast. A module that accepts it is warned of, and fails under `--strict`.
- **unspecified** or **valid**: nothing is asserted; the case is discarded. A fault that changes no size, such as
  batch_first order of a state with one layer and one row, ends here.

A module with the whole signature of one of torch's is held to torch's contract, the first column of verdicts. Others
promise less, the second column.

Any Python exception is a rejection. Three ends are not: **accepted** (a result came out), **dies** (a signal ended the
process) and **hangs**. AttributeError, KeyError, UnboundLocalError and their like count as rejections *by accident*:
the bad value was used, not noticed, which is advice.

## What torch itself does

Measured with torch {torch} on the CPU, in float64, for five configurations each, batched and unbatched, and with the
fault in one member of the state or in all; where they end differently the cell has every end. An empty cell means that
the module has no such fault, or that the judge discards the case. What torch accepts or dies on is charged to nobody:
on `torch.nn` targets it is a warning marked *inherited from torch*, and so it is on a module that is held to torch's
contract, if torch's own module does the same in the same case. `--strict` makes a failure of it. A call that reads
past the end of a tensor need not end the same way in another build of torch. Packed sequences and lengths that any
other module hands on as they are, to a layer of torch.nn or to `pack_padded_sequence`, are advice where torch takes
them.
"""

TAIL = """\
## Beyond these

RP401, RP402 and RP408 put the faults of input and state into packed calls, too, where packed sequences are taken.
torch {torch}'s `LSTM` does not look at the state of a packed call: it accepts a cell state with rows for too many
layers or of batch 1, and dies where the cell state has fewer layers than the hidden state (unequal lengths), or where
the state has fewer rows than the batch (equal lengths; how that ends differs from run to run). That is why no case runs
in your process: all of them go to workers, and a worker that dies is a result.

Lengths beside a padded batch have faults of their own: zero, negative, too long, one too few or too many, and float.
A length of zero is valid where rows of length zero are taken. For zero, too long and float, accepting is advice, since
a mask makes sense of them.
"""


def _cases(contract: Contract, family: str) -> Iterator[Case]:
    """Valid cases to put faults into: all sizes different, and small ones that lie at the edge."""
    packed = family == "lengths"
    for sizes in SIZES[:1] if packed and contract.capabilities.packed else () if packed else SIZES:
        first = sizes == SIZES[0]
        values = {name: domain.values[0] for name, domain in contract.hyperparameters.items()}
        values |= {"input_size": sizes[0], "hidden_size": sizes[1]}
        for name, value in (("num_layers", 2), ("bidirectional", not first), ("proj_size", 2 if first else 0)):
            if name in values:
                values[name] = value
        for batched in (True, False) if family in ("input", "state") else (True,):
            yield Case(
                hyperparameters=values,
                seq_len=1 if contract.convention == "cell" else 5,
                batch=sizes[2] if batched else 1,
                batched=batched,
                state=Source("normal", 1),
                lengths=(5, 2, 4, 5, 1, 3) if packed else (),
                packing="unsorted" if packed else "",
            )


def _judged(case: Case, contract: Contract) -> str:
    verdict = judge(make_call(case, contract), contract, case.dtype)
    return "advice" if verdict.kind == "invalid" and verdict.advice else verdict.kind


def _ends(target: type[torch.nn.Module], cases: list[Case], contract: Contract) -> set[str]:
    """How faulty calls end. They share a process; if it dies, each gets one of its own."""

    def run() -> set[str]:
        outcomes = [Trial(case, contract, Factory(target, contract)).attempt() for case in cases]
        return {"accepted" if item.kind == "accepted" else type(item.error).__name__ for item in outcomes}

    if all(case.fault.family == "hyperparameters" for case in cases):
        return run()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.write(writing, pickle.dumps(run()))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code == 0:
        return pickle.loads(said)
    if len(cases) == 1:
        return {f"dies ({signal.Signals(-code).name})"}
    return set().union(*(_ends(target, [case], contract) for case in cases))


def _row(key: str, family: str, contracts: dict[str, Contract]) -> list[str]:
    verdicts: dict[bool, set[str]] = {True: set(), False: set()}
    meaning, cells = "", []
    for module, contract in contracts.items():
        own = replace(contract, capabilities=replace(contract.capabilities, torch_contract=False))
        cases = []
        for case in _cases(contract, family):
            for fault in faults_for(case, contract, family):
                faulty = replace(case, fault=fault)
                if fault.key != key or (verdict := _judged(faulty, contract)) not in ("invalid", "advice"):
                    continue
                verdicts[True].add(verdict)
                verdicts[False].add(_judged(faulty, own))
                cases.append(faulty)
                value = make_call(faulty, contract).hyperparameters.get(fault.argument)
                meaning = MEANINGS.get(fault.name) or f"{fault.argument}={value!r}"
        ends = _ends(getattr(torch.nn, module), cases, contract) if cases else set()
        cells.append(", ".join(sorted(ends, key=lambda end: (end[0].islower(), end))))
    name = key.partition(".")[2]
    return [f"`{name}`", meaning, *(" or ".join(sorted(verdicts[way])) for way in (True, False)), *cells]


def page() -> str:
    torch.set_num_threads(1)
    contracts = {name: infer_contract(getattr(torch.nn, name)) for name in MODULES}
    parts = [HEAD.format(torch=_version())]
    for family, title in FAMILIES.items():
        found = [
            fault
            for contract in contracts.values()
            for case in _cases(contract, family)
            for fault in faults_for(case, contract, family)
        ]
        order = list(dict.fromkeys(fault.name for fault in found))
        parts += [f"### {title}\n"]
        parts.append(f"| fault | what it is | judge, torch's contract | judge, others | {' | '.join(MODULES)} |")
        parts.append(f"|{'---|' * (4 + len(MODULES))}")
        for key in dict.fromkeys(fault.key for fault in sorted(found, key=lambda fault: order.index(fault.name))):
            parts.append(f"| {' | '.join(_row(key, family, contracts))} |")
        parts.append("")
    parts.append(TAIL.format(torch=_version()))
    return "\n".join(parts)


def _version() -> str:
    return torch.__version__.partition("+")[0]


def steady(text: str) -> list[str]:
    """The lines that are the same on every machine: a call that reads past a tensor's end need not end alike."""
    return [line for line in text.splitlines() if not line.startswith("| `rank_1`")]


def main() -> int:
    text = page()
    if sys.argv[1:] == ["--check"]:
        if steady(PAGE.read_text(encoding="utf-8")) == steady(text):
            return 0
        print("docs/faults.md is not up to date: run python docs/make_faults.py", file=sys.stderr)
        return 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
