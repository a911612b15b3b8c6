"""Decoding a recognizer, many utterances at once: waveforms to texts, and a whole Kaldi data directory."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import fsum  # the same in any order
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from imlspike.data.audio import OnMismatch, audio_format, read_audio, stream_audio
from imlspike.data.files import make_folder, read_kaldi, write_kaldi
from imlspike.data.kaldi import read_segments
from imlspike.data.keys import construct, unknown_key
from imlspike.data.segment import batches
from imlspike.data.transcript import Word
from imlspike.data.yaml_file import ConfigError
from imlspike.inference.beam_search import BeamSearch, MakeScorer, SearchOptions
from imlspike.inference.bundle import Bundle
from imlspike.inference.experiment import language_model, language_model_beside
from imlspike.inference.language_model import RNNLanguageModel
from imlspike.inference.ngram import NGramLanguageModel
from imlspike.inference.recognizer import Recognizer, TooShort
from imlspike.inference.word_times import UNSHIFTED, WordTimes, find_words

Waveforms = list[torch.Tensor | np.ndarray]


@dataclass
class Decoded:
    """Transcripts by utterance, which of them were too short (empty transcript), and times in seconds."""

    texts: dict[str, str] = field(default_factory=dict)
    too_short: list[str] = field(default_factory=list)
    audio_seconds: float = 0.0
    seconds: float = 0.0


class Decoder:
    """Waveforms in, texts out.

    Args:
        recognizer: that is decoded.
        search: from the encoder's output and its lengths to hypotheses, best first; None: the best CTC token
            of every frame, repeated ones merged, blanks left out (Graves et al. 2006, best path decoding).
        word_times: how words' times and confidences are made of CTC's.

    Attributes:
        sampling_rate: that waveforms must have, in Hz.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        search: BeamSearch | None = None,
        word_times: WordTimes = UNSHIFTED,
    ):
        self.recognizer, self.search, self.word_times = recognizer, search, word_times
        self.sampling_rate = recognizer.sampling_rate

    def __call__(self, waveforms: Waveforms) -> list[str | None]:
        """Transcribe waveforms of shape (samples,), full scale 1; None for one too short for the recognizer.

        Raises:
            FloatingPointError: if the encoder's output isn't finite.
        """
        text = self.recognizer.tokens.text
        return [None if found is None else text(found[0]) for found in self._decode(waveforms)]

    def with_words(
        self, waveforms: list[torch.Tensor | np.ndarray]
    ) -> list[tuple[str, tuple[Word, ...]] | None]:
        """Transcribe them as a call does, with their words' times in seconds; none without CTC."""
        results: list = []
        for wave, found in zip(waveforms, self._decode(waveforms), strict=True):
            if found is None:
                results.append(None)
                continue
            (numbers, encoded), words, tokens = found, (), self.recognizer.tokens
            if self.recognizer.ctc is not None:
                with torch.no_grad():
                    log_probs = self.recognizer.log_probs(encoded).float().cpu().numpy()
                seconds = len(wave) / self.sampling_rate
                words = find_words(log_probs, numbers, tokens, seconds, self.word_times)
            results.append((tokens.text(numbers), words))
        return results

    @torch.no_grad()
    def _decode(
        self, waveforms: list[torch.Tensor | np.ndarray]
    ) -> list[tuple[list[int], torch.Tensor] | None]:
        """Token numbers and the encoder's output (N, C) of each waveform."""
        try:
            encoded, lengths = self.recognizer.encode(list(map(torch.as_tensor, waveforms)))
        except TooShort:
            if len(waveforms) == 1:
                return [None]
            half = len(waveforms) // 2
            return self._decode(waveforms[:half]) + self._decode(waveforms[half:])
        rows = [row[:length] for row, length in zip(encoded, lengths.tolist(), strict=True)]
        if self.search is None:
            best = self.recognizer.ctc(encoded).argmax(-1)
            both = zip(best, rows, strict=True)
            numbers = [torch.unique_consecutive(frames[: len(row)]).tolist() for frames, row in both]
        else:  # no tokens if no hypothesis is long enough for `minlenratio`
            numbers = [found[0].tokens if found else [] for found in self.search(encoded, lengths)]
        return list(zip(numbers, rows, strict=True))


