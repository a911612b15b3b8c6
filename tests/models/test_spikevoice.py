"""SpikeVoice as a whole: padding, options, the defects of the reference, gradients, checkpoints, errors."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.evaluation.operations import OperationCounter
from imlspike.evaluation.spikes import SpikeRecorder
from imlspike.layers import Layout
from imlspike.models.spikevoice import SpikeVoice
from imlspike.models.spikevoice_blocks import PostNet, SpikeVoiceStack
from imlspike.neurons import IMLS, LIF, PLIF, Neuron
from tests.models.small_spikevoice import MELS, SYMBOLS, VARIANTS, batch, small_voice, voice, with_speaker

NAMES = st.sampled_from(sorted(VARIANTS))
TOKENS = st.lists(st.integers(1, 15), min_size=1, max_size=3)


def alone(data, b):
    """Utterance b of a batch without its padding."""
    n, frames = int(data["text_lengths"][b]), int(data["mel_lengths"][b])
    cut = {name: value[b : b + 1, :n] for name, value in data.items() if value.dim() == 2}
    lengths = {name: value[b : b + 1] for name, value in data.items() if value.dim() == 1}
    return cut | lengths | {"mel": data["mel"][b : b + 1, :frames]}


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), variant=NAMES, tokens=TOKENS, given_too=st.booleans())
def test_alone_is_in_a_padded_batch(seed, variant, tokens, given_too):
    """With all given, and with all predicted; in fp64, where rounding moves no spike."""
    model = voice(variant, seed % 2)
    data = batch(tokens, seed=seed)
    speaker = with_speaker(model, data)
    names = data if given_too else ("text", "text_lengths")
    together = model(**{name: data[name] for name in names}, **speaker)
    for b, n in enumerate(tokens):
        one = alone(data, b)
        who = {name: value[b : b + 1] for name, value in speaker.items()}
        single = model(**{name: one[name] for name in names}, **who)
        frames = int(single.mel_lengths)
        assert frames == int(together.mel_lengths[b]) and not together.mel_post[b, frames:].any()
        for name in ("mel", "mel_post"):
            torch.testing.assert_close(getattr(together, name)[b, :frames], getattr(single, name)[0])
        for name in ("durations", "log_durations", "pitch", "energy"):
            torch.testing.assert_close(getattr(together, name)[b, :n], getattr(single, name)[0])
            assert not getattr(together, name)[b, n:].any()
        if single.alignment is not None:
            torch.testing.assert_close(together.alignment[b, :frames, :n], single.alignment[0])


@pytest.mark.parametrize("variant", ["lif", "plif", "sequential"])
def test_a_norm_and_its_neuron_in_one_are_the_two_in_turn(variant):
    """In fp32, where loops in C take both; who watches a neuron gets them one after the other."""
    one = voice(variant, 0).float().train()
    other, data = copy.deepcopy(one), batch([9, 14, 6], torch.float32)
    for module in other.modules():
        if isinstance(module, LIF):
            module.register_forward_hook(lambda *_: None)
    outputs = []
    for model in (one, other):
        said = model(**data)
        (said.mel_post.square().mean() + said.pitch.sum()).backward()
        outputs.append(said.mel_post)
    assert torch.equal(*outputs)
    for (name, ours), theirs in zip(one.named_parameters(), other.parameters(), strict=True):
        if theirs.grad is not None:
            assert (ours.grad - theirs.grad).norm() <= 1e-3 * theirs.grad.norm() + 1e-6, name


@settings(max_examples=12)
@given(seed=st.integers(0, 2**31), variant=NAMES)
def test_training_does_not_see_padding(seed, variant):
    """More padding with other content: the same output, gradients and running statistics."""
    one = voice(variant, seed % 2).train()
    other = copy.deepcopy(one)
    data, wide = batch([9, 14, 6], seed=seed), batch([9, 14, 6], seed=seed, padding=7)
    speaker = with_speaker(one, data)
    ys, zs = one(**data, **speaker), other(**wide, **speaker)
    for y, z in ((ys.mel, zs.mel), (ys.mel_post, zs.mel_post)):
        torch.testing.assert_close(z[:, : y.shape[1]], y)
    for y in (ys, zs):
        total = y.mel_post.square().sum() + y.mel.sum() + y.pitch.square().sum() + y.energy.sum()
        (total + y.log_durations.square().sum()).backward()
    for (name, a), b in zip(one.named_parameters(), other.named_parameters(), strict=True):
        if a.grad is not None:
            torch.testing.assert_close(
                b[1].grad, a.grad, rtol=1e-6, atol=1e-8, msg=lambda m, name=name: name + m
            )
    for a, b in zip(one.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_learns_and_no_state_is_left(variant):
    model = voice(variant).train()
    data = batch([12, 9, 14])
    speaker = with_speaker(model, data)
    said = model(**data, **speaker)
    parts = [said.mel, said.mel_post, said.pitch, said.energy, said.log_durations]
    if said.alignment is not None:
        parts.append(said.alignment[said.alignment.isfinite()])
    sum((part * torch.randn_like(part)).sum() for part in parts).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.any() or name.endswith("embedding.weight"), name
    model.eval()
    first = model(**data, **speaker)
    model(**batch([3, 5, 2], seed=8), **speaker)
    assert torch.equal(model(**data, **speaker).mel_post, first.mel_post)
    kept = set(dict(model.named_buffers())) - {"adaptor.statistics"}
    assert all(
        name.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked") for name in kept
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_neurons_see_t_steps_or_one_pass(variant):
    """LIF and PLIF the T steps as their first axis; IMLS counts up to T in one pass; the ANN has neither."""
    model = voice(variant)
    shapes = {}
    for name, module in model.named_modules():
        if isinstance(module, Neuron):
            module.register_forward_hook(lambda m, args, out, name=name: shapes.update({name: args[0].shape}))
    data = batch([6, 4], padding=0)
    model(**data, **with_speaker(model, data))
    neurons = {name: m for name, m in model.named_modules() if isinstance(m, Neuron)}
    assert shapes.keys() == neurons.keys()
    kind, steps = model.config["neuron"], model.config["steps"]
    expected = {"lif": LIF, "plif": PLIF, "imls": IMLS, "none": None}[kind]
    assert all(type(m) is expected for m in neurons.values()) and bool(neurons) == (kind != "none")
    assert all(m.levels == steps for m in neurons.values() if kind == "imls")
    time = steps if kind in ("lif", "plif") else 1
    assert all(shape[0] == time and shape[1] == 2 for shape in shapes.values())


def test_sizes_of_the_paper():
    """At the paper's size (4 and 6 blocks, 256 channels), by hand: what the docstring says."""

    def parameters(**options):
        with torch.device("meta"):
            model = SpikeVoice(80, aligner=False, **options)
        return sum(p.numel() for p in model.parameters())

    c, hidden, mels, post = 256, 1024, 80, 512
    feed_forward = c * hidden * 9 + hidden * c + c + 2 * c
    attention = 3 * c * c + c * c + c + 2 * c
    ends = 80 * c + (c + 1) * mels + 3 * (2 * (3 * c * c + 3 * c) + c + 1) + 2 * 256 * c
    postnet = 5 * (2 * mels * post + 3 * post * post) + 2 * (4 * post + 2 * mels)
    ann = 10 * (feed_forward + hidden + attention + 3 * c) + ends + postnet
    sequential = 10 * (feed_forward + 2 * hidden + attention + 6 * c + 2 * c) + ends + postnet + 2 * 4 * c
    assert parameters(neuron="none") == ann == 34_572_435
    assert parameters(attention="sequential") == sequential == 34_597_523
    assert parameters() == sequential + 10 * (attention + 6 * c + 2 * c) == 37_247_123


