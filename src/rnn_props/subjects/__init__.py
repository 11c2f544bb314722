"""The module under test: built, called, its results unpacked, torch's global state kept clean."""

from rnn_props.subjects.adapters import Adapter, as_adapter, load_adapter
from rnn_props.subjects.calling import (
    UnusableResultError,
    beyond_lengths,
    canonical,
    fields_of,
    main_output,
    named_parts,
    native,
    no_starts,
    split,
    token_ids,
)
from rnn_props.subjects.frames import died_in_torch, own_frame_of_death
from rnn_props.subjects.hidden import hidden_tensors, registered_tensors, statistics_of
from rnn_props.subjects.hygiene import GlobalState, filled_memory, kept_clean
from rnn_props.subjects.inside import InnerCall, inner_calls
from rnn_props.subjects.subject import (
    DTYPES,
    Factory,
    Result,
    Stopwatch,
    Subject,
    TargetRaisedError,
    as_builder,
    expected_shapes,
)
from rnn_props.subjects.trees import Tree, clone, cut, join, leaves, map_tree, map_with_rules, select, state_leaves

__all__ = [
    "DTYPES",
    "Adapter",
    "Factory",
    "GlobalState",
    "InnerCall",
    "Result",
    "Stopwatch",
    "Subject",
    "TargetRaisedError",
    "Tree",
    "UnusableResultError",
    "as_adapter",
    "as_builder",
    "beyond_lengths",
    "canonical",
    "clone",
    "cut",
    "died_in_torch",
    "expected_shapes",
    "fields_of",
    "filled_memory",
    "hidden_tensors",
    "inner_calls",
    "join",
    "kept_clean",
    "leaves",
    "load_adapter",
    "main_output",
    "map_tree",
    "map_with_rules",
    "named_parts",
    "native",
    "no_starts",
    "own_frame_of_death",
    "registered_tensors",
    "select",
    "split",
    "state_leaves",
    "statistics_of",
    "token_ids",
]
