"""Modules of published packages that take a configuration object, built from plain sizes."""

from __future__ import annotations

from torch import nn


def mamba(d_model: int, d_state: int = 2) -> nn.Module:
    """mambapy's block: a selective state space behind a convolution."""
    from mambapy.mamba import MambaBlock, MambaConfig

    return MambaBlock(MambaConfig(d_model=d_model, n_layers=1, d_state=d_state))


def mamba_mixer(hidden_size: int, state_size: int = 2) -> nn.Module:
    """transformers' mixer: the same with a mask of padding."""
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    config = MambaConfig(hidden_size=hidden_size, state_size=state_size, num_hidden_layers=1, time_step_rank=2)
    return MambaMixer(config, layer_idx=0)
