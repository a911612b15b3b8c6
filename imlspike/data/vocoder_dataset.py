"""Random pieces of recordings to train on, the same ones whenever a training is repeated or resumed."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor
from torch.utils.data import Dataset

from imlspike.data.audio import AudioError, audio_format, read_audio
from imlspike.data.files import read_kaldi
from imlspike.data.progress import Progress

FULL_SCALE = 32768  # of int16
SHOWN = 10  # broken files that an error lists


class Recordings:
    """The waveforms of one or more Kaldi data directories, held in RAM as int16 if they fit.

    Every file is looked at once, so that a wrong one stops a training before it begins, not after a day.

    Args:
        data_dirs: directories with a `wav.scp` that names files; transcripts aren't needed.
        sampling_rate: the rate wanted, in Hz.
        resample: resample files of another rate, and take the mean of several channels; else such a file is
            an error.
        cache_gb: hold the waveforms in RAM if they need at most so many GB (10^9 bytes), two bytes a sample;
            what is finer than 16 bits is rounded. Else each is read from its file again and again.
        progress: tell on stderr how far it is.

    Attributes:
        names, paths, lengths: the utterances, sorted, their files, their samples at `sampling_rate`.
        cached: true if they are in RAM.

    AudioError names files that are missing, broken, or of another rate; ValueError for a directory without
    recordings or with `segments`, or an utterance in two of them.
    """

    def __init__(
        self,
        data_dirs: Sequence[str | os.PathLike],
        sampling_rate: int,
        resample: bool = False,
        cache_gb: float = 4.0,
        progress: bool = False,
    ):
        wavs = _wavs(data_dirs)
        self.names, self.paths = list(wavs), list(wavs.values())
        self.sampling_rate, self.resample, self.progress = sampling_rate, resample, progress
        self.lengths = self._for_all(self._header, "headers of recordings read")
        self._waves: list[np.ndarray] = []
        self.cached = 2 * sum(self.lengths) <= cache_gb * 1e9
        if self.cached:
            self._waves = self._for_all(self._read_int16, "recordings read")
            self.lengths = [len(wave) for wave in self._waves]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def seconds(self) -> float:
        """Seconds of audio in all."""
        return sum(self.lengths) / self.sampling_rate

    def read(self, index: int, start: int = 0, samples: int | None = None) -> np.ndarray:
        """Float32 (samples,) of one recording from sample `start` on, full scale at 1; all by default."""
        stop = self.lengths[index] if samples is None else start + samples
        if self.cached:
            return self._waves[index][start:stop].astype(np.float32) / FULL_SCALE
        if self.resample or (start, stop) == (0, self.lengths[index]):
            return self._read_whole(index)[start:stop]
        return self._read_piece(index, start, stop)

    def _for_all(self, read: Callable[[int], object], what: str) -> list:
        """Results of `read` for every file; complain of all that are wrong together."""
        results, wrong, progress = [], [], Progress(what)
        for index in range(len(self)):
            try:
                results.append(read(index))
            except AudioError as error:
                wrong.append(str(error))
            if self.progress:
                progress(index + 1, len(self))
        if wrong:
            rest = [f"... and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
            head = f"{len(wrong)} of {len(self)} recordings can't be used; mend them, or leave them out:"
            raise AudioError("\n".join([head, *wrong[:SHOWN], *rest]))
        return results

    def _header(self, index: int) -> int:
        """Samples at the wanted rate that the header promises."""
        who = f"{self.names[index]} ({self.paths[index]})"
        form = audio_format(self.paths[index], self.names[index])
        if not form.seconds:
            raise AudioError(f"{who}: its header tells no length; write it again as WAV or FLAC")
        if not self.resample and (found := form.mismatch(self.sampling_rate)):
            raise AudioError(f"{who}: {found}. Convert the data, or allow it with data.resample=true")
        frames = round(form.seconds * form.sampling_rate)
        return -(-frames * self.sampling_rate // form.sampling_rate)

    def _read_whole(self, index: int) -> np.ndarray:
        mode = "convert" if self.resample else "error"
        return read_audio(self.paths[index], self.sampling_rate, self.names[index], mode)

    def _read_int16(self, index: int) -> np.ndarray:
        scaled = np.rint(self._read_whole(index) * FULL_SCALE)
        return np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)

    def _read_piece(self, index: int, start: int, stop: int) -> np.ndarray:
        """Samples of a mono file, without reading what stands before them."""
        path, who = self.paths[index], f"{self.names[index]} ({self.paths[index]})"
        try:
            wave, _ = soundfile.read(path, stop - start, start, dtype="float32")
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise AudioError(f"{who}: can't be read any more ({error})") from None
        if len(wave) < stop - start or not np.isfinite(wave).all():
            raise AudioError(f"{who}: samples {start} to {stop} are cut off, NaN or infinity; copy it again")
        return wave


class RandomCrops(Dataset):
    """Random pieces of recordings, numbered: piece i is a function of the seed and i alone.

    So a training goes on where it stopped, and the number of processes doesn't change what is drawn. Every
    recording is drawn once in each pass over the data (in a random order, from a random place), as in Vocos,
    however long it is.

    Args:
        samples: S, length of a piece.
        seed: of order, places and gains.
        short: recordings of fewer than S samples: "pad" with zeros at a random place, or "drop" them.
        gain_db: (lowest, highest) level in dB to which the peak of the whole recording is set, at random for
            each piece; Vocos uses (-6, -1). None leaves it as it is.

    Attributes:
        short: how many recordings are padded or dropped.

    Items: float32 (S,).
    """

    def __init__(
        self,
        recordings: Recordings,
        samples: int,
        seed: int = 0,
        short: str = "pad",
        gain_db: tuple[float, float] | None = None,
    ):
        if short not in ("pad", "drop"):
            raise ValueError(f"short is {short!r}; expected 'pad' or 'drop'")
        if samples < 1 or (gain_db and gain_db[0] > gain_db[1]):
            raise ValueError(f"samples={samples} must be at least 1, and gain_db={gain_db} (lowest, highest)")
        self.recordings, self.samples, self.seed, self.gain_db = recordings, samples, seed, gain_db
        long = [index for index, length in enumerate(recordings.lengths) if length >= samples]
        self.short = len(recordings) - len(long)
        self.used = long if short == "drop" else list(range(len(recordings)))
        if not self.used:
            hint = "take shorter pieces, or short='pad'"
            raise ValueError(f"none of the {len(recordings)} recordings has {samples} samples; {hint}")
        self._order = (-1, np.empty(0, int))

    def __getitem__(self, draw: int) -> Tensor:
        around, place = divmod(draw, len(self.used))
        if self._order[0] != around:
            self._order = (around, np.random.default_rng([self.seed, 0, around]).permutation(self.used))
        index = int(self._order[1][place])
        random = np.random.default_rng([self.seed, 1, draw])
        spare = self.recordings.lengths[index] - self.samples
        at = int(random.integers(0, abs(spare), endpoint=True))
        if self.gain_db or spare < 0:
            wave = self.recordings.read(index)
            if self.gain_db:
                wave = wave * _gain(wave, random.uniform(*self.gain_db))
            wave = np.pad(wave, (at, -spare - at)) if spare < 0 else wave[at : at + self.samples]
        else:
            wave = self.recordings.read(index, at, self.samples)
        return torch.from_numpy(np.ascontiguousarray(wave, dtype=np.float32))


class WholeRecordings(Dataset):
    """Whole recordings, at most `number` (None: all), spread evenly over those there are.

    Item i: its number among the recordings, and float32 (S,).
    """

    def __init__(self, recordings: Recordings, number: int | None = None):
        self.recordings = recordings
        number = min(number or len(recordings), len(recordings))
        self.used = [index * len(recordings) // number for index in range(number)]

    def __len__(self) -> int:
        return len(self.used)

    def __getitem__(self, place: int) -> tuple[int, Tensor]:
        return self.used[place], torch.from_numpy(self.recordings.read(self.used[place]))


def step_batches(
    first: int, last: int, batch_size: int, rank: int = 0, processes: int = 1
) -> list[list[int]]:
    """The numbers of the pieces for each of the training steps `first` to `last - 1`.

    Together, `processes` of them draw in one step what a single one with batches `processes` times as large
    would draw; `rank` is which of them this one is.

    >>> step_batches(3, 5, batch_size=2), step_batches(3, 5, batch_size=1, rank=1, processes=2)
    ([[6, 7], [8, 9]], [[7], [9]])
    """
    starts = ((step * processes + rank) * batch_size for step in range(first, last))
    return [list(range(start, start + batch_size)) for start in starts]


def _gain(wave: np.ndarray, decibels: float) -> float:
    """The factor for a peak at so many dB of full scale; silence stays silence."""
    peak = float(np.abs(wave).max())
    return 10 ** (decibels / 20) / peak if peak > 0 else 1.0


def _wavs(data_dirs: Sequence[str | os.PathLike]) -> dict[str, str]:
    """Utterance to file, of all directories, sorted by utterance."""
    found: dict[str, str] = {}
    for data_dir in map(Path, data_dirs):
        if not (data_dir / "wav.scp").exists() or (data_dir / "segments").exists():
            raise ValueError(f"{data_dir}: expected a Kaldi directory with wav.scp and without segments")
        for name, wav in read_kaldi(data_dir / "wav.scp").items():
            if name in found:
                raise ValueError(f"{data_dir}: utterance {name!r} stands in another directory too; rename it")
            if wav.endswith("|"):
                raise ValueError(f"{data_dir}/wav.scp: {name!r} is a command; write its output to a file")
            found[name] = wav
    if not found:
        where = ", ".join(map(str, data_dirs)) or "no directory"
        raise ValueError(f"no recordings in {where}; prepare the data")
    return dict(sorted(found.items()))
