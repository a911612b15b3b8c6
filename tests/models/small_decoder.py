"""Small decoders in a state like that after training, and the options that their tests go through."""

import torch

from imlspike.models import IMLSpikeformerDecoder

VOCABULARY, CHANNELS = 11, 8

VARIANTS = {
    "default": {},
    "linear": {"cross_attention": "linear"},
    "linear theta": {"cross_attention": "linear", "amplitude": "theta"},
    "qk both": {"qk": "both"},
    "qk none": {"qk": "none"},
    "no decay": {"decay": "none"},
    "uniform decay": {"decay": "uniform"},
    "no positions": {"positions": "none"},
    "fixed": {"threshold": "fixed", "threshold_value": 0.6},
    "learned": {"threshold": "learned", "threshold_value": 0.7, "detach_threshold": False},
    "theta": {"amplitude": "theta", "qk": "both"},
    "binary": {"levels": 1, "kappa": 1.0},
    "wide": {"rep_branches": ("linear", "wide", "identity")},
    "one block": {"num_blocks": 1, "attention_heads": 4, "residual_gain": 1.0},
    "chunked": {"attention_mode": "chunked", "decay_a": 2.0, "decay_b": 1.0, "decay_c": 0.5},
}


def batch(memory_lengths, token_lengths, dtype=torch.float64, padding=2):
    """Encoder outputs and tokens of these lengths, padded with what no layer may see."""
    memory_lengths, token_lengths = torch.tensor(memory_lengths), torch.tensor(token_lengths)
    hs = torch.randn(len(memory_lengths), int(memory_lengths.max()) + padding, CHANNELS, dtype=dtype)
    ys = torch.randint(VOCABULARY, (len(token_lengths), int(token_lengths.max()) + padding))
    hs[torch.arange(hs.shape[1]) >= memory_lengths[:, None]] = 100.0
    ys[:, 0] = VOCABULARY - 1
    ys[torch.arange(ys.shape[1]) >= token_lengths[:, None]] = VOCABULARY - 1
    return hs, memory_lengths, ys, token_lengths


def small_decoder(seed=0, dtype=torch.float64, **options):
    """A decoder in evaluation whose norms have statistics and affine maps of their own; fp64 unless told."""
    torch.manual_seed(seed)
    sizes = {"attention_heads": 2, "linear_units": 12, "num_blocks": 2}
    decoder = IMLSpikeformerDecoder(
        VOCABULARY, CHANNELS, **{**sizes, **options}, dropout_rate=0.0, positional_dropout_rate=0.0
    )
    for name, parameter in decoder.named_parameters():
        if "norm" in name or "identity" in name or "sharpness" in name:
            parameter.data += 0.2 * torch.randn_like(parameter)
    decoder.to(dtype)
    for _ in range(3):
        decoder(*batch([30, 22, 25], [12, 9, 15], dtype))
    return decoder.eval()
