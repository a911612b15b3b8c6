"""What preparing any corpus comes down to: audio and transcripts joined, and what is left out told."""

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from imlspike.data.audio import AudioError, audio_format
from imlspike.data.kaldi import Utterance

Prepared = dict[str, tuple[list[Utterance], dict[str, str]]]
"""set -> (utterances kept, utterance -> reason for those left out)"""


@dataclass
class Found:
    """What a corpus holds of one set: audio files and transcripts by utterance; either may lack the other."""

    audio: dict[str, Path] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def add_audio(self, files: Iterable[Path]) -> None:
        """Add audio files, each named by its utterance.

        Raises:
            ValueError: naming both files, if an utterance has two.
        """
        for file in files:
            other = self.audio.setdefault(file.stem, file)
            if other != file:
                raise ValueError(f"utterance {file.stem!r} has two files, {other} and {file}; remove one")


def join(
    found: Mapping[str, Found],
    speaker_of: Callable[[str, Path], str],
    progress: Callable[[int, int], None] = lambda done, total: None,
    threads: int = 8,
    sampling_rate: int = 16000,
) -> Prepared:
    """Join audio and transcripts of each set to utterances.

    The header of every file is read (many at once: it is the disk that takes the time). Left out, each with
    its reason, are audio without transcript, a transcript without audio, an empty transcript, and audio that
    is missing, empty, truncated (as far as the header tells; `imlspike format` reads every sample), or not
    mono at `sampling_rate`.

    Args:
        speaker_of: (utterance, file) -> speaker.
        progress: called with (done, total) utterances.
        threads: headers read at once.
        sampling_rate: Hz.
    """

    def outcome(name: str, here: Found) -> Utterance | str:
        if name not in here.texts:
            return "audio without transcript"
        if name not in here.audio:
            return "transcript without audio"
        if not here.texts[name]:
            return "empty transcript"
        file = here.audio[name]
        try:
            form = audio_format(file, name)
        except AudioError as error:
            return str(error)
        if (form.sampling_rate, form.channels) != (sampling_rate, 1):
            expected = f"{sampling_rate} Hz mono"
            return f"{file}: {form.sampling_rate} Hz with {form.channels} channel(s); expected {expected}"
        if not form.seconds:
            return f"{file}: its header tells of no samples; copy it again, or leave it out"
        return Utterance(name, str(file), here.texts[name], speaker_of(name, file), form.seconds)

    result: Prepared = {}
    names = {part: sorted(here.audio.keys() | here.texts.keys()) for part, here in found.items()}
    total, done = sum(map(len, names.values())), 0
    with ThreadPoolExecutor(threads) as pool:
        for part, here in found.items():
            kept, excluded = result.setdefault(part, ([], {}))
            outcomes = pool.map(outcome, names[part], [here] * len(names[part]))
            for name, utterance in zip(names[part], outcomes, strict=True):
                if isinstance(utterance, Utterance):
                    kept.append(utterance)
                else:
                    excluded[name] = utterance
                done += 1
                progress(done, total)
    return result


def check_left_out(result: Prepared, where: str | os.PathLike, max_left_out: float) -> None:
    """See that no set is empty and that not too much is left out.

    Raises:
        ValueError: naming the corpus folder `where` and the first reasons, if more than the share
            `max_left_out` of all utterances are left out; or naming a set without utterances.

    >>> check_left_out({"dev": ([], {"a": "audio without transcript"})}, "corpus", 0.05)
    Traceback (most recent call last):
    ValueError: corpus: 1 of 1 utterances would be left out, more than 5%; ... a: audio without transcript
    """
    reasons = {name: reason for _, excluded in result.values() for name, reason in excluded.items()}
    total = len(reasons) + sum(len(kept) for kept, _ in result.values())
    if len(reasons) > max_left_out * total:
        allow = " or allow it with --max-left-out" if max_left_out else ""
        listed = "; ".join(f"{name}: {reason}" for name, reason in sorted(reasons.items())[:5])
        raise ValueError(
            f"{where}: {len(reasons)} of {total} utterances would be left out, more than {max_left_out:.0%}; "
            f"repair the corpus{allow}. The first: {listed}"
        )
    for name, (kept, _) in result.items():
        if not kept:
            raise ValueError(f"{where}: no utterance for {name}; is this the whole corpus?")
