"""Batched decoding of an ESPnet experiment, and its application to a Kaldi data directory."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from math import fsum  # the same in any order
from pathlib import Path

import soundfile
import torch
import yaml

from imlspike.data.audio import AudioError, OnMismatch, read_audio
from imlspike.data.files import read_kaldi, write_kaldi
from imlspike.espnet.beam_search import BeamSearch, SearchOptions
from imlspike.espnet.recognizer import load_lm, load_recognizer

Progress = Callable[[float, float, float], None]


@dataclass
class Decoded:
    """What a decoding did: transcripts, which utterances were too short (empty transcript), and times."""

    texts: dict[str, str] = field(default_factory=dict)
    too_short: list[str] = field(default_factory=list)
    audio_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def real_time_factor(self) -> float:
        """Seconds of decoding for a second of audio."""
        return self.seconds / self.audio_seconds if self.audio_seconds else 0.0


class Decoder:
    """Waveforms in, texts out: what greedy and joint decoding share.

    Args:
        config: `config.yaml` of the experiment (a recogniser of waveforms: it has a frontend).
        model: a model file of it, such as `valid.acc.ave.pth`.
        device: where to run, as torch names it.
        exact: see `load_recognizer`.

    Attributes:
        sampling_rate: that waveforms must have, in Hz.

    Raises:
        ValueError: as `imlspike.espnet.recognizer.load_recognizer` does.
    """

    def __init__(
        self, config: str | os.PathLike, model: str | os.PathLike, device: str = "cpu", exact: bool = False
    ):
        self.recognizer = load_recognizer(config, model, device, exact)
        self.model, self.tokenizer = self.recognizer.model, self.recognizer.tokenizer
        self.sampling_rate = self.recognizer.sampling_rate

    @torch.no_grad()
    def __call__(self, waveforms: list[torch.Tensor]) -> list[str | None]:
        """Transcribe waveforms of shape (samples,), full scale 1; None for one too short for the subsampling.

        Raises:
            FloatingPointError: if the encoder's output isn't finite.
        """
        from espnet.nets.pytorch_backend.transformer.subsampling import TooShortUttError

        try:
            encoded, lengths = self.recognizer.encode(waveforms)
        except TooShortUttError:
            if len(waveforms) == 1:
                return [None]
            half = len(waveforms) // 2
            return self(waveforms[:half]) + self(waveforms[half:])
        return [self.recognizer.text(tokens) for tokens in self.tokens(encoded, lengths)]

    def tokens(self, encoded: torch.Tensor, lengths: torch.Tensor) -> list[list[int]]:
        """Token numbers of each utterance out of the encoder's output (B, N, C) with its lengths (B,)."""
        raise NotImplementedError


class GreedyDecoder(Decoder):
    """An ESPnet recogniser that takes the best CTC token of every frame: no decoder, no beam, no LM.

    Repeated tokens are merged, blanks and <sos/eos> left out (Graves et al. 2006, best path decoding).
    Arguments and errors are those of `Decoder`.
    """

    def tokens(self, encoded: torch.Tensor, lengths: torch.Tensor) -> list[list[int]]:
        """See `Decoder.tokens`."""
        best = self.model.ctc.argmax(encoded)
        rows = zip(best, lengths.tolist(), strict=True)
        return [torch.unique_consecutive(row[:length]).tolist() for row, length in rows]


class JointDecoder(Decoder):
    """Joint CTC/attention beam search, with a language model if there is one; see `beam_search.BeamSearch`.

    Args:
        config, model, device: as for `Decoder`.
        beam_size, ctc_weight, penalty, maxlenratio, minlenratio, lm_weight: see `beam_search.SearchOptions`.
        lm_config: `config.yaml` of a language model over the same tokens.
        lm_file: a model file of it.
        exact: see `load_recognizer`; the search takes most of the time, so it costs little here.

    Raises:
        ValueError: as `Decoder`; also for options out of range, for a recogniser without the CTC or the
            attention decoder that `ctc_weight` asks for, for a language model of other tokens, and for one
            without `lm_weight` or the reverse.
    """

    def __init__(
        self,
        config: str | os.PathLike,
        model: str | os.PathLike,
        device: str = "cpu",
        beam_size: int = 10,
        ctc_weight: float = 0.5,
        penalty: float = 0.0,
        maxlenratio: float = 0.0,
        minlenratio: float = 0.0,
        lm_config: str | os.PathLike | None = None,
        lm_file: str | os.PathLike | None = None,
        lm_weight: float = 0.0,
        exact: bool = True,
    ):
        options = SearchOptions(beam_size, ctc_weight, penalty, maxlenratio, minlenratio, lm_weight)
        if (lm_config is None) != (lm_file is None):
            raise ValueError("a language model needs both its config.yaml and its model file")
        if (lm_config is None) != (lm_weight == 0):
            lms = "no language model is" if lm_config is None else "a language model is"
            raise ValueError(f"lm_weight is {lm_weight}, but {lms} given; it takes both or neither")
        super().__init__(config, model, device, exact)
        if ctc_weight > 0 and self.model.ctc is None:
            raise ValueError(f"{os.fspath(config)}: trained without CTC; set ctc_weight: 0")
        if ctc_weight < 1 and not hasattr(self.model.decoder, "batch_score"):
            raise ValueError(f"{os.fspath(config)}: no attention decoder that can search; set ctc_weight: 1")
        lm = lm_config and load_lm(lm_config, lm_file, self.model.token_list, device)
        self.search = BeamSearch(self.model.decoder, self.model.ctc, self.model.eos, options, lm)

    def tokens(self, encoded: torch.Tensor, lengths: torch.Tensor) -> list[list[int]]:
        """See `Decoder.tokens`; no tokens if no hypothesis is long enough for `minlenratio`."""
        return [found[0].tokens if found else [] for found in self.search(encoded, lengths)]


