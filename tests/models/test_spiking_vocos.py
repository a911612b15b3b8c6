"""Spiking Vocos as a whole against its description written out; batches, context, state, gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from imlspike.models import SpikingVocos
from imlspike.neurons import IMLS, LIF
from tests.models.small_vocos import TINY, VARIANTS, small_mel, small_vocos

NAMES = st.sampled_from(sorted(VARIANTS))


def close(got, want, tolerance=1e-9):
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)


def inverse_stft(log_magnitude, phase, n_fft, hop):
    """Windowed inverse transforms, added where they overlap and divided by the sum of squared windows."""
    frames, half = phase.shape[-1], n_fft // 2
    window = torch.hann_window(n_fft).to(phase.dtype)
    spectrum = log_magnitude.exp() * (phase.cos() + 1j * phase.sin())
    audio = torch.zeros(len(phase), n_fft + (frames - 1) * hop, dtype=phase.dtype)
    weight = torch.zeros_like(audio[0])
    for frame in range(frames):
        place = slice(frame * hop, frame * hop + n_fft)
        audio[:, place] += torch.fft.irfft(spectrum[..., frame]) * window
        weight[place] += window.square()
    return (audio / weight)[:, half : half + (frames - 1) * hop]


def vocos(state, mel, layers, n_fft, hop):
    """Vocos (Siuzdak 2024) as published, from the weights of `SpikingVocos(neuron="none")`."""

    def norm(x, name):
        return functional.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    def affine(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    x = functional.conv1d(mel, state["backbone.embed.weight"], state["backbone.embed.bias"], padding=3)
    x = norm(x.transpose(1, 2), "backbone.norm").transpose(1, 2)
    for n in range(layers):
        block = f"backbone.blocks.{n}."
        weight, bias = state[f"{block}dwconv.weight"], state[f"{block}dwconv.bias"]
        z = functional.conv1d(x, weight, bias, padding=3, groups=len(weight))
        z = functional.gelu(affine(norm(z.transpose(1, 2), f"{block}norm"), f"{block}pwconv1"))
        x = x + (state[f"{block}gamma"] * affine(z, f"{block}pwconv2")).transpose(1, 2)
    out = affine(norm(x.transpose(1, 2), "backbone.final_norm"), "head.out").transpose(1, 2)
    log_magnitude, phase = out.chunk(2, 1)
    spectrum = log_magnitude.exp().clip(max=100) * torch.exp(1j * phase)
    window = torch.hann_window(n_fft).to(mel.dtype)
    return torch.istft(spectrum, n_fft, hop, window=window, center=True)


def test_with_the_neurons_off_it_is_vocos():
    model, mel = small_vocos("ann"), small_mel()
    close(model(mel), vocos(model.state_dict(), mel, 2, TINY["n_fft"], TINY["hop_length"]))


def test_the_paper_s_size():
    """13.53 million parameters of Vocos; the spiking one has two time constants more in each block."""
    counts = {}
    for neuron in ("none", "plif", "imls"):
        model = SpikingVocos(neuron=neuron)
        counts[neuron] = sum(p.numel() for p in model.parameters())
        assert not list(model.feature_extractor.parameters())
    assert round(counts["none"] / 1e6, 2) == 13.53
    assert counts["plif"] == counts["none"] + 16 and counts["imls"] == counts["none"]


def test_untrained_weights_are_those_of_vocos():
    model = SpikingVocos(n_mels=20, dim=64, intermediate_dim=96, num_layers=5)
    for module in model.backbone.modules():
        if isinstance(module, nn.Conv1d | nn.Linear):
            assert not module.bias.any() and abs(module.weight.std().item() - 0.02) < 0.002
    assert all((block.gamma == 1 / 5).all() for block in model.backbone.blocks)
    assert (SpikingVocos(**TINY, layer_scale=0.3).backbone.blocks[0].gamma == 0.3).all()


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), variant=NAMES, frames=st.integers(2, 15))
def test_parts_fit_together_as_described(seed, variant, frames):
    """T copies of the embedding, the blocks, the readout over T, the head; what distillation gets to see."""
    model = small_vocos(variant, seed)
    mel, backbone, steps = small_mel(frames), model.backbone, model.config["steps"]
    with torch.no_grad():
        got = model.generate(mel)
        x = backbone.norm(backbone.embed(mel).transpose(1, 2))
        several = model.config["neuron"] in ("plif", "lif")
        x = torch.stack([x] * (steps if several else 1))
        outputs = []
        for block in backbone.blocks:
            x = block(x)[0]
            outputs.append(x)
        shift = [block.temporal_shift for block in backbone.blocks]
        hidden = [shift[1](outputs[0]) if shift[1] else outputs[0], outputs[1]]
        decay = model.config["readout_decay"]
        weights = [1 / len(x) if decay is None else decay ** (len(x) - 1 - t) for t in range(len(x))]
        x = backbone.final_norm(sum(weight * one for weight, one in zip(weights, x, strict=True)))
        log_magnitude, phase = model.head.out(x).transpose(1, 2).chunk(2, 1)
    log_magnitude = log_magnitude.exp().clip(max=100).log()
    close(got.log_magnitude, log_magnitude)
    close(got.phase, phase)
    close(got.audio, inverse_stft(log_magnitude, phase, TINY["n_fft"], TINY["hop_length"]))
    assert got.audio.shape == (2, (frames - 1) * TINY["hop_length"])
    assert len(got.hidden) == 2
    for one, other in zip(got.hidden, hidden, strict=True):
        assert one.shape == (steps if several else 1, 2, frames, 8)
        close(one, other)
    assert torch.equal(model(mel), got.audio) and torch.equal(model.decode(mel), got.audio)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_neurons_of_the_tests_fire(variant):
    """What these tests say of spikes would be empty without any."""
    model, rates = small_vocos(variant), []
    for module in model.modules():
        if isinstance(module, LIF | IMLS):
            module.register_forward_hook(lambda module, args, out: rates.append((out > 0).double().mean()))
    model(small_mel())
    assert len(rates) == (0 if variant == "ann" else 4) and all(0.02 < rate < 0.98 for rate in rates)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), variant=NAMES, frames=st.integers(2, 20), size=st.integers(2, 4))
def test_alone_is_in_a_batch(seed, variant, frames, size):
    model, mel = small_vocos(variant, seed), small_mel(frames, size)
    together = model.generate(mel)
    for b in range(size):
        alone = model.generate(mel[b : b + 1])
        close(alone.audio[0], together.audio[b])
        for one, several in zip(alone.hidden, together.hidden, strict=True):
            close(one[:, 0], several[:, b])


@pytest.mark.parametrize("hop", [7, 16, 24, 32])
@pytest.mark.parametrize("variant", ["paper", "learned shift", "imls", "ann"])
def test_a_frame_rests_on_its_context_and_on_all_of_it(variant, hop):
    """Windows reach one frame further to the right, as samples of a frame lie right of its centre."""
    model = small_vocos(variant, 1, hop_length=hop)
    context = model.context
    assert context == 3 * 3 + (32 + hop - 2) // hop
    mel, frame = small_mel(2 * context + 4, 1), context + 1
    place = slice(frame * hop, (frame + 1) * hop)
    want = model(mel)[:, place]

    def moved(*frames):
        changed = mel.clone()
        changed[:, :, list(frames)] += 3
        return (model(changed)[:, place] - want).abs().max()

    assert moved(frame - context - 1, frame + context + 1, frame + context + 2) < 1e-12
    assert moved(frame + context) > 1e-12
    assert moved(frame - 3 * 3 - (32 - 1) // hop) > 1e-12


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_state_is_left_behind(variant):
    """Neither by another input, nor by training; nothing but parameters is stored."""
    model, mel = small_vocos(variant), small_mel()
    want = model(mel).detach()
    model(small_mel(7)), model.train()(small_mel(30, 1)).sum().backward()
    assert torch.equal(model(mel), want) and torch.equal(model.eval()(mel), want)
    assert model.state_dict().keys() == dict(model.named_parameters()).keys()


def test_the_twin_has_the_weights_of_the_spiking_model():
    """So that a student can start from its teacher. What is said of spikes plays no part in the twin."""
    student = small_vocos("learned shift", steps=3, readout_decay=0.5, neuron_conf={"tau": 3.0})
    twin = SpikingVocos(**{**student.config, "neuron": "none"}).double()
    extra = set(student.state_dict()) - set(twin.state_dict())
    assert {name.rpartition(".")[2] for name in extra} == {"w", "alpha"} and len(extra) == 2 * 3
    twin.load_state_dict({key: value for key, value in student.state_dict().items() if key not in extra})
    plain = small_vocos("ann")
    plain.load_state_dict(twin.state_dict())
    mel = small_mel()
    assert torch.equal(twin(mel), plain(mel)) and not torch.allclose(student(mel), plain(mel))


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_every_parameter(variant):
    model = small_vocos(variant).train()
    output = model.generate(small_mel())
    (output.audio.square().sum() + output.phase.cos().sum()).backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize("shift", ["off", "learnable"])
def test_a_new_model_in_which_no_second_neuron_fires_learns_to_fire(shift):
    """Weights of that neuron's spikes, and what scales a zero, have to wait; all else gets a gradient."""
    mel = small_mel(dtype=torch.float32)
    with torch.no_grad():
        target = small_vocos("ann", 3, torch.float32).generate(mel).hidden[-1]
    model, fired, waiting = SpikingVocos(**TINY, temporal_shift=shift), [], []
    for block in model.backbone.blocks:
        block.neuron2.register_forward_hook(lambda module, args, out: fired.append(out.mean().item()))
    optimizer = torch.optim.AdamW(model.parameters(), 0.02)
    for _ in range(40):
        optimizer.zero_grad()
        output = model.generate(mel)
        ((output.hidden[-1] - target).square().mean() + output.audio.square().mean()).backward()
        waiting.append({name for name, p in model.named_parameters() if not p.grad.any()})
        optimizer.step()
    assert fired[:2] == [0, 0] and min(fired[-2:]) > 0
    assert {name.partition("blocks.")[2][2:] for name in waiting[0]} == {"pwconv2.weight", "gamma"}
    assert not waiting[-1]


