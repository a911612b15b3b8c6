"""Read audio so that nothing wrong gets through in silence, however long the recording is."""

import logging
import os
import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from math import ceil
from numbers import Real
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from imlspike.data import container_audio
from imlspike.data.boxes import JOINED, check_boxes
from imlspike.data.chunks import FORMS, check_length, flac_goes_on
from imlspike.data.container_audio import AudioError, AudioFormat, Note
from imlspike.data.keys import check_number
from imlspike.data.mixdown import Channel, Survey, check_channel
from imlspike.data.ogg import survey_ogg

_log = logging.getLogger(__name__)
OnMismatch = Literal["error", "convert"]
UNKNOWN_LENGTH = 2**63 - 1  # libsndfile's number of frames for "unknown"
LEAST_RATE, MOST_RATE = 1000, 768_000  # Hz of what may be sound
MOST_AT_ONCE = 2**22  # samples of all channels that are read at once, whatever a header says
# Of samples that are no sound: at least so many; power of their differences, of white noise twice their own;
# power against full scale, of a sine 0.5.
LEAST_JUDGED, WHITE, FULL = 4000, 1.6, 0.75
MOST_TAPS = 10**7  # of a resampling filter
NO_MP3 = (*FORMS, b"fLaC", b"OggS", b".snd")  # whatever the file is called
AT_ONCE = 2**20  # samples resampled in one go
ROLLOFF, ZERO_CROSSINGS = 0.99, 6  # of the resampling filter, as torchaudio has them
# What libsndfile, which reads a truncated file without a word, notes of its chunks.
_CUT = re.compile(r"^ *\w[\w ]*: (\d+) \(should be (\d+)\)$", re.MULTILINE)
_SPHERE_SAMPLES = re.compile(rb"^sample_count -i (\d+)", re.MULTILINE)


def read_audio(
    path: str | os.PathLike,
    sampling_rate: int = 16000,
    name: str | None = None,
    on_mismatch: OnMismatch = "error",
    channel: Channel = "mix",
    note: Note | None = None,
) -> np.ndarray:
    """Read one mono waveform as float32 `(samples,)` with full scale at 1.

    Args:
        path: what libsndfile reads (WAV, FLAC, AIFF, ...) or ffmpeg (Ogg, MP3, m4a, WebM, video files, ...).
        sampling_rate: the rate wanted, in Hz.
        name: the utterance to name in errors.
        on_mismatch: what to do with another sampling rate, several channels, damage inside, or floats in the
            scale of 16-bit integers: "error" refuses the file; "convert" resamples it, mixes it down, leaves
            out what can't be read, divides by 32768, and tells so.
        channel: of "convert": "mix" takes the mean of the channels that aren't silent (see
            `imlspike.data.mixdown.Survey`), a number that channel alone, counted from 1.
        note: called with what was done or found; default: the log, as a warning.

    Raises:
        AudioError: a file that is missing, empty, not audio, shorter or longer than its header promises, that
            holds NaN, infinity or samples beyond full scale, lacks the channel, or doesn't match. A header
            that tells no length (0, 0xFFFFFFFF, ... as streams have it) promises nothing.
    """
    blocks = stream_audio(path, sampling_rate, name, on_mismatch, channel=channel, note=note)
    return np.concatenate(list(blocks))


