"""What is agreed between a module and its callers: shape rules, domains, contracts. Pure data."""

from rnn_props.contracts.contract import (
    FLOAT_DTYPES,
    ROLE_NAMES,
    CallRules,
    Capabilities,
    Contract,
    ContractError,
    Rules,
    Structure,
    map_structure,
    parse_structure,
)
from rnn_props.contracts.declared import check_declared, with_declared
from rnn_props.contracts.domains import Domain, Value, booleans, choices, free, integers, probabilities
from rnn_props.contracts.shapes import MEANINGS, Dimension, ShapeRule, ShapeRuleError

__all__ = [
    "FLOAT_DTYPES",
    "MEANINGS",
    "ROLE_NAMES",
    "CallRules",
    "Capabilities",
    "Contract",
    "ContractError",
    "Dimension",
    "Domain",
    "Rules",
    "ShapeRule",
    "ShapeRuleError",
    "Structure",
    "Value",
    "booleans",
    "check_declared",
    "choices",
    "free",
    "integers",
    "map_structure",
    "parse_structure",
    "probabilities",
    "with_declared",
]
