"""Text to speech, whatever the engine, without torch: a text becomes sentences, symbols, pauses, loudness."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import numpy as np

from imlspike.data.controls import Controls
from imlspike.data.keys import check_choice, check_number
from imlspike.data.mel import MEL_KEYS
from imlspike.data.yaml_file import ConfigError
from imlspike.inference.loudness import LOUDNESS, peaks_lowered, scale_loudness
from imlspike.text.phonemes import ON_UNKNOWN, FrontEnd, front_end, languages_of, to_numbers
from imlspike.text.punctuation import PUNCTUATION, UnspeakableError
from imlspike.text.sentences import LONGEST, split_sentences
from imlspike.text.tokens import SPACE

PAUSE, MOST_PAUSE = 0.1, 60.0  # seconds
MOST_SPEAKERS = 10  # that an error lists
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
        languages: of each speaker by name the one they speak, where the front end has several.
        name: of the model, for messages.
    """

    symbols: Sequence[str]
    features: dict[str, Any]
    front_end: str | None
    speakers: Sequence[str]
    speaker_count: int | None
    languages: Mapping[str, str]
    name: str

    def speaker_number(self, speaker: str | int | None) -> int | None:
        """The number of a speaker's name; None for a model with one voice.

        An int is a number already, and so are digits where no names are known. (Where they are, digits are a
        name, as in LibriTTS.) There may be a number more than names: ESPnet's 0, of unknown speakers.

        Raises:
            ValueError: no such speaker, none for a model with several (they are listed with their languages),
                or one for a model with one voice.
        """
        count = self.speaker_count
        if count is None:
            if speaker is not None:
                raise ValueError(f"{self.name} has one voice: give no speaker")
            return None
        if speaker is None:
            few = self._few_speakers() or f"a number below {count}"
            raise ValueError(f"{self.name} has several speakers, say which: {few}")
        if isinstance(speaker, str) and self.speakers:
            if speaker not in self.speakers:
                near = get_close_matches(speaker, self.speakers, n=3)
                hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
                told = f"{self.name} has no speaker {speaker!r}; there are {self._few_speakers()}"
                raise ValueError(told + hint)
            return self.speakers.index(speaker) + count - len(self.speakers)
        if isinstance(speaker, str) and not speaker.isdecimal():
            told = f"{self.name} doesn't know {speaker!r}, nor any name"
            raise ValueError(f"{told}: give a number below {count}")
        if not 0 <= int(speaker) < count:
            raise ValueError(f"speakers of {self.name} are numbered 0 to {count - 1}, got {speaker}")
        return int(speaker)

    def language_of(self, speaker: str | int | None = None, language: str | None = None) -> str | None:
        """The language in which a speaker reads a text; None for a front end that has one.

        It is the speaker's own, or the `language` that is named, as where a Dutch speaker reads Czech.

        Raises:
            ValueError: as `speaker_number`; a language that the front end doesn't have, any where it has one
                anyway, or none where the speaker's isn't known.
        """
        number, known = self.speaker_number(speaker), languages_of(self.front_end or "")
        if not known:
            if language is not None:
                raise ValueError(f"{self.name} speaks one language: give no language")
            return None
        if language is None and number is not None:
            named = number - self.speaker_count + len(self.speakers)  # below 0: the speaker has no name
            language = self.languages.get(self.speakers[named]) if named >= 0 else None
        if language is None:
            raise ValueError(f"{self.name} speaks several languages, say which: {', '.join(known)}")
        if language not in known:
            raise ValueError(f"{self.name} has no language {language!r}; there are {', '.join(known)}")
        return language

    def _few_speakers(self) -> str:
        """The first of the speakers, with the languages that are known."""
        few = self.speakers[:MOST_SPEAKERS]
        told = [f"{name} ({self.languages[name]})" if name in self.languages else name for name in few]
        return ", ".join([*told, "..."] if len(self.speakers) > MOST_SPEAKERS else told)


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
        self._front_ends: dict[str | None, FrontEnd] = {}  # by language
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
        language: str | None = None,
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
            language: of the text, for a voice of several; None: the speaker's own.

        Raises:
            UnspeakableError: a ValueError that names all characters that can't be spoken, with their places.
            ValueError: nothing to speak, an unknown speaker or language, a factor that isn't positive.
            TypeError: for a text that isn't a str.
            FloatingPointError: if the voice's or the vocoder's output isn't finite.
        """
        controls = {"speed": speed, "pitch": pitch, "energy": energy}
        parts = list(self.stream(text, speaker, pause, on_unknown, loudness, language, **controls))
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
        language: str | None = None,
        **controls: float,
    ) -> Iterator[Speech]:
        """Yield a `Speech` for each sentence as it gets ready; their audio, joined, is that of a call.

        All but the first begin with the pause. The whole text is made into symbols first, so that what can't
        be spoken is refused (as by a call) before the first word. Arguments are those of a call.
        """
        check_number("pause", pause, 0, MOST_PAUSE)
        silence = np.zeros(round(pause * self.sampling_rate), dtype=np.float32)
        language = self.voice.language_of(speaker, language)
        sentences, skipped = self.spell(text, on_unknown, language)
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
        self, text: str, on_unknown: str = "error", language: str | None = None
    ) -> tuple[list[tuple[str, list[str], str]], tuple[str, ...]]:
        """(sentence, symbols, name) for each sentence of a text, and the characters that were left out.

        `language` is one of the front end's, where it has several (`Voice.language_of`).
        """
        if not isinstance(text, str):
            raise TypeError(f"text is of type {type(text).__name__}; expected str")
        check_choice("on_unknown", on_unknown, ON_UNKNOWN)
        if self.voice.front_end is None:
            sentences, to_symbols = [text.strip()], lambda sentence, name: sentence.split()
        else:
            sentences, to_symbols = split_sentences(text, self.longest), self._front_end(language)
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
        rest, more = self.spell(error.rest, on_unknown, language)
        return rest, (*unknown, *more)

    def _front_end(self, language: str | None) -> FrontEnd:
        if language not in self._front_ends:
            try:
                self._front_ends[language] = front_end(self.voice.front_end, language=language)
            except ValueError as error:
                raise ConfigError(f"{self.voice.name}: {error}") from None
        return self._front_ends[language]


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
