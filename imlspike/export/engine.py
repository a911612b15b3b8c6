"""Exported models in use: onnxruntime, numpy and soundfile, and no torch."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np

from imlspike.data.controls import Controls
from imlspike.data.level import gain_to, speech_power
from imlspike.data.mel import MEL_KEYS
from imlspike.data.transcript import Word
from imlspike.inference.common import as_float, windows
from imlspike.inference.listening import Frames, Listener
from imlspike.inference.speaking import Speech, Synthesizer, Voice, check_mel
from imlspike.inference.word_times import WordTimes, find_words
from imlspike.text.phonemes import to_numbers
from imlspike.text.sentences import LONGEST
from imlspike.text.tokens import BLANK_MARK, SPACE

STREAM = "imlspike_ctc_stream"


def sha256_of_tokens(tokens: Iterable[str]) -> str:
    """By which an exported model knows its `tokens.txt`, whatever ends its lines."""
    return hashlib.sha256("\n".join(tokens).encode()).hexdigest()


class Session:
    """An ONNX file that `imlspike export` wrote, open in onnxruntime. Any number of threads may call it.

    Args:
        path: the file, or a folder with one such file in it; of several `model.onnx` or `stream.onnx`.
        kind: `model_type` of its metadata: imlspike_ctc, imlspike_ctc_stream, imlspike_vocoder, imlspike_mel
            or imlspike_voice.
        threads: that it computes with; 0: as many as there are cores.

    Raises:
        ValueError: no such file, several, a damaged one, or one of another kind.
        ImportError: without onnxruntime.
    """

    def __init__(self, path: str | os.PathLike, kind: str, threads: int = 0):
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError(f"{error}; pip install onnxruntime") from None
        self.path = _only_file(Path(path), kind)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        try:
            self.session = onnxruntime.InferenceSession(self.path, options, ["CPUExecutionProvider"])
        except Exception as error:  # of onnxruntime's own kinds, which have no common ancestor
            told = "not an ONNX file, or a damaged one; make it by imlspike export"
            raise ValueError(f"{self.path}: {told} ({error})") from None
        self.metadata = Metadata(self.session.get_modelmeta().custom_metadata_map)
        self.metadata.path = self.path
        if (own := self.metadata.get("model_type")) != kind:
            raise ValueError(
                f"{self.path}: model_type is {own!r}, expected {kind!r}; make it by imlspike export"
            )
        self.names = [each.name for each in self.session.get_inputs()]

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """The outputs for inputs in the order of the file."""
        return self.session.run(None, dict(zip(self.names, inputs, strict=True)))

    def table(self, *needed: str) -> list[str]:
        """The tokens of `tokens.txt`, which lies beside the file; without the `needed` ones a ValueError."""
        path, count = Path(self.path).with_name("tokens.txt"), int(self.metadata["vocab_size"])
        try:
            lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            told = getattr(error, "strerror", None) or "not UTF-8"
            raise ValueError(f"{path}: {told}; export the model again") from None
        if len(lines) != count:
            raise ValueError(f"{path}: {len(lines)} tokens, expected {count}; export the model again")
        tokens = [line.rpartition(" ")[0] for line in lines]
        if lacking := [each for each in needed if each not in tokens]:
            raise ValueError(f"{path}: no {lacking[0]} in it; export the model again")
        if self.metadata.get("tokens_sha256", own := sha256_of_tokens(tokens)) != own:
            told = f"another model's tokens than {Path(self.path).name}'s"
            raise ValueError(f"{path}: {told}; export the model again, into a folder of its own")
        return tokens

    def mel(self) -> dict[str, float]:
        """The numbers that tell its mel from others, by `MEL_KEYS`."""
        return {key: float(self.metadata[key.replace("sampling", "sample")]) for key in MEL_KEYS}


class Metadata(dict):
    """An ONNX file's metadata; what an earlier version didn't write is a ValueError."""

    path = ""

    def __missing__(self, key: str):
        raise ValueError(f"{self.path}: no {key} in its metadata; export the model again")


def _only_file(path: Path, kind: str) -> str:
    if path.is_file():
        return os.fspath(path)
    name = "stream" if kind == STREAM else "model"
    if (usual := path / f"{name}.onnx").is_file():
        return os.fspath(usual)
    pattern = f"{name}*.onnx"
    found = sorted(path.glob(pattern))
    if len(found) != 1:
        there = found or sorted(path.glob("*.onnx"))
        named = ", ".join(each.name for each in there) or "no .onnx file"
        told = f"{named} here, expected one {pattern}" if path.is_dir() else "no such file or folder"
        raise ValueError(f"{path}: {told}; name one that `imlspike export` wrote")
    return os.fspath(found[0])


class OnnxDecoder:
    """Waveforms to texts by CTC's best path, as `imlspike.inference.decoding.Decoder`.

    One goes through whole, so memory grows with it; `Speech2Text(decoder)` cuts long ones at pauses.

    Args:
        path, threads: of `Session`; `tokens.txt` lies beside the file.

    Attributes:
        sampling_rate: that waveforms must have, in Hz.
    """

    def __init__(self, path: str | os.PathLike, threads: int = 0):
        self.session = Session(path, "imlspike_ctc", threads)
        metadata: dict[str, Any] = self.session.metadata
        self.sampling_rate, self.least = int(metadata["sample_rate"]), int(metadata["least_samples"])
        self.tokens = Symbols(self.session.table("<blank>", "<sos/eos>"), metadata["token_type"])
        shifts = {name: metadata.get(f"word_{name}") for name in ("start", "end", "confidence")}
        self.word_times = WordTimes(**{name: float(each) for name, each in shifts.items() if each})

    def log_probs(self, waveform: np.ndarray) -> np.ndarray:
        """Log-probabilities (N, V) of a waveform (samples,), full scale 1."""
        return self.session(np.asarray(waveform, np.float32)[None])[0][0]

    def __call__(self, waveforms: list[np.ndarray]) -> list[str | None]:
        """Transcribe waveforms; None for one too short for the model."""
        return [found and found[0] for found in self.with_words(waveforms)]

    def with_words(self, waveforms: list[np.ndarray]) -> list[tuple[str, tuple[Word, ...]] | None]:
        """The same with the words' times, as `Decoder.with_words`."""
        return [self._heard(one) if len(one) >= self.least else None for one in waveforms]

    def _heard(self, waveform: np.ndarray) -> tuple[str, tuple[Word, ...]]:
        log_probs = self.log_probs(waveform)
        if not np.isfinite(log_probs).all():
            raise FloatingPointError("the model's output isn't finite")
        best = [number for number, _ in groupby(log_probs.argmax(-1).tolist())]
        seconds = len(waveform) / self.sampling_rate
        words = find_words(log_probs, best, self.tokens, seconds, self.word_times)
        return self.tokens.text(best), words


