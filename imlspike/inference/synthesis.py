"""Speaking a whole set of utterances: what is done for each of them."""

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imlspike.data.audio import read_audio
from imlspike.data.kaldi import Utterance
from imlspike.data.write_audio import write_audio
from imlspike.inference.text2speech import Speech, Text2Speech

MODES = ("free", "forced", "natural")


@dataclass(frozen=True)
class Settings:
    """How a set is spoken.

    Attributes:
        mode: "free": all predicted from the text; "forced": with durations, pitch and energy of the natural
            recording; "natural": the mel of the recording through the vocoder, without the voice.
        model, vocoder, device, model_file: of `Text2Speech.from_pretrained`.
        folder: where <utterance>.wav goes.
        speaker: who speaks all of it; None: each utterance's own speaker, by name.
        speed, pitch, energy: see `imlspike.models.variance_adaptor.Controls`; for free synthesis.
        durations: for forced synthesis, the frames of each symbol by utterance; None: found by the voice's
            aligner.

    >>> Settings("free", "exp/ann", "griffin_lim", "exp/ann/synthesis/wav").speed
    1.0
    """

    mode: str
    model: str
    vocoder: str
    folder: str
    device: str = "cpu"
    model_file: str | None = None
    speaker: str | None = None
    speed: float = 1.0
    pitch: float = 1.0
    energy: float = 1.0
    durations: Mapping[str, Sequence[int]] | None = None


@dataclass(frozen=True)
class Spoken:
    """One utterance, or why it wasn't spoken.

    Attributes:
        utterance: its name.
        durations: frames of each symbol; empty for natural speech.
        seconds, took: of audio, and of computing it: from symbols (or the waveform) to samples.
        clipped: samples beyond full scale.
        error: None if all was well.
    """

    utterance: str
    durations: tuple[int, ...] = ()
    seconds: float = 0.0
    took: float = 0.0
    clipped: int = 0
    error: str | None = None


def speak_utterance(settings: Settings, utterance: Utterance) -> Spoken:
    """Speaks an utterance whose text is symbols with single blanks between, and writes its WAV file.

    The model is opened once in a process.

    Raises:
        ValueError: a model that can't be opened. What is wrong with the utterance is in the result.

    >>> settings = Settings("free", "no/voice", "griffin_lim", "wav")
    >>> speak_utterance(settings, Utterance("u1", "u1.wav", "a b", "Ann", 1.0))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    imlspike.data.yaml_file.ConfigError: no/voice: no such file or folder; expected ...
    """
    voice = open_voice(settings)
    try:
        speech, took = _timed(voice, settings, utterance)
        path = Path(settings.folder) / f"{utterance.id}.wav"
        written = write_audio(path, [speech.audio], speech.sampling_rate)
    except (OSError, ValueError, FloatingPointError) as error:
        text = str(error)
        return Spoken(utterance.id, error=text if utterance.id in text else f"{utterance.id}: {text}")
    durations = tuple(speech.durations.tolist())
    return Spoken(utterance.id, durations, speech.seconds, took, written.clipped)


def open_voice(settings: Settings) -> Text2Speech:
    """The voice and vocoder of these settings, opened once in a process.

    Raises:
        ValueError: as `Text2Speech.from_pretrained`.
        ImportError: forced synthesis without ESPnet.
    """
    voice = _opened(settings.model, settings.vocoder, settings.device, settings.model_file)
    if settings.mode == "forced":
        voice.teacher  # noqa: B018  (opened now, so that no utterance's time counts it)
    return voice


@functools.cache
def _opened(model: str, vocoder: str, device: str, model_file: str | None) -> Text2Speech:
    return Text2Speech.from_pretrained(model, vocoder, device, model_file)


def _timed(voice: Text2Speech, settings: Settings, utterance: Utterance) -> tuple[Speech, float]:
    """The speech, and the seconds that computing it took."""
    name, symbols = utterance.id, utterance.text.split(" ")
    speaker = settings.speaker
    if speaker is None and voice.voice.model.config["speakers"] is not None:
        speaker = utterance.speaker
    natural = None if settings.mode == "free" else read_audio(utterance.wav, voice.sampling_rate, name)
    begin = time.monotonic()
    if settings.mode == "natural":
        speech = voice.resynthesize(natural, name)
    elif settings.mode == "forced":
        durations = None if settings.durations is None else settings.durations.get(name)
        if settings.durations is not None and durations is None:
            raise ValueError(f"{name}: its durations are missing; add a line to the table, or give none")
        speech = voice.force(symbols, natural, speaker, name, durations)
    else:
        factors = settings.speed, settings.pitch, settings.energy
        speech = voice.speak(symbols, speaker, *factors, name)
    return speech, time.monotonic() - begin