@pytest.mark.parametrize("variant", ["paper", "shift", "imls", "ann"])
def test_bf16_autocast(variant):
    """Products of the blocks are rounded; norms, residuals, the spectrum and the audio are not."""
    model, dtypes = small_vocos(variant, dtype=torch.float32), {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.LayerNorm):
            module.register_forward_hook(lambda m, args, out, name=name: dtypes.update({name: out.dtype}))
    mel = small_mel(dtype=torch.float32)
    want = model.generate(mel)
    with torch.autocast("cpu", torch.bfloat16):
        got = model.generate(mel)
        assert torch.equal(model.features(got.audio), model.features(got.audio.float()))
    rounded = {name for name, dtype in dtypes.items() if dtype == torch.bfloat16}
    assert rounded == {name for name in dtypes if "pwconv" in name} and len(rounded) == 4
    tensors = [got.audio, got.log_magnitude, got.phase, *got.hidden]
    assert all(x.dtype == torch.float32 and x.isfinite().all() for x in tensors)
    got.audio.square().sum().backward()
    assert not [name for name, p in model.named_parameters() if not p.grad.isfinite().all()]
    if variant == "ann":
        assert 0 < (got.audio - want.audio).norm() / want.audio.norm() < 0.1


def test_imls_runs_each_block_once_on_theta_times_counts():
    model, calls = small_vocos("imls", steps=3), []
    for block in model.backbone.blocks:
        assert block.neuron1.levels == block.neuron2.levels == 3
        block.pwconv1.register_forward_pre_hook(lambda module, args: calls.append(args[0]))
        block.neuron1.register_forward_hook(lambda module, args, out: calls.append(module.encode(*args)))
    model(small_mel())
    assert len(calls) == 4
    for (counts, theta), spikes in (calls[:2], calls[2:]):
        assert spikes.shape == (1, 2, 20, 8) and torch.equal(spikes, counts * theta)
        assert set(counts.unique().tolist()) <= {0, 1, 2, 3} and len(counts.unique()) > 2
