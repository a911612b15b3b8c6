"""Models on a processor that can less: the same spikes, outputs to rounding."""

import io
import os
import subprocess
import sys

import pytest
import torch

PROGRAM = """
import sys, torch
from imlspike.evaluation.spikes import SpikeRecorder
from imlspike.models import IMLSpikeformerEncoder, SpikingVocos
torch.manual_seed(0)
sizes = dict(output_size=32, attention_heads=2, linear_units=64, num_blocks=2)
sizes |= dict(conv_kernel=3, input_channels=8)
vocoder = dict(n_fft=64, hop_length=16, n_mels=8, dim=16, intermediate_dim=24, num_layers=2)
found = {}
for name, model, x in (
    ("encoder", IMLSpikeformerEncoder(20, **sizes), torch.randn(1, 200, 20)),
    ("vocoder", SpikingVocos(8000, **vocoder), torch.randn(1, 8, 60)),
):
    with torch.no_grad(), SpikeRecorder(model.eval(), keep=True) as recorder:
        y = model(x)
    found[name] = (y[0] if isinstance(y, tuple) else y, recorder.rasters)
torch.save(found, sys.stdout.buffer)
"""
LESS = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}


def run(**environment):
    """What the models give in a process with these limits."""
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, timeout=250)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return torch.load(io.BytesIO(done.stdout))


@pytest.mark.skipif(sys.platform != "linux", reason="the limits are x86 Linux's")
def test_a_processor_that_can_less_gives_the_same_spikes():
    here, there = run(), run(**LESS)
    for name, (y, spikes) in here.items():
        other, others = there[name]
        assert spikes.keys() == others.keys() and any(counts.any() for counts in spikes.values())
        assert all(torch.equal(counts, others[layer]) for layer, counts in spikes.items())
        torch.testing.assert_close(other, y, rtol=1e-4, atol=1e-5)
