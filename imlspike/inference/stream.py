"""Recognition of speech while it is spoken: samples in, partial and final results out."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from imlspike.data.keys import check_number
from imlspike.inference.common import as_float
from imlspike.inference.recognizer import Recognizer, SpeechFeatures
from imlspike.layers import Carried
from imlspike.layers.level import FRAME, RunningLevel, frame_powers, running_gain
from imlspike.text.tokens import SPACE

AT_ONCE = 64  # tokens, about, that go through the encoder at once where many are there
SILENT_SECONDS = 5.0  # without a word, after which the encoder begins anew
ENDLESS_PAUSE = 0.2  # seconds of silence that end an utterance which is longer than it should be
OVERLAP = 0.2  # seconds before an utterance's end that the next one hears again


@dataclass(frozen=True)
class Heard:
    """An utterance of a stream: what is known of it by now, or all of it.

    Attributes:
        text: so far.
        start, end: seconds from the begin of the stream; from the first token heard to the last.
        final: the utterance has ended; the next result is of another one.
    """

    text: str
    start: float
    end: float
    final: bool


class FeatureStream:
    """`SpeechFeatures` of a waveform that comes in pieces: the same frames, once their samples are there.

    Args:
        features: with `causal_level`, or without a level.

    Raises:
        ValueError: for features that need the whole utterance; the argument that is why is named.
    """

    def __init__(self, features: SpeechFeatures):
        if features.peak is not None or features.normalize == "utterance":
            which = "peak" if features.peak is not None else "normalize: utterance"
            raise ValueError(f"{which}: the whole utterance isn't known in a stream; train without it")
        if features.level is not None and not features.causal_level:
            raise ValueError(
                "level: that of the whole isn't known in a stream; train with causal_level: true"
            )
        self.features, self.size = features, features.stft["n_fft"]
        self.hop, self.frames = features.stft["hop_length"], 0  # frames that were given out
        self.mirrored = self.size // 2 if features.stft["center"] else 0
        if 2 * self.hop >= self.size:
            raise ValueError(f"hop_length is {self.hop}; a stream needs less than half of n_fft")
        self.frame = round(FRAME * features.sampling_rate)
        # Samples from the begin of the next frame on, and those whose level isn't known yet.
        self.held = self.unheard = torch.zeros(0, dtype=features.window.dtype)
        self.level, self.levels, self.first = RunningLevel(), [], 0  # levels[0]: behind frame number `first`

    def accept(self, samples: Tensor, last: bool = False) -> Tensor:
        """Features (l, F) that the next samples (s,) complete, l from 0; `last`: there are no more."""
        samples = samples.to(self.held)
        wave = torch.cat((self.held, samples))
        if self.features.causal_level:
            self._hear(samples, last)
        unknown = self.features.causal_level and not self.levels
        if not self.frames and (unknown or len(wave) <= self.mirrored):
            self.held = wave
            return wave.new_zeros(0, self.features.n_mels)
        if not self.frames:
            wave = torch.cat((wave[1 : self.mirrored + 1].flip(0), wave))
        if last and self.mirrored:
            wave = torch.cat((wave, wave[-self.mirrored - 1 : -1].flip(0)))
        count = max(0, (len(wave) - self.size) // self.hop + 1)
        self.held = wave[count * self.hop :]
        if not count:
            return wave.new_zeros(0, self.features.n_mels)
        window = self.features.window
        gains = self._gains(count).to(window) if self.features.causal_level else None
        self.frames += count
        power = self.features.power_spectra(wave[: (count - 1) * self.hop + self.size].to(window), False)
        return self.features.log_mel(power, gains)

    def _hear(self, samples: Tensor, last: bool) -> None:
        """Keep the level behind each whole frame of 25 ms; a stream of less has that of what there is."""
        self.unheard = torch.cat((self.unheard, samples))
        whole = len(self.unheard) // self.frame * self.frame
        if last and not whole and not self.levels:
            self.levels = (
                self.level.add(frame_powers(self.unheard[None]).tolist()) if len(self.unheard) else []
            )
        self.levels += self.level.add(frame_powers(self.unheard[:whole].view(-1, self.frame)).tolist())
        self.unheard = self.unheard[whole:]

    def _gains(self, count: int) -> Tensor:
        """Of the next frames, by the levels known at their ends."""
        ends = self.features.reach + self.hop * torch.arange(self.frames, self.frames + count)
        places = (ends // self.frame - 1 - self.first).clamp(0, len(self.levels) - 1)
        gains = running_gain(self.features.level, torch.tensor(self.levels).to(self.held)[places])
        gone = int(places[-1])
        self.levels, self.first = self.levels[gone:], self.first + gone
        return gains


class Stream:
    """A stream of speech and what a recognizer hears in it; as many as one likes share a recognizer.

    An utterance ends at a pause; the encoder then begins anew, as it was trained on sentences.
    Log-probabilities are those of the same features offline, whatever the pieces; memory doesn't grow.

    Args:
        recognizer: with CTC, trained for streams (conf/quick_streaming.yaml); see
            `IMLSpikeformerEncoder.check_stream`.
        look_ahead: tokens; None: the most that it was trained with. Less is sooner, more is better.
        pause: seconds of silence that end an utterance, at least 0.2; None: all is one.
        max_seconds: from then on a pause of 0.2 s does.

    Raises:
        ValueError: if the recognizer can't run on a stream; the argument that is why is named.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        look_ahead: int | None = None,
        pause: float | None = 0.8,
        max_seconds: float = 20.0,
    ):
        encoder = recognizer.encoder
        if not hasattr(encoder, "check_stream"):
            raise ValueError("encoder: only iml_spikeformer runs on a stream")
        if recognizer.ctc is None:
            raise ValueError("ctc_weight: this model was trained without CTC, which a stream is decoded by")
        if pause is not None:
            check_number("pause", pause, ENDLESS_PAUSE, 1e9)
        check_number("max_seconds", max_seconds, 1, 1e9)
        self.recognizer, self.encoder, self.pause, self.max_seconds = recognizer, encoder, pause, max_seconds
        self.sampling_rate: int = recognizer.sampling_rate
        self.look_ahead = encoder.check_stream(look_ahead)
        names = recognizer.tokens.names
        self.silent = {recognizer.tokens.blank, *(i for i, name in enumerate(names) if name == SPACE)}
        self.hop, self.least = encoder.embed.frames_per_token(), encoder.embed.least_frames()
        self.seconds = self.hop * recognizer.features.stft["hop_length"] / self.sampling_rate  # of a token
        self.reset()

    def reset(self) -> None:
        """Begin anew, as if nothing had been heard."""
        features = self.recognizer.features
        self.source, self.place = FeatureStream(features), 0  # of the next token in the stream
        # Frames, of which those of `behind` tokens have gone through.
        self.frames, self.behind = features.window.new_zeros(0, features.n_mels), 0
        self._begin()

    def _begin(self) -> None:
        """The next utterance."""
        self.carried, self.tokens, self.best, self.shown = Carried(), [], self.recognizer.tokens.blank, ""
        self.count = self.quiet = 0  # tokens of it, and how many at its end are silent
        self.words = False  # whether any wasn't
        self.heard = (self.place, self.place)  # the first token and the last that aren't

    @property
    def latency(self) -> float:
        """Algorithmic latency: seconds from a sound, at the worst, to what of it the encoder waits for."""
        stft = self.recognizer.features.stft
        last = (self.least - 1) * stft["hop_length"] + self.recognizer.features.reach
        return self.look_ahead * self.seconds + last / self.sampling_rate

    @torch.no_grad()
    def accept(self, samples: np.ndarray | Tensor) -> list[Heard]:
        """What is new with the next samples (s,) at `sampling_rate`, of any number: utterances that ended,
        and the one that is going on if its text has changed.

        Raises:
            ValueError, FloatingPointError: as for a call of `Speech2Text`.
        """
        return self._results(torch.from_numpy(as_float(samples, "the samples")), False)

    @torch.no_grad()
    def finish(self) -> list[Heard]:
        """The utterances that end with the stream, which then begins anew."""
        results = self._results(torch.zeros(0), True)
        self.reset()
        return results

    def log_probs(self, frames: Tensor) -> Tensor:
        """Log-probabilities (n, V) of the tokens that begin in the next frames (L, F) of the utterance."""
        encoded = self.encoder.step(frames[None], self.carried, self.look_ahead, self.recognizer)
        if not torch.isfinite(encoded).all():
            raise FloatingPointError("the encoder's output isn't finite; train with a lower learning rate")
        return self.recognizer.log_probs(encoded)[0]

    def _results(self, samples: Tensor, last: bool) -> list[Heard]:
        self.frames = torch.cat((self.frames, self.source.accept(samples, last).to(self.frames)))
        results, group = [], self.look_ahead + 1
        while True:
            begin = self.behind * self.hop
            there = max(0, (len(self.frames) - begin - self.least) // self.hop + 1)
            count = min(there // group, max(1, AT_ONCE // group)) * group or (there if last else 0)
            if not count:
                break
            frames = self.frames[begin : begin + (count - 1) * self.hop + self.least]
            best = self.log_probs(frames).argmax(-1).tolist()
            while best and not self._ended():
                self._hear(best[:group])
                best = best[group:]
            if self._ended():  # what went through after that is heard again, by the next utterance
                results += self._heard(final=True)
                again = min(round(OVERLAP / self.seconds), self.quiet - 1)
                self.behind, self.place = self.behind - again, self.place - again
                self._begin()
            gone = max(0, self.behind - round(OVERLAP / self.seconds))
            self.frames, self.behind = self.frames[gone * self.hop :], self.behind - gone
        if last:
            return results + self._heard(final=True)
        heard = self._heard(final=False)
        changed = heard and heard[0].text != self.shown
        self.shown = heard[0].text if heard else ""
        return results + heard if changed else results

    def _hear(self, numbers: list[int]) -> None:
        """Tokens of the next group, the most probable ones; repeated ones are one."""
        for number in numbers:
            if number in self.silent:
                self.quiet += 1
            else:
                self.heard = (self.heard[0] if self.words else self.place, self.place)
                self.quiet, self.words = 0, True
            if number != self.best and number != self.recognizer.tokens.blank:
                self.tokens.append(number)
            self.best, self.count = number, self.count + 1
            self.place, self.behind = self.place + 1, self.behind + 1

    def _ended(self) -> bool:
        """Whether the utterance has: by a pause behind its words, or there are none for long."""
        if self.pause is None:
            return False
        pause = self.pause if self.words else SILENT_SECONDS
        if self.words and self.count * self.seconds > self.max_seconds:
            pause = min(pause, ENDLESS_PAUSE)
        return self.quiet * self.seconds >= pause

    def _heard(self, final: bool) -> list[Heard]:
        """The utterance so far, if there is a text."""
        text = self.recognizer.tokens.text(self.tokens)
        middle = (self.least - 1) / 2 / self.hop  # of a token's frames
        start, end = ((place + middle) * self.seconds for place in self.heard)
        return [Heard(text, start, end, final)] if text else []
