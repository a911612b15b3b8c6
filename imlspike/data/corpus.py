"""From a corpus's audio files and transcripts to checked Kaldi data directories."""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from imlspike.data.audio import AudioError, AudioFormat, audio_format
from imlspike.data.download import download_package, fetch, unpack_speakers
from imlspike.data.files import write_kaldi
from imlspike.data.kaldi import Utterance, write_data_dir

# set -> (utterances kept, utterance -> reason for those left out)
Prepared = dict[str, tuple[list[Utterance], dict[str, str]]]
Audio = dict[str, tuple[Path, AudioFormat | str]]  # utterance -> (file, its header or why it can't be read)
Report = Callable[[int, int], None]  # called with (done, total) to report progress


@dataclass(frozen=True)
class Transcript:
    """The text of one utterance as a corpus gives it."""

    id: str  # also what `Corpus.name_of` gives of its audio file: its name without suffix
    set: str  # the data directory that it belongs to
    text: str
    speaker: str
    fault: str = ""  # why the utterance has to be left out
    more: Mapping[str, str] = field(default_factory=dict)  # further tables and its value there, as pinyin


@dataclass(frozen=True)
class Corpus:
    """The layout of a corpus's files, the reader of its transcripts, and its sets."""

    folders: tuple[str, ...]  # names that the corpus's own folder goes by
    layout: tuple[str, ...]  # paths that it must hold, as glob patterns
    audio: str  # glob patterns, separated by blanks, of the audio files in it, or in each of its parts
    sampling_rate: int | None  # Hz, of mono; None: files differ, and `imlspike format` makes them alike
    transcripts: Callable[..., Iterator[Transcript]]  # reads those in the corpus's folder, or in a part's
    set_of: Callable[[str, Path], str]  # utterance, audio file -> data directory, without a transcript
    # For lhotse's download: archive -> (its published MD5 or None, the folder that it unpacks to).
    archives: Mapping[str, tuple[str | None, str]] = field(default_factory=dict)
    packages: Mapping[str, int] = field(
        default_factory=dict
    )  # Debian's, and megabytes that each download needs
    name_of: Callable[[Path], str] = lambda file: file.stem  # the utterance of an audio file
    openslr: int | None = None  # its number there, where lhotse has no download of it
    about_speakers: Callable[[Path], dict[str, dict[str, str]]] | None = None  # attribute -> speaker -> value
    sets: tuple[str, ...] = ("train", "valid", "test")
    parts: Mapping[str, int] = field(default_factory=dict)  # of a corpus in parts: utterances of each
    combined: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # sets of several parts' sets

    @property
    def all_sets(self) -> list[str]:
        """The names of its data directories."""
        return [*self.combined, *map(set_name, self.parts)] if self.parts else [*self.sets]

    @property
    def makes(self) -> str:
        """These names in short, for the help of `imlspike prepare`."""
        if not self.parts:
            return ", ".join(self.sets)
        first, *_, last = map(set_name, self.parts)
        return f"{', '.join(self.combined)}, and one set for each part: {first}, ..., {last}"

    def find(self, corpus_dir: Path) -> Path:
        """Return the corpus's own folder, `corpus_dir` or one in it; ValueError if there is none."""
        for folder in (corpus_dir, *(corpus_dir / name for name in self.folders)):
            there = (any(folder.glob(pattern)) for pattern in self.layout)
            if any((folder / part).is_dir() for part in self.parts) if self.parts else all(there):
                return folder
        packed = [name for name in self.archives if (corpus_dir / name).is_file()]
        hint = f". {packed[0]} is there: --download-dir {corpus_dir} checks and unpacks it" if packed else ""
        expected = " and ".join(f"{self.folders[0]}/{pattern}" for pattern in self.layout)
        raise ValueError(f"{corpus_dir}: expected {expected}{hint}")

    def find_parts(self, top: Path, wanted: Sequence[str] | None) -> list[str]:
        """The parts wanted, or all; absent ones are an error if they are named, else told on stderr."""
        there = [part for part in wanted or self.parts if (top / part).is_dir()]
        if absent := [part for part in wanted or self.parts if part not in there]:
            told = f"{top}: not there: {', '.join(absent)}"
            if wanted:
                raise ValueError(f"{told}, which --parts asks for; there is {', '.join(there) or 'none'}")
            print(told, file=sys.stderr)
        return there


def set_name(part: str) -> str:
    """The data directory of a corpus's part: train_clean_100 of train-clean-100."""
    return part.replace("-", "_")


