"""Random pieces of recordings: always the same ones, each from where it says, whatever the storage."""

from collections import Counter

import hypothesis.strategies as st
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given

from imlspike.data.audio import AudioError
from imlspike.data.files import write_kaldi
from imlspike.data.vocoder_dataset import RandomCrops, Recordings, WholeRecordings, step_batches

RATE = 8000


def ramp(number, samples):
    """Samples whose values tell their recording and their place: number * 1000 + place, as int16."""
    return (1000 * number + np.arange(samples)).astype(np.int16)


@pytest.fixture
def data_dir(tmp_path):
    """Recordings u0 to u4 of 300, 400, ... 700 samples."""
    paths = {}
    for number in range(5):
        paths[f"u{number}"] = str(tmp_path / f"{number}.wav")
        soundfile.write(paths[f"u{number}"], ramp(number, 300 + 100 * number), RATE, "PCM_16")
    write_kaldi(tmp_path / "wav.scp", paths)
    return tmp_path


def as_numbers(wave):
    return (np.asarray(wave) * 32768).astype(int)


@pytest.mark.parametrize("cache_gb", [1.0, 0.0])
def test_a_piece_is_a_stretch_of_one_recording(data_dir, cache_gb):
    recordings = Recordings([data_dir], RATE, cache_gb=cache_gb)
    assert recordings.cached == (cache_gb > 0)
    crops = RandomCrops(recordings, 250, seed=3)
    for draw in range(50):
        numbers = as_numbers(crops[draw])
        number, start = divmod(numbers[0], 1000)
        assert start + 250 <= 300 + 100 * number
        assert (numbers == 1000 * number + start + np.arange(250)).all()


@pytest.mark.parametrize("gain_db", [None, (-6.0, -1.0)])
def test_from_memory_and_from_files_come_the_same_pieces(data_dir, gain_db):
    stored = [Recordings([data_dir], RATE, cache_gb=gigabytes) for gigabytes in (1.0, 0.0)]
    one, other = (RandomCrops(recordings, 450, gain_db=gain_db) for recordings in stored)
    assert all(torch.equal(one[draw], other[draw]) for draw in range(40))


def test_a_piece_depends_on_seed_and_number_only(data_dir):
    one, other = (RandomCrops(Recordings([data_dir], RATE), 100, seed=seed) for seed in (0, 1))
    forwards = [one[draw] for draw in range(30)]
    again = RandomCrops(Recordings([data_dir], RATE), 100, seed=0)
    backwards = [again[draw] for draw in reversed(range(30))][::-1]
    assert all(map(torch.equal, forwards, backwards))
    assert not all(torch.equal(forwards[draw], other[draw]) for draw in range(30))


def test_every_pass_draws_every_recording_once_in_another_order(data_dir):
    crops = RandomCrops(Recordings([data_dir], RATE), 1, seed=1)
    drawn = [as_numbers(crops[draw])[0] // 1000 for draw in range(50)]
    passes = [drawn[start : start + 5] for start in range(0, 50, 5)]
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in passes)
    assert len({tuple(order) for order in passes}) > 5


def test_all_places_are_drawn_alike(tmp_path):
    soundfile.write(tmp_path / "a.wav", ramp(0, 14), RATE, "PCM_16")
    write_kaldi(tmp_path / "wav.scp", {"a": str(tmp_path / "a.wav")})
    crops = RandomCrops(Recordings([tmp_path], RATE), 10)
    starts = Counter(as_numbers(crops[draw])[0] for draw in range(1000))
    assert sorted(starts) == [0, 1, 2, 3, 4] and min(starts.values()) > 140  # 200 expected, 5 sigma: 137


