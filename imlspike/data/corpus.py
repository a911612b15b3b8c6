"""From a corpus's audio files and transcripts to checked Kaldi data directories."""

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from imlspike.data.audio import AudioError, AudioFormat, audio_format
from imlspike.data.files import write_kaldi
from imlspike.data.kaldi import Utterance, write_data_dir

Prepared = dict[str, tuple[list[Utterance], dict[str, str]]]
"""set -> (utterances kept, utterance -> reason for those left out)"""
Report = Callable[[int, int], None]
"""Called with (done, total) to report progress."""


@dataclass(frozen=True)
class Transcript:
    """The text of one utterance as a corpus gives it.

    Attributes:
        id: the utterance, which is also the name of its audio file without suffix.
        set: the data directory it belongs to.
        pinyin: syllables with tones, of a Mandarin corpus that has them.
        fault: why the utterance has to be left out, or "".
    """

    id: str
    set: str
    text: str
    speaker: str
    pinyin: str = ""
    fault: str = ""


@dataclass
class Audio:
    """The audio files of a corpus by utterance, and what their headers say or why they can't be read."""

    files: dict[str, Path] = field(default_factory=dict)
    headers: dict[str, AudioFormat | str] = field(default_factory=dict)

    def add(
        self, files: Iterable[Path], progress: Report = lambda done, total: None, threads: int = 8
    ) -> None:
        """Add files and read their headers, many at once: it is the disk that takes the time.

        Raises:
            ValueError: naming both files, if an utterance has two.
        """
        new = []
        for file in files:
            other = self.files.setdefault(file.stem, file)
            if other != file:
                raise ValueError(f"utterance {file.stem!r} has two files, {other} and {file}; remove one")
            new.append(file)
        with ThreadPoolExecutor(threads) as pool:
            for done, (file, header) in enumerate(zip(new, pool.map(_header, new), strict=True), start=1):
                self.headers[file.stem] = header
                progress(done, len(new))

    @property
    def unreadable(self) -> set[Path]:
        """The files whose header can't be read."""
        return {file for name, file in self.files.items() if isinstance(self.headers[name], str)}


def _header(file: Path) -> AudioFormat | str:
    try:
        return audio_format(file, file.stem)
    except AudioError as error:
        return str(error)


def join(
    transcripts: Iterable[Transcript],
    audio: Audio,
    sampling_rate: int,
    set_of: Callable[[str, Path], str],
    sets: Iterable[str] = (),
) -> Prepared:
    """Join audio and transcripts to utterances, and say why others are left out.

    Left out are audio without transcript, a transcript without audio, an empty transcript, and audio that is
    empty, truncated (as far as its header tells; `imlspike format` reads every sample), or not mono at
    `sampling_rate`.

    Args:
        sampling_rate: Hz.
        set_of: (utterance, file) -> data directory of audio without transcript.
        sets: those that have to be there, in this order.

    Raises:
        ValueError: if an utterance has two transcripts.
    """
    result: Prepared = {name: ([], {}) for name in sets}
    seen = set()
    for said in transcripts:
        if said.id in seen:
            raise ValueError(f"{said.id!r} has two transcripts; remove one")
        seen.add(said.id)
        kept, excluded = result.setdefault(said.set, ([], {}))
        if reason := said.fault or _fault(said, audio, sampling_rate):
            excluded[said.id] = reason
        else:
            file, header = audio.files[said.id], audio.headers[said.id]
            kept.append(Utterance(said.id, str(file), said.text, said.speaker, header.seconds))
    for name in sorted(audio.files.keys() - seen):
        header = audio.headers[name]
        reason = header if isinstance(header, str) else "audio without transcript"
        result.setdefault(set_of(name, audio.files[name]), ([], {}))[1][name] = reason
    return {name: (sorted(kept, key=lambda u: u.id), excluded) for name, (kept, excluded) in result.items()}


def _fault(said: Transcript, audio: Audio, sampling_rate: int) -> str | None:
    """Why an utterance can't be used."""
    if said.id not in audio.files:
        return "transcript without audio"
    header, file = audio.headers[said.id], audio.files[said.id]
    if isinstance(header, str):
        return header
    if not said.text.strip():
        return "empty transcript"
    if (header.sampling_rate, header.channels) != (sampling_rate, 1):
        found = f"{header.sampling_rate} Hz with {header.channels} channel(s)"
        return f"{file}: {found}; expected {sampling_rate} Hz mono"
    if not header.seconds:
        return f"{file}: its header tells of no samples; copy it again, or leave it out"
    return None


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


def write(output_dir: str | os.PathLike, result: Prepared, pinyin: Mapping[str, str] | None = None) -> None:
    """Write the data directory of each set; with `pinyin` also a table of this name."""
    for name, (kept, excluded) in result.items():
        folder = Path(output_dir) / name
        write_data_dir(folder, kept, excluded)
        if pinyin:
            write_kaldi(folder / "pinyin", {u.id: pinyin[u.id] for u in kept})
