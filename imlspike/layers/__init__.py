"""Layers of spiking speech models: maps that fold, attention under a decay, subsampling, masked norms."""

from imlspike.layers.decay import DecayAttention, decay_attention, hierarchical_decay, row_sums
from imlspike.layers.layout import Carried, Layout
from imlspike.layers.norm import MaskedBatchNorm, synchronise_norms
from imlspike.layers.rep_conv import RepConv
from imlspike.layers.rep_linear import RepLinear, fold_rep_linears
from imlspike.layers.rep_ssa import RepSSA, SpikingFeedForward, sees_utterance
from imlspike.layers.spiking_convnext import SpikingConvNeXtBlock
from imlspike.layers.stsa import STSA
from imlspike.layers.subsampling import SpikingSubsampling, conv_output
from imlspike.layers.temporal_shift import TemporalShift
from imlspike.layers.time_conv import SpikingTimeConv
from imlspike.layers.token_conv import TokenConv

__all__ = [
    "Carried",
    "DecayAttention",
    "Layout",
    "MaskedBatchNorm",
    "RepConv",
    "RepLinear",
    "RepSSA",
    "STSA",
    "SpikingConvNeXtBlock",
    "SpikingFeedForward",
    "SpikingSubsampling",
    "SpikingTimeConv",
    "TemporalShift",
    "TokenConv",
    "conv_output",
    "decay_attention",
    "fold_rep_linears",
    "hierarchical_decay",
    "row_sums",
    "sees_utterance",
    "synchronise_norms",
]
