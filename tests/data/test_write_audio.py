"""Audio is written whole or not at all, exactly, and what doesn't fit is told."""

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.data.audio import read_audio
from imlspike.data.mel import mel_blocks, open_mel
from imlspike.data.write_audio import Written, write_audio


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "A.WAV"])
@settings(max_examples=10)
@given(numbers=st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=50), cut=st.integers(0, 50))
def test_16_bits_come_back_exactly_in_any_blocks(tmp_path_factory, name, numbers, cut):
    path = tmp_path_factory.mktemp("out") / name
    samples = np.array(numbers, dtype=np.float32) / 2**15
    assert write_audio(path, [samples[:cut], samples[cut:]], 11025) == Written(len(samples), 0)
    np.testing.assert_array_equal(read_audio(path, 11025), samples)
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.subtype) == (11025, 1, "PCM_16")
    assert info.format == name[2:].upper()


def test_what_is_too_loud_is_clipped_and_counted(tmp_path):
    loud = np.array([1.5, -3.0, 1.0, -1.0, 0.25])
    assert write_audio(tmp_path / "a.wav", [loud, loud[:1]], 8000) == Written(6, 3)
    top = 1 - 2.0**-15
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav", 8000), [top, -1, top, -1, 0.25, top])


def failing():
    """Blocks that end in an error."""
    yield np.zeros(1000)
    raise RuntimeError("the second block failed")


@pytest.mark.parametrize(
    ("name", "blocks", "message"),
    [
        ("a.wav", failing(), "the second block failed"),
        ("a.wav", [np.zeros(3), np.array([0, np.nan])], "a.wav: NaN or infinity at sample 4; nothing"),
        ("a.flac", [np.zeros(0)], "a.flac: there is no audio to write"),
        ("a.wav", [np.zeros(3000)] * 2, "a.wav: too long for a WAV file; write FLAC"),
        ("a.mp3", [np.zeros(3)], "a.mp3: expected a name that ends in .wav or .flac"),
    ],
)
def test_when_it_fails_the_old_file_stays(tmp_path, monkeypatch, name, blocks, message):
    monkeypatch.setitem(write_audio.__globals__["MOST_BYTES"], "WAV", 10000)
    (tmp_path / name).write_text("old")
    with pytest.raises((RuntimeError, ValueError), match=message):
        write_audio(tmp_path / name, blocks, 8000)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "old"


@pytest.mark.parametrize("frames", [1, 3, 7, 100])
def test_a_mel_in_blocks_is_the_mel(tmp_path, frames):
    mel = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)
    np.save(tmp_path / "a.npy", mel)
    blocks = list(mel_blocks(open_mel(tmp_path / "a.npy"), frames))
    assert max(block.shape[1] for block in blocks) <= frames
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), mel)
