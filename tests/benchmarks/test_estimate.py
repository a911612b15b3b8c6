"""The estimate of a training: what is counted equals the formula, and what follows follows."""

import pytest
import torch
from torch import nn

from benchmarks.estimate import CORPORA, GPUS, Cost, count, estimate, main, peaks

CONFIG = """
frontend_conf: {n_fft: 512, hop_length: 160, n_mels: 20}
encoder: iml_spikeformer
encoder_conf: {output_size: 16, attention_heads: 2, linear_units: 32, num_blocks: 1}
decoder: transformer
decoder_conf: {attention_heads: 2, linear_units: 32, num_blocks: 1}
batch_type: numel
batch_bins: 1000000
max_epoch: 7
"""


class Layer(nn.Module):
    """A linear map with the interface of ESPnet's models."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(30, 20, bias=False)

    def forward(self, speech):
        return self.linear(speech).sum(), None, None


def test_operations_and_traffic_are_those_of_the_formula():
    forward, backward, moved = count(Layer(), {"speech": torch.randn(10, 30)})
    assert forward == backward == 2 * 10 * 30 * 20  # backward: the gradient of the weight alone
    at_least = 4 * (2 * (10 * 30 + 30 * 20 + 10 * 20) + 10 * 20)  # both products, the sum
    assert at_least <= moved <= 2 * at_least


def test_peaks_grow_and_leave_no_gradient():
    layer = Layer()
    seen = peaks(layer, [{"speech": torch.randn(n, 30)} for n in (1, 2)])
    assert 0 < seen[0] <= seen[1]
    assert layer.linear.weight.grad is None


def test_hours_and_memory_follow_from_the_cost():
    """No traffic, all of the peak: 10^12 operations for each of the 3.02 x 960.9 hours."""
    corpus, config = CORPORA["librispeech"], dict(batch_bins=3.25e6, accum_grad=2, max_epoch=10)
    cost = Cost(operations=1e12, traffic=(0, 0), memory=(5e9, 1e7))
    said = estimate(cost, 10**8, corpus, config, shares=(1.0, 1.0))
    batch = 3.25e6 / (16000 + 3.3 * 5000)
    audio = 960.9 * (1 / 0.9 + 1 + 1 / 1.1)
    assert f"| seconds of audio a batch | {batch:.0f} |" in said
    assert f"| updates an epoch | {3600 * audio / batch / 2:.0f} |" in said
    assert f"| GB a GPU, a batch on 4 | {1.6 + batch * 0.01 / 4:.1f} |" in said
    first = audio / GPUS[0].fp32
    assert f"| fp32 | {first:.2f} | 0.00 | {first:.2f} | {10 * first:.0f} |" in said


def test_the_command_separates_what_is_measured_from_what_is_assumed(tmp_path, capsys):
    pytest.importorskip("espnet2")
    (tmp_path / "train.yaml").write_text(CONFIG)
    threads = torch.get_num_threads()
    try:
        main(["aishell", f"{tmp_path}/train.yaml", "--utterances", "1", "2", "--seconds", "0.5"])
    finally:
        torch.set_num_threads(threads)
    measured, follows = capsys.readouterr().out.split("| follows |")
    assert "10^9 operations backward" in measured and "peak MB with 1 s of audio" in measured
    assert "40 % of its peak arithmetic" in follows and "h, 7 epochs" in follows


def test_a_line_needs_two_points(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["aishell", "x.yaml", "--utterances", "3"])
    assert "two growing numbers" in capsys.readouterr().err
