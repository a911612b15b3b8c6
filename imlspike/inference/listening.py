"""Streams, whatever the engine, without torch: samples become frames, tokens become utterances."""

from dataclasses import dataclass

import numpy as np

from imlspike.data.keys import check_number
from imlspike.data.level import FRAME, RunningLevel, frame_powers, running_gain
from imlspike.inference.common import as_float
from imlspike.text.tokens import SPACE

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


class Frames:
    """Frames of samples that come in pieces: those of the whole, once their samples are there.

    Args:
        size, hop: samples of a frame, and from one to the next.
        center: the first frame's middle is the first sample; what lacks at both ends is mirrored.
        sampling_rate: Hz.
        level: dB to which the gains bring the speech so far; None: they are 1.
    """

    def __init__(self, size: int, hop: int, center: bool, sampling_rate: int, level: float | None):
        self.size, self.hop, self.center, self.wanted = size, hop, center, level
        self.mirrored, self.reach = (size // 2, size // 2) if center else (0, size)
        self.frame, self.frames = round(FRAME * sampling_rate), 0  # frames that were given out
        # Samples from the begin of the next frame on, and those whose level isn't known yet.
        self.held = self.unheard = np.zeros(0, np.float32)
        self.level, self.levels, self.first = RunningLevel(), [], 0  # levels[0]: behind frame number `first`

    def accept(self, samples: np.ndarray, last: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Samples (s,) under the frames that the next samples complete, and their gains (l,), l from 0.

        Without a frame there are no samples, either. `last`: there are no more.
        """
        wave = np.concatenate((self.held, samples))
        if self.wanted is not None:
            self._hear(samples, last)
        if not self.frames:
            if (self.wanted is not None and not self.levels) or len(wave) <= self.mirrored:
                self.held = wave
                return wave[:0], wave[:0]
            wave = np.concatenate((wave[1 : self.mirrored + 1][::-1], wave))
        if last and self.mirrored:
            wave = np.concatenate((wave, wave[-self.mirrored - 1 : -1][::-1]))
        count = max(0, (len(wave) - self.size) // self.hop + 1)
        self.held = wave[count * self.hop :]
        gains, self.frames = self._gains(count), self.frames + count
        return wave[: (count - 1) * self.hop + self.size if count else 0], gains

    def _hear(self, samples: np.ndarray, last: bool) -> None:
        """Keep the level behind each whole frame of 25 ms; a stream of less has that of what there is."""
        self.unheard = np.concatenate((self.unheard, samples))
        whole = len(self.unheard) // self.frame * self.frame
        if last and not whole and not self.levels and len(self.unheard):
            self.levels = self.level.add(frame_powers(self.unheard[None]).tolist())
        self.levels += self.level.add(frame_powers(self.unheard[:whole].reshape(-1, self.frame)).tolist())
        self.unheard = self.unheard[whole:]

    def _gains(self, count: int) -> np.ndarray:
        """Of the next frames, by the levels known at their ends."""
        if self.wanted is None or not count:
            return np.ones(count, np.float32)
        ends = self.reach + self.hop * np.arange(self.frames, self.frames + count)
        places = (ends // self.frame - 1 - self.first).clip(0, len(self.levels) - 1)
        gains = running_gain(self.wanted, np.array(self.levels)[places])
        gone = int(places[-1])
        self.levels, self.first = self.levels[gone:], self.first + gone
        return gains.astype(np.float32)


class Listener:
    """A stream of speech and what is heard in it, whatever computes; memory doesn't grow.

    An utterance ends at a pause; the encoder then begins anew, as it was trained on sentences.

    Args:
        frames: whose hop and reach tell times.
        tokens: names, blank and text().
        sampling_rate: Hz.
        look_ahead: tokens.
        hop, least: frames from one token to the next, and under one.
        at_once: tokens, about, that are computed together where many are there.
        pause: seconds of silence that end an utterance, at least 0.2; None: all is one.
        max_seconds: from then on a pause of 0.2 s does.

    A subclass has `_frames(samples, last)`: rows (l, F) of the frames completed; `log_probs(rows)`: (n, V) of
    the tokens that begin in the next rows of the utterance; and extends `reset` and `_begin`.
    """

    def __init__(
        self,
        frames: Frames,
        tokens,
        sampling_rate: int,
        look_ahead: int,
        hop: int,
        least: int,
        at_once: int = 1,
        pause: float | None = 0.8,
        max_seconds: float = 20.0,
    ):
        if pause is not None:
            check_number("pause", pause, ENDLESS_PAUSE, 1e9)
        check_number("max_seconds", max_seconds, 1, 1e9)
        self.tokens, self.sampling_rate, self.look_ahead = tokens, sampling_rate, look_ahead
        self.pause, self.max_seconds, self.hop, self.least = pause, max_seconds, hop, least
        self.silent = {tokens.blank, *(i for i, name in enumerate(tokens.names) if name == SPACE)}
        self.seconds = hop * frames.hop / sampling_rate  # of a token
        self.at_once = max(1, at_once // (look_ahead + 1))  # groups
        last = (least - 1) * frames.hop + frames.reach
        # Algorithmic: seconds from a sound, at the worst, to what of it the encoder waits for.
        self.latency: float = look_ahead * self.seconds + last / sampling_rate
        self.reset()

    def reset(self) -> None:
        """Begin anew, as if nothing had been heard."""
        self.place = 0  # of the next token in the stream
        self.rows, self.behind = None, 0  # of frames, of which those of `behind` tokens have gone through
        self._begin()

    def _begin(self) -> None:
        """The next utterance."""
        self.numbers, self.best, self.shown = [], self.tokens.blank, ""
        self.count = self.quiet = 0  # tokens of it, and how many at its end are silent
        self.words = False  # whether any wasn't
        self.heard = (self.place, self.place)  # the first token and the last that aren't

    def accept(self, samples) -> list[Heard]:
        """Results that are new with the next samples (s,) at `sampling_rate`, of any number.

        They are the utterances that ended, and the one that is going on if its text has changed.

        Raises:
            ValueError, FloatingPointError: as for a call of `Speech2Text`.
        """
        return self._results(as_float(samples, "the samples"), False)

    def finish(self) -> list[Heard]:
        """The utterances that end with the stream, which then begins anew."""
        results = self._results(np.zeros(0, np.float32), True)
        self.reset()
        return results

    def _results(self, samples: np.ndarray, last: bool) -> list[Heard]:
        new = self._frames(samples, last)
        self.rows = new if self.rows is None else np.concatenate((self.rows, new))
        results, group = [], self.look_ahead + 1
        while True:
            begin = self.behind * self.hop
            there = max(0, (len(self.rows) - begin - self.least) // self.hop + 1)
            count = min(there // group, self.at_once) * group or (there if last else 0)
            if not count:
                break
            rows = self.rows[begin : begin + (count - 1) * self.hop + self.least]
            best = self.log_probs(rows).argmax(-1).tolist()
            while best and not self._ended():
                self._hear(best[:group])
                best = best[group:]
            if self._ended():  # what went through after that is heard again, by the next utterance
                results += self._heard(final=True)
                again = min(round(OVERLAP / self.seconds), self.quiet - 1)
                self.behind, self.place = self.behind - again, self.place - again
                self._begin()
            gone = max(0, self.behind - round(OVERLAP / self.seconds))
            self.rows, self.behind = self.rows[gone * self.hop :], self.behind - gone
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
            if number != self.best and number != self.tokens.blank:
                self.numbers.append(number)
            self.best, self.count = number, self.count + 1
            self.place, self.behind = self.place + 1, self.behind + 1

    def _ended(self) -> bool:
        """Return whether the utterance has ended: by a pause behind its words, or there are none for long."""
        if self.pause is None:
            return False
        pause = self.pause if self.words else SILENT_SECONDS
        if self.words and self.count * self.seconds > self.max_seconds:
            pause = min(pause, ENDLESS_PAUSE)
        return self.quiet * self.seconds >= pause

    def _heard(self, final: bool) -> list[Heard]:
        """The utterance so far, if there is a text."""
        text = self.tokens.text(self.numbers)
        middle = (self.least - 1) / 2 / self.hop  # of a token's frames
        start, end = ((place + middle) * self.seconds for place in self.heard)
        return [Heard(text, start, end, final)] if text else []
