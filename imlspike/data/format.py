"""Audio of one kind for training: 16-bit FLAC or WAV, mono, at one sampling rate; copies at other speeds."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio

from imlspike.data.audio import AudioError, read_audio
from imlspike.data.corpus import check_left_out
from imlspike.data.files import OutputError, make_folder
from imlspike.data.kaldi import Utterance, read_data_dir, read_excluded, write_data_dir
from imlspike.data.parallel import map_parallel
from imlspike.data.write_audio import write_audio

_log = logging.getLogger(__name__)
SILENCE = 2**-15  # peak of a recording that holds no sound in 16 bits


def format_data_dir(
    data_dir: str | os.PathLike,
    output_dir: str | os.PathLike,
    audio_format: str = "flac",
    sampling_rate: int = 16000,
    audio_dir: str | os.PathLike | None = None,
    keep_fitting: bool = True,
    max_left_out: float = 0.05,
    nj: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Utterance], dict[str, str]]:
    """Copy a data directory with its audio as 16-bit mono files at one rate, all of them read and checked.

    Files go to `audio_dir/<speaker>/<utterance>.<audio_format>`. 16-bit samples at `sampling_rate` stay
    exactly what they were, others are resampled, mixed down, and rounded to 16 bits; peaks that resampling
    lifts over full scale are clipped. A file of an earlier run is kept if it was made from the same source
    (path, size and time of change stand in its comment).

    Args:
        audio_format: "flac" or "wav".
        audio_dir: where the files go; `output_dir/audio` if not given.
        keep_fitting: point at sources that are of this kind already (LibriSpeech's FLAC) where they lie.
        max_left_out: the share of utterances whose audio may be broken or silent, else ValueError.
        nj: processes.

    Returns: (utterances kept, utterance -> reason for those left out here).
    """
    jobs = [(utterance, None) for utterance in read_data_dir(data_dir)]
    audio_dir = Path(audio_dir or Path(output_dir, "audio")).resolve()
    work = partial(_convert, audio_dir, audio_format, sampling_rate, keep_fitting)
    return _write_copy(data_dir, output_dir, jobs, map_parallel(work, jobs, nj, progress), max_left_out)


def perturb_speed(
    data_dir: str | os.PathLike,
    output_dir: str | os.PathLike,
    factors: Sequence[float] = (0.9, 1.0, 1.1),
    sampling_rate: int = 16000,
    progress: Callable[[int, int], None] = lambda done, total: None,
    audio_format: str = "wav",
    max_left_out: float = 0.05,
    nj: int = 1,
) -> list[Utterance]:
    """Write a data directory that holds `data_dir` once at each speed (Ko et al., Interspeech 2015).

    At factor f an utterance and its speaker get the prefix `sp<f>-` (a voice at another speed is another
    speaker), and the recording goes to `output_dir/wav/<speaker>/`, as in `format_data_dir`. Factor 1 points
    at the original. `excluded.tsv` is taken along.

    Args:
        factors: the speeds, each once; 1 keeps the originals in.
        sampling_rate: that of all recordings; another one counts as broken.
        max_left_out: the share of copies whose recording may be broken, else ValueError.
    """
    if len({f"{factor:g}" for factor in factors}) < len(factors) or not factors or min(factors) <= 0:
        raise ValueError(f"speed factors are {list(factors)}; expected positive numbers, each once")
    originals = read_data_dir(data_dir)
    jobs = [
        (replace(u, id=f"sp{factor:g}-{u.id}", speaker=f"sp{factor:g}-{u.speaker}"), factor)
        for u in originals
        for factor in factors
        if factor != 1
    ]
    work = partial(_convert, Path(output_dir, "wav").resolve(), audio_format, sampling_rate, False)
    done = map_parallel(work, jobs, nj, progress)
    return _write_copy(data_dir, output_dir, jobs, done, max_left_out, originals if 1 in factors else [])[0]


def change_speed(samples: np.ndarray, factor: float, sampling_rate: int = 16000) -> np.ndarray:
    """Play `samples (n,)` `factor` times as fast, as sox's `speed` does: pitch and tempo both change.

    >>> change_speed(np.zeros(900, dtype=np.float32), 0.9).shape
    (1000,)
    """
    recorded_at = round(sampling_rate * factor)
    return torchaudio.functional.resample(torch.from_numpy(samples), recorded_at, sampling_rate).numpy()


def _write_copy(data_dir, output_dir, jobs, outcomes, max_left_out, more=()):
    """Write the directory with what the jobs give (see `_convert`) and `more`; returns it and the reasons."""
    output_dir = Path(output_dir).resolve()
    if output_dir == Path(data_dir).resolve():
        raise ValueError(f"{output_dir}: the copy needs a directory of its own")
    outcome = {utterance.id: made for (utterance, _), made in zip(jobs, outcomes, strict=True)}
    kept = [made for made in outcome.values() if isinstance(made, Utterance)]
    reasons = {name: made for name, made in outcome.items() if isinstance(made, str)}
    if jobs:
        check_left_out({"this set": (kept, reasons)}, data_dir, max_left_out)
    kept = sorted([*kept, *more], key=lambda utterance: utterance.id)
    write_data_dir(output_dir, kept, read_excluded(data_dir) | reasons)
    return kept, reasons


def _convert(
    audio_dir: Path, suffix: str, sampling_rate: int, keep_fitting: bool, job: tuple[Utterance, float | None]
) -> Utterance | str:
    """The utterance with its new file, at another speed if a factor is given; or why it is left out."""
    utterance, factor = job
    source, target = Path(utterance.wav), audio_dir / utterance.speaker / f"{utterance.id}.{suffix}"
    try:
        stat = source.stat()
        made_from = f"{sampling_rate} Hz of {source}, {stat.st_size} bytes, {stat.st_mtime_ns}"
        made_from = f"{factor:g} times as fast, {made_from}" if factor else made_from
        _, frames, comment = _look(target)
        if comment != made_from:
            on_mismatch = "error" if factor else "convert"
            note = partial(_tell, f"{utterance.id} ({source})")
            samples = read_audio(source, sampling_rate, utterance.id, on_mismatch, note=note)
            if not np.abs(samples).max() > SILENCE:
                raise AudioError(f"{utterance.id} ({source}): nothing but silence; record it again")
            samples = change_speed(samples, factor, sampling_rate) if factor else samples
            frames = len(samples)
            if keep_fitting and _look(source)[0] == (suffix.upper(), "PCM_16", sampling_rate, 1):
                target = source
            else:
                make_folder(target.parent)
                write_audio(target, [samples], sampling_rate, made_from)
    except AudioError as error:
        return str(error)
    except OutputError:
        raise
    except OSError as error:
        return f"{source}: {error.strerror}; check the corpus folder or wav.scp"
    return replace(utterance, wav=str(target), seconds=frames / sampling_rate)


def _tell(who: str, text: str) -> None:
    """Tell what was found in a recording, but not that it was mixed down, as a whole corpus may be."""
    if not text.endswith("mixed down to one"):
        _log.warning(f"{who}: {text}")


def _look(path: Path) -> tuple[tuple, int, str]:
    """The kind of an audio file, its length in samples and its comment; empty where libsndfile can't tell."""
    try:
        with soundfile.SoundFile(path) as sound:
            kind = (sound.format, sound.subtype, sound.samplerate, sound.channels)
            return kind, sound.frames, sound.comment
    except soundfile.LibsndfileError:
        return (), 0, ""
