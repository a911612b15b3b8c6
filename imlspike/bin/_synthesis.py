"""One utterance of `imlspike synthesize`, in a module that other processes import."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from imlspike.bin._command import number
from imlspike.data.audio import read_audio
from imlspike.data.kaldi import Utterance
from imlspike.data.write_audio import write_audio
from imlspike.inference.loudness import LUFS, peaks_lowered, scale_loudness
from imlspike.inference.speaking import Synthesizer

CONTROLS = {"speed": "faster", "pitch": "higher", "energy": "stronger"}


def controls(args) -> dict[str, float]:
    """Speed, pitch and energy."""
    return {name: getattr(args, name) for name in CONTROLS}


def lufs(text: str) -> float | str:
    """Loudness in LUFS, or none, for argparse."""
    return text if text == "none" else number(*LUFS)(text)


def target(args) -> float | None:
    """The loudness that is asked for."""
    return None if args.loudness == "none" else args.loudness


@functools.cache
def opened(
    engine: str, model: str, vocoder: str, threads: int, device: str, model_file: str | None, bits: int | None
) -> Synthesizer:
    """The voice and vocoder, opened once in a process."""
    if engine == "onnx":
        from imlspike.export.engine import OnnxSynthesizer

        return OnnxSynthesizer(model, vocoder, threads)
    from imlspike.inference import Text2Speech

    return Text2Speech.from_pretrained(model, vocoder, device, model_file, weight_bits=bits)


def open_voice(args) -> Synthesizer:
    """The voice of the options; for forced synthesis with its teacher, so that no utterance's time has it."""
    threads = args.threads if args.nj == 1 else 1
    options = (args.device, args.model_file, args.weight_bits)
    voice = opened(args.engine, args.model, args.vocoder, threads, *options)
    if args.mode == "forced":
        voice.teacher  # noqa: B018
    return voice


class Spoken(NamedTuple):
    """An utterance, spoken: frames of each symbol (none of natural speech), seconds of audio and of computing
    it, samples that were clipped, whether peaks were turned down; or the error."""

    utterance: str
    durations: Sequence[int] = ()
    seconds: float = 0.0
    took: float = 0.0
    clipped: int = 0
    limited: bool = False
    error: str | None = None


def speak_utterance(args, durations: Mapping[str, Sequence[int]] | None, utterance: Utterance) -> Spoken:
    """Speak an utterance whose text is symbols with single blanks between, and write its WAV file.

    Args:
        args: the options; of other processes, too.
        durations: for forced synthesis, frames of each symbol by utterance; None: the voice's aligner's.

    Raises:
        ValueError: a model that can't be opened. An utterance's own error is in the result.
    """
    voice, name, symbols = open_voice(args), utterance.id, utterance.text.split(" ")
    speaker = args.speaker
    if speaker is None and voice.voice.speaker_count is not None:
        speaker = utterance.speaker
    try:
        natural = None if args.mode == "free" else read_audio(utterance.wav, voice.sampling_rate, name)
        begin = time.monotonic()
        if args.mode == "natural":
            speech = voice.resynthesize(natural, name)
        elif args.mode == "forced":
            if durations is not None and name not in durations:
                raise ValueError(f"{name}: its durations are missing; add a line to the table, or give none")
            speech = voice.force(symbols, natural, speaker, name, durations and durations[name])
        else:
            speech = voice.speak(symbols, speaker, name, **controls(args))
        audio = scale_loudness(speech.audio, speech.sampling_rate, target(args))
        took = time.monotonic() - begin
        path = args.output_dir / "wav" / f"{name}.wav"
        written = write_audio(path, [audio], speech.sampling_rate)
    except (OSError, ValueError, FloatingPointError) as error:
        return Spoken(name, error=str(error))
    return Spoken(
        name,
        speech.durations.tolist(),
        speech.seconds,
        took,
        written.clipped,
        peaks_lowered(speech.audio, audio),
    )