def download(
    name: str,
    corpus: Corpus,
    target_dir: str | os.PathLike,
    parts: Sequence[str] | None = None,
    base_url: str | None = None,
) -> Path:
    """Fetch a corpus (all its parts if none are given) and unpack it below `target_dir`, for `prepare`.

    What is complete isn't fetched again. `base_url` is a mirror of openslr.org's resources/.
    """
    if not corpus.archives and not corpus.packages:
        raise ValueError(f"{name} can't be downloaded; give its folder: --corpus-dir")
    if corpus.packages:
        roots = [download_package(package, target_dir, size) for package, size in corpus.packages.items()]
        return roots[0] if len(roots) == 1 else Path(target_dir)
    options = {"base_url": base_url} if base_url else {}
    if corpus.openslr:
        options["number"] = corpus.openslr
    if not corpus.parts:
        return fetch({"baker": "baker_zh"}.get(name, name), target_dir, corpus.archives, **options)
    for part in parts or corpus.parts:
        archive = f"{part}.tar.gz"
        top = fetch(name, target_dir, {archive: corpus.archives[archive]}, dataset_parts=[part], **options)
    return top


def prepare(
    name: str,
    corpus: Corpus,
    corpus_dir: str | os.PathLike,
    output_dir: str | os.PathLike,
    max_left_out: float = 0.05,
    progress: Report = lambda done, total: None,
    parts: Sequence[str] | None = None,
    unpack_dir: str | os.PathLike | None = None,
    **reading,
) -> Prepared:
    """Write a Kaldi directory for each set of a corpus below `output_dir`.

    What is left out stands with its reason in `excluded.tsv` (see `join`). Of a corpus in parts each part is
    a set (`train_clean_100`), and the combined sets are made where all their parts are there; a part that is
    absent or hasn't as many utterances as published is named on stderr.

    Args:
        corpus_dir: the corpus's own folder or the one above it.
        max_left_out: the share of utterances that may be left out, else ValueError.
        parts: those wanted, which all have to be there; whatever is there if not given.
        unpack_dir: where AISHELL's speakers are unpacked, if not beside their archives.
        reading: options of the reader of transcripts, as `as_written` of msu_ru_nsh.
    """
    top = corpus.find(Path(corpus_dir).resolve())
    parts = corpus.find_parts(top, parts)
    places = [top / part for part in parts] or [top]
    sets = [set_name(part) for part in parts] or corpus.sets
    found = (place.glob(pattern) for place in places for pattern in corpus.audio.split())
    files = {file for some in found for file in some if file.name[0] != "."}
    if name == "aishell":
        files |= unpack_speakers(top / "wav", Path(unpack_dir or top / "wav").resolve(), corpus.sets)
    if not files:
        expected = " or ".join(corpus.audio.split())
        raise ValueError(f"{places[0]}: no recordings; expected {expected} in it")
    said = [transcript for place in places for transcript in corpus.transcripts(place, **reading)]
    result = join(
        said, read_headers(files, progress, corpus.name_of), corpus.sampling_rate, corpus.set_of, sets
    )
    check_left_out(result, top, max_left_out)
    for part in parts:
        if (count := sum(map(len, result[set_name(part)]))) != corpus.parts[part]:
            told = f"{part}: {count} utterances, {name} has {corpus.parts[part]}; an excerpt?"
            print(told, file=sys.stderr)
    for combined, members in corpus.combined.items():
        if result.keys() >= set(members):
            kept = [utterance for member in members for utterance in result[member][0]]
            result[combined] = kept, {k: v for member in members for k, v in result[member][1].items()}
    speakers = {set_: {utterance.speaker for utterance in kept} for set_, (kept, _) in result.items()}
    for set_ in ("valid", "test") if name == "aishell3" else ():  # a voice won't know them
        if new := speakers[set_] - speakers["train"]:
            told = f"{set_}: {len(new)} of its {len(speakers[set_])} speakers aren't in train, as {min(new)}"
            print(told, file=sys.stderr)
    about = corpus.about_speakers(top) if corpus.about_speakers else {}
    write(output_dir, result, {t.id: t.more for t in said}, about)
    return result


