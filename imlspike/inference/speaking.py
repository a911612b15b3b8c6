"""Text to speech, whatever the engine, without torch: a text becomes sentences, symbols, pauses, loudness."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import numpy as np

from imlspike.data.controls import Controls
from imlspike.data.keys import check_choice, check_number
from imlspike.data.mel import MEL_KEYS
from imlspike.data.yaml_file import ConfigError
from imlspike.inference.loudness import LOUDNESS, peaks_lowered, scale_loudness
from imlspike.text.phonemes import ON_UNKNOWN, front_end, to_numbers
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


class Voice:
    """A voice, whatever computes it, by what it has to know of itself.

    Attributes:
        symbols: that its numbers stand for.
        features: of its mel, by `MEL_KEYS`.
        front_end: of `imlspike.text.phonemes.FRONT_ENDS`; None: not known.
        speakers: their names, in the order of their numbers; empty for one voice, or where they aren't known.
        speaker_count: how many there are; None: it has one voice.
        name: of the model, for messages.
    """

    symbols: Sequence[str]
    features: dict[str, Any]
    front_end: str | None
    speakers: Sequence[str]
    speaker_count: int | None
    name: str

    def speaker_number(self, speaker: str | int | None) -> int | None:
        """The number of a speaker's name; None for a model with one voice.

        An int is a number already, and so are digits where no names are known. (Where they are, digits are a
        name, as in LibriTTS.) There may be a number more than names: ESPnet's 0, of unknown speakers.

        Raises:
            ValueError: no such speaker (the nearest is named), none for a model with several, or one for a
                model with one voice.
        """
        count, few = self.speaker_count, ", ".join(self.speakers[:10])
        few += ", ..." * (len(self.speakers) > 10)
        if count is None:
            if speaker is not None:
                raise ValueError(f"{self.name} has one voice: give no speaker")
            return None
        if speaker is None:
            raise ValueError(f"{self.name} has several speakers: say which{few and f' ({few})'}")
        if isinstance(speaker, str) and self.speakers:
            if speaker not in self.speakers:
                near = get_close_matches(speaker, self.speakers, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {few}"
                raise ValueError(f"{self.name} has no speaker {speaker!r}; {hint}")
            return self.speakers.index(speaker) + count - len(self.speakers)
        if isinstance(speaker, str) and not speaker.isdecimal():
            told = f"{self.name} doesn't know {speaker!r}, nor any name"
            raise ValueError(f"{told}: give a number below {count}")
        if not 0 <= int(speaker) < count:
            raise ValueError(f"speakers of {self.name} are numbered 0 to {count - 1}, got {speaker}")
        return int(speaker)


class Synthesizer:
    """A voice that speaks texts of any length, whatever computes.

    A text is cut into sentences (`imlspike.text.sentences.split_sentences`), each spoken by itself with the
    marks at its end, so memory doesn't grow with the text.

    Args:
        voice: the voice.
        longest: characters of a sentence; longer ones are cut.

    Attributes:
        sampling_rate: of the audio, in Hz.

    A subclass has `_say(symbols, speaker, name, controls)`, which speaks symbols all at once.
    """

    def __init__(self, voice: Voice, longest: int = LONGEST):
        self.voice, self.longest = voice, longest
        self.sampling_rate = int(voice.features["sampling_rate"])

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
        return self._say(symbols, self.voice.speaker_number(speaker), name, Controls(**controls))

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
                to_numbers(symbols, self.voice.symbols, f"{name} ({sentence!r})")
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

    @cached_property
    def _front_end(self):
        try:
            return front_end(self.voice.front_end)
        except ValueError as error:
            raise ConfigError(f"{self.voice.name}: {error}") from None


def check_mel(voice: Voice, vocoder: str, mel: Mapping[str, Any]) -> None:
    """Refuse a vocoder of this name that reads another mel than the voice speaks.

    Raises:
        ValueError: naming both and each setting that differs.
    """
    own, others = dict(voice.features), dict(mel)
    for features in (own, others):
        if features["f_max"] is None:
            features["f_max"] = features["sampling_rate"] / 2
    different = [(key, own[key], others[key]) for key in MEL_KEYS if own[key] != others[key]]
    if different:
        values = (f"{key} is {a:g} of the voice and {b:g} of the vocoder" for key, a, b in different)
        raise ValueError(
            f"the voice {voice.name} and the vocoder {vocoder} aren't of the same mel: "
            f"{', '.join(values)}; take a vocoder that was trained with the voice's settings, or griffin_lim"
        )