def open_decoder(
    bundle: Bundle,
    decoding: Literal["greedy", "beam", "joint"] = "greedy",
    lm: str | os.PathLike | None = None,
    lm_file: str | None = None,
    exact: bool | None = None,
    **options,
) -> Decoder:
    """The decoder of a recognizer's bundle.

    Args:
        decoding: "greedy" (CTC's best path: fast); "beam" (CTC prefixes and the language model); "joint" (the
            attention decoder, too, for which ESPnet must be installed unless `ctc_weight` is 1).
        lm: the experiment of a language model; default, where `lm_weight` isn't 0: the one in the bundle or
            beside the experiment.
        lm_file: of its folder (not of a bundle), another model than the average of its best epochs.
        exact: see `Recognizer.from_bundle`; default: unless greedy, for the search takes most of the time.
        **options: of "beam" and "joint", see `SearchOptions`; default: those that the bundle says suit it,
            but for joint not a `ctc_weight` of 1, which would be a beam.

    Raises:
        ConfigError: for options that this way of decoding doesn't take or that are out of range, a model
            without the CTC or the attention decoder that they ask for, a language model of other tokens or
            none.
        ImportError: without ESPnet, where it's needed.
    """
    named = {name: value for name, value in (("lm", lm), ("lm_file", lm_file)) if value is not None}
    known = {"lm", "lm_file", *SearchOptions.__dataclass_fields__}
    for option in options | named:
        if decoding == "greedy" and option in known:
            raise ConfigError(f"options of greedy decoding: unknown key {option!r}; it is of beam and joint")
        if option not in known:
            raise ConfigError(f"options of {decoding} decoding: {unknown_key(option, known)}")
    recognizer = Recognizer.from_bundle(bundle, decoding != "greedy" if exact is None else exact)
    if recognizer.ctc is None and (decoding != "joint" or options.get("ctc_weight", 0.5) > 0):
        raise ConfigError(f"{bundle.source}: trained without CTC; decode it joint with ctc_weight: 0")
    word_times = construct(WordTimes, bundle.config.get("word_times") or {}, bundle.where("word_times"))
    suited = dict(bundle.config.get("search") or {})
    construct(SearchOptions, suited, bundle.where("search"))  # a wrong one is told however it is decoded
    if decoding == "greedy":
        return Decoder(recognizer, None, word_times)
    if not (lm or "lm" in bundle.config):
        suited.pop("lm_weight", None)
    if decoding == "joint" and suited.get("ctc_weight") == 1:
        del suited["ctc_weight"]  # it suits a beam: who asks for joint decoding wants the decoder
    given = suited | ({"ctc_weight": 1.0} if decoding == "beam" else {}) | options
    settings = construct(SearchOptions, given, f"options of {decoding} decoding")
    attention = make_lm = None
    if settings.ctc_weight < 1:
        if decoding == "beam":
            weight = settings.ctc_weight
            raise ConfigError(f"ctc_weight is {weight}: beam is CTC's alone, take decoding joint")
        from imlspike.espnet.parts import attention_scorer

        attention = attention_scorer(bundle, recognizer)
    if settings.lm_weight:
        make_lm = _lm_scorer(bundle, lm, lm_file)
    elif named:
        raise ConfigError(f"{next(iter(named))} is given, but lm_weight is 0; it takes both or neither")
    search = BeamSearch(recognizer.log_probs, recognizer.tokens.eos, settings, attention, make_lm)
    return Decoder(recognizer, search, word_times)


def _lm_scorer(bundle: Bundle, folder: str | os.PathLike | None, file: str | None) -> MakeScorer:
    """A maker of the language model's scorer."""
    about, states, tokens = bundle.config.get("lm"), bundle.lm_states, bundle.tokens
    where: str | Path = bundle.where("lm")
    if file is not None and folder is None and about:
        raise ConfigError(f"lm_file is {file!r}, but the lm is that in {bundle.source}; name another lm")
    if folder is not None or not about:
        where = Path(folder) if folder is not None else language_model_beside(bundle)
        about, states, tokens = language_model(where, file)
        device = next(iter(bundle.states.values())).device
        states = {key: state.to(device) for key, state in states.items()}
    if tokens != bundle.tokens:
        raise ConfigError(f"{where}: a language model of other tokens than the recognizer's")
    if not isinstance(about.get("lm"), str):
        raise ConfigError(f"{where}: lm is {about.get('lm')!r}; expected a language model's name")
    arguments = {"vocab_size": len(tokens)} | (about.get("lm_conf") or {})
    own = {"seq_rnn": RNNLanguageModel, "ngram": NGramLanguageModel}
    if about["lm"] not in own:
        from imlspike.espnet.parts import lm_scorer_of

        return lm_scorer_of(bundle, about["lm"], arguments, states, str(where))
    return bundle.fill(partial(construct, own[about["lm"]], arguments, str(where)), states).scorer


