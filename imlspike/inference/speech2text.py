"""Speech2Text: a trained recognizer, in use. Without torch where the decoder needs none."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from imlspike.data.audio import audio_format, resample_blocks, stream_audio
from imlspike.data.keys import MOST_SECONDS, check_choice, check_number
from imlspike.data.level import speech_power
from imlspike.data.mixdown import Channel, check_channel
from imlspike.data.segment import Piece, batches, cut_at_pauses
from imlspike.data.transcript import Segment, Transcript, join_texts
from imlspike.inference.common import as_float

if TYPE_CHECKING:
    import torch

    from imlspike.inference.stream import Stream

SILENT = 10**-3.5  # of the power of a recording's loudest piece (-35 dB): less is noise
OFFSET = 0.1  # times the standard deviation: a smaller one is not heard
WINDOW = 4  # batches whose pieces are sorted by length before they are decoded, so that little is padding


class Speech2Text:
    """A trained recognizer: waveforms or files to text. `from_pretrained` makes one.

    Args:
        decoder: from waveforms (samples,), arrays, to their texts, None for one too short; with an attribute
            `sampling_rate` in Hz; see `imlspike.inference.decoding.Decoder`, whose `with_words`, where there
            is such a method, gives transcripts their words.
        name: of the model, for results and messages.

    >>> def decoder(waveforms):
    ...     return [f"{len(waveform)} samples" for waveform in waveforms]
    >>> decoder.sampling_rate = 16000
    >>> s2t = Speech2Text(decoder)
    >>> s2t(np.zeros(800))
    '800 samples'
    >>> s2t([np.zeros(800), np.zeros(441, dtype=np.int16)], sampling_rate=44100)
    ['291 samples', '160 samples']
    """

    def __init__(self, decoder: Callable[[list[np.ndarray]], list[str | None]], name: str = "unnamed"):
        self.decoder, self.name = decoder, name
        self.sampling_rate: int = decoder.sampling_rate

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike,
        decoding: Literal["greedy", "beam", "joint"] = "greedy",
        device: str = "cpu",
        model_file: str | None = None,
        cache_dir: str | os.PathLike | None = None,
        weight_bits: int | None = None,
        **options,
    ) -> Speech2Text:
        """Open what a recipe trained.

        Args:
            path, device, model_file, cache_dir, weight_bits: see `imlspike.inference.bundle.Bundle.load`.
            decoding: "greedy" (CTC's best path: fast), "beam" (beam search with CTC and a language model) or
                "joint" (also with the attention decoder, for which ESPnet must be installed).
            **options: of beam and joint decoding, as `beam_size=5`; they and all errors are those of
                `imlspike.inference.decoding.open_decoder`.
        """
        from imlspike.inference.bundle import Bundle
        from imlspike.inference.decoding import open_decoder

        check_choice("decoding", decoding, ("greedy", "beam", "joint"))
        bundle = Bundle.load(path, "recognizer", device, model_file, cache_dir, weight_bits)
        return cls(open_decoder(bundle, decoding, **options), os.fspath(path))

    def stream(self, look_ahead: int | None = None, **options) -> Stream:
        """A stream that this recognizer listens to; arguments and errors are those of `Stream`.

        Any number of them may run at a time, each in a thread of its own or by turns.
        """
        from imlspike.inference.stream import Stream  # here only: it needs torch

        if getattr(self.decoder, "search", None) is not None:
            raise ValueError("decoding: a stream is decoded greedy; open the model with decoding='greedy'")
        return Stream(self.decoder.recognizer, look_ahead, **options)

    def __call__(
        self,
        waveform: np.ndarray | torch.Tensor | Sequence,
        sampling_rate: int = 16000,
        max_seconds: float | None = 25.0,
        batch_seconds: float = 120.0,
    ) -> str | list[str]:
        """The text of a waveform, or the texts of a list of them.

        Args:
            waveform: (samples,), floats with full scale at 1, int8, int16 or int32; or a list of such. The
                text of one too short for the recognizer is "".
            sampling_rate: of the waveforms, in Hz; they are resampled if need be.
            max_seconds: a longer one is cut at pauses, see `imlspike.data.segment.cut_at_pauses`; None:
                never, however much memory that takes.
            batch_seconds: audio that is decoded at once, padding counted.

        Raises:
            ValueError: for a waveform with several channels, of another type or scale, or with NaN or
                infinity in it; for a sampling rate that no sound has.
            FloatingPointError: if the recognizer's output isn't finite.
        """
        many = isinstance(waveform, list | tuple)
        waveforms = list(waveform) if many else [waveform]
        _check_seconds(max_seconds, batch_seconds)
        found: list[list[tuple[int, float, str]]] = [[] for _ in waveforms]

        def pieces():
            for number, one in enumerate(waveforms):
                samples = as_float(one, f"waveform {number}" if many else "the waveform")
                blocks = resample_blocks([samples], sampling_rate, self.sampling_rate)
                for piece in self._cut(blocks, max_seconds):
                    yield number, piece

        for number, piece, power, text in self._decode(pieces(), batch_seconds):
            if isinstance(text, Exception):
                raise text
            found[number].append((piece.start, power, text[0]))
        joined = []
        for parts in found:
            least = SILENT * max((power for _, power, _ in parts), default=0)
            joined.append(join_texts(text for _, power, text in sorted(parts) if power >= least))
        return joined if many else joined[0]

    def transcribe(
        self,
        files: str | os.PathLike | Iterable[str | os.PathLike],
        max_seconds: float | None = 25.0,
        batch_seconds: float = 120.0,
        on_error: Literal["raise", "return"] = "raise",
        progress: Callable[[float], None] | None = None,
        channel: Channel | Literal["all"] = "mix",
        jobs: int = 1,
    ) -> Iterator[Transcript]:
        """Yield a `Transcript` of each file, of any length, rate and number of channels, with its words.

        Files are read block by block, cut at pauses, and decoded in batches across files; memory doesn't grow
        with their length or number.

        Args:
            files: a file, or several.
            max_seconds, batch_seconds: as for a call.
            on_error: "raise" ends all at a file that can't be transcribed; "return" gives a transcript whose
                `error` tells why, and goes on.
            progress: called with the seconds of audio decoded so far.
            channel: as for `imlspike.data.audio.read_audio`, or "all": a transcript for each channel, up to
                the first that can't be read.
            jobs: batches that are decoded at once, each in a thread; of files of some minutes in all, not
                more than four come to be. Results don't depend on it.

        Raises:
            AudioError, FloatingPointError, ...: naming the file, unless `on_error` is "return".
        """
        check_choice("on_error", on_error, ("raise", "return"))
        check_number("jobs", jobs, 1, 1000)
        _check_seconds(max_seconds, batch_seconds)
        if channel != "all":
            check_channel(channel)
        if isinstance(files, bytes) or hasattr(files, "read"):
            raise TypeError(f"files is of type {type(files).__name__}; expected a path, or several")
        files = [files] if isinstance(files, str | os.PathLike) else files
        begun: deque[_Running] = deque()
        done_seconds = 0.0

        def pieces():
            for file in files:
                which = 1 if channel == "all" else channel
                while which:
                    running = _Running(os.fspath(file), channel=None if which == "mix" else which)
                    begun.append(running)
                    try:
                        form = audio_format(file)
                        running.sampling_rate, running.channels = form.sampling_rate, form.channels
                        options = {"channel": which, "note": running.notes.append}
                        blocks = stream_audio(file, self.sampling_rate, None, "convert", **options)
                        for piece in self._cut(blocks, max_seconds):
                            running.waiting += 1
                            running.seconds = (piece.start + len(piece.samples)) / self.sampling_rate
                            yield running, piece
                    except Exception as error:  # whatever a file does to a library, the others are done
                        if on_error == "raise":
                            raise
                        running.error = str(error) or type(error).__name__
                    running.read = True
                    more = channel == "all" and not running.error and which < running.channels
                    which = which + 1 if more else None

        for running, piece, power, text in self._decode(pieces(), batch_seconds, jobs):
            start = piece.start / self.sampling_rate
            end = (piece.start + len(piece.samples)) / self.sampling_rate
            running.waiting -= 1
            if isinstance(text, Exception):
                running.error = f"{running.file}, at {start:.1f} s: {text}"
                if on_error == "raise":
                    numeric = isinstance(text, FloatingPointError)
                    raise (FloatingPointError if numeric else RuntimeError)(running.error) from text
            else:
                words = (replace(one, start=one.start + start, end=one.end + start) for one in text[1])
                running.segments.append((Segment(start, end, text[0], tuple(words)), power))
            done_seconds += end - start
            if progress:
                progress(done_seconds)
            while begun and begun[0].read and not begun[0].waiting:
                yield begun.popleft().transcript()
        yield from (running.transcript() for running in begun)

    def _cut(self, blocks: Iterable[np.ndarray], max_seconds: float | None) -> Iterator[Piece]:
        if max_seconds is None:
            pieces = iter([Piece(0, np.concatenate([np.zeros(0, np.float32), *blocks]))])
        else:
            pieces = cut_at_pauses(blocks, self.sampling_rate, max_seconds)
        return (Piece(one.start, _without_offset(one.samples)) for one in pieces)

    def _decode(self, pieces: Iterable[tuple], batch_seconds: float, jobs: int = 1) -> Iterator[tuple]:
        """(owner, piece) to (owner, piece, its power, (text, words) or exception), batches of about equal
        lengths."""
        window, samples, loudest = [], 0, {}
        pool = ThreadPoolExecutor(jobs) if jobs > 1 else None
        run = pool.map if pool else map
        try:
            for owner, piece in pieces:
                window.append((owner, piece))
                samples += len(piece.samples)
                if samples >= WINDOW * batch_seconds * self.sampling_rate:
                    yield from self._decode_window(window, batch_seconds, loudest, run)
                    window, samples = [], 0
            yield from self._decode_window(window, batch_seconds, loudest, run)
        finally:
            if pool:
                pool.shutdown(cancel_futures=True)

    def _decode_window(
        self, window: list[tuple], batch_seconds: float, loudest: dict, run: Callable
    ) -> Iterator[tuple]:
        """`loudest`: greatest power of speech of the owner that the last window ended in. What is far below
        it is noise and not decoded: brought to the level of speech, it would be taken for some. What is far
        below a later window is known to the owner alone, who has the powers."""
        powers = [speech_power([one.samples], self.sampling_rate) for _, one in window]
        for (owner, _), power in zip(window, powers, strict=True):
            loudest[owner] = max(power, loudest.get(owner, 0.0))
        speech = []
        for (owner, piece), power in zip(window, powers, strict=True):
            if power < SILENT * loudest[owner]:
                yield owner, piece, power, ("", ())
            else:
                speech.append((owner, piece, power))
        for owner in [*loudest][:-1]:
            del loudest[owner]
        lengths = {i: len(piece.samples) / self.sampling_rate for i, (_, piece, _) in enumerate(speech)}
        together = list(batches(lengths, batch_seconds))
        waves = ([speech[i][1].samples for i in batch] for batch in together)
        for batch, texts in zip(together, run(self._texts, waves), strict=True):
            yield from ((*speech[i], text) for i, text in zip(batch, texts, strict=True))

    def _texts(self, waveforms: list[np.ndarray]) -> list:
        """(text, words) of each waveform, or the exception that it alone gives, as for want of memory."""
        try:
            if hasattr(self.decoder, "with_words"):
                return [found or ("", ()) for found in self.decoder.with_words(waveforms)]
            return [(text or "", ()) for text in self.decoder(waveforms)]
        except Exception as error:
            if len(waveforms) == 1:
                return [error]
            return [text for waveform in waveforms for text in self._texts([waveform])]


def _without_offset(samples: np.ndarray) -> np.ndarray:
    """Samples (s,) without a constant offset, as cheap sound cards add one; others as they are."""
    mean = samples.mean() if len(samples) else 0.0
    return samples - mean if abs(mean) > OFFSET * samples.std() else samples


def _check_seconds(max_seconds: float | None, batch_seconds: float) -> None:
    if max_seconds is not None:
        check_number("max_seconds", max_seconds, 1, MOST_SECONDS)
    check_number("batch_seconds", batch_seconds, 0.1, MOST_SECONDS)


@dataclass(eq=False)
class _Running:
    """A file while pieces of it are on their way."""

    file: str
    segments: list[tuple[Segment, float]] = field(default_factory=list)  # and the power of each
    seconds: float = 0.0
    sampling_rate: int = 0
    channels: int = 0
    error: str | None = None
    channel: int | None = None
    notes: list[str] = field(default_factory=list)
    read: bool = False
    waiting: int = 0

    def transcript(self) -> Transcript:
        """The finished transcript, its segments in order of time; none of a file with an error. Those far
        below the loudest are noise, without a text."""
        least = SILENT * max((power for _, power in self.segments), default=0)
        heard = [s if power >= least else replace(s, text="", words=()) for s, power in self.segments]
        segments = () if self.error else tuple(sorted(heard, key=lambda segment: segment.start))
        about = (self.file, segments, self.seconds, self.sampling_rate, self.channels, self.error)
        return Transcript(*about, self.channel, tuple(self.notes))