def test_the_postnet_fires_on_log_mels():
    """Defect 4 of the reference: a log-mel about N(-5, 2) never reaches a threshold by itself."""
    net = small_voice(dtype=torch.float32, postnet_dim=64).postnet
    assert isinstance(net, PostNet)
    mel = 2 * torch.randn(3, 40, MELS) - 5
    assert LIF()(mel.expand(4, -1, -1, -1)).mean() < 0.01
    layout = Layout(torch.tensor([40, 40, 40]), 40)
    for training in (True, False):
        net.train(training)
        for _ in range(8 if training else 1):
            with SpikeRecorder(net) as recorder:
                net(mel, layout)
        assert all(0.05 < layer.rate < 0.5 for layer in recorder.layers.values()), recorder.layers


@pytest.mark.parametrize("frames", [2000, 6000])
def test_there_is_no_longest_sequence(frames):
    """Defect 6 of the reference, which cut at 1000: the last token is heard in the last frames."""
    model = small_voice(dtype=torch.float32, attention="sequential", decoder_layers=1)
    text = torch.randint(0, SYMBOLS - 1, (frames // 2,))
    durations = torch.full_like(text, 2)
    mel = model.synthesize(text, durations=durations)
    assert mel.shape == (frames, MELS) and mel.isfinite().all()
    text[-1] = SYMBOLS - 1
    other = model.synthesize(text, durations=durations)
    assert not torch.equal(other[-4:], mel[-4:])


@pytest.mark.parametrize("variant", ["lif", "imls", "ann"])
def test_training_and_inference_embed_the_same_pitch(variant):
    """Defect 7 of the reference. What is predicted, given back as the target, says the same."""
    model = voice(variant)
    data = batch([9, 12])
    free = model(data["text"], data["text_lengths"])
    forced = model(
        data["text"], data["text_lengths"], durations=free.durations, pitch=free.pitch, energy=free.energy
    )
    assert torch.equal(forced.mel_post, free.mel_post)
    other = model(data["text"], data["text_lengths"], durations=free.durations, pitch=free.pitch + 2)
    assert not torch.allclose(other.mel_post, free.mel_post)


def test_synthesize():
    model = small_voice(5).train()
    text = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6])
    mel = model.synthesize(text)
    assert model.training
    model.eval()
    said = model(text[None], torch.tensor([8]))
    assert torch.equal(mel, said.mel_post[0]) and not mel.requires_grad
    durations = 4 * torch.ones_like(text)
    assert len(model.synthesize(text, durations=durations)) == 32
    slow, fast = len(model.synthesize(text, speed=0.25)), len(model.synthesize(text, speed=4.0))
    assert slow > 3 * len(mel) and fast <= len(mel)
    for control in ("pitch", "energy"):
        assert not torch.equal(model.synthesize(text, **{control: 4.0}), mel)
    for control in ("speed", "pitch", "energy"):
        with pytest.raises(ValueError, match=f"{control} is 0"):
            model.synthesize(text, **{control: 0})
    voices = small_voice(5, speakers=3)
    assert not torch.equal(voices.synthesize(text, speaker=0), voices.synthesize(text, speaker=2))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_checkpoint_restores_the_voice_and_folding_keeps_it(variant, tmp_path):
    model = voice(variant)
    model.adaptor.set_statistics((5.0, 0.3), (20.0, 9.0))
    data = batch([11, 8])
    speaker = with_speaker(model, data)
    want = model(data["text"], data["text_lengths"], **speaker)
    torch.save(model.state_dict(), tmp_path / "voice.pth")
    other = SpikeVoice.from_config(model.config).double().eval()
    other.load_state_dict(torch.load(tmp_path / "voice.pth", weights_only=True))
    assert torch.equal(other(data["text"], data["text_lengths"], **speaker).mel_post, want.mel_post)
    assert torch.equal(other.adaptor.statistics, model.adaptor.statistics)
    folded = other.reparameterize()(data["text"], data["text_lengths"], **speaker)
    torch.testing.assert_close(folded.mel_post, want.mel_post)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_operation_counter_runs_on_it(variant):
    """Every map but the first sees spikes; an ANN accumulates none. Read-outs count each spike once."""
    model = voice(variant).reparameterize()
    data = batch([10], padding=0)
    inputs = {name: data[name] for name in ("text", "text_lengths", "durations")}
    with SpikeRecorder(model) as recorder:
        model(**inputs, **with_speaker(model, data))
    with OperationCounter(model) as counter:
        model(**inputs, **with_speaker(model, data))
    assert not counter.unknown
    weights = {name: row for (name, kind), row in counter.rows.items() if kind == "weights"}
    if model.config["neuron"] == "none":
        assert sum(row.accumulates for row in weights.values()) == 0
        return
    real_valued = {name for name, row in weights.items() if row.macs}
    assert real_valued == {
        n for n in weights if n.endswith(".out") and model.config["attention"] == "ann" and "blocks" in n
    }
    assert weights["mel"].accumulates == recorder.layers["mel_neuron"].spikes * MELS
    assert weights["adaptor.pitch.out"].accumulates == recorder.layers["adaptor.pitch.neurons.2"].spikes
    frames = int(data["durations"].sum())
    assert weights["mel"].dense_macs == frames * 16 * MELS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neuron": "liff"}, "neuron.*did you mean 'lif'"),
        ({"attention": "stas"}, "attention.*did you mean 'stsa'"),
        ({"neuron": "none", "attention": "stsa"}, "must be 'ann'"),
        ({"neuron_conf": {"threshhold": 1}}, "did you mean 'threshold'"),
        ({"neuron": "imls", "neuron_conf": {"threshold": "layer"}}, "threshold"),
        ({"neuron": "imls", "neuron_conf": {"levels": 3}}, "'levels'"),
        ({"steps": 0}, "steps"),
        ({"heads": 3}, "3 and 16"),
        ({"kernel": 4}, "odd"),
        ({"postnet_layers": 1}, "at least 2"),
        ({"pitch_range": (1.0, 1.0)}, "range"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        SpikeVoice.from_config({"vocab_size": 9, "dim": 16, **options}, "voice.yaml")


def test_bad_batches_are_named():
    model, data = small_voice(), batch([9, 12])
    wrong = data["text"].clone()
    wrong[1, 3] = SYMBOLS
    cases = [
        ({"text": wrong}, "utterance 1 of the batch, symbol 3: number 30, .* 0 to 29"),
        ({"text_lengths": torch.tensor([9, 0])}, "utterance 1 of the batch has no symbols"),
        (
            {"mel_lengths": data["mel_lengths"] + torch.tensor([0, 1])},
            "utterance 1 of the batch: its durations add",
        ),
        ({"durations": 0 * data["durations"]}, "utterance 0 of the batch: durations"),
        ({"speaker": torch.tensor([0, 0])}, "one voice"),
    ]
    for change, message in cases:
        with pytest.raises(ValueError, match=message):
            model(**{**data, **change})
    voices = small_voice(speakers=3)
    for speaker, message in ((None, "3 speakers: say which"), (torch.tensor([0, 3]), "numbered 0 to 2")):
        with pytest.raises(ValueError, match=message):
            voices(**data, speaker=speaker)
    with pytest.raises(ValueError, match="no aligner"):
        small_voice(aligner=False).align(data["text"], data["text_lengths"], data["mel"], data["mel_lengths"])


def test_the_time_embedding_starts_at_zero_and_tells_the_steps_apart():
    model = SpikeVoice(9, dim=16, hidden_dim=16, postnet_dim=8)
    assert isinstance(model.decoder, SpikeVoiceStack) and model.decoder.time.shape == (4, 16)
    assert not model.encoder.time.any() and not model.decoder.time.any()
    model, data = voice(), batch([9])
    before = model(**data).mel_post
    model.decoder.time.data[2:] += 1
    assert not torch.allclose(model(**data).mel_post, before)
