"""Text2Speech: a trained SpikeVoice, in use: text to sound."""

import os
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from imlspike.data.controls import Controls
from imlspike.inference.bundle import Bundle
from imlspike.inference.common import as_float
from imlspike.inference.griffin_lim import GriffinLim
from imlspike.inference.speaking import Speech, Synthesizer, check_mel
from imlspike.inference.vocoder import Vocoder
from imlspike.inference.voice import TrainedVoice
from imlspike.layers.log_mel import LogMel
from imlspike.text.sentences import LONGEST


class Text2Speech(Synthesizer):
    """A trained voice with a vocoder: text to speech, of any length. `from_pretrained` makes one.

    The voice's batch norms are folded, in place.

    Args:
        voice, longest: of `Synthesizer`.
        vocoder: of the same mel; None: Griffin-Lim.

    Raises:
        ValueError: for a vocoder of another mel, naming both and what differs.

    >>> from imlspike.models import SpikeVoice
    >>> model = SpikeVoice(5, n_mels=8, dim=16, hidden_dim=16, encoder_layers=1, decoder_layers=1)
    >>> features = dict(sampling_rate=8000, n_fft=64, hop_length=16, n_mels=8, f_min=0.0, f_max=None)
    >>> speak = Text2Speech(TrainedVoice(model, [*"abc.", "<space>"], features, front_end="characters"))
    >>> speech = speak("A cab. Bacca.")
    >>> len(speech.symbols), len(speech.mel) == int(speech.durations.sum())
    (12, True)
    """

    def __init__(self, voice: TrainedVoice, vocoder: Vocoder | None = None, longest: int = LONGEST):
        if vocoder is not None:
            check_mel(voice, vocoder.name, vocoder.model.config)
        super().__init__(voice, longest)
        self.vocoder = vocoder or GriffinLim(voice.features, voice.device)
        voice.model.reparameterize()

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike,
        vocoder: "str | os.PathLike | Vocoder" = "griffin_lim",
        device: str = "cpu",
        model_file: str | None = None,
        cache_dir: str | os.PathLike | None = None,
        weight_bits: int | None = None,
    ) -> "Text2Speech":
        """Open what a recipe trained.

        Args:
            path, device, model_file, cache_dir, weight_bits: of the voice, see
                `imlspike.inference.bundle.Bundle.load`; a vocoder that is opened here is rounded, too.
            vocoder: one that is open, or what `Vocoder.from_pretrained` opens; "griffin_lim": the one that
                needs no training.

        Raises:
            ValueError: if there is no such voice or vocoder, or they don't go together.
        """
        bundle = Bundle.load(path, "voice", device, model_file, cache_dir, weight_bits)
        voice = TrainedVoice.from_bundle(bundle)
        if vocoder == GriffinLim.name:
            return cls(voice)
        if not isinstance(vocoder, Vocoder):
            vocoder = Vocoder.from_pretrained(vocoder, device, cache_dir=cache_dir, weight_bits=weight_bits)
        return cls(voice, vocoder)

    def _say(self, symbols: Sequence[str], speaker: int | None, name: str, controls: Controls) -> Speech:
        numbers = self.voice.numbers(symbols, name)[None]
        speakers = None if speaker is None else torch.tensor([speaker], device=numbers.device)
        lengths = torch.tensor([len(symbols)], device=numbers.device)
        with torch.no_grad():
            said = self.voice.model(numbers, lengths, speaker=speakers, controls=controls)
        return self._speech(self._scaled(said.mel_post[0]), said.durations[0], symbols, name)

    def force(
        self,
        symbols: Sequence[str],
        audio: np.ndarray | Tensor,
        speaker: str | int | None = None,
        name: str = "text",
        durations: Sequence[int] | None = None,
    ) -> Speech:
        """Speak symbols with durations, pitch and energy of a recording (teacher forcing).

        Args:
            symbols, speaker, name: as for `speak`.
            audio: (S,) at the voice's sampling rate, where it is spoken.
            durations: frames of each symbol (N); None: those that the voice's aligner finds.

        Raises:
            ValueError: as `speak`; durations of another number or sum; without them a voice that has no
                aligner, or more symbols than frames.
            ImportError: without ESPnet, which extracts the pitch.
        """
        numbers, number = self.voice.numbers(symbols, name), self.voice.speaker_number(speaker)
        wave, mel = self._recording(audio, name)
        try:
            said, durations = self.teacher(numbers, wave, mel, number, durations)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        return self._speech(self._scaled(said), durations, symbols, name)

    def resynthesize(self, audio: np.ndarray | Tensor, name: str = "audio") -> Speech:
        """The mel of a recording (S,) through the vocoder: the most that a voice can sound like with it."""
        _, mel = self._recording(audio, name)
        return self._speech(mel, torch.zeros(0, dtype=torch.int64), (), name)

    def _scaled(self, mel: Tensor) -> Tensor:
        """The log-mel (L, M) of the model's normalized one."""
        return mel * self.voice.deviation + self.voice.mean

    def _speech(self, mel: Tensor, durations: Tensor, symbols: Sequence[str], name: str) -> Speech:
        """A log-mel (L, M) through the vocoder."""
        if not mel.isfinite().all():
            told = "the voice's mel isn't finite; train it with a smaller learning rate"
            raise FloatingPointError(f"{name}: {told}")
        audio = self.vocoder.decode(mel.T).float().cpu().numpy()
        mel = mel.float().cpu().numpy()
        return Speech(audio, self.sampling_rate, mel, durations.cpu().numpy(), tuple(symbols))

    def _recording(self, audio: np.ndarray | Tensor, name: str) -> tuple[Tensor, Tensor]:
        """A recording (S,) where the voice is, and its log-mel (L, M)."""
        wave, least = torch.from_numpy(as_float(audio, name)), self.voice.features["n_fft"] // 2
        if len(wave) <= least:
            raise ValueError(f"{name}: {len(wave)} samples; a mel needs more than {least}: leave it out")
        wave = wave.to(self.voice.device)
        return wave, self._log_mel(wave[None])[0].T

    @cached_property
    def _log_mel(self):
        return LogMel(**self.voice.features).to(self.voice.device)

    @cached_property
    def teacher(self):
        """The source of durations, pitch and energy for `force`; opened when it is first needed."""
        if find_spec("espnet2") is None:
            raise ImportError("ESPnet isn't installed; install it by: pip install 'imlspike[asr]'")
        from imlspike.espnet.teacher import Teacher

        return Teacher(self.voice)
