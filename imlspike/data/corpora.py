"""AISHELL, AISHELL-3, Baker, LibriSpeech, LibriTTS, LJSpeech, msu_ru_nsh, speechocean762: their layout, how
texts are read.

lhotse's recipes download all but the last two. They don't read them: they stop at a file that can't be
opened, drop what lacks its half in silence, and lose AISHELL-3's pinyin. Tests hold both readings against
each other.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from imlspike.data.corpus import Corpus, Transcript, set_name
from imlspike.data.files import read_kaldi, read_text
from imlspike.data.fillets import FOLDERS, find_utterance, read_dialogs
from imlspike.text.mandarin import check_syllables, with_punctuation
from imlspike.text.russian import normalize_russian


def by_number(pattern: str, example: str, every: int = 50) -> Callable[..., str]:
    """Our split where a corpus has none, by the number in an utterance's name (the pattern's group).

    Multiples of `every` are test, what is half of it more valid, the rest train: what a copy lacks moves
    nothing else. The function takes an utterance (and its file), and raises ValueError for another name.

    >>> [by_number(r"a(\\d+)", "a1")(name) for name in ("a100", "a125", "a1")]
    ['test', 'valid', 'train']
    """

    def set_of(utterance: str, file: Path | None = None) -> str:
        match = re.fullmatch(pattern, utterance)
        if not match:
            raise ValueError(f"{utterance}: expected a name like {example} (it sets the split); rename it")
        return {0: "test", every // 2: "valid"}.get(int(match[1]) % every, "train")

    return set_of


_FULL_WIDTH = {0xFF21 + i: chr(65 + i) for i in range(26)} | {0xFF41 + i: chr(97 + i) for i in range(26)}
_lj_set = by_number(r"LJ\d{3}-(\d{4})", "LJ001-0001")
_baker_set = by_number(r"(\d{6})", "000001")
_ssb_set = by_number(r"SSB\d{4}(\d{4})", "SSB00050001")
_msu_set = by_number(r"ru_(\d+)", "ru_0001", every=12)  # published so


def _part_set(utterance: str, file: Path) -> str:
    return set_name(file.parents[2].name)


def _aishell_set(utterance: str, file: Path | None = None) -> str:
    """The folder of an audio file; without one the published set of its speaker.

    >>> _aishell_set("BAC009S0723W0122"), _aishell_set("BAC009S0763W0122"), _aishell_set("BAC009S0764W0122")
    ('train', 'dev', 'test')
    """
    if file:
        return file.parents[1].name
    speaker = re.fullmatch(r".*S(\d{4})W\d+", utterance)
    if not speaker:
        raise ValueError(f"{utterance}: expected a name like BAC009S0002W0122, whose speaker is S0002")
    return "train" if int(speaker[1]) < 724 else "dev" if int(speaker[1]) < 764 else "test"


def _aishell3_set(utterance: str, file: Path) -> str:
    return "test" if file.parents[2].name == "test" else _ssb_set(utterance)


def _aishell(top: Path) -> Iterator[Transcript]:
    """Characters without the blanks between words; letters, some of full width, plain and upper-case."""
    for name, line in read_kaldi(top / "transcript/aishell_transcript_v0.8.txt").items():
        text = "".join(line.translate(_FULL_WIDTH).upper().split())
        yield Transcript(name, _aishell_set(name), text, name.rpartition("W")[0][-5:])


def _librispeech(part: Path) -> Iterator[Transcript]:
    for file in sorted(part.glob("*/*/[!.]*.trans.txt")):
        for name, text in read_kaldi(file).items():
            if not re.fullmatch(r"\d+-\d+-\d+", name):
                raise ValueError(f"{file}: {name!r}; expected a name like 84-121123-0000")
            yield Transcript(name, set_name(part.name), text, name.rpartition("-")[0])


def _libritts(part: Path) -> Iterator[Transcript]:
    files = sorted(part.glob("*/*/[!.]*.normalized.txt"))
    with ThreadPoolExecutor(8) as pool:  # it is the disk that takes the time
        for file, text in zip(files, pool.map(read_text, files), strict=True):
            name = file.name.removesuffix(".normalized.txt")
            yield Transcript(name, set_name(part.name), " ".join(text.split()), name.partition("_")[0])


def _ljspeech(top: Path) -> Iterator[Transcript]:
    for number, line in _lines(top / "metadata.csv"):
        fields = line.split("|")
        if len(fields) != 3:
            raise ValueError(f"{top}/metadata.csv, line {number}: {line!r}; expected name|text|as spoken")
        yield Transcript(fields[0], _lj_set(fields[0]), " ".join(fields[2].split()), "LJ")


def _baker(top: Path) -> Iterator[Transcript]:
    """Two lines an utterance: `000001<TAB>卡尔普#2陪外孙#1玩滑梯#4。`, then `<TAB>ka2 er2 pu3 ...`.

    The prosody marks #1 to #5 go, punctuation stays.
    """
    path = top / "ProsodyLabeling/000001-010000.txt"
    lines = _lines(path)
    for (number, line), (_, syllables) in zip(lines[::2], [*lines[1::2], (0, "")], strict=False):
        name, *text = line.split(maxsplit=1)
        if not re.fullmatch(r"\d{6}", name) or not text or not re.match(r"\D", syllables):
            raise ValueError(f"{path}, line {number}: {line!r}; expected 000001<TAB>text, then its pinyin")
        plain = "".join(re.sub("#[1-5]", "", text[0]).split())
        yield _with_pinyin(name, _baker_set(name), plain, "baker", with_punctuation, plain, syllables.split())


def _aishell3(top: Path) -> Iterator[Transcript]:
    """Lines `SSB00050001.wav<TAB>广 guang3 州 zhou1 ...`, without punctuation."""
    for part in ("train", "test"):
        for key, line in read_kaldi(top / part / "content.txt").items():
            name, words = key.removesuffix(".wav"), line.split()
            set_ = "test" if part == "test" else _ssb_set(name)
            yield _with_pinyin(name, set_, "".join(words[::2]), name[:7], _by_turns, words)


def _by_turns(words: Sequence[str]) -> str:
    """The pinyin of words that are characters and syllables by turns."""
    if len(words) % 2:
        raise ValueError(f"{len(words)} words; expected each character with its pinyin")
    check_syllables(words[1::2])
    return " ".join(words[1::2])


def _with_pinyin(
    name: str, set_: str, text: str, speaker: str, make: Callable[..., str], *args
) -> Transcript:
    """A transcript with its pinyin, which `make(*args)` gives, or with its fault."""
    try:
        return Transcript(name, set_, text, speaker, more={"pinyin": make(*args)})
    except ValueError as error:
        return Transcript(name, set_, text, speaker, fault=str(error))


def _msu_ru_nsh(top: Path, as_written: bool = False) -> Iterator[Transcript]:
    """Festival's lines `( ru_0001 "text" )`; normalized, or `as_written` with punctuation and stress marks.

    A sentence with a character that is not Russian has to be left out; one that stands in two sets is an
    error, for the sets would overlap.
    """
    path, first = top / "etc/txt.done.data", {}
    for number, line in _lines(path):
        match = re.fullmatch(r'\(\s*(\S+)\s+"(.*)"\s*\)', line)
        if not match:
            raise ValueError(f'{path}, line {number}: {line!r}; expected ( name "text" )')
        name, text, fault = match[1], "", ""
        try:
            text = normalize_russian(match[2], name)
        except ValueError as error:
            fault = str(error)
        if text and as_written:
            text = " ".join(unicodedata.normalize("NFC", match[2]).split())
        set_ = _msu_set(name)
        other, other_set = first.setdefault(text, (name, set_))
        if text and other_set != set_:
            raise ValueError(f"{path}: {other} ({other_set}) and {name} ({set_}) are the same; remove one")
        yield Transcript(name, set_, text, "nsh", fault=fault)


_SPEECHOCEAN_TABLES = ("text", "utt2spk", "spk2gender", "spk2age")


def _speechocean762(top: Path) -> Iterator[Transcript]:
    """Of the speakers to train on, in the order of gender, age and name, every tenth is valid: as many women,
    men, children and adults as there are, and the same whatever recordings a copy lacks. A speaker who is in
    train and test is an error."""
    about = _speechocean_speakers(top, ("train",))

    def order(speaker: str) -> tuple:
        return about["gender"][speaker], float(about["age"][speaker]), speaker

    valid = sorted(about["gender"], key=order)[5::10]
    tables = {part: read_kaldi(top / part / "utt2spk") for part in ("train", "test")}
    if both := set(tables["train"].values()) & set(tables["test"].values()):
        raise ValueError(f"{top}/test/utt2spk: speaker {min(both)} is in train, too; get these tables anew")
    for part, speakers in tables.items():
        for name, text in read_kaldi(top / part / "text").items():
            if name not in speakers:
                raise ValueError(f"{top}/{part}/utt2spk: no speaker of {name}, which is in {part}/text")
            yield Transcript(name, "valid" if speakers[name] in valid else part, text, speakers[name])


def _speechocean_speakers(top: Path, parts: Sequence[str] = ("train", "test")) -> dict[str, dict[str, str]]:
    tables: dict[str, dict[str, str]] = {"gender": {}, "age": {}}
    for part in parts:
        speakers = set(read_kaldi(top / part / "utt2spk").values())
        for attribute, table in tables.items():
            table |= read_kaldi(path := top / part / f"spk2{attribute}")
            if absent := speakers - table.keys():
                raise ValueError(
                    f"{path}: speaker {min(absent)} is missing ({len(absent)} of {len(speakers)})"
                )
        if odd := [who for who in speakers if not re.fullmatch(r"\d+(\.\d+)?", tables["age"][who])]:
            raise ValueError(f"{path}: speaker {min(odd)} has {tables['age'][min(odd)]!r}; expected years")
    return tables


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a file that aren't blank, stripped, each with its number."""
    lines = enumerate(read_text(path).split("\n"), start=1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def _in_parts(folder: str, md5s: str, utterances: Sequence[int], **more) -> Corpus:
    """LibriSpeech or LibriTTS, with what openslr.org publishes of each part."""
    hours = ("train-clean-100", "train-clean-360", "train-other-500")
    parts = (*hours, "dev-clean", "dev-other", "test-clean", "test-other")
    sums = zip(parts, md5s.split(), strict=True)
    archives = {f"{part}.tar.gz": (md5, f"{folder}/{part}") for part, md5 in sums}
    combined = {"train_960": tuple(map(set_name, hours))} | more.pop("combined", {})
    counts = dict(zip(parts, utterances, strict=True))
    return Corpus((folder,), set_of=_part_set, archives=archives, parts=counts, combined=combined, **more)


def _fillets(*languages: str) -> Corpus:
    """Dialogue of two actors a language (GPL-2), 91 min of Dutch, 79 of Czech: the game Fish Fillets NG."""
    sounds = [f"**/sound/*/{language}/*.ogg" for language in languages]
    return Corpus(
        folders=FOLDERS,
        layout=(*(f"**/script/*/dialogs_{language}.lua" for language in languages), *sounds),
        audio=" ".join(sounds),
        sampling_rate=None,
        transcripts=partial(read_dialogs, languages=languages),
        set_of=lambda utterance, file: "train",
        packages={"fillets-ng-data": 600} | {f"fillets-ng-data-{language}": 300 for language in languages},
        name_of=find_utterance,
    )


CORPORA = {
    "aishell": Corpus(  # 178 h of read Mandarin (Bu et al. 2017; openslr.org/33)
        folders=("data_aishell", "aishell/data_aishell"),
        layout=("transcript/aishell_transcript_v0.8.txt", "wav"),
        audio="wav/*/*/*.wav",
        sampling_rate=16000,
        transcripts=_aishell,
        set_of=_aishell_set,
        archives={
            "data_aishell.tgz": ("2f494334227864a8a8fec932999db9d8", "aishell/data_aishell"),
            "resource_aishell.tgz": ("957d480a0fcac85fc18e550756f624e5", "aishell/resource_aishell"),
        },
        sets=("train", "dev", "test"),
    ),
    "librispeech": _in_parts(  # 960 h of read English to train on (Panayotov et al. 2015; openslr.org/12)
        "LibriSpeech",
        "2a93770f6d5c6c964bc36631d331a522 c0e676e450a7ff2f54aeade5171606fa "
        "d1a0fd59409feb2c614ce4d30c387708 42e2234ba48799c1f50f24a7926300a1 "
        "c8d0bcc9cca99d4f8b62fcc847357931 32fa31d27d2e1cad72775fee3f4849a9 "
        "fb5a50374b501bb3bac4815ee91d3135",
        (28539, 104014, 148688, 2703, 2864, 2620, 2939),
        layout=("dev-clean/84/121123/84-121123.trans.txt", "dev-clean/84/121123/84-121123-0000.flac"),
        audio="*/*/*.flac",
        sampling_rate=16000,
        transcripts=_librispeech,
        combined={"dev": ("dev_clean", "dev_other")},
    ),
    "libritts": _in_parts(  # 586 h of read English, 2,456 speakers (Zen et al. 2019; openslr.org/60)
        "LibriTTS",
        "4a8c202b78fe1bc0c47916a98f3a2ea8 a84ef10ddade5fd25df69596a2767b2d "
        "7b181dd5ace343a5f38427999684aa6f 0c3076c1e5245bb3f0af7d82087ee207 "
        "815555d8d75995782ac3ccd7f047213d 7bed3bdb047c4c197f1ad3bc412db59f "
        "ae3258249472a13b5abef2a816f733e4",
        (33236, 116500, 205044, 5736, 4613, 4837, 5120),
        layout=("dev-clean/84/121123/84_..._000000.wav", "dev-clean/84/121123/84_..._000000.normalized.txt"),
        audio="*/*/*.wav",
        sampling_rate=24000,
        transcripts=_libritts,
    ),
    "ljspeech": Corpus(  # 24 h of read English, one speaker (Ito and Johnson 2017; public domain)
        folders=("LJSpeech-1.1",),
        layout=("metadata.csv", "wavs"),
        audio="wavs/*.wav",
        sampling_rate=22050,
        transcripts=_ljspeech,
        set_of=_lj_set,
        archives={"LJSpeech-1.1.tar.bz2": ("c4763be9595ddfa79c2fc6eaeb3b6c8e", "LJSpeech-1.1")},
    ),
    "baker": Corpus(  # 12 h of read Mandarin, one speaker; not for commercial use (data-baker.com)
        folders=("BZNSYP", "CSMSC"),
        layout=("ProsodyLabeling/000001-010000.txt", "Wave"),
        audio="Wave/*.wav",
        sampling_rate=48000,
        transcripts=_baker,
        set_of=_baker_set,
        archives={"BZNSYP.tar.bz2": (None, "BZNSYP")},
    ),
    "aishell3": Corpus(  # 85 h of read Mandarin, 218 speakers (Shi et al. 2020; openslr.org/93)
        folders=("data_aishell3", "AISHELL-3"),
        layout=("train/content.txt", "train/wav", "test/content.txt", "test/wav"),
        audio="*/wav/*/*.wav",
        sampling_rate=44100,
        transcripts=_aishell3,
        set_of=_aishell3_set,
        archives={"data_aishell3.tgz": (None, "train")},
    ),
    "msu_ru_nsh": Corpus(  # 99.5 min: 620 read Russian sentences of one male speaker
        folders=("usr/share/festival/voices/russian/msu_ru_nsh_clunits",),
        layout=("etc/txt.done.data", "wav"),
        audio="wav/*.wav",
        sampling_rate=16000,
        transcripts=_msu_ru_nsh,
        set_of=_msu_set,
        packages={"festvox-ru": 450},
    ),
    "fillets": _fillets("nl", "cs"),
    "fillets_nl": _fillets("nl"),
    "fillets_cs": _fillets("cs"),
    "speechocean762": Corpus(  # 333 min of English read by 250 Mandarin speakers, half of them children
        folders=("speechocean762",),  # (Zhang et al. 2021; openslr.org/101)
        layout=tuple(f"{part}/{table}" for part in ("train", "test") for table in _SPEECHOCEAN_TABLES),
        audio="train/*.opus test/*.opus WAVE/*/*.[Ww][Aa][Vv]",  # a copy in Opus; as published
        sampling_rate=16000,
        transcripts=_speechocean762,
        set_of=lambda utterance, file: "test" if file.parent.name == "test" else "train",
        archives={"speechocean762.tar.gz": (None, "speechocean762")},
        openslr=101,
        about_speakers=_speechocean_speakers,
    ),
}