def prepare_manifests(
    recordings: str | os.PathLike,
    supervisions: str | os.PathLike,
    output_dir: str | os.PathLike,
    name: str = "train",
    max_left_out: float = 0.05,
    progress: Report = lambda done, total: None,
) -> Prepared:
    """Write the Kaldi directory `output_dir/name` of the manifests of any of lhotse's corpora, checked.

    Each recording is one mono file with one supervision, and all have the same sampling rate. ValueError for
    several rates, or if too much is left out; ImportError without lhotse (extra asr).
    """
    from lhotse import load_manifest

    recorded = {recording.id: recording for recording in load_manifest(recordings)}
    rates = sorted({recording.sampling_rate for recording in recorded.values()})
    if len(rates) != 1:
        raise ValueError(f"{recordings}: sampling rates {rates}; expected a single one")
    files = {key: Path(recording.sources[0].source) for key, recording in recorded.items()}
    stems = Counter(file.stem for file in files.values())
    names = {file: file.stem if stems[file.stem] == 1 else key for key, file in files.items()}
    audio, said, used = read_headers(files.values(), progress, names.__getitem__), [], set()
    for part in load_manifest(supervisions):
        whole, fault = recorded.get(part.recording_id), ""
        if whole and (part.start > 0.1 or part.duration < whole.duration - 0.1):
            fault = "only a part of its recording; cut the recordings first"
        elif whole and len(whole.sources) > 1:
            fault = f"{len(whole.sources)} files for its recording; expected one"
        utterance = names[files[whole.id]] if whole else part.id
        if fault and utterance in used:
            utterance = part.id
        used.add(utterance)
        text, speaker = " ".join((part.text or "").split()), "_".join((part.speaker or "").split())
        said.append(Transcript(utterance, name, text, speaker or utterance, fault=fault))
    result = join(said, audio, rates[0], lambda utterance, file: name, [name])
    check_left_out(result, recordings, max_left_out)
    write(output_dir, result)
    return result


def read_headers(
    files: Iterable[Path], progress: Report, name_of: Callable[[Path], str] = lambda file: file.stem
) -> Audio:
    """Read the headers of audio files, many at once; ValueError, naming both, if an utterance has two."""

    def header(file: Path) -> AudioFormat | str:
        try:
            return audio_format(file, name_of(file))
        except AudioError as error:
            return str(error)

    audio: Audio = {}
    files = sorted(set(files))
    with ThreadPoolExecutor(8) as pool:
        for done, (file, found) in enumerate(zip(files, pool.map(header, files), strict=True), start=1):
            other, _ = audio.setdefault(name_of(file), (file, found))
            if other != file:
                raise ValueError(f"utterance {name_of(file)!r} has two files, {other} and {file}; remove one")
            progress(done, len(files))
    return audio


def join(
    transcripts: Iterable[Transcript],
    audio: Audio,
    sampling_rate: int | None,
    set_of: Callable[[str, Path], str],
    sets: Iterable[str] = (),
) -> Prepared:
    """Join audio and transcripts to utterances, and say why others are left out.

    Left out are audio without transcript, a transcript without audio, an empty transcript, a name with
    blanks, and audio that is empty, truncated (as far as its header tells; `imlspike format` reads every
    sample), or not mono at `sampling_rate` (Hz; None: any will do). Two transcripts for one utterance are a
    ValueError. The `sets` have to be there, in this order; `set_of` (utterance, file) is that of audio
    without transcript.
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
            file, header = audio[said.id]
            kept.append(Utterance(said.id, str(file), said.text, said.speaker, header.seconds))
    for name in sorted(audio.keys() - seen):
        file, header = audio[name]
        reason = header if isinstance(header, str) else "audio without transcript"
        result.setdefault(set_of(name, file), ([], {}))[1][name] = reason
    return {name: (sorted(kept, key=lambda u: u.id), excluded) for name, (kept, excluded) in result.items()}


def _fault(said: Transcript, audio: Audio, sampling_rate: int | None) -> str:
    """The reason why an utterance can't be used, or ""."""
    if said.id not in audio:
        return "transcript without audio"
    file, header = audio[said.id]
    if isinstance(header, str):
        return header
    if not said.text.strip():
        return "empty transcript"
    if said.id.split() != [said.id]:
        return f"{file}: a name with blanks; rename it"
    if sampling_rate and (found := header.mismatch(sampling_rate)):
        return f"{file}: {found}"
    return "" if header.seconds else f"{file}: its header tells of no samples; copy it again, or leave it out"


def check_left_out(result: Prepared, where: str | os.PathLike, max_left_out: float) -> None:
    """Raise ValueError for an empty set, or if more than the share `max_left_out` of all is left out.

    The corpus folder `where` and the first reasons are named.
    """
    if not 0 <= max_left_out <= 1:
        raise ValueError(f"--max-left-out is {max_left_out:g}; expected a share, from 0 to 1")
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


def write(
    output_dir: str | os.PathLike,
    result: Prepared,
    more: Mapping[str, Mapping[str, str]] | None = None,
    about_speakers: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Write the data directory of each set; also `more` tables (utterance to table to value), and with
    `about_speakers` (attribute to speaker to value) Kaldi's spk2gender, spk2age, ..."""
    for name, (kept, excluded) in result.items():
        folder = Path(output_dir) / name
        write_data_dir(folder, kept, excluded)
        for table in {table for u in kept for table in (more or {}).get(u.id, ())}:
            write_kaldi(folder / table, {u.id: more[u.id][table] for u in kept})
        for attribute, values in (about_speakers or {}).items():
            write_kaldi(folder / f"spk2{attribute}", {u.speaker: values[u.speaker] for u in kept})