def test_short_recordings_are_padded_with_zeros_or_dropped_and_counted(data_dir):
    recordings = Recordings([data_dir], RATE)
    padded = RandomCrops(recordings, 500)
    dropped = RandomCrops(recordings, 500, short="drop")
    assert padded.short == dropped.short == 2  # 300 and 400 samples
    seen = set()
    for draw in range(20):
        numbers = as_numbers(padded[draw])
        assert numbers.shape == (500,)
        inside = numbers[numbers > 0]
        seen.add(inside[0] // 1000)
        assert (np.diff(inside) == 1).all()
        assert (as_numbers(dropped[draw]) >= 2000).all()
    assert seen == {0, 1, 2, 3, 4}
    with pytest.raises(ValueError, match="800"):
        RandomCrops(recordings, 800, short="drop")


def test_gain_sets_the_peak_of_the_whole_recording(data_dir):
    recordings = Recordings([data_dir], RATE)
    plain, loud = RandomCrops(recordings, 450), RandomCrops(recordings, 450, gain_db=(-6.0, -1.0))
    levels = []
    for draw in range(60):
        whole = recordings.read(int(as_numbers(plain[draw]).max()) // 1000)
        factors = (loud[draw] / plain[draw]).nan_to_num(0, 0, 0)
        factor = float(factors.max())
        assert torch.allclose(loud[draw], factor * plain[draw], atol=1e-6)
        levels.append(20 * np.log10(factor * np.abs(whole).max()))
    assert -6.001 < min(levels) < -5 and -2 < max(levels) < -0.999


def test_silence_stays_silent(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(100), RATE)
    write_kaldi(tmp_path / "wav.scp", {"a": str(tmp_path / "a.wav")})
    assert not RandomCrops(Recordings([tmp_path], RATE), 50, gain_db=(-6, -1))[0].any()


@given(st.integers(0, 50), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.integers(0, 20))
def test_processes_share_out_what_one_would_draw(first, steps, batch, processes, skip):
    alone = list(step_batches(first, first + steps, batch * processes))
    shares = [step_batches(first, first + steps, batch, rank, processes) for rank in range(processes)]
    together = [sum(batches, []) for batches in zip(*shares, strict=True)]
    assert together == alone and len(shares[0]) == steps
    resumed = list(step_batches(min(first + skip, first + steps), first + steps, batch * processes))
    assert resumed == alone[skip:]


def test_whole_recordings_are_spread_over_all(data_dir):
    recordings = Recordings([data_dir], RATE)
    some = WholeRecordings(recordings, 2)
    assert [index for index, _ in (some[0], some[1])] == [0, 2] and len(some) == 2
    assert len(WholeRecordings(recordings)) == len(WholeRecordings(recordings, 99)) == 5
    assert (as_numbers(some[1][1]) == ramp(2, 500)).all()


def test_another_rate_is_an_error_or_resampled(data_dir, tmp_path):
    time = np.arange(4 * RATE) / (2 * RATE)
    tone = 0.5 * np.sin(2 * np.pi * 440 * time)
    soundfile.write(data_dir / "other.wav", np.stack([tone, tone], 1), 2 * RATE, "PCM_16")
    write_kaldi(data_dir / "wav.scp", {"fast": str(data_dir / "other.wav")})
    with pytest.raises(AudioError, match="fast"):
        Recordings([data_dir], RATE)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)
    for cache_gb in (1.0, 0.0):
        recordings = Recordings([data_dir], RATE, resample=True, cache_gb=cache_gb)
        assert recordings.lengths == [2 * RATE]
        assert np.abs(recordings.read(0, 1000, 8000) - expected[1000:9000]).max() < 1e-3


def test_all_broken_recordings_are_named_at_once(data_dir):
    (data_dir / "1.wav").write_bytes(b"no audio")
    (data_dir / "3.wav").unlink()
    whole = (data_dir / "4.wav").read_bytes()
    (data_dir / "4.wav").write_bytes(whole[:-100])
    with pytest.raises(AudioError, match="3 of 5 recordings") as error:
        Recordings([data_dir], RATE)
    assert all(f"{name} (" in str(error.value) for name in ("u1", "u3", "u4"))
    assert "u0" not in str(error.value)


def test_a_file_that_breaks_later_is_named(data_dir):
    recordings = Recordings([data_dir], RATE, cache_gb=0)
    soundfile.write(data_dir / "2.wav", ramp(2, 100), RATE, "PCM_16")
    with pytest.raises(AudioError, match="u2"):
        recordings.read(2, 200, 100)


def test_several_directories_are_one(data_dir, tmp_path):
    more = tmp_path / "more"
    more.mkdir()
    write_kaldi(more / "wav.scp", {"v0": str(data_dir / "0.wav")})
    assert Recordings([data_dir, more], RATE).names == ["u0", "u1", "u2", "u3", "u4", "v0"]
    write_kaldi(more / "wav.scp", {"u3": str(data_dir / "0.wav")})
    with pytest.raises(ValueError, match="'u3'"):
        Recordings([data_dir, more], RATE)


def test_directories_without_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="wav.scp"):
        Recordings([tmp_path], RATE)
    for table, message in (("", str(tmp_path)), ("a cat a.wav |\n", "'a'")):
        (tmp_path / "wav.scp").write_text(table)
        with pytest.raises(ValueError, match=message):
            Recordings([tmp_path], RATE)
    (tmp_path / "segments").write_text("")
    with pytest.raises(ValueError, match="segments"):
        Recordings([tmp_path], RATE)
