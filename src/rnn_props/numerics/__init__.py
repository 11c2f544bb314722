"""How results are compared: differences that name the element, bounds that follow from sensitivity."""

from rnn_props.numerics.compare import UNIT_ROUNDOFF, Difference, difference, largest
from rnn_props.numerics.sensitivity import Bound, perturbed, sensitivity_bound

__all__ = ["UNIT_ROUNDOFF", "Bound", "Difference", "difference", "largest", "perturbed", "sensitivity_bound"]
