"""Several channels: silent ones make nothing weaker, opposite ones cancel nothing; what was done is told."""

import numpy as np
import pytest

from imlspike.data.audio import AudioError, read_audio, stream_audio
from tests.real_world.sounds import RATE, interleaved, speech, wav

VOICE, OTHER, ZEROS = speech(), speech(pitch=210.0), np.zeros(RATE, dtype=np.float32)
HISS = np.random.default_rng(0).normal(0, 3e-4, RATE).astype(np.float32)  # -50 dB of the voice
LATER = np.roll(VOICE, 8000)

# name: (channels, what they are mixed to, what is told)
MIXES = {
    "the same twice": ([VOICE, VOICE], VOICE, "mixed down to one$"),
    "two that talk": ([VOICE, OTHER], (VOICE + OTHER) / 2, "mixed down to one$"),
    "only left": ([VOICE, ZEROS], VOICE, "2 left out"),
    "only right": ([ZEROS, VOICE], VOICE, "1 left out"),
    "5.1, center only": ([ZEROS, ZEROS, VOICE, ZEROS, ZEROS, ZEROS], VOICE, "1, 2, 4, 5, 6 left out"),
    "hum in the other": ([VOICE, HISS], VOICE, "2 left out"),
    "seven that hiss": ([HISS] * 7 + [VOICE], VOICE, "1, 2, 3, 4, 5, 6, 7 left out"),
    "opposite phase": ([VOICE, -VOICE], VOICE, "2 turned"),
    "opposite and weaker": ([VOICE, -VOICE / 2], VOICE * 0.75, "2 turned"),
    "opposite, the second stronger": ([VOICE / 2, -VOICE], -VOICE * 0.75, "1 turned"),
    "opposite and silent": ([ZEROS, VOICE, -VOICE, HISS], VOICE, "1, 4 left out.*3 turned"),
    "a quiet one that talks": ([VOICE, OTHER / 10], (VOICE + OTHER / 10) / 2, "mixed down to one$"),
    "an echo": ([VOICE, LATER], (VOICE + LATER) / 2, "mixed down to one"),
    "opposite, one with an offset": ([VOICE, 0.3 - VOICE / 2], 0.75 * VOICE - 0.15, "2 turned"),
    "an offset alone in the other": ([VOICE, ZEROS + 0.3], VOICE, "2 left out"),
    "silence": ([ZEROS, ZEROS], ZEROS, "mixed down to one"),
}


def put(folder, channels):
    path = folder / "a.wav"
    path.write_bytes(wav(interleaved(*channels), channels=len(channels)))
    return path


@pytest.mark.parametrize("name", MIXES)
def test_the_mix_is_of_what_can_be_heard(tmp_path, name):
    """Up to its sign; decided from the whole recording, however short the blocks are."""
    channels, expected, told = MIXES[name]
    path, notes = put(tmp_path, channels), []
    mixed = read_audio(path, on_mismatch="convert", note=notes.append)
    assert min(np.abs(mixed - expected).max(), np.abs(mixed + expected).max()) < 1e-4
    assert len(notes) == 1
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(notes[0])
    for seconds in (0.013, 0.5):
        blocks = list(stream_audio(path, RATE, None, "convert", seconds, note=lambda text: None))
        np.testing.assert_allclose(np.concatenate(blocks), mixed, atol=1e-7)


def test_more_channels_than_ffmpeg_has_names_for(tmp_path):
    """Of an unknown length, so that ffmpeg reads them; found by fuzzing: PyAV died of it."""
    path = tmp_path / "a.wav"
    path.write_bytes(wav(interleaved(*[VOICE] * 24), channels=24, size=0))
    assert np.abs(read_audio(path, on_mismatch="convert", channel=24) - VOICE).max() < 1e-4


@pytest.mark.parametrize("milliseconds", [0.25, 0.5, 1, 2, 5, -3])
@pytest.mark.parametrize("gain", [0.7, -0.5])
def test_a_second_microphone_makes_no_comb(tmp_path, milliseconds, gain):
    """The same, earlier or later, with some noise of its own: the stronger one alone."""
    random = np.random.default_rng(0)
    voice = (np.convolve(random.normal(0, 0.1, RATE), [0.5, 0.9, 0.5], "same") * (1 + speech() * 5)).astype(
        np.float32
    )
    noise = random.normal(0, 0.01, RATE)
    other = (gain * np.roll(voice, round(milliseconds * RATE / 1000)) + noise).astype(np.float32)
    notes = []
    mixed = read_audio(put(tmp_path, [voice / 2, other / 2]), on_mismatch="convert", note=notes.append)
    assert np.abs(mixed - voice / 2).max() < 1e-4 and "2 left out (the same" in notes[0]


def test_a_phase_that_only_the_whole_shows(tmp_path):
    """For the first second they agree; later they don't, and that is most of it."""
    first, rest = speech(1.0) / 20, speech(4.0)
    path = put(tmp_path, [np.concatenate([first, rest]), np.concatenate([first, -rest])])
    blocks = stream_audio(path, RATE, None, "convert", 0.5, note=lambda text: None)
    assert np.abs(np.concatenate(list(blocks))[RATE:] - rest).max() < 1e-4


@pytest.mark.parametrize("number", [1, 2])
def test_one_channel_by_its_number(tmp_path, number):
    path, notes = put(tmp_path, [VOICE, -OTHER]), []
    one = read_audio(path, on_mismatch="convert", channel=number, note=notes.append)
    assert np.abs(one - (VOICE, -OTHER)[number - 1]).max() < 1e-4 and not notes


def test_a_channel_that_is_not_there_is_refused(tmp_path):
    path = put(tmp_path, [VOICE, VOICE])
    with pytest.raises(AudioError, match="a.wav.* 2 channel.* 3"):
        read_audio(path, on_mismatch="convert", channel=3)
    for wrong in (0, -1, "left", 1.0, None):
        with pytest.raises(ValueError, match="channel"):
            read_audio(path, on_mismatch="convert", channel=wrong)


def test_a_corpus_must_be_mono(tmp_path):
    with pytest.raises(AudioError, match="2 channel"):
        read_audio(put(tmp_path, [VOICE, VOICE]))
