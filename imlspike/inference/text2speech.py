"""Text2Speech: a trained SpikeVoice, in use: text to sound."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from imlspike.data.keys import check_choice, check_number
from imlspike.data.yaml_file import ConfigError
from imlspike.inference.bundle import Bundle
from imlspike.inference.bundle_config import MEL_KEYS
from imlspike.inference.common import as_float
from imlspike.inference.griffin_lim import GriffinLim
from imlspike.inference.loudness import LOUDNESS, peaks_lowered, scale_loudness
from imlspike.inference.vocoder import Vocoder
from imlspike.inference.voice import TrainedVoice
from imlspike.layers.log_mel import LogMel
from imlspike.models.variance_adaptor import Controls
from imlspike.text.phonemes import ON_UNKNOWN, front_end
from imlspike.text.punctuation import PUNCTUATION, UnspeakableError
from imlspike.text.sentences import LONGEST, split_sentences
from imlspike.text.tokens import SPACE

PAUSE, MOST_PAUSE = 0.1, 60.0  # seconds
SHORT = 4  # with fewer symbols and no mark at its end a text is swallowed: sentences to learn from have one


@dataclass(frozen=True)
class Speech:
    """Spoken text.

    Attributes:
        audio: (S,) float32, full scale at 1.
        sampling_rate: Hz.
        mel: (L, M) float32 natural log-mel, pauses between sentences left out.
        durations: (N,) frames of each symbol; they add up to L.
        symbols: N of them.
        text: as it was given.
        skipped: characters that were left out (`on_unknown="skip"`).
        limited: peaks were turned down, for which full scale has no room at the loudness asked for.
    """

    audio: np.ndarray
    sampling_rate: int
    mel: np.ndarray
    durations: np.ndarray
    symbols: tuple[str, ...] = ()
    text: str = ""
    skipped: tuple[str, ...] = ()
    limited: bool = False

    @property
    def seconds(self) -> float:
        """The length of the audio."""
        return len(self.audio) / self.sampling_rate


class Text2Speech:
    """A trained voice with a vocoder: text to speech, of any length. `from_pretrained` makes one.

    A text is cut into sentences (`imlspike.text.sentences.split_sentences`), each spoken by itself with the
    marks at its end, so memory doesn't grow with the text. The voice's batch norms are folded, in place.

    Args:
        voice: the voice.
        vocoder: of the same mel; None: Griffin-Lim.
        longest: characters of a sentence; longer ones are cut.

    Attributes:
        sampling_rate: of the audio, in Hz.

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
            check_mel(voice, vocoder)
        self.voice, self.longest = voice, longest
        self.vocoder = vocoder or GriffinLim(voice.features, voice.device)
        self.sampling_rate: int = voice.features["sampling_rate"]
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

    def __call__(
        self,
        text: str,
        speaker: str | int | None = None,
        speed: float = 1.0,
        pitch: float = 1.0,
        energy: float = 1.0,
        pause: float = PAUSE,
        on_unknown: str = "error",
        loudness: float | None = LOUDNESS,
    ) -> Speech:
        """Speak a text.

        Args:
            text: as the voice's front end takes it; for a voice without one, symbols with blanks between.
            speaker: name or number, for a voice with several.
            speed, pitch, energy: 1.1 is 10 % faster, higher (in Hz), stronger.
            pause: seconds of silence between sentences, beside what the voice makes of the marks there.
            on_unknown: what to do with characters that can't be spoken: "error", or "skip" (they are in
                `Speech.skipped`).
            loudness: of each sentence, in LUFS (`imlspike.inference.loudness`); None: as the voice speaks.

        Raises:
            UnspeakableError: a ValueError that names all characters that can't be spoken, with their places.
            ValueError: nothing to speak, an unknown speaker, a factor that isn't positive.
            TypeError: for a text that isn't a str.
            FloatingPointError: if the voice's or the vocoder's output isn't finite.
        """
        controls = {"speed": speed, "pitch": pitch, "energy": energy}
        parts = list(self.stream(text, speaker, pause, on_unknown, loudness, **controls))
        names = ("audio", "mel", "durations")
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        symbols = tuple(symbol for part in parts for symbol in part.symbols)
        limited = any(part.limited for part in parts)
        return replace(parts[0], **joined, symbols=symbols, text=text, limited=limited)

    def stream(
        self,
        text: str,
        speaker: str | int | None = None,
        pause: float = PAUSE,
        on_unknown: str = "error",
        loudness: float | None = LOUDNESS,
        **controls: float,
    ) -> Iterator[Speech]:
        """Yield a `Speech` for each sentence as it gets ready; their audio, joined, is that of a call.

        All but the first begin with the pause. The whole text is made into symbols first, so that what can't
        be spoken is refused (as by a call) before the first word. Arguments are those of a call.
        """
        check_number("pause", pause, 0, MOST_PAUSE)
        silence = np.zeros(round(pause * self.sampling_rate), dtype=np.float32)
        sentences, skipped = self.spell(text, on_unknown)
        for place, (sentence, symbols, name) in enumerate(sentences):
            part = self.speak(symbols, speaker, name, **controls)
            audio = scale_loudness(part.audio, self.sampling_rate, loudness)
            limited = peaks_lowered(part.audio, audio)
            audio = np.concatenate([silence, audio]) if place else audio
            yield replace(part, audio=audio, text=sentence, skipped=skipped, limited=limited)

    def speak(
        self, symbols: Sequence[str], speaker: str | int | None = None, name: str = "text", **controls: float
    ) -> Speech:
        """Speak symbols of the voice's list, all at once; controls as for a call, `name` is for errors."""
        factors = Controls(**controls)
        number, numbers = self.voice.speaker_number(speaker), self.voice.numbers(symbols, name)[None]
        speakers = None if number is None else torch.tensor([number], device=numbers.device)
        lengths = torch.tensor([len(symbols)], device=numbers.device)
        with torch.no_grad():
            said = self.voice.model(numbers, lengths, speaker=speakers, controls=factors)
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

    def spell(
        self, text: str, on_unknown: str = "error"
    ) -> tuple[list[tuple[str, list[str], str]], tuple[str, ...]]:
        """(sentence, symbols, name) for each sentence of a text, and the characters that were left out."""
        if not isinstance(text, str):
            raise TypeError(f"text is of type {type(text).__name__}; expected str")
        check_choice("on_unknown", on_unknown, ON_UNKNOWN)
        if self.voice.front_end is None:
            sentences, to_symbols = [text.strip()], lambda sentence, name: sentence.split()
        else:
            sentences, to_symbols = split_sentences(text, self.longest), self._front_end
        if not "".join(sentences):
            raise ValueError("the text is empty; there is nothing to speak")
        spelled, unknown, expected = [], {}, ""
        for number, sentence in enumerate(sentences, start=1):
            name = f"sentence {number}" if len(sentences) > 1 else "text"
            try:
                symbols = [SPACE if symbol == " " else symbol for symbol in to_symbols(sentence, name)]
                if self.voice.front_end == "characters" and (new := set(symbols) - set(self.voice.symbols)):
                    new = sorted(" " if symbol == SPACE else symbol for symbol in new)
                    raise UnspeakableError(name, new, sentence, "letters that the voice knows")
                if (
                    self.voice.front_end
                    and len(symbols) < SHORT
                    and symbols[-1] not in PUNCTUATION
                    and "." in self.voice.symbols
                ):
                    symbols.append(".")
                self.voice.numbers(symbols, f"{name} ({sentence!r})")
                spelled.append((sentence, symbols, name))
            except UnspeakableError as error:
                unknown |= error.places
                expected = error.expected
        if not unknown:
            return spelled, ()
        error = UnspeakableError("text", unknown, text, expected)
        if on_unknown == "error" or error.rest == text:
            raise error
        rest, more = self.spell(error.rest, on_unknown)
        return rest, (*unknown, *more)

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
    def _front_end(self):
        try:
            return front_end(self.voice.front_end)
        except ValueError as error:
            raise ConfigError(f"{self.voice.name}: {error}") from None

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


def check_mel(voice: TrainedVoice, vocoder: Vocoder) -> None:
    """Refuse a vocoder that reads another mel than the voice speaks.

    Raises:
        ValueError: naming both and each setting that differs.
    """
    own, others = dict(voice.features), dict(vocoder.model.config)
    for features in (own, others):
        if features["f_max"] is None:
            features["f_max"] = features["sampling_rate"] / 2
    different = [(key, own[key], others[key]) for key in MEL_KEYS if own[key] != others[key]]
    if different:
        values = (f"{key} is {a:g} of the voice and {b:g} of the vocoder" for key, a, b in different)
        raise ValueError(
            f"the voice {voice.name} and the vocoder {vocoder.name} aren't of the same mel: "
            f"{', '.join(values)}; take a vocoder that was trained with the voice's settings, or griffin_lim"
        )
