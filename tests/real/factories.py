"""Modules of published packages that take a configuration object, built from plain sizes."""

from __future__ import annotations

from torch import nn


def mamba(d_model: int, d_state: int = 2) -> nn.Module:
    """mambapy's block: a selective state space behind a convolution."""
    from mambapy.mamba import MambaBlock, MambaConfig

    return MambaBlock(MambaConfig(d_model=d_model, n_layers=1, d_state=d_state))
