"""What is agreed between a module and its callers: shape rules, domains, contracts. Pure data."""

from rnn_props.contracts.capabilities import FLOAT_DTYPES, Capabilities
from rnn_props.contracts.contract import (
    OPEN,
    ROLE_NAMES,
    SIZE_LETTERS,
    CallRules,
    Contract,
    ContractError,
    adapter_name,
)
from rnn_props.contracts.declared import check_declared, whole_contract, with_declared, with_fixed
from rnn_props.contracts.domains import Domain, Value, booleans, choices, free, integers, probabilities
from rnn_props.contracts.forms import Form
from rnn_props.contracts.shapes import MEANINGS, Dimension, ShapeRule, ShapeRuleError
from rnn_props.contracts.structures import (
    Complex,
    Layers,
    Record,
    Rules,
    Structure,
    map_structure,
    parse_structure,
    read_result,
    structure_text,
)
from rnn_props.contracts.written import from_toml, to_python, to_toml

__all__ = [
    "FLOAT_DTYPES",
    "MEANINGS",
    "OPEN",
    "ROLE_NAMES",
    "SIZE_LETTERS",
    "CallRules",
    "Capabilities",
    "Complex",
    "Contract",
    "ContractError",
    "Dimension",
    "Domain",
    "Form",
    "Layers",
    "Record",
    "Rules",
    "ShapeRule",
    "ShapeRuleError",
    "Structure",
    "Value",
    "adapter_name",
    "booleans",
    "check_declared",
    "choices",
    "free",
    "from_toml",
    "integers",
    "map_structure",
    "parse_structure",
    "probabilities",
    "read_result",
    "structure_text",
    "to_python",
    "to_toml",
    "whole_contract",
    "with_declared",
    "with_fixed",
]
