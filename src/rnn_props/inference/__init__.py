"""From a class to its contract: reading signatures, probing the simplest configuration, evidence."""

from rnn_props.inference.general import OPEN
from rnn_props.inference.infer import infer_contract
from rnn_props.inference.layout import ProbeError

__all__ = ["OPEN", "ProbeError", "infer_contract"]