def decode_dir(
    decoder: Callable[[list[torch.Tensor]], list[str | None]],
    data_dir: str | os.PathLike,
    output: str | os.PathLike,
    sampling_rate: int = 16000,
    batch_seconds: float = 120.0,
    on_mismatch: OnMismatch = "error",
    progress: Progress | None = None,
) -> Decoded:
    """Decode every utterance of `data_dir`/wav.scp and write the Kaldi table `output`, atomically.

    Args:
        decoder: a `Decoder`, or any function from waveforms to texts.
        data_dir: Kaldi directory; only its `wav.scp` is read.
        output: the table of transcripts; its folder is made.
        sampling_rate: that the decoder expects, in Hz.
        batch_seconds: audio in a batch, padding counted.
        on_mismatch: see `imlspike.data.audio.read_audio`.
        progress: called as progress(done, total, spent) after each batch, in seconds: of audio, and of work.

    Raises:
        AudioError, ValueError, FloatingPointError: naming the utterances; nothing is written.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> soundfile.write(folder / "a.wav", [0.0] * 1600, 16000)
    >>> _ = (folder / "wav.scp").write_text(f"a {folder}/a.wav\\n")
    >>> decode_dir(lambda waves: [f"{len(wave)} samples" for wave in waves], folder, folder / "text").texts
    {'a': '1600 samples'}
    """
    wavs = read_kaldi(Path(data_dir) / "wav.scp")
    if not wavs:
        raise ValueError(f"{os.fspath(data_dir)}/wav.scp is empty; there is nothing to decode")
    seconds = {utterance: _duration(utterance, wav) for utterance, wav in wavs.items()}
    result = Decoded(audio_seconds=fsum(seconds.values()))
    begin = time.monotonic()
    for batch in batches(seconds, batch_seconds):
        waves = [torch.from_numpy(read_audio(wavs[u], sampling_rate, u, on_mismatch)) for u in batch]
        try:
            texts = decoder(waves)
        except FloatingPointError as error:
            raise FloatingPointError(f"{', '.join(batch)}: {error}") from None
        result.too_short += [u for u, text in zip(batch, texts, strict=True) if text is None]
        result.texts |= {u: text or "" for u, text in zip(batch, texts, strict=True)}
        result.seconds = time.monotonic() - begin
        if progress:
            progress(fsum(seconds[u] for u in result.texts), result.audio_seconds, result.seconds)
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    write_kaldi(output, result.texts)
    return result


def batches(seconds: dict[str, float], limit: float) -> Iterator[list[str]]:
    """Group utterances, longest first, so that count x longest stays within `limit` (one may exceed it).

    >>> list(batches({"a": 1, "b": 5, "c": 4, "d": 2}, 10))
    [['b', 'c'], ['d', 'a']]
    """
    batch: list[str] = []
    for utterance in sorted(seconds, key=lambda u: (-seconds[u], u)):
        if batch and (len(batch) + 1) * seconds[batch[0]] > limit:
            yield batch
            batch = []
        batch.append(utterance)
    if batch:
        yield batch


def _duration(utterance: str, wav: str) -> float:
    """Seconds that the file's header tells."""
    try:
        return soundfile.info(wav).duration
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{utterance} ({wav}): {error}; each line of wav.scp needs an audio file") from None


def average_criterion(config: str | os.PathLike) -> str:
    """The file name of the average for the first criterion that the configuration names.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "config.yaml"
    >>> _ = path.write_text("best_model_criterion: [[valid, cer_ctc, min]]")
    >>> average_criterion(path)
    'valid.cer_ctc.ave.pth'
    """
    with open(config, encoding="utf-8") as file:
        criteria: Iterable = yaml.safe_load(file)["best_model_criterion"]
    phase, key, _ = next(iter(criteria))
    return f"{phase}.{key}.ave.pth"
