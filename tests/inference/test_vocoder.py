"""Vocoder: chunked, streamed and whole are the same; what doesn't fit is refused by name."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imlspike import Vocoder
from imlspike.data.audio import resample_blocks
from imlspike.models import SpikingVocos
from tests.inference.small_vocoder import small_model

HOP, CONTEXT = 16, 11
NEURONS = {
    "plif": {"temporal_shift": "learnable"},
    "lif": {"readout_decay": None},
    "imls": {"steps": 4},
    "none": {},
}
MODELS = {name: small_model(name, torch.float64, **options) for name, options in NEURONS.items()}


def vocoder(model, chunk_frames: int | None = None) -> Vocoder:
    """With a chunk of so many frames."""
    seconds = chunk_frames and chunk_frames * model.hop_length / model.sampling_rate
    made = Vocoder(model, chunk_seconds=seconds)
    assert made.chunk_frames == chunk_frames
    return made


def noise(*shape: int) -> torch.Tensor:
    """Normal, the same every time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7))


def split(whole: torch.Tensor, cuts: list[int]) -> list[torch.Tensor]:
    """Cut along the last axis at (some of) these places."""
    return list(whole.tensor_split(sorted(cut % (whole.shape[-1] + 1) for cut in cuts), dim=-1))


# Chunked is whole


@pytest.mark.parametrize("neuron", NEURONS)
@settings(max_examples=12)
@example(frames=1, chunk=1, cuts=[])
@example(frames=5, chunk=1, cuts=[])
@example(frames=2, chunk=7, cuts=[])
@example(frames=CONTEXT, chunk=3, cuts=[4])
@example(frames=60, chunk=20, cuts=[20, 40])
@example(frames=20 + CONTEXT, chunk=20, cuts=[])
@given(frames=st.integers(1, 60), chunk=st.integers(5, 70), cuts=st.lists(st.integers(0, 60), max_size=6))
def test_a_mel_in_chunks_and_in_blocks_gives_what_the_whole_gives(neuron, frames, chunk, cuts):
    model = MODELS[neuron]
    mel = noise(2, 8, frames).double()
    whole = model(mel).detach() if frames > 1 else mel.new_zeros(2, 0)
    assert whole.shape == (2, (frames - 1) * HOP)
    streamed = torch.cat(list(vocoder(model, chunk).stream(split(mel, cuts))), dim=-1)
    torch.testing.assert_close(streamed, whole, atol=1e-9, rtol=0)
    if not cuts:
        torch.testing.assert_close(vocoder(model, chunk).decode(mel[1].numpy()), whole[1], atol=1e-9, rtol=0)


@pytest.mark.parametrize("neuron", NEURONS)
def test_every_frame_of_the_context_is_needed(neuron, monkeypatch):
    """So that the test above can fail: with one frame less, there are seams; and the sound isn't silence."""
    model = MODELS[neuron]
    mel = noise(1, 8, 80).double()
    whole = vocoder(model).decode(mel)
    assert model.context == CONTEXT and whole.std() > 0.01
    assert (vocoder(model, 10).decode(mel) - whole).abs().max() < 1e-9
    monkeypatch.setattr(SpikingVocos, "context", CONTEXT - 1)
    assert (vocoder(model, 10).decode(mel) - whole).abs().max() > 1e-4


def test_in_single_precision_the_ann_is_the_same_to_1e_4():
    model = small_model("none")
    mel = noise(8, 200)
    whole = vocoder(model).decode(mel)
    assert whole.dtype == torch.float32
    for chunk in (17, 64, 199):
        torch.testing.assert_close(vocoder(model, chunk).decode(mel), whole, atol=1e-4, rtol=0)


@settings(max_examples=20)
@example(samples=33, chunk=1, cuts=[])
@example(samples=64, chunk=1, cuts=[])
@example(samples=20 * HOP, chunk=10, cuts=[160])
@given(samples=st.integers(33, 600), chunk=st.integers(1, 40), cuts=st.lists(st.integers(0, 600), max_size=5))
def test_features_in_chunks_are_those_of_the_whole(samples, chunk, cuts):
    model = MODELS["none"]
    audio = noise(samples)
    whole = model.features(audio[None].double())[0]
    chunked = vocoder(model, chunk)
    torch.testing.assert_close(chunked.features(audio), whole, atol=1e-9, rtol=0)
    streamed = torch.cat(list(chunked._features(split(audio, cuts))), dim=-1)
    torch.testing.assert_close(streamed, whole, atol=1e-9, rtol=0)


@settings(max_examples=15)
@example(samples=1, chunk=1, cuts=[])
@example(samples=32, chunk=2, cuts=[])
@example(samples=HOP * 30, chunk=10, cuts=[])
@given(samples=st.integers(0, 700), chunk=st.integers(5, 50), cuts=st.lists(st.integers(0, 700), max_size=5))
def test_copy_synthesis_is_as_long_as_the_audio_however_it_comes(samples, chunk, cuts):
    model = MODELS["imls"]
    audio = noise(samples)
    whole = vocoder(model).vocode(audio)
    assert len(whole) == samples
    torch.testing.assert_close(vocoder(model, chunk).vocode(audio), whole, atol=1e-9, rtol=0)
    blocks = [block.numpy() for block in split(audio, cuts)]
    streamed = torch.cat([torch.zeros(0), *vocoder(model, chunk).stream(blocks)])
    torch.testing.assert_close(streamed, whole, atol=1e-9, rtol=0)


def test_copy_synthesis_is_features_and_decoding():
    made = vocoder(MODELS["plif"], 12)
    audio = noise(HOP * 40)
    torch.testing.assert_close(made.vocode(audio), made.decode(made.features(audio)), atol=1e-9, rtol=0)
    padded = torch.cat([audio[:-5], torch.zeros(5)])  # silence up to a whole number of frames
    torch.testing.assert_close(made.vocode(audio[:-5]), made.vocode(padded)[:-5], atol=1e-9, rtol=0)


