"""The loss of SpikeVoice: its formula, padding, gradients; durations learned from mel and text alone."""

import pytest
import torch

from imlspike.losses import binarisation_loss, forward_sum_loss
from imlspike.losses.spikevoice import SpikeVoiceLoss, learned_durations
from imlspike.models.spikevoice import SpikeVoice
from tests.models.small_spikevoice import MELS, batch, voice


def targets(data):
    return {name: data[name] for name in ("text_lengths", "mel", "mel_lengths", "pitch", "energy")}


def test_it_is_its_formula_and_sees_no_padding():
    model, data = voice("lif"), batch([9, 13])
    said = model(**data)
    total, parts = SpikeVoiceLoss({"pitch": 0.5})(said, **targets(data))
    assert torch.isclose(total, sum(parts.values())) and not any(
        part.requires_grad for part in parts.values()
    )
    want = dict.fromkeys(("mel", "mel_post", "duration", "pitch", "energy"), 0.0)
    frames, tokens = 0, 0
    for b in range(2):
        n, length = int(data["text_lengths"][b]), int(data["mel_lengths"][b])
        frames, tokens = frames + length * MELS, tokens + n
        want["mel"] += (said.mel[b, :length] - data["mel"][b, :length]).abs().sum()
        want["mel_post"] += (said.mel_post[b, :length] - data["mel"][b, :length]).abs().sum()
        frames_of = (data["durations"][b, :n] + 1).log()
        want["duration"] += (said.log_durations[b, :n] - frames_of).square().sum()
        want["pitch"] += 0.5 * (said.pitch[b, :n] - data["pitch"][b, :n]).square().sum()
        want["energy"] += (said.energy[b, :n] - data["energy"][b, :n]).square().sum()
    for name, value in want.items():
        torch.testing.assert_close(parts[name], value / (frames if "mel" in name else tokens), msg=name)
    lengths = data["text_lengths"], data["mel_lengths"]
    torch.testing.assert_close(parts["forward_sum"], forward_sum_loss(said.alignment, *lengths))
    assert torch.isclose(
        parts["binarisation"], binarisation_loss(said.alignment, said.durations, data["mel_lengths"])
    )


def test_durations_from_outside_teach_no_aligner():
    model, data = voice("lif").train(), batch([9, 13])
    total, parts = SpikeVoiceLoss()(model(**data), **targets(data), learned=False)
    assert not {"forward_sum", "binarisation"} & parts.keys()
    total.backward()
    assert all(parameter.grad is None for parameter in model.aligner.parameters())


def test_wrong_arguments_are_named():
    model, data = voice("lif"), batch([9, 13])
    with pytest.raises(ValueError, match="did you mean 'forward_sum'"):
        SpikeVoiceLoss({"forward_summ": 1})
    said = model(**data)
    with pytest.raises(ValueError, match="the targets have"):
        SpikeVoiceLoss()(said, **{**targets(data), "mel_lengths": data["mel_lengths"] - 1})


def test_learned_durations_fit_the_batch():
    model, data = voice("imls"), batch([5, 8, 3])
    lengths = {name: data[name] for name in ("text", "text_lengths", "mel", "mel_lengths")}
    shares, durations = learned_durations(model, **lengths)
    assert shares.shape == (*data["mel"].shape[:2], data["text"].shape[1]) and shares.requires_grad
    assert torch.equal(durations.sum(1), data["mel_lengths"]) and durations.shape == data["text"].shape
    said = model(**{**data, "durations": durations}, alignment=shares)
    assert said.alignment is shares and torch.equal(said.durations, durations)


def test_a_toy_voice_is_learned_from_text_and_mel_alone():
    """Each symbol has a spectrum and a length of its own; both are found, from nothing else."""
    torch.manual_seed(0)
    spectra, frames_of = 3 * torch.randn(6, 8) - 5, torch.tensor([2, 6, 3, 5, 4, 7])
    text = torch.stack([torch.randperm(6) for _ in range(8)])
    true = frames_of[text]
    mel = torch.stack([spectra[row].repeat_interleave(d, 0) for row, d in zip(text, true, strict=True)])
    mel = mel + 0.1 * torch.randn_like(mel)
    sizes = {
        "dim": 32,
        "hidden_dim": 48,
        "kernel": 3,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "postnet_dim": 16,
    }
    rates = {"dropout": 0.0, "predictor_dropout": 0.0, "postnet_dropout": 0.0}
    model = SpikeVoice(6, 8, postnet_layers=2, aligner_temperature=0.05, **sizes, **rates)
    optimizer, loss = torch.optim.Adam(model.parameters(), 1e-2), SpikeVoiceLoss()
    flat = torch.zeros(8, 6)
    lengths = {"text_lengths": torch.full((8,), 6), "mel_lengths": torch.full((8,), 27)}
    for _ in range(30):
        shares, durations = learned_durations(model, text, mel=mel, **lengths)
        said = model(text, mel=mel, durations=durations, pitch=flat, energy=flat, alignment=shares, **lengths)
        total, parts = loss(said, mel=mel, pitch=flat, energy=flat, **lengths)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    uniform = (true - 27 / 6).abs().mean()
    assert (durations - true).abs().float().mean() < 0.6 * uniform
    assert parts["mel_post"] < 0.9 * (mel - mel.mean((0, 1))).abs().mean()
    assert all(abs(len(model.synthesize(row)) - 27) < 5 for row in text)