def decode_dir(
    decoder: Callable[[list[torch.Tensor]], list[str | None]],
    data_dir: str | os.PathLike,
    output: str | os.PathLike,
    sampling_rate: int = 16000,
    batch_seconds: float = 120.0,
    on_mismatch: OnMismatch = "error",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Decoded:
    """Decode every utterance of `data_dir`/wav.scp and write the Kaldi table `output`, atomically.

    Where the directory has `segments`, these are its utterances; each recording is then held in memory.

    Args:
        decoder: a `Decoder`, or any function from waveforms to texts, at `sampling_rate` Hz.
        batch_seconds: audio in a batch, padding counted.
        on_mismatch: see `imlspike.data.audio.read_audio`.
        progress: called with (done, total) before the first batch and after each, in seconds of audio.

    Raises:
        AudioError, ValueError, FloatingPointError: naming the utterances; nothing is written.

    >>> import soundfile, tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> soundfile.write(folder / "a.wav", [0.0] * 1600, 16000)
    >>> _ = (folder / "wav.scp").write_text(f"a {folder}/a.wav\\n")
    >>> decode_dir(lambda waves: [f"{len(wave)} samples" for wave in waves], folder, folder / "text").texts
    {'a': '1600 samples'}
    """
    wavs = read_kaldi(Path(data_dir) / "wav.scp")
    if not wavs:
        raise ValueError(f"{os.fspath(data_dir)}/wav.scp is empty; there is nothing to decode")
    lengths = {name: _seconds(wav, name, sampling_rate, on_mismatch) for name, wav in wavs.items()}
    seconds, parts = lengths, [lengths]  # utterances that are decoded together
    segments: dict[str, tuple[str, float, float]] = {}
    if (Path(data_dir) / "segments").exists():
        segments = read_segments(data_dir)
        seconds = {u: (lengths[of] if end < 0 else end) - start for u, (of, start, end) in segments.items()}
        parts = [{u: seconds[u] for u in segments if segments[u][0] == name} for name in wavs]
    result = Decoded(audio_seconds=fsum(seconds.values()))
    begin = time.monotonic()
    progress(0, int(result.audio_seconds))

    def read(name: str) -> torch.Tensor:
        return torch.from_numpy(read_audio(wavs[name], sampling_rate, name, on_mismatch))

    for part in parts:
        whole = read(segments[next(iter(part))][0]) if segments and part else None
        for batch in batches(part, batch_seconds):
            waves = [read(u) if whole is None else _cut(whole, segments[u], u, sampling_rate) for u in batch]
            try:
                texts = dict(zip(batch, decoder(waves), strict=True))
            except FloatingPointError as error:
                raise FloatingPointError(f"{', '.join(batch)}: {error}") from None
            result.too_short += [utterance for utterance, text in texts.items() if text is None]
            result.texts |= {utterance: text or "" for utterance, text in texts.items()}
            result.seconds = time.monotonic() - begin
            progress(int(fsum(seconds[u] for u in result.texts)), int(result.audio_seconds))
    make_folder(Path(output).parent)
    write_kaldi(output, result.texts)
    return result


def _seconds(wav: str, name: str, rate: int, on_mismatch: OnMismatch) -> float:
    """Length of a recording; of one whose header doesn't tell it, by reading it."""
    told = audio_format(wav, name).seconds
    return sum(map(len, stream_audio(wav, rate, name, on_mismatch))) / rate if told is None else told


def _cut(whole: torch.Tensor, segment: tuple[str, float, float], name: str, rate: int) -> torch.Tensor:
    """A segment of a recording; one that ends up to half a second behind it ends with it, as in Kaldi."""
    of, begin, end = segment
    if begin * rate >= len(whole) or end * rate > len(whole) + rate / 2:
        raise ValueError(f"{name}: segment {begin} to {end} s, but {of} has {len(whole) / rate:.3f} s")
    return whole[round(begin * rate) : None if end < 0 else round(end * rate)]