def test_other_rates_and_types_are_taken():
    made = vocoder(MODELS["none"])
    audio = (noise(900).clamp(-1, 1).numpy() * 32767).astype(np.int16)
    at_8000 = np.concatenate(list(resample_blocks([audio / np.float32(32768)], 11025, 8000)))
    vocoded = made.vocode(audio, sampling_rate=11025)
    assert len(vocoded) == len(at_8000) == -(-900 * 8000 // 11025)
    torch.testing.assert_close(vocoded, made.vocode(at_8000), atol=1e-5, rtol=0)
    torch.testing.assert_close(made.features(audio, 11025), made.features(at_8000), atol=1e-5, rtol=0)


def test_the_level_of_a_waveform_changes_nothing():
    """But that of the output; in blocks by the whole's gain."""
    model, wave = MODELS["none"], noise(1000)
    leveled = Vocoder(model, level=-20.0)
    expected = leveled.vocode(wave)
    assert not torch.allclose(expected, Vocoder(model).vocode(wave), rtol=1e-2)
    torch.testing.assert_close(leveled.vocode(0.01 * wave), 0.01 * expected, rtol=1e-4, atol=1e-7)
    blocks = split(wave, [300, 301])
    streamed = torch.cat(list(leveled.stream(blocks, gain=leveled.gain(blocks))))
    torch.testing.assert_close(streamed, expected, rtol=1e-4, atol=1e-6)
    assert leveled.gain([torch.zeros(100)]) == 1


def test_an_endless_stream_is_worked_off_as_it_comes():
    """No window is longer than a chunk and its context; audio lags no further behind than they demand."""
    model, seen, read = small_model("none"), [], 0
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[-1]))

    def mels():
        nonlocal read
        while True:
            read += 5
            yield noise(8, 5)

    done = 0
    for block in vocoder(model, 20).stream(mels()):
        done += block.shape[-1] // HOP
        assert read < done + CONTEXT + 5
        if done > 500:
            break
    assert max(seen) <= 20 + 2 * CONTEXT

    asked = 0

    def audio():
        nonlocal asked
        while True:
            asked += 100
            yield np.zeros(100)

    done = 0
    for block in vocoder(model, 20).stream(audio()):
        done += len(block)
        assert asked - done < (20 + CONTEXT + 3) * HOP + 100
        if done > 5000:
            break


def test_nothing_gives_nothing():
    made = vocoder(MODELS["none"], 5)
    assert list(made.stream([])) == [] and made.vocode(np.zeros(0)).shape == (0,)


# What is refused


@pytest.mark.parametrize(
    ("mel", "options", "message"),
    [
        (noise(9, 20), {}, r"shape \(9, 20\); unnamed takes \(8, frames\) of 8000 Hz with hop 16$"),
        (noise(20, 8), {}, r"takes \(8, frames\).*: transpose it"),
        (noise(8), {}, r"shape \(8,\)"),
        (noise(8, 0), {}, "holds no frame"),
        (torch.zeros(8, 5, dtype=torch.int16), {}, "is of type torch.int16; expected floats"),
        (noise(8, 5), {"sampling_rate": 24000}, "sampling_rate 24000, but unnamed was trained with 8000"),
        (noise(8, 5), {"hop_length": 256}, "hop_length 256, but unnamed was trained with 16"),
        (noise(2, 8, 5).index_fill(2, torch.tensor(3), torch.nan), {}, "NaN or infinity in frame 3"),
    ],
)
def test_a_mel_that_does_not_fit_is_refused(mel, options, message):
    with pytest.raises(ValueError, match=message):
        vocoder(MODELS["none"]).decode(mel, **options)
    with pytest.raises(ValueError, match="block 1 of the mel"):
        list(vocoder(MODELS["none"]).stream([noise(8, 3), noise(7, 3)]))


def test_what_the_model_was_trained_with_may_be_said():
    vocoder(MODELS["none"]).decode(noise(8, 5), sampling_rate=8000, hop_length=16)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (noise(2, 500), "mean of its channels"),
        (noise(32), "holds 32 samples at 8000 Hz; features need more than 32"),
        (np.array([0, np.inf] * 50), "NaN or infinity at sample 1"),
    ],
)
def test_audio_that_has_no_features_is_refused(audio, message):
    with pytest.raises(ValueError, match=message):
        vocoder(MODELS["none"]).features(audio)


def test_output_that_is_not_finite_is_an_error_at_its_time():
    model = small_model("none")
    model.head.out.bias.data[0] = torch.nan
    with pytest.raises(FloatingPointError, match="isn't finite after 0.0 s"):
        vocoder(model).decode(noise(8, 50))


@pytest.mark.parametrize("rate", [0, -1, 1.5, 10**9])
def test_a_senseless_rate_is_refused(rate):
    for call in ("features", "vocode"):
        with pytest.raises(ValueError, match=f"sampling_rate is {rate}"):
            getattr(vocoder(MODELS["none"]), call)(np.zeros(900), rate)


@pytest.mark.parametrize("given", [None, "a.npy", [[None] * 3] * 8])
def test_what_is_no_array_of_numbers_is_refused(given):
    with pytest.raises(TypeError, match="type numpy"):
        vocoder(MODELS["none"]).decode(given)
    with pytest.raises(ValueError, match="is of type"):
        vocoder(MODELS["none"]).vocode(given)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_senseless_chunk_is_refused(seconds):
    with pytest.raises(ValueError, match="chunk_seconds"):
        Vocoder(MODELS["none"], chunk_seconds=seconds)
