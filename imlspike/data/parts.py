"""Corpora that openslr.org publishes in parts, as LibriSpeech and LibriTTS: fetched, found, prepared."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imlspike.data.corpus import Found, Prepared, check_left_out, join
from imlspike.data.kaldi import write_data_dir
from imlspike.data.openslr import Archive, fetch_and_unpack


@dataclass(frozen=True)
class PartedCorpus:
    """A corpus whose parts are archives `<part>.tar.gz`, each with a folder `<name>/<part>`.

    Args:
        name: the corpus, and the folder that all archives unpack to.
        resource: its number at openslr.org.
        parts: part -> (size of the archive in bytes, its MD5, utterances), as published.
        combined: sets made of several parts.
        sampling_rate: Hz.
        layout: an example of the files, for errors.
    """

    name: str
    resource: int
    parts: Mapping[str, tuple[int, str, int]]
    combined: Mapping[str, Sequence[str]]
    sampling_rate: int
    layout: str

    def download(self, target_dir: str | os.PathLike, parts: Sequence[str] | None, base_url: str) -> Path:
        """Fetch parts (all if None) and unpack them below `target_dir`; parts that are there stay.

        An interrupted download goes on where it stopped; each archive is held against its published MD5,
        unpacked whole and removed.

        Returns: the corpus folder.

        Raises:
            ValueError: for a part that there isn't.
            ImportError: without lhotse (extra asr), whose download this is.
            imlspike.data.debian.DownloadError: one line: what failed and what to do.
        """
        target_dir = Path(target_dir).resolve()
        top = target_dir / self.name
        for part in self._known(parts or self.parts):
            if (top / part).is_dir():
                continue
            size, md5, _ = self.parts[part]
            archive = Archive(f"{self.resource}/{part}.tar.gz", size, md5)
            unpacked = fetch_and_unpack(archive, target_dir, base_url)
            top.mkdir(exist_ok=True)
            for path in sorted((unpacked / self.name).iterdir(), key=lambda path: path.name == part):
                path.rename(top / path.name)  # the part last: once it is there, nothing is missing
            shutil.rmtree(unpacked)
            (target_dir / f"{part}.tar.gz").unlink()
        return top

    def prepare(
        self,
        corpus_dir: str | os.PathLike,
        output_dir: str | os.PathLike,
        scan: Callable[[Path], Found],
        speaker_of: Callable[[str, Path], str],
        max_left_out: float,
        progress: Callable[[int, int], None],
        parts: Sequence[str] | None,
    ) -> Prepared:
        """Write a Kaldi directory for each part below `output_dir`, and for each combined set that is whole.

        A set's name is its part's with `_` for `-`. A part that is absent, or hasn't as many utterances as
        published, is named on stderr.

        Args:
            corpus_dir: the folder `name`, or the one above it.
            scan: folder of a part -> its audio files and transcripts.
            speaker_of: (utterance, file) -> speaker.
            max_left_out: the share of utterances that may be left out.
            progress: called with (done, total) utterances.
            parts: those wanted, which all have to be there; whatever is there if None.

        Returns: set -> (utterances kept, utterance -> reason for those left out).

        Raises:
            ValueError: if the folder isn't the corpus, a part that was asked for isn't there, or more than
                `max_left_out` of the utterances are left out.
        """
        top = self._find(Path(corpus_dir).resolve())
        there = [part for part in self._known(parts or self.parts) if (top / part).is_dir()]
        absent = [part for part in parts or self.parts if part not in there]
        if absent and parts:
            raise ValueError(
                f"{top}: no {', '.join(absent)}, which --parts asks for; there is {', '.join(there)}"
            )
        found = {_set(part): scan(top / part) for part in there}
        result = join(found, speaker_of, progress, sampling_rate=self.sampling_rate)
        check_left_out(result, top, max_left_out)
        for part in there:
            self._tell_if_excerpt(part, sum(map(len, result[_set(part)])))
        if absent:
            print(f"{top}: not there: {', '.join(absent)}", file=sys.stderr)
        for name, members in self.combined.items():
            if set(members) <= set(there):
                result[name] = _combine([result[_set(part)] for part in members])
        for name, (kept, excluded) in result.items():
            write_data_dir(Path(output_dir) / name, kept, excluded)
        return result

    def _known(self, parts: Sequence[str]) -> list[str]:
        for part in parts:
            if part not in self.parts:
                known = ", ".join(self.parts)
                raise ValueError(f"there is no part {part!r} of {self.name}; expected some of {known}")
        return list(parts)

    def _find(self, corpus_dir: Path) -> Path:
        """The folder that holds the parts."""
        for folder in (corpus_dir, corpus_dir / self.name):
            if any((folder / part).is_dir() for part in self.parts):
                return folder
        hint = ""
        if archives := [f"{part}.tar.gz" for part in self.parts if (corpus_dir / f"{part}.tar.gz").is_file()]:
            hint = f". {archives[0]} is there: --download-dir {corpus_dir} checks and unpacks it"
        raise ValueError(f"{corpus_dir}: not {self.name}; expected {self.layout}{hint}")

    def _tell_if_excerpt(self, part: str, utterances: int) -> None:
        published = self.parts[part][2]
        if utterances != published:
            told = f"{part}: {utterances} utterances, {self.name} has {published}; an excerpt?"
            print(told, file=sys.stderr)


def _set(part: str) -> str:
    return part.replace("-", "_")


def _combine(sets):
    kept = [utterance for some, _ in sets for utterance in some]
    excluded = {utterance: reason for _, some in sets for utterance, reason in some.items()}
    return kept, excluded