def stream_audio(
    path: str | os.PathLike,
    sampling_rate: int = 16000,
    name: str | None = None,
    on_mismatch: OnMismatch = "error",
    block_seconds: float = 10.0,
    channel: Channel = "mix",
    note: Note | None = None,
) -> Iterator[np.ndarray]:
    """The waveform of `read_audio` in blocks of about `block_seconds`, errors when their place is reached.

    Several channels, and floats, are read twice: what is done with them follows from the whole file.
    """
    if on_mismatch not in ("error", "convert"):
        raise ValueError(f"on_mismatch is {on_mismatch!r}; expected 'error' or 'convert'")
    check_channel(channel)
    check_number("block_seconds", block_seconds, 0.001, 1e6)
    who, form, strict = _who(path, name), audio_format(path, name), on_mismatch == "error"
    if strict and (found := form.mismatch(sampling_rate)):
        raise AudioError(f"{who}: {found}. Convert the file, or allow it with on_mismatch='convert'")
    if channel != "mix" and channel > form.channels:
        raise AudioError(f"{who}: has {form.channels} channel(s), no channel {channel}")
    tell = note or (lambda text: _log.warning(f"{who}: {text}"))
    block = min(round(block_seconds * form.sampling_rate), MOST_AT_ONCE // form.channels)
    reading = Path(path), who, max(1, block), strict
    survey = None
    if form.floats or form.channels > 1 and channel == "mix":
        survey = Survey(_blocks(*reading, lambda text: None), who, strict, form.floats, form.sampling_rate)
        for text in survey.notes:
            tell(text)
    mono = (
        survey.mix(samples, channel) if survey else samples[:, 0 if channel == "mix" else channel - 1]
        for samples in _blocks(*reading, tell)
    )
    yield from resample_blocks(mono, form.sampling_rate, sampling_rate)


def audio_format(path: str | os.PathLike, name: str | None = None) -> AudioFormat:
    """Read the header of an audio file.

    AudioError if it is missing, empty, not audio, truncated, or of a rate that no sound has.
    """
    path, who = Path(path), _who(path, name)
    if not path.is_file():
        missing = "a link to a file that isn't there" if path.is_symlink() else "no such file"
        found = f"not a file but {_kind(path)}" if path.exists() else missing
        way_out = "check its name, in wav.scp where that gives it"
        if str(path) == "-":
            way_out = "standard input is read by imlspike stream alone; name a file"
        if path.exists() and not path.is_dir():
            way_out = "files are read twice and from any place: write what comes from it to one first"
        raise AudioError(f"{who}: {found}; {way_out}")
    if path.stat().st_size == 0:
        raise AudioError(f"{who}: the file is empty (0 bytes); copy or record it again, or leave it out")
    sound = _open(path, who)
    if sound is None:
        form = container_audio.audio_format(path, who)
    else:
        with sound:
            seconds = sound.frames / sound.samplerate if sound.frames < UNKNOWN_LENGTH else None
            floats = sound.subtype in ("FLOAT", "DOUBLE")
            form = AudioFormat(sound.samplerate, sound.channels, seconds, floats)
    try:
        check_rate(form.sampling_rate)
    except ValueError as error:
        raise AudioError(f"{who}: {error}; write the file again from its source") from None
    return form


def check_rate(rate: float) -> int:
    """A sampling rate in Hz, as an int; ValueError for what isn't a whole number, or no rate of sound.

    >>> check_rate(44100.0)
    44100
    """
    if not isinstance(rate, Real) or not LEAST_RATE <= rate <= MOST_RATE or rate != int(rate):
        expected = f"a whole number of Hz from {LEAST_RATE} to {MOST_RATE}"
        raise ValueError(f"sampling_rate is {rate!r}; expected {expected}")
    return int(rate)


def resample_blocks(blocks: Iterable[np.ndarray], from_rate: int, to_rate: int) -> Iterator[np.ndarray]:
    """Resample a waveform that comes in blocks; how it was cut into blocks leaves no trace (up to rounding).

    The filter is that of `torchaudio.transforms.Resample`, a sinc under a Hann window; it is computed without
    torch, which a program that only runs exported models does without. As many input samples as it is wide
    are kept from block to block. Rates whose ratio has a denominator over 1000 (44101 to 16000 Hz) would need
    a filter of gigabytes, and are taken for the nearest ratio that hasn't, at most 0.05 % off.

    Args:
        blocks: float32 arrays `(samples,)`.
        from_rate, to_rate: in Hz, such as `check_rate` takes.

    Yields: float32 arrays `(samples,)`, in all of length ceil(samples * to_rate / from_rate).

    >>> blocks = [np.zeros(5, dtype=np.float32), np.zeros(4405, dtype=np.float32)]
    >>> sum(map(len, resample_blocks(blocks, 44100, 16000)))
    1600
    """
    ratio = Fraction(check_rate(from_rate), check_rate(to_rate))
    ratio = ratio.limit_denominator(min(1000, int((MOST_TAPS / ratio) ** 0.5)))
    step_in, step_out = ratio.numerator, ratio.denominator
    if step_in == step_out:
        yield from blocks
        return
    filters, width = _sinc_filters(step_in, step_out)
    steps_around = -(-width // step_in)
    around, skip = steps_around * step_in, steps_around * step_out
    held = np.zeros(around, dtype=np.float32)  # what lies before the beginning is silence
    for part in (part for block in blocks for part in np.split(block, range(AT_ONCE, len(block), AT_ONCE))):
        held = np.concatenate([held, part])
        ready = (len(held) - 2 * around) // step_in * step_in  # with all their surroundings
        if ready > 0:
            out = _filtered(held[: ready + 2 * around], filters, width, step_in)
            yield out[skip : skip + ready // step_in * step_out]
            held = held[ready:]
    yield _filtered(held, filters, width, step_in)[skip:]


def _sinc_filters(step_in: int, step_out: int) -> tuple[np.ndarray, int]:
    """Filters (step_out, 2 width + step_in) that make step_out samples of step_in, and their width."""
    bandwidth = ROLLOFF * min(step_in, step_out)
    width = ceil(ZERO_CROSSINGS * step_in / bandwidth)
    starts = np.arange(step_out, dtype=np.float32) / np.float32(step_out)  # in fp32, as torchaudio does
    times = np.arange(-width, width + step_in) / step_in - starts[:, None]
    times = (bandwidth * times).clip(-ZERO_CROSSINGS, ZERO_CROSSINGS)
    filters = np.sinc(times) * np.cos(np.pi / 2 * times / ZERO_CROSSINGS) ** 2 * (bandwidth / step_in)
    return filters.astype(np.float32), width


def _filtered(samples: np.ndarray, filters: np.ndarray, width: int, step_in: int) -> np.ndarray:
    """Samples (s,) at the other rate, (ceil(s step_out / step_in),), with silence around them."""
    padded = np.pad(samples, (width, width + step_in))
    seen = np.lib.stride_tricks.sliding_window_view(padded, filters.shape[1])[::step_in]
    return (seen @ filters.T).reshape(-1)[: -(-len(samples) * len(filters) // step_in)]


class _Forwards(soundfile.SoundFile):
    """A file without the jump that soundfile makes after every read: of an unknown length it can't be."""

    def seekable(self) -> bool:
        return False


def _who(path: str | os.PathLike, name: str | None) -> str:
    return f"{name} ({path})" if name else str(path)


def _kind(path: Path) -> str:
    return "a folder" if path.is_dir() else "a pipe" if path.is_fifo() else "a device"


def _open(path: Path, who: str) -> soundfile.SoundFile | None:
    """Open a file by libsndfile; None for what ffmpeg reads: what libsndfile doesn't, or not whole."""
    if path.suffix.lower() == ".g722":  # headerless: libsndfile might take it for anything
        return None
    with open(path, "rb") as file:
        head = file.read(12)
    if head[:4] == b"OggS" and not (
        survey_ogg(path).is_plain and container_audio.agree(*container_audio.ogg_seconds(path, who))
    ):
        return None  # libsndfile reads the first of joined recordings, and of a damaged one the beginning
    if (
        head[:3] == b"ID3"
        or head[:1] == b"\xff"
        or (path.suffix.lower() == ".mp3" and head[:4] not in NO_MP3)
    ):
        return None  # of an MP3, too; and its library says on stderr what it thinks of it
    try:
        check_length(path)
        check_boxes(path)
    except ValueError as error:
        raise AudioError(f"{who}: {error}") from None
    try:
        sound = _Forwards(os.fsencode(path))
    except (soundfile.LibsndfileError, RuntimeError, TypeError):  # the last of .raw, which has no header
        return None
    if "MPEG" in sound.subtype or sound.frames == 0 or sound.samplerate <= 0:
        sound.close()
        return None  # libsndfile takes a length of 0 at its word
    if sound.format == "FLAC" and sound.frames < UNKNOWN_LENGTH and flac_goes_on(path, sound.frames):
        sound.close()
        return None  # libsndfile reads what the header counts
    if missing := _missing(sound, path):
        sound.close()
        raise AudioError(f"{who}: truncated, its header promises {missing} than there are; copy it again")
    if head[:4] not in FORMS and container_audio.begins_again(path):
        sound.close()
        if sound.format != "FLAC":  # which ffmpeg reads on
            raise AudioError(f"{who}: {JOINED}")
        return None
    return sound


def _missing(sound: soundfile.SoundFile, path: Path) -> str:
    """How much a file lacks of what its header promises; "" if nothing."""
    for promised, there in _CUT.findall(sound.extra_info) if sound.format in ("W64", "SVX") else ():
        if int(promised) > int(there):
            return f"{int(promised) - int(there)} more bytes"
    if sound.format == "NIST":
        with open(path, "rb") as file:
            promised = _SPHERE_SAMPLES.search(file.read(1024))
        if promised and int(promised[1]) > sound.frames:
            return f"{int(promised[1]) - sound.frames} more samples"
    return ""


def _blocks(path: Path, who: str, block: int, strict: bool, note: Note) -> Iterator[np.ndarray]:
    """The file's samples as float32 `(block, channels)`, finite."""
    sound, done, behind = _open(path, who), 0, check_boxes(path)
    if behind:
        told = f"{behind} bytes lie behind its end, which are no part of it"
        if strict or sound:  # libsndfile would read them
            raise AudioError(f"{who}: {told}; write it again, or cut them off")
        note(told)
    told = (lambda text: None) if strict else note  # of a corpus, which may hold noise
    read = _read(sound, who, block, told) if sound else container_audio.decode(path, who, strict, note)
    for samples in read:
        finite = np.isfinite(samples).all(axis=1)
        if not finite.all():
            bad = done + int(np.argmin(finite))
            raise AudioError(f"{who}: NaN or infinity at sample {bad}; write the file again from its source")
        done += len(samples)
        yield samples
    if done == 0:
        raise AudioError(f"{who}: holds no samples; record it again, or leave it out")


def _read(sound: soundfile.SoundFile, who: str, block: int, note: Note) -> Iterator[np.ndarray]:
    """Float32 `(block, channels)` by libsndfile, all that the header promises.

    Tells of integers that are noise at all frequencies, as those of another byte order are, or nearly all at
    full scale, as unsigned ones taken for signed ones are.
    """
    done, power, rough, integers = 0, 0.0, 0.0, sound.subtype.startswith("PCM")
    with sound:
        try:
            while len(samples := sound.read(block, dtype="float32", always_2d=True)):
                done += len(samples)
                if integers:
                    power += float(np.square(samples - samples.mean(axis=0), dtype=np.float64).sum())
                    rough += float(np.square(np.diff(samples, axis=0), dtype=np.float64).sum())
                yield samples
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise AudioError(f"{who}: damaged ({error}); copy or write it again") from None
        if done < sound.frames < UNKNOWN_LENGTH:  # a FLAC that was streamed into a file has none
            raise AudioError(f"{who}: truncated, {done} of {sound.frames} samples can be read; copy it again")
        if done > LEAST_JUDGED and (rough > WHITE * power or power > FULL * done * sound.channels):
            told = "its samples look like noise; are byte order, width and sign as its header tells? If it"
            note(f"{told} is speech, write it again from its source")
