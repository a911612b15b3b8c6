"""The defects of SpikeVoice's reference implementation, in the voice as a whole.

Their first tests are of the parts: 1 to 3 in tests/layers/test_stsa.py, 4 to 7 in test_spikevoice.py. Here
stands what these can't show: that the voice uses its parts as it should.
"""

import pytest
import torch

from imlspike.evaluation.spikes import SpikeRecorder
from imlspike.layers import Layout
from imlspike.layers.stsa import SoftmaxAttention
from imlspike.models.neuron_choice import NeuronChoice
from imlspike.models.spikevoice import SpikeVoice
from imlspike.models.spikevoice_blocks import SpikeVoiceStack
from tests.models.small_spikevoice import batch, small_voice, voice


def lively(model):
    """The model, its queries, keys and values firing more: at first hardly two of them meet."""
    for name, parameter in model.named_parameters():
        if "qkv" in name and name.endswith("norm.bias"):
            parameter.data += 1
    return model


@pytest.mark.parametrize("variant", ["lif", "sequential", "imls", "ann"])
def test_the_heads_of_a_voice_matter(variant):
    """Defect 2. The same weights with other heads, in the encoder and in the decoder, say something else."""
    data = batch([14, 12], padding=0)
    model, encoded, spoken = lively(voice(variant)), [], []
    model.encoder.register_forward_hook(lambda module, args, output: encoded.append(output))
    for heads in (1, 2, 4):
        for module in model.modules():
            if hasattr(module, "heads"):
                module.heads = heads
        spoken.append(model(**data).mel_post)
        other = SpikeVoice(**{**model.config, "heads": heads})
        built = {module.heads for module in other.modules() if hasattr(module, "heads")}
        assert built == {heads}
    for outputs in (spoken, encoded):
        assert not any(torch.allclose(a, b) for a, b in zip(outputs, outputs[1:], strict=False))


@pytest.mark.parametrize("neuron", ["lif", "imls"])
def test_the_gates_of_a_voice_do_not_fire_more_in_longer_texts(neuron):
    """Defect 3. At 10, 100 and 800 symbols and as many frames, of encoder and decoder, both ways to mix."""
    sizes = dict(dim=64, heads=1, decoder_layers=1, postnet_layers=0, aligner=False)
    model = lively(small_voice(dtype=torch.float32, neuron=neuron, attention="stsa", **sizes))
    rates = {}
    with torch.no_grad():
        for length, texts in ((10, 10), (100, 2), (800, 1)):
            with SpikeRecorder(model) as recorder:
                for _ in range(texts):
                    text = torch.randint(0, 30, (1, length))
                    model(text, torch.tensor([length]), durations=torch.ones_like(text))
            for name, layer in recorder.layers.items():
                if name.endswith("gate_neuron"):
                    rates.setdefault(name, []).append(layer.rate)
    assert len(rates) == 4
    for name, (short, *longer) in rates.items():
        assert 0.05 < short < 0.4 and max(longer) < 1.25 * short + 0.02, (name, short, longer)


def test_dropout_is_applied_to_the_weights_of_a_softmax():
    """Defect 5, where the blocks' own dropout would hide it: in training only, and none at a rate of 0."""
    torch.manual_seed(0)
    x, layout = torch.randn(1, 2, 9, 16), Layout(torch.tensor([9, 9]), 9)
    for rate, training, moves in ((0.4, True, True), (0.4, False, False), (0.0, True, False)):
        attention = SoftmaxAttention(16, 2, rate).train(training)
        assert torch.equal(attention(x, layout), attention(x, layout)) is not moves


def test_positions_go_on_beyond_a_thousand():
    """Defect 6: of the same token everywhere, what comes out at a place tells it from other places."""
    torch.manual_seed(0)
    stack = SpikeVoiceStack(1, 16, 2, 16, 3, "sequential", 0.0, NeuronChoice("imls", steps=4)).eval()
    with torch.no_grad():
        out = stack(torch.ones(1, 1, 2600, 16), Layout(torch.tensor([2600]), 2600))[0, 0]
    for place in (500, 1500, 2500):
        assert not torch.allclose(out[place], out[place + 1])


@pytest.mark.parametrize("variant", ["lif", "plif", "imls", "ann"])
def test_what_is_embedded_of_pitch_and_energy_is_the_same_in_all_steps(variant):
    """Defect 7. Given or predicted, the adaptor adds one vector to a token at each of the T steps."""
    model, added = voice(variant), []
    model.adaptor.register_forward_hook(lambda module, args, output: added.append(output[0] - args[0]))
    data = batch([9], padding=0)
    names = ("text", "text_lengths")
    model(**{name: data[name] for name in names})
    model(**{name: data[name] for name in (*names, "durations", "pitch", "energy")})
    for vectors in added:
        assert vectors.any()
        torch.testing.assert_close(vectors, vectors[:1].expand_as(vectors))
    assert not torch.allclose(*added)
