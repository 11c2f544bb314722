"""What is generated: cases, tensor specs, covering pairs, Hypothesis strategies, faults, the judge, shrinking."""

from rnn_props.cases.case import Case, Fault, Step, input_spec, make_input, make_state, pack
from rnn_props.cases.covering import covering_cases
from rnn_props.cases.faults import Call, apply_fault, faults_for, make_call, register_fault
from rnn_props.cases.judge import Verdict, judge
from rnn_props.cases.needs import BATCHES, LENGTHS, Needs
from rnn_props.cases.shrink import Shrinker, shrink
from rnn_props.cases.space import Space
from rnn_props.cases.specs import FILLS, LAYOUTS, Source, TensorSpec, own_fills, register_fill

__all__ = [
    "BATCHES",
    "FILLS",
    "LAYOUTS",
    "LENGTHS",
    "Call",
    "Case",
    "Fault",
    "Needs",
    "Shrinker",
    "Source",
    "Space",
    "Step",
    "TensorSpec",
    "Verdict",
    "apply_fault",
    "covering_cases",
    "faults_for",
    "input_spec",
    "judge",
    "make_call",
    "make_input",
    "make_state",
    "own_fills",
    "pack",
    "register_fault",
    "register_fill",
    "shrink",
]
