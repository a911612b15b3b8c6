"""Audio of one kind for training: 16-bit FLAC or WAV, mono, at one sampling rate, every sample read once."""

import io
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from imlspike.data.audio import AudioError, read_audio
from imlspike.data.corpus import check_left_out
from imlspike.data.files import atomic_write
from imlspike.data.kaldi import Utterance, read_data_dir, read_excluded, write_data_dir
from imlspike.data.parallel import map_parallel

Suffix = Literal["flac", "wav"]


def format_data_dir(
    data_dir: str | os.PathLike,
    output_dir: str | os.PathLike,
    audio_format: Suffix = "flac",
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
    (path, size and time of change stand in its comment); each is written whole or not at all.

    Args:
        audio_dir: where the files go; `output_dir/audio` if not given.
        keep_fitting: point at sources that are of this kind already (LibriSpeech's FLAC) where they lie.
        max_left_out: the share of utterances whose audio may be broken; they are left out and listed in
            `excluded.tsv`, below what was left out before.
        nj: processes.
        progress: called with (done, total) utterances.

    Returns: (utterances kept, utterance -> reason for those left out here).

    Raises:
        ValueError: for an unknown format, if both directories are the same, or too much is left out.
    """
    if audio_format not in ("flac", "wav"):
        raise ValueError(f"audio_format is {audio_format!r}; expected 'flac' or 'wav'")
    output_dir = Path(output_dir).resolve()
    if output_dir == Path(data_dir).resolve():
        raise ValueError(f"{output_dir}: the formatted copy needs a directory of its own")
    audio_dir = Path(audio_dir).resolve() if audio_dir else output_dir / "audio"
    utterances = read_data_dir(data_dir)
    for speaker in {utterance.speaker for utterance in utterances}:
        (audio_dir / speaker).mkdir(parents=True, exist_ok=True)
    work = partial(_format, audio_dir, audio_format, sampling_rate, keep_fitting)
    kept: list[Utterance] = []
    reasons: dict[str, str] = {}
    outcomes = map_parallel(work, utterances, nj, progress)
    for utterance, outcome in zip(utterances, outcomes, strict=True):
        if isinstance(outcome, Utterance):
            kept.append(outcome)
        else:
            reasons[utterance.id] = outcome
    check_left_out({"this set": (kept, reasons)}, data_dir, max_left_out)
    write_data_dir(output_dir, kept, read_excluded(data_dir) | reasons)
    return kept, reasons


def _format(
    audio_dir: Path, audio_format: Suffix, sampling_rate: int, keep_fitting: bool, utterance: Utterance
) -> Utterance | str:
    """The utterance with its new file, or the reason why it is left out."""
    target = audio_dir / utterance.speaker / f"{utterance.id}.{audio_format}"
    try:
        made_from = identity(Path(utterance.wav), sampling_rate)
        if (frames := frames_if_made_from(target, made_from)) is None:
            samples = read_audio(utterance.wav, sampling_rate, utterance.id, on_mismatch="convert")
            frames = len(samples)
            if keep_fitting and _fits(utterance.wav, audio_format, sampling_rate):
                target = Path(utterance.wav)
            else:
                write_16_bit(target, samples, sampling_rate, made_from)
    except AudioError as error:
        return str(error)
    return replace(utterance, wav=str(target), seconds=frames / sampling_rate)


def identity(source: Path, sampling_rate: int) -> str:
    """What tells that a file that is made of `source` would be made the same: path, size, time of change.

    Raises:
        AudioError: if there is no such file.
    """
    try:
        stat = source.stat()
    except OSError as error:
        raise AudioError(f"{source}: {error.strerror}; check the corpus folder or wav.scp") from None
    return f"{sampling_rate} Hz of {source}, {stat.st_size} bytes, {stat.st_mtime_ns}"


def frames_if_made_from(target: Path, made_from: str) -> int | None:
    """The length in samples of an earlier run's file whose comment is `made_from`; None for any other."""
    if not target.is_file():
        return None
    try:
        with soundfile.SoundFile(target) as sound:
            return sound.frames if sound.comment == made_from else None
    except soundfile.LibsndfileError:
        return None


def _fits(source: str, audio_format: Suffix, sampling_rate: int) -> bool:
    info = soundfile.info(source)
    kind = (info.format, info.subtype, info.samplerate, info.channels)
    return kind == (audio_format.upper(), "PCM_16", sampling_rate, 1)


def write_16_bit(target: Path, samples: np.ndarray, sampling_rate: int, comment: str) -> None:
    """Write float samples `(n,)` with full scale at 1 as a mono 16-bit file, whole or not at all.

    Rounded to the nearest integer and clipped here: libsndfile scales otherwise when it writes than when it
    reads.

    Args:
        target: the file; its suffix says which format.
        comment: stands in the file's header.
    """
    integers = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
    encoded = io.BytesIO()
    kind = target.suffix[1:].upper()
    with soundfile.SoundFile(encoded, "w", sampling_rate, 1, "PCM_16", format=kind) as sound:
        sound.comment = comment
        sound.write(integers)
    with atomic_write(target, "wb") as out:
        out.write(encoded.getvalue())
