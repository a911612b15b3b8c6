"""Small encoders in a state like that after training, and the options that their tests go through."""

import torch

from imlspike.models import IMLSpikeformerEncoder

FEATURES = 20

# One encoder for each choice of each option (beside the defaults), and some choices together.
VARIANTS = {
    "default": {},
    "qk both": {"qk": "both"},
    "qk none": {"qk": "none"},
    "no decay": {"decay": "none"},
    "uniform decay": {"decay": "uniform"},
    "split": {"direction": "split"},
    "past": {"direction": "past"},
    "token": {"threshold": "token"},
    "layer": {"threshold": "layer"},
    "channel": {"threshold": "channel"},
    "fixed": {"threshold": "fixed", "threshold_value": 0.6},
    "learned": {"threshold": "learned", "threshold_value": 0.7},
    "theta": {"amplitude": "theta", "threshold": "token"},
    "theta layer both": {"amplitude": "theta", "threshold": "layer", "qk": "both"},
    "theta fixed none": {"amplitude": "theta", "threshold": "fixed", "qk": "none", "direction": "past"},
    "theta learned": {"amplitude": "theta", "threshold": "learned", "direction": "split"},
    "theta none": {"amplitude": "theta", "threshold": "token", "qk": "none", "positions": "sinusoidal"},
    "conv2d6": {"input_layer": "conv2d6"},
    "conv2d8": {"input_layer": "conv2d8", "num_blocks": 1},
    "wide": {"rep_branches": ("linear", "wide", "identity")},
    "wide alone": {"rep_branches": ("wide",), "amplitude": "theta"},
    "linear alone": {"rep_branches": ("linear",)},
    "binary": {"levels": 1, "threshold": "token", "kappa": 1.0, "positions": "sinusoidal"},
    "conv over time": {"conv_kernel": 5, "residual_gain": 1.0},
    "causal conv over time": {"conv_kernel": 3, "direction": "past", "amplitude": "theta"},
    "groups": {"input_channels": 4, "input_groups": 2},
    "conv in the maps": {"rep_kernel": 3, "macaron": True},
    "causal conv in the maps": {"rep_kernel": 3, "direction": "past", "rep_branches": ("linear",)},
    "other channels": {
        "input_channels": 5,
        "attention_heads": 4,
        "decay_a": 2.0,
        "decay_b": 1.0,
        "decay_c": 0.5,
    },
}


def batch(lengths, dtype=torch.float64, padding=3):
    """Features of so many frames, padded with what no layer may see: (B, L, F) and lengths (B,)."""
    x = torch.randn(len(lengths), max(lengths) + padding, FEATURES, dtype=dtype)
    x[torch.arange(x.shape[1]) >= torch.tensor(lengths)[:, None]] = 100.0
    return x, torch.tensor(lengths)


def small_encoder(seed=0, dtype=torch.float64, **options):
    """An encoder in evaluation whose norms have statistics and affine maps of their own; fp64 unless told."""
    torch.manual_seed(seed)
    sizes = {"output_size": 8, "attention_heads": 2, "linear_units": 12, "num_blocks": 2}
    encoder = IMLSpikeformerEncoder(
        FEATURES, **{**sizes, **options}, dropout_rate=0.0, positional_dropout_rate=0.0
    )
    for name, parameter in encoder.named_parameters():
        if "norm" in name or "identity" in name:
            parameter.data += 0.2 * torch.randn_like(parameter)
    encoder.to(dtype)
    for _ in range(3):
        encoder(*batch([60, 45, 50], dtype))
    return encoder.eval()
