"""Waveforms in memory, as users have them from other libraries: right, or refused with the reason."""

import numpy as np
import pytest
import torch

from imlspike import Speech2Text
from tests.real_world.sounds import RATE, speech

VOICE = speech(0.5)
PCM = np.round(VOICE * 32767).astype(np.int16)


def loudness(waveforms):
    """Samples and RMS in per mille: what a recognizer would hear."""
    return [f"{len(wave)} {1000 * np.sqrt(np.mean(np.square(wave))):.0f}" for wave in waveforms]


loudness.sampling_rate = RATE


def kept(heard):
    """A decoder that keeps what it's given."""

    def decoder(waveforms):
        heard.extend(waveforms)
        return [""] * len(waveforms)

    decoder.sampling_rate = RATE
    return decoder


HEARD = loudness([VOICE])[0]
RIGHT = {
    "float64": VOICE.astype(np.float64),
    "float16": VOICE.astype(np.float16),
    "int16": PCM,
    "int16 of another byte order": PCM.astype(">i2"),
    "float32 of another byte order": VOICE.astype(">f4"),
    "int32": PCM.astype(np.int32) * 2**16,
    "24 bits in int32": PCM.astype(np.int32) * 2**16 >> 8 << 8,
    "bfloat16": torch.from_numpy(VOICE).bfloat16(),
    "with a gradient": torch.from_numpy(VOICE).requires_grad_(),
    "backwards": VOICE[::-1],
    "every second of another": np.repeat(VOICE, 2)[::2],
    "read-only": np.frombuffer(VOICE.tobytes(), np.float32),
}
WRONG = {
    "int64": PCM.astype(np.int64),
    "torch's int64": torch.from_numpy(PCM).long(),
    "uint8": (VOICE * 127 + 128).astype(np.uint8),
    "uint16": PCM.astype(np.uint16),
    "bool": PCM > 0,
    "complex": VOICE.astype(np.complex64),
    "text": "a.wav",
    "bytes": b"RIFF",
    "objects": np.array([None, 0.5]),
    "int16's values in float32": PCM.astype(np.float32),
    "int16's values in float64": torch.from_numpy(PCM).double(),
    "int16's values in int32": PCM.astype(np.int32),
    "int32's values in float64": PCM * 65536.0,
    "two channels": np.stack([VOICE, VOICE]),
    "one channel of shape (samples, 1)": VOICE[:, None],
    "a number": np.float32(0.5),
    "NaN": np.array([0, np.nan], np.float32),
    "infinity": np.array([0, -np.inf], np.float64),
}


@pytest.fixture(scope="module")
def s2t():
    return Speech2Text(loudness)


@pytest.mark.parametrize("name", RIGHT)
def test_it_is_heard_as_it_is(s2t, name):
    assert s2t(RIGHT[name]) == HEARD


@pytest.mark.parametrize("max_seconds", [25, 1, None])
def test_an_offset_is_not_heard(max_seconds):
    """As cheap sound cards add it; what is recorded in 0 to 1 has it, too."""
    heard = []
    Speech2Text(kept(heard))(speech(3.0) * 0.1 + 0.9, max_seconds=max_seconds)
    assert max(abs(wave.mean()) for wave in heard) < 1e-3
    assert np.concatenate(heard).std() == pytest.approx(0.1 * speech(3.0).std(), rel=0.02)


def test_an_open_file_is_no_list_of_names(s2t):
    with open(__file__, "rb") as file, pytest.raises(TypeError, match="files"):
        next(s2t.transcribe(file))


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_certain_is_refused(s2t, name):
    with pytest.raises(ValueError, match="waveform"):
        s2t(WRONG[name])
    with pytest.raises(ValueError, match="waveform 1"):
        s2t([VOICE, WRONG[name]])


def test_a_quiet_part_of_24_bits_is_one(s2t):
    """In int32, its lowest byte empty: a part of a stream may be as quiet as that."""
    assert s2t(PCM.astype(np.int32) // 256 * 256) == f"{len(PCM)} 0"


@pytest.mark.parametrize("loud", [1.0, 4.0, 7.9])
def test_floats_may_be_louder_than_full_scale(s2t, loud):
    assert s2t(VOICE / np.abs(VOICE).max() * loud).startswith(f"{len(VOICE)} ")


@pytest.mark.parametrize(
    "rate", [48000, 48000.0, np.int16(24000), np.float64(8000), torch.tensor(22050).item()]
)
def test_a_rate_may_be_any_whole_number(s2t, rate):
    assert s2t(VOICE, sampling_rate=rate).startswith(f"{-(-len(VOICE) * RATE // int(rate))} ")


@pytest.mark.parametrize(
    "rate", [0, -1, -16000, 1, 999, 768001, 16000.5, float("nan"), float("inf"), "16000", None]
)
def test_no_rate_of_sound_is_refused(s2t, rate):
    with pytest.raises(ValueError, match="sampling_rate"):
        s2t(VOICE, sampling_rate=rate)


@pytest.mark.parametrize("samples", [0, 1, 2, 100])
def test_hardly_anything_is_no_error(s2t, samples):
    assert s2t(VOICE[:samples]).startswith(f"{samples} " if samples else "")


def test_what_fails_for_one_waveform_is_that_ones_error(tmp_path):
    """Alone, as for want of memory: the others of its batch are done."""
    import soundfile

    def short_of_memory(waveforms):
        if max(map(len, waveforms)) > 9000 or len(waveforms) > 1:
            raise MemoryError("too much")
        return ["heard"] * len(waveforms)

    short_of_memory.sampling_rate = RATE
    files = [tmp_path / f"{n}.wav" for n in range(3)]
    for n, file in enumerate(files):
        soundfile.write(file, speech(0.5 + 0.5 * (n == 1)), RATE)
    results = list(Speech2Text(short_of_memory).transcribe(files, on_error="return"))
    assert [result.text for result in results] == ["heard", "", "heard"]
    assert "1.wav" in results[1].error and "too much" in results[1].error
    with pytest.raises(RuntimeError, match="1.wav.*too much"):
        list(Speech2Text(short_of_memory).transcribe(files))


@pytest.mark.parametrize("channel", [0, None, True, -1])
def test_no_channel_is_no_empty_result(s2t, channel):
    with pytest.raises(ValueError, match="channel"):
        list(s2t.transcribe(["a.wav"], channel=channel))
