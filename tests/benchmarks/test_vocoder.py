"""The benchmark of vocoders builds its report; what it measures is never asserted."""

import pytest
import torch

from benchmarks import vocoder


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    """Vocoders of one small layer, and memory that was looked up."""
    file = tmp_path / "tiny.yaml"
    file.write_text(
        "generator: {n_fft: 256, hop_length: 64, n_mels: 20, dim: 8, intermediate_dim: 16, num_layers: 1}"
    )
    seen = {
        "plif": {"before_mb": 300, "peak_mb": 700},
        "tsm": {"before_mb": 300, "peak_mb": 400},
        "imls": {"before_mb": 300, "peak_mb": 400},
        "none": {"before_mb": 300, "peak_mb": 400},
    }
    monkeypatch.setattr(vocoder, "in_own_process", lambda job, kind, *_: seen[kind])
    for name, value in (("SIZES", {"tiny": file}), ("BATCH", 1), ("SAMPLES", 1024)):
        monkeypatch.setattr(vocoder, name, value)


def test_the_report_has_every_row_with_its_target():
    rows = [line for line in vocoder.question(1, 1).splitlines() if line.startswith("| tiny")]
    assert len(rows) == 3 * 3 + 2 * 3
    assert sum("<= 2.5" in row for row in rows) == 6 and sum("<= 1.2" in row for row in rows) == 2
    memory = [row for row in rows if "memory" in row and "PLIF, 4 steps |" in row]
    assert "| 700 | 400 | 1.75 | <= 3.0 | met |" in memory[0]
    assert "| 400 | 100 | 4.00 | <= 3.0 | **not met** |" in memory[1]


def test_a_training_step_takes_the_gradients_of_the_loss():
    torch.manual_seed(0)
    made = []
    original = vocoder.vocoder
    vocoder_of = lambda *names: made.append(original(*names)) or made[-1]  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocoder, "vocoder", vocoder_of)
        vocoder.train_step("plif", "tiny")()
    assert all(parameter.grad is not None for parameter in made[0].parameters())
