"""The benchmark of voices builds its report; what it measures is never asserted."""

import pytest
import torch

from benchmarks import voice


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    """Voices of one small block, and short utterances."""
    file = tmp_path / "tiny.yaml"
    file.write_text(
        "tts_conf: {dim: 16, hidden_dim: 16, encoder_layers: 1, decoder_layers: 1, postnet_layers: 2, "
        "postnet_dim: 16, aligner_dim: 4, loss_weights: {mel: 2.0}, prior_scale: 0.5}"
    )
    for name, value in (("SIZES", {"tiny": (file, 2)}), ("TOKENS", (3, 5)), ("FRAMES", (9, 12))):
        monkeypatch.setattr(voice, name, value)


def test_the_report_has_every_row_with_its_target():
    rows = [line for line in voice.question(1, 1).splitlines() if line.startswith("| tiny")]
    assert len(rows) == 3
    assert ["<= 3.0" in row for row in rows] == [True, True, False] and "<= 1.3" in rows[2]


@pytest.mark.parametrize("kind", voice.KINDS)
def test_a_step_trains_every_part(kind, monkeypatch):
    torch.manual_seed(0)
    made, original = [], voice.voice
    monkeypatch.setattr(voice, "voice", lambda *names: made.append(original(*names)) or made[-1])
    step = voice.train_step(kind, "tiny")
    model, loss, prior_scale = made[0]
    assert loss.weights["mel"] == 2.0 and prior_scale == 0.5 and model.training
    before = model.mel.weight.clone()
    step()
    assert not torch.equal(model.mel.weight, before)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name