class Symbols:
    """Tokens of a tokens.txt in sherpa-onnx's form, in which ▁ stands for a blank."""

    def __init__(self, symbols: list[str], kind: str):
        marks = {"char": SPACE, "word": ""}.get(kind, BLANK_MARK)
        self.symbols, self.kind = symbols, kind
        self.names = [name.replace(BLANK_MARK, marks) for name in symbols]
        self.blank, self.eos = symbols.index("<blank>"), symbols.index("<sos/eos>")

    def text(self, numbers: Iterable[int]) -> str:
        """The text of token numbers."""
        said = (self.symbols[number] for number in numbers if number not in (self.blank, self.eos))
        return " ".join("".join(said).replace(BLANK_MARK, " ").split())


class OnnxStream(Listener):
    """A stream of speech and what is heard in it, as `imlspike.inference.stream.Stream`.

    Args:
        model: stream.onnx or its folder; or the `session` of another stream, which then share it.
        threads: of `Session`.
        pause, max_seconds: of `Listener`.
    """

    def __init__(
        self,
        model: str | os.PathLike | Session,
        threads: int = 0,
        pause: float | None = 0.8,
        max_seconds: float = 20.0,
    ):
        self.session = model if isinstance(model, Session) else Session(model, STREAM, threads)
        if "real" not in self.session.names:
            raise ValueError(f"{self.session.path}: of an earlier version; export the model again")
        told, (_, gains, *_, state) = self.session.metadata, self.session.session.get_inputs()
        rate, look_ahead, hop, center = (
            int(told[key]) for key in ("sample_rate", "look_ahead", "frames_per_token", "center")
        )
        level = float(told["level"]) if told["level"] else None
        self._form = int(told["n_fft"]), int(told["hop_length"]), bool(center), rate, level
        self._frame_count, self._state = gains.shape[1], np.zeros(state.shape, np.float32)
        tokens = Symbols(told["tokens"].split(" "), told["token_type"])
        least = self._frame_count - hop * look_ahead
        listens = (rate, look_ahead, hop, least, 1, pause, max_seconds)
        super().__init__(Frames(*self._form), tokens, *listens)

    def reset(self) -> None:
        self.source = Frames(*self._form)
        super().reset()

    def _begin(self) -> None:
        self.state, self.past = self._state, 0
        super()._begin()

    def _frames(self, samples: np.ndarray, last: bool) -> np.ndarray:
        """(l, 1 + S): the gain of each frame and its samples."""
        wave, gains = self.source.accept(samples, last)
        if not len(gains):
            return np.zeros((0, 1 + self.source.size), np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(wave, self.source.size)[:: self.source.hop]
        return np.concatenate((gains[:, None], frames), 1)

    def log_probs(self, rows: np.ndarray) -> np.ndarray:
        """Log-probabilities (n, V) of the tokens that begin in the next frames (l, 1 + S)."""
        wave = np.concatenate((rows[:-1, 1 : 1 + self.source.hop].ravel(), rows[-1, 1:]))
        count, lacks = (len(rows) - self.least) // self.hop + 1, self._frame_count - len(rows)
        samples = np.pad(wave, (0, lacks * self.source.hop))
        gains = np.pad(rows[:, 0], (0, lacks), "edge")
        told = np.array([self.past]), np.array([count])
        log_probs, self.state = self.session(samples[None], gains[None], *told, self.state)
        if not np.isfinite(log_probs).all():
            raise FloatingPointError("the model's output isn't finite")
        self.past += count
        return log_probs[0, :count]


class OnnxVocoder:
    """Mels or waveforms to waveforms, of any length in chunks, as `imlspike.inference.Vocoder`.

    Args:
        path, threads: of `Session`; `mel.onnx` lies beside the file.
        chunk_seconds: audio that is computed at once.

    Attributes:
        sampling_rate: Hz; `hop_length`: samples in a frame; `n_mels`: channels of a mel.
    """

    def __init__(self, path: str | os.PathLike, threads: int = 0, chunk_seconds: float = 10.0):
        self.session = Session(path, "imlspike_vocoder", threads)
        self.features = Session(Path(self.session.path).with_name("mel.onnx"), "imlspike_mel", threads)
        names = ("sample_rate", "hop_length", "n_mels", "n_fft", "context")
        sizes = (int(self.session.metadata[name]) for name in names)
        self.sampling_rate, self.hop_length, self.n_mels, n_fft, self._context = sizes
        self._half_window, level = n_fft // 2, self.session.metadata["level"]
        self.level = float(level) if level else None
        self._chunk = max(1, round(chunk_seconds * self.sampling_rate / self.hop_length))

    def gain(self, blocks: Iterable[np.ndarray]) -> float:
        """The factor that brings a waveform, in blocks (s,) at the model's rate, to the training's level."""
        if self.level is None:
            return 1.0
        floats = (as_float(block, "the waveform") for block in blocks)
        power = speech_power(floats, self.sampling_rate)
        return gain_to(self.level, power) if power > 0 else 1.0

    def stream(self, blocks: Iterable[np.ndarray], gain: float = 1.0) -> Iterator[np.ndarray]:
        """Yield audio (s,) of blocks of a mel (n_mels, l) or of a waveform (s,); see `Vocoder.stream`."""
        blocks = iter(blocks)
        for first in blocks:
            blocks, is_wave = chain([first], blocks), np.ndim(first) == 1
            yield from self._vocode(blocks, gain) if is_wave else self._decode(map(self._checked, blocks))

    def _checked(self, mel) -> np.ndarray:
        mel = np.asarray(mel, np.float32)
        if mel.ndim != 2 or len(mel) != self.n_mels or not np.isfinite(mel).all():
            raise ValueError(
                f"the mel has shape {mel.shape}; expected finite numbers ({self.n_mels}, frames)"
            )
        return mel

    def _decode(self, mels: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        hop = self.hop_length
        for window, first, last in windows(mels, self._chunk, self._context):
            several = window.shape[-1] > 1  # one frame alone is the middle of no samples
            audio = self.session(window[None])[0][0] if several else np.zeros(0, np.float32)
            if not np.isfinite(audio).all():
                raise FloatingPointError("the vocoder's output isn't finite")
            yield audio[first * hop : last and last * hop]

    def _mels(self, audio: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        hop = self.hop_length
        for window, first, last in windows(audio, self._chunk * hop, (self._half_window // hop + 1) * hop):
            yield self.features(window[None])[0][0][:, first // hop : last and last // hop]

    def _vocode(self, audio: Iterable[np.ndarray], gain: float) -> Iterator[np.ndarray]:
        hop, samples, done = self.hop_length, 0, 0

        def padded() -> Iterator[np.ndarray]:
            nonlocal samples
            for block in audio:
                samples += len(block)
                yield as_float(block, "the waveform") * np.float32(gain)
            if samples:
                hops = -(-max(samples, self._half_window + 1) // hop)
                yield np.zeros(hops * hop - samples, np.float32)

        for block in self._decode(self._mels(padded())):
            block = block[: samples - done]  # what is put out was read before; the padding comes last
            done += len(block)
            yield block / np.float32(gain)


class OnnxVoice(Voice):
    """A voice's file: symbols to a mel.

    Args:
        path, threads: of `Session`; `tokens.txt` lies beside the file.
    """

    def __init__(self, path: str | os.PathLike, threads: int = 0):
        self.session = Session(path, "imlspike_voice", threads)
        told = self.session.metadata
        self.symbols, self.features = self.session.table(), self.session.mel()
        self.front_end, self.speakers = told["front_end"] or None, json.loads(told["speakers"])
        self.speaker_count, self.name = int(told["speaker_count"]) or None, self.session.path
        self.languages = json.loads(told.get("languages", "{}"))  # of one language: none

    def __call__(
        self, numbers: Sequence[int], speaker: int | None = None, controls: Controls | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Log-mel (n_mels, L) of symbols by their numbers (N,), and the frames (N,) of each."""
        factors = np.array([*vars(controls or Controls()).values()], np.float32)
        speakers = [] if speaker is None else [np.array([speaker])]
        mel, durations = self.session(np.array([numbers], np.int64), factors, *speakers)
        return mel[0], durations[0]


class OnnxSynthesizer(Synthesizer):
    """A voice with a vocoder: text to speech, as `imlspike.inference.Text2Speech`.

    Args:
        voice, vocoder: files that `imlspike export` wrote, or their folders.
        threads: of `Session`.
        longest: of `Synthesizer`.

    Raises:
        ValueError: as `Session`; for a vocoder of another mel, naming both and what differs.
    """

    def __init__(
        self,
        voice: str | os.PathLike,
        vocoder: str | os.PathLike,
        threads: int = 0,
        longest: int = LONGEST,
    ):
        super().__init__(OnnxVoice(voice, threads), longest)
        self.vocoder = OnnxVocoder(vocoder, threads)
        check_mel(self.voice, self.vocoder.session.path, self.vocoder.session.mel())

    def _say(self, symbols: Sequence[str], speaker: int | None, name: str, controls: Controls) -> Speech:
        numbers = to_numbers(symbols, self.voice.symbols, name)
        mel, durations = self.voice(numbers, speaker, controls)
        if not np.isfinite(mel).all():
            raise FloatingPointError(f"{name}: the voice's mel isn't finite")
        audio = np.concatenate([*self.vocoder.stream([mel])])
        return Speech(audio, self.sampling_rate, mel.T, durations, tuple(symbols))
