"""From a class to its contract: reading signatures, probing the simplest configuration, evidence."""

from rnn_props.inference.describe import contract_text
from rnn_props.inference.infer import infer_contract
from rnn_props.inference.layout import ProbeError
from rnn_props.inference.stub import stub

__all__ = ["ProbeError", "contract_text", "infer_contract", "stub"]
