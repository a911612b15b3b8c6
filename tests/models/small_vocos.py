"""A vocoder small enough for tests, in every variant, with weights at which all of its neurons fire."""

import torch
from torch import nn

from imlspike.models import SpikingVocos

TINY = dict(sampling_rate=8000, n_fft=64, hop_length=16, n_mels=6, dim=8, intermediate_dim=12, num_layers=2)
VARIANTS = {
    "paper": {},
    "eight steps": {"steps": 8},
    "lif": {"neuron": "lif", "neuron_conf": {"detach_reset": True}},
    "shift": {"temporal_shift": "fixed"},
    "learned shift": {"temporal_shift": "learnable", "shift_alpha": 0.3},
    "signed": {"amplitude_shortcut": "signed"},
    "no shortcut": {"amplitude_shortcut": "off", "readout_decay": None},
    "imls": {"neuron": "imls"},
    "imls unit": {"neuron": "imls", "neuron_conf": {"amplitude": "unit", "threshold": "learned"}},
    "ann": {"neuron": "none"},
}


def small_vocos(variant: str = "paper", seed: int = 0, dtype: torch.dtype = torch.float64, **options):
    """A tiny `SpikingVocos` in evaluation mode."""
    torch.manual_seed(seed)
    model = SpikingVocos(**{**TINY, **VARIANTS[variant], **options})
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            nn.init.normal_(parameter, 2.0, 0.3)
        elif "head" in name:
            nn.init.normal_(parameter, 0.0, 0.3)
        elif not name.endswith((".w", "alpha", "log_value")):
            nn.init.normal_(parameter, 0.2, 0.6 if parameter.dim() > 1 else 0.3)
    return model.to(dtype).eval()


def small_mel(frames: int = 20, batch: int = 2, dtype: torch.dtype = torch.float64):
    """Random log-mels (B, n_mels, L)."""
    return torch.randn(batch, TINY["n_mels"], frames, dtype=dtype)
