"""How results are compared: differences that name the element, bounds that follow from sensitivity."""

from rnn_props.numerics.agreement import GRADIENT, Agreement, Comparison, agreement
from rnn_props.numerics.compare import UNIT_ROUNDOFF, Difference, difference, largest
from rnn_props.numerics.excess import Excess, excess
from rnn_props.numerics.noise import ARITHMETIC, TF32, Arithmetic, NoiseAtEveryOperation, perturbed
from rnn_props.numerics.sensitivity import Bound, Sensitivity, changed, sensitivity_bound

__all__ = [
    "ARITHMETIC",
    "GRADIENT",
    "TF32",
    "UNIT_ROUNDOFF",
    "Agreement",
    "Arithmetic",
    "Bound",
    "Comparison",
    "Difference",
    "Excess",
    "NoiseAtEveryOperation",
    "Sensitivity",
    "agreement",
    "changed",
    "difference",
    "excess",
    "largest",
    "perturbed",
    "sensitivity_bound",
]
