"""Batched CTC greedy decoding of an ESPnet experiment over a Kaldi data directory.

Joint CTC/attention beam search is ESPnet's own: `python -m imlspike.espnet.asr_inference`.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import humanfriendly
import soundfile
import torch
import yaml

from imlspike.data.audio import AudioError, OnMismatch, read_audio
from imlspike.data.files import read_kaldi, write_kaldi
from imlspike.espnet import register

Progress = Callable[[int, int, float], None]


@dataclass
class Decoded:
    """What a decoding did: transcripts, which utterances were too short (empty transcript), and times."""

    texts: dict[str, str] = field(default_factory=dict)
    too_short: list[str] = field(default_factory=list)
    audio_seconds: float = 0.0
    seconds: float = 0.0


class GreedyDecoder:
    """An ESPnet recogniser that takes the best CTC token of every frame: no decoder, no beam, no LM.

    Repeated tokens are merged, blanks and <sos/eos> left out (Graves et al. 2006, best path decoding). An
    encoder that has `reparameterize()` is folded; the output stays the same up to rounding.

    Args:
        config: `config.yaml` of the experiment (a recogniser of waveforms: it has a frontend).
        model: a model file of it, such as `valid.acc.ave.pth`.
        device: where to run, as torch names it.

    Raises:
        ValueError: if the model file doesn't hold exactly the parameters that `config.yaml` asks for.
    """

    def __init__(self, config: str | os.PathLike, model: str | os.PathLike, device: str = "cpu"):
        register()
        from espnet2.tasks.asr import ASRTask
        from espnet2.text.build_tokenizer import build_tokenizer

        with open(config, encoding="utf-8") as file:
            args = argparse.Namespace(**yaml.safe_load(file))
        self.model = ASRTask.build_model(args).to(device).eval()
        _load_exactly(self.model, config, model)
        if hasattr(self.model.encoder, "reparameterize"):
            self.model.encoder.reparameterize()
        # The short-time Fourier transform mirrors an utterance at its ends, which padding would hide from it:
        # each utterance goes through the frontend alone, so that its transcript doesn't depend on its batch.
        self.frontend, self.model.frontend = self.model.frontend, None
        self.device = device
        self.min_samples = int(args.frontend_conf.get("n_fft", 512)) // 2 + 1  # less can't be mirrored
        self.peak = args.speech_volume_normalize
        self.sampling_rate = humanfriendly.parse_size(str(args.frontend_conf.get("fs", 16000)))
        self.tokenizer = build_tokenizer(token_type=args.token_type, bpemodel=args.bpemodel)

    @torch.no_grad()
    def __call__(self, waveforms: list[torch.Tensor]) -> list[str | None]:
        """Transcribe waveforms of shape (samples,), full scale 1; None for one too short for the subsampling.

        Raises:
            FloatingPointError: if the encoder's output isn't finite.
        """
        from espnet.nets.pytorch_backend.transformer.subsampling import TooShortUttError

        try:
            encoded, out_lengths = self._encode(waveforms)
        except TooShortUttError:
            if len(waveforms) == 1:
                return [None]
            return [text for waveform in waveforms for text in self([waveform])]
        if isinstance(encoded, tuple):  # with intermediate CTC
            encoded = encoded[0]
        tokens = self.model.ctc.argmax(encoded)
        return [
            self._text(frames[:length], row[:length])
            for frames, row, length in zip(tokens, encoded, out_lengths.tolist(), strict=True)
        ]

    def _encode(self, waveforms: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """ESPnet's `encode` of a padded batch, features taken utterance by utterance."""
        from espnet.nets.pytorch_backend.transformer.subsampling import TooShortUttError

        shortest = min(map(len, waveforms))
        if shortest < self.min_samples:
            raise TooShortUttError("too short for the frontend", shortest, self.min_samples)
        features = []
        for waveform in waveforms:
            samples = torch.tensor([len(waveform)], device=self.device)
            if self.peak is not None and waveform.any():
                waveform = waveform * (self.peak / waveform.abs().max())
            features.append(self.frontend(waveform.to(self.device)[None], samples)[0][0])
        lengths = torch.tensor([len(feature) for feature in features], device=self.device)
        return self.model.encode(torch.nn.utils.rnn.pad_sequence(features, batch_first=True), lengths)

    def _text(self, frames: torch.Tensor, encoded: torch.Tensor) -> str:
        """The text of one utterance's best tokens (N,)."""
        if not torch.isfinite(encoded).all():
            raise FloatingPointError("the encoder's output isn't finite; train with a lower learning rate")
        silent = (self.model.blank_id, self.model.eos)
        best = [token for token in torch.unique_consecutive(frames).tolist() if token not in silent]
        text = self.tokenizer.tokens2text([self.model.token_list[token] for token in best])
        return " ".join(text.split())  # a blank at an end can't stand in a Kaldi table


def _load_exactly(model: torch.nn.Module, config: str | os.PathLike, path: str | os.PathLike) -> None:
    """Load parameters; unlike ESPnet, which skips what isn't there, fail on a missing or superfluous one."""
    path = Path(path)
    if not path.is_file():
        there = ", ".join(sorted(file.name for file in path.parent.glob("*.pth"))) or "no .pth file"
        raise ValueError(f"{path}: no such model file; in {path.parent} there is {there}")
    try:
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except RuntimeError as error:
        raise ValueError(f"{path} doesn't belong to {os.fspath(config)}: {error}") from None


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
        decoder: a `GreedyDecoder`, or any function from waveforms to texts.
        data_dir: Kaldi directory; only its `wav.scp` is read.
        output: the table of transcripts; its folder is made.
        sampling_rate: that the decoder expects, in Hz.
        batch_seconds: audio in a batch, padding counted.
        on_mismatch: see `imlspike.data.audio.read_audio`.
        progress: called as progress(done, total, seconds spent) after each batch.

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
    result = Decoded(audio_seconds=sum(seconds.values()))
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
            progress(len(result.texts), len(wavs), result.seconds)
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
