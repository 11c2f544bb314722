"""The names that people give to arguments, by what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: The state parameter of forward, as modules with torch.nn's signature name it.
STATE_NAMES = frozenset(
    [
        "hx",
        "h0",
        "h_0",
        "c0",
        "c_0",
        "hidden",
        "hiddens",
        "hidden_state",
        "hidden_states",
        "state",
        "states",
        "init_state",
        "init_states",
        "initial_state",
        "initial_states",
        "state_init",
        "prev_hidden",
        "prev_state",
        "prev_states",
        "rnn_states",
        "rnn_state",
        "hxs",
        "rnn_hxs",
        "rnn_hidden",
        "recurrent_state",
        "h_prev",
        "hc",
        "h",
    ]
)
#: The same, and what members of a state are called where each is an argument of its own.
MEMBER_NAMES = STATE_NAMES | frozenset(
    [
        "c_prev",
        "n_prev",
        "m_prev",
        "syn",
        "mem",
        "spk",
        "c",
        "n",
        "m",
        "H",
        "C",
        "h_t",
        "c_t",
        "h_tm1",
        "prev_h",
        "prev_c",
        "cell",
        "cell_state",
        "cell_states",
        "prev_cell",
        "syn_exc",
        "syn_inh",
        "cache",
        "caches",
        "hidden_prev",
        "cur_state",
        "conv_state",
        "slstm_state",
        "mlstm_state",
        "delayed_state",
        "memory",
        "h_in",
        "carry",
        "cx",
    ]
)
#: The parameter with each row's length.
LENGTHS_NAMES = frozenset(
    [
        "lengths",
        "length",
        "seq_lengths",
        "seq_lens",
        "lens",
        "input_lengths",
        "x_lengths",
        "x_length",
        "src_len",
        "batch_lengths",
        "sequence_lengths",
        "ilens",
        "x_lens",
        "seq_len",
        "seq_length",
        "lengths_x",
        "input_lens",
        "src_lengths",
        "src_lens",
    ]
)


def is_lengths(name: str) -> bool:
    """Whether a parameter has each row's length: one of the usual names, or such as `text_lengths`."""
    if name.startswith(("max_", "min_", "total_", "context_", "output_", "target_", "tgt_")):
        return False
    return name in LENGTHS_NAMES or name.endswith(("_lengths", "_length", "_lens"))


#: What keeps steps out of the computation: true at a row's steps, or true at padding.
MASK_NAMES = frozenset(
    [
        "mask", "masks", "padding_mask", "pad_mask", "key_padding_mask", "src_key_padding_mask", "attention_mask",
        "src_mask", "seq_mask", "sequence_mask", "input_mask", "inputs_mask", "x_mask", "valid_mask", "valid", "is_pad",
        "padding", "time_mask", "token_mask", "non_pad_mask",
    ]
)  # fmt: skip
#: Those of them that can mean nothing else.
CLEAR_MASKS = MASK_NAMES - {"mask", "masks", "valid", "padding", "input_mask", "inputs_mask", "x_mask", "time_mask"}
#: Where an episode begins, so that the state is fresh there. The first group says that it is the step itself.
START_NAMES = frozenset(
    [
        "is_init", "is_first", "episode_starts", "episode_start", "reset", "resets", "reset_mask", "is_start", "starts",
        "firsts", "first", "begin", "new_episode", "is_reset", "segment_start",
    ]
)  # fmt: skip
DONE_NAMES = frozenset(
    [
        "done", "dones", "terminal", "terminals", "terminated", "is_done", "not_done", "not_dones", "nonterminal",
        "nonterminals", "continues", "cont", "episode_mask", "mask", "masks", "episode_done", "done_mask",
    ]
)  # fmt: skip
#: The time that passes between two steps.
TIME_SPAN_NAMES = frozenset(["ts", "timespans", "time_spans", "elapsed_time", "dt", "delta_t", "delta_ts", "elapsed"])
#: Flags that make the state come out.
FLAG_NAMES = frozenset(
    [
        "return_state",
        "return_states",
        "return_last_state",
        "return_last_states",
        "return_next_prev_hidden",
        "use_cache",
        "return_hidden",
        "return_final_state",
        "return_hidden_state",
        "output_final_state",
        "return_memory",
    ]
)
#: The field of a returned object that is the output.
OUTPUT_NAMES = ("output", "outputs", "out", "y", "logits", "last_hidden_state", "prediction", "predictions", "pred")
#: The method that makes a module forget.
RESET_NAMES = (
    "reset_state", "reset_states", "reset_hidden", "reset_hidden_state", "reset_memory", "reset_mem", "reset",
)  # fmt: skip
#: The method that makes a state for a number of rows.
INITIAL_NAMES = (
    "initial_state", "init_hidden", "init_state", "get_initial_state", "initialize_state", "init_states",
    "initial_states", "get_init_state", "zero_state", "init_hidden_state", "begin_state", "default_state", "init_cache",
    "allocate_inference_cache", "get_initial_states", "make_state", "empty_state", "initial_cache", "create_state",
)  # fmt: skip
#: The method that makes one step, beside a forward for whole sequences.
STEP_NAMES = (
    "step", "forward_step", "step_forward", "recurrent_step", "single_step", "one_step", "forward_one_step",
    "decode_step", "recurrent_forward", "forward_recurrent",
)  # fmt: skip
#: Hyperparameters that are no sizes of input or output, each with values that usually work, the simplest first.
USUAL_VALUES: Mapping[str, tuple[Any, ...]] = {
    "pad_idx": (0,),
    "padding_idx": (0,),
    "pad_token_id": (0,),
    "pad_index": (0,),
    "pad_token": (0,),
    "padding_index": (0,),
    "num_heads": (1, 2),
    "n_heads": (1, 2),
    "nheads": (1, 2),
    "nhead": (1, 2),
    "heads": (1, 2),
    "num_blocks": (1, 2),
    "kernel_size": (3, (3, 3)),
    "beta": (0.9,),
    "alpha": (0.8,),
    "time_penalty": (0.01,),
    "expansion_factor": (2.0,),
    "activation": ("tanh",),
    "k": (2, 3),
    "height": (2,),
}
