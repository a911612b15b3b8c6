"""Small SpikeVoices in a state like that after training, and the options that their tests go through."""

import copy
import functools

import torch

from imlspike.models.spikevoice import SpikeVoice

SYMBOLS, MELS = 30, 8
VARIANTS = {
    "lif": {},
    "sequential": {"attention": "sequential"},
    "softmax on spikes": {"attention": "ann"},
    "plif": {"neuron": "plif", "steps": 3, "heads": 4},
    "imls": {"neuron": "imls", "attention": "stsa"},
    "imls sequential": {"neuron": "imls", "attention": "sequential", "neuron_conf": {"amplitude": "theta"}},
    "one step": {"steps": 1},
    "ann": {"neuron": "none"},
    "speakers": {"speakers": 3},
    "no postnet, no aligner": {"postnet_layers": 0, "aligner": False},
}


def batch(tokens, dtype=torch.float64, padding=2, seed=0):
    """What a training step is given, padded with what no layer may see: keyword arguments of the model.

    The utterances do not depend on the amount of padding.
    """
    make = torch.Generator().manual_seed(seed)
    rows = []
    for n in tokens:
        durations = torch.randint(0, 5, (n,), generator=make)
        durations[0] = 2
        frames = int(durations.sum())
        text = torch.randint(0, SYMBOLS, (n,), generator=make)
        mel = torch.randn(frames, MELS, generator=make, dtype=dtype) * 2 - 5
        rows.append((text, durations, *torch.randn(2, n, generator=make, dtype=dtype), mel))
    fill = dict(text=SYMBOLS - 1, durations=7, pitch=9.0, energy=-9.0, mel=50.0)
    parts = dict(zip(("text", "durations", "pitch", "energy", "mel"), zip(*rows, strict=True), strict=True))
    data = {name: _padded(part, padding, fill[name]) for name, part in parts.items()}
    lengths = {
        "text_lengths": torch.tensor(tokens),
        "mel_lengths": torch.tensor([len(m) for m in parts["mel"]]),
    }
    return data | lengths


def _padded(parts, padding, fill):
    width = max(map(len, parts)) + padding
    out = parts[0].new_full((len(parts), width, *parts[0].shape[1:]), fill)
    for row, part in zip(out, parts, strict=True):
        row[: len(part)] = part
    return out


def small_voice(seed=0, dtype=torch.float64, **options):
    """A SpikeVoice in evaluation whose norms have statistics and affine maps of their own; no dropout."""
    torch.manual_seed(seed)
    sizes = {"dim": 16, "hidden_dim": 24, "kernel": 5, "encoder_layers": 1, "decoder_layers": 2, "steps": 4}
    sizes |= {"postnet_dim": 12, "postnet_layers": 3, "bins": 16, "aligner_dim": 6}
    rates = {"dropout": 0.0, "predictor_dropout": 0.0, "postnet_dropout": 0.0}
    model = SpikeVoice(SYMBOLS, MELS, **{**sizes, **rates, **options})
    for name, parameter in model.named_parameters():
        if "norm" in name or name.endswith("time"):
            parameter.data += 0.2 * torch.randn_like(parameter)
        if name in ("mel.bias", "adaptor.duration.out.bias"):
            parameter.data += {"mel.bias": -5.0}.get(name, 1.5)
    model.to(dtype)
    data = batch([14, 9, 12], dtype)
    speaker = with_speaker(model, data)
    for module in model.modules():
        if hasattr(module, "momentum"):
            module.momentum = 0.5
    for _ in range(4):
        model(**data, **speaker)
    return model.eval()


@functools.cache
def _trained(variant, seed):
    return small_voice(seed, **VARIANTS[variant])


def voice(variant="lif", seed=0):
    """A copy of the `small_voice` of this variant, made once."""
    return copy.deepcopy(_trained(variant, seed))


def with_speaker(model, data):
    """The keyword arguments that a model with speakers needs besides."""
    voices = torch.arange(len(data["text"])) % 3
    return {} if model.speakers is None else {"speaker": voices}
