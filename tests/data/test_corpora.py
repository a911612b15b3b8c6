"""Eight corpora in miniature: what lhotse finds in them, and all that a copy may lack."""

import os
import re
import shutil
import tarfile
from pathlib import Path

import pytest
import soundfile

from imlspike.bin.prepare import main
from imlspike.data.corpora import CORPORA, _aishell_set
from imlspike.data.corpus import check_left_out
from imlspike.data.corpus import prepare as prepare_corpus
from imlspike.data.files import read_kaldi
from imlspike.data.kaldi import Utterance, read_data_dir, read_excluded
from imlspike.text.mandarin import pinyin as spoken_as
from imlspike.text.mandarin import with_punctuation
from tests.data.conftest import tone
from tests.recipes.corpora import make_aishell, make_librispeech, make_libritts, make_speechocean762
from tests.recipes.tts_corpora import make_aishell3, make_baker, make_ljspeech

AISHELL = {"train": 6, "dev": 2, "test": 2}
PARTS = {"train-clean-100": 10, "dev-clean": 2}
TTS = {"train": 4, "valid": 1, "test": 2}


def make_msu_ru_nsh(root: Path) -> Path:
    """24 sentences ru_0001 to ru_0024: 20 for train, 2 for valid, 2 for test."""
    (root / "wav").mkdir(parents=True)
    (root / "etc").mkdir()
    words, lines = "привет мир снег окно вода лес ёлка трава пот+ом дом".split(), []
    for number in range(1, 25):
        soundfile.write(root / f"wav/ru_{number:04d}.wav", tone(0.05 + number / 100), 16000)
        first, *others = (words[n] for n in (number % 10, number % 7, number // 10, number % 9))
        lines.append(f'( ru_{number:04d} "{first.capitalize()}, {" - ".join(others)}." )\n')
    (root / "etc/txt.done.data").write_text("".join(lines), encoding="utf-8")
    return root


# name -> what makes it below a folder; lhotse's recipe, what it is called with, and what text it gives
MAKE = {
    "aishell": lambda root: make_aishell(root, AISHELL, without_transcript=0),
    "librispeech": lambda root: make_librispeech(root, PARTS),
    "libritts": lambda root: make_libritts(root, PARTS),
    "ljspeech": lambda root: make_ljspeech(root, TTS, seconds=0.02),
    "baker": lambda root: make_baker(root, TTS, seconds=0.02),
    "aishell3": lambda root: make_aishell3(root, TTS, seconds=0.02),
    "msu_ru_nsh": make_msu_ru_nsh,
    "speechocean762": lambda root: make_speechocean762(root, seconds=0.02),
}
LHOTSE = {
    "aishell": ("aishell", "", {}),
    "librispeech": ("librispeech", "LibriSpeech", {}),
    "libritts": ("libritts", "LibriTTS", {"dataset_parts": tuple(PARTS)}),
    "ljspeech": ("ljspeech", "LJSpeech-1.1", {}),
    "baker": ("baker_zh", "BZNSYP", {}),
    "aishell3": ("aishell3", "", {}),
}


def prepare(name, *args, **options):
    return prepare_corpus(name, CORPORA[name], *args, **options)


@pytest.fixture(params=MAKE)
def name(request):
    return request.param


@pytest.fixture
def corpus(name, tmp_path):
    return MAKE[name](tmp_path / "corpus")


def run(name: str, corpus: Path, output_dir: Path, *options: str) -> int:
    return main([name, "--corpus-dir", str(corpus), "--output-dir", str(output_dir), *options])


def prepared(name, corpus, output_dir, *options) -> dict[str, list[Utterance]]:
    """What stands in the directories that were written."""
    assert run(name, corpus, output_dir, *options) == 0
    return {folder.name: read_data_dir(folder) for folder in sorted(output_dir.iterdir())}


def audio(name: str, corpus: Path) -> list[Path]:
    """The recordings to train on, or where they lie in one folder all."""
    top = corpus / LHOTSE[name][1] if name in LHOTSE else corpus
    files = sorted(top.rglob("*." + CORPORA[name].audio.rpartition(".")[2]))
    return [file for file in files if "train" in str(file.relative_to(corpus))] or files


def transcripts(corpus: Path) -> Path:
    """The file with the first transcripts."""
    patterns = (
        "*_v0.8.txt",
        "*.trans.txt",
        "metadata.csv",
        "000001-010000.txt",
        "train/content.txt",
        "*.done.data",
        "train/text",
    )
    return next(path for pattern in patterns for path in sorted(corpus.rglob(pattern)))


def compare_with_lhotse(name: str, corpus: Path, ours: dict[str, Utterance]) -> None:
    recipe, folder, options = LHOTSE[name]
    lhotse = pytest.importorskip(f"lhotse.recipes.{recipe}")
    manifests = getattr(lhotse, f"prepare_{recipe}")(corpus / folder, **options)
    parts = [manifests] if "supervisions" in manifests else manifests.values()
    both = [item for part in parts for items in part.values() for item in items]  # AISHELL-3's are exchanged
    said = {item.id: item for item in both if hasattr(item, "text")}
    files = {item.id: item for item in both if hasattr(item, "sources")}
    assert sorted(ours) == sorted(said)
    for utterance in ours.values():
        theirs, file = said[utterance.id], files[utterance.id]
        custom = theirs.custom or {}
        assert utterance.text == custom.get("normalized_text", theirs.text)
        assert theirs.speaker is None or utterance.speaker.partition("-")[0] == theirs.speaker
        assert utterance.wav == str(file.sources[0].source)
        assert utterance.seconds == pytest.approx(file.duration)


def test_it_is_what_lhotse_prepares(name, corpus, tmp_path):
    sets = prepared(name, corpus, tmp_path / "data")
    for utterances in sets.values():  # Kaldi's order: sorted by utterance is sorted by speaker
        assert [u.speaker for u in utterances] == sorted(u.speaker for u in utterances)
    if name in LHOTSE:
        compare_with_lhotse(name, corpus, {u.id: u for us in sets.values() for u in us})


def test_real_excerpts(real_audio, tmp_path):
    if not (real_audio / "LibriSpeech").is_dir():
        pytest.skip("no LibriSpeech in IMLSPIKE_TEST_DATA")
    sets = prepared("librispeech", real_audio, tmp_path / "data")
    compare_with_lhotse("librispeech", real_audio, {u.id: u for us in sets.values() for u in us})


def test_what_cannot_be_used_is_counted_listed_and_left_out(name, corpus, tmp_path, capsys):
    """Each kind of it; a missing recording moves no other to another set, and hidden files play no part."""
    before = prepared(name, corpus, tmp_path / "whole")
    lost, broken, slow, copied, *_ = audio(name, corpus)
    lost.unlink()
    broken.write_bytes(b"")
    soundfile.write(slow, [0.0] * 800, 11025, subtype="PCM_16")
    extra = copied.with_name(re.sub(r"\d\d(?=\.)", "99", copied.name))
    shutil.copy(copied, extra)
    shutil.copy(copied, copied.with_name(f"._{copied.name}"))
    text = transcripts(corpus) if name != "libritts" else next(corpus.rglob("*.normalized.txt"))
    text.with_name(f"._{text.name}").write_bytes(b"\x00\x05\x16\x07\xff")  # as macOS adds
    assert run(name, corpus, tmp_path / "data") == 1
    assert "utterances would be left out, more than 5%" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
    after = prepared(name, corpus, tmp_path / "data", "--max-left-out", "0.8")
    reasons = {k: v for set_ in after for k, v in read_excluded(tmp_path / "data" / set_).items()}
    assert reasons.pop(broken.stem).count("the file is empty")
    assert reasons.pop(slow.stem).endswith(f"expected {CORPORA[name].sampling_rate} Hz mono")
    assert reasons == {lost.stem: "transcript without audio", extra.stem: "audio without transcript"}
    for set_, utterances in before.items():
        there = {u.id for u in after[set_]} | read_excluded(tmp_path / "data" / set_).keys() - {extra.stem}
        assert there == {u.id for u in utterances}


def test_another_folder_a_second_file_and_a_second_transcript_are_refused(name, corpus, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=CORPORA[name].folders[0]):
        prepare(name, tmp_path / "empty", tmp_path / "data")
    for packed in list(CORPORA[name].archives)[:1]:
        (tmp_path / "empty" / packed).write_bytes(b"")
        with pytest.raises(ValueError, match=f"{packed} is there: --download-dir"):
            prepare(name, tmp_path / "empty", tmp_path / "data")
    top = CORPORA[name].find(corpus)
    assert prepare(name, corpus, tmp_path / "a") == prepare(name, top, tmp_path / "b")
    if name == "libritts":
        return
    path = transcripts(corpus)
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "\n".join(text.split("\n")[:2]) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match="twice|two transcripts"):
        prepare(name, corpus, tmp_path / "data")
    path.write_bytes(text.encode("utf-16"))
    with pytest.raises(ValueError, match=path.name):
        prepare(name, corpus, tmp_path / "data")


def test_parts_are_combined_where_all_are_there_and_absent_ones_are_named(tmp_path, capsys):
    corpus = make_librispeech(tmp_path / "corpus")
    sets = prepared("librispeech", corpus, tmp_path / "data")
    train = {u for part in ("clean_100", "clean_360", "other_500") for u in sets[f"train_{part}"]}
    assert set(sets["train_960"]) == train and len(train) == 24 and len(sets["dev"]) == 6 and len(sets) == 9
    assert "dev-clean: 3 utterances, librispeech has 2703" in capsys.readouterr().err
    shutil.rmtree(corpus / "LibriSpeech/dev-other")
    assert "dev" not in prepared("librispeech", corpus, tmp_path / "fewer")
    assert "not there: dev-other" in capsys.readouterr().err
    assert run("librispeech", corpus, tmp_path / "none", "--parts", "dev-clean", "dev-other") == 1
    assert list(prepared("librispeech", corpus, tmp_path / "one", "--parts", "dev-clean")) == ["dev_clean"]


def test_the_published_numbers():
    """281,241 utterances to train on in LibriSpeech, as the paper's 960 hours have; 354,780 in LibriTTS."""
    for name, utterances in (("librispeech", 281_241), ("libritts", 354_780)):
        assert sum(n for part, n in CORPORA[name].parts.items() if "train" in part) == utterances
    sets = [_aishell_set(f"BAC009S{n:04d}W0122") for n in (2, 723, 724, 763, 764, 916)]
    assert sets == ["train", "train", "dev", "dev", "test", "test"]


@pytest.mark.parametrize("name", ["baker", "aishell3"], indirect=True)
def test_the_pinyin_is_of_the_same_utterances_and_speakable(name, corpus, tmp_path):
    for split, utterances in prepared(name, corpus, tmp_path / "data").items():
        pinyin = read_kaldi(tmp_path / "data" / split / "pinyin")
        assert sorted(pinyin) == [u.id for u in utterances]
        for u in utterances:
            tones = [symbol for symbol in spoken_as(pinyin[u.id], u.id) if symbol[-1].isdigit()]
            assert len(tones) == sum(c.isalpha() for c in u.text)


@pytest.mark.parametrize(
    ("text", "syllables"),
    [("北京", "bei3"), ("北京", "bei3 jing1 le5"), ("北A京", "bei3 ei1 jing1"), ("儿", "")],
)
def test_pinyin_that_does_not_fit_is_refused(text, syllables):
    with pytest.raises(ValueError, match=text):
        with_punctuation(text, syllables.split())


def test_baker_leaves_out_what_its_pinyin_does_not_fit_and_refuses_a_lost_line(tmp_path):
    corpus = make_baker(tmp_path / "corpus", TTS, seconds=0.02)
    path = transcripts(corpus)
    first = "\ufeff000001\tＢ#2北京#4。\r\n\tP IY1 bei3 jing1\r\n"
    first += "000002\t在哪儿#1儿子#4？\r\n\tzai4 nar3 er2 zi5\r\n"
    lines = path.read_text(encoding="utf-8").split("\n")
    path.write_text(first + "\n".join(lines[4:]), encoding="utf-8", newline="")
    prepared("baker", corpus, tmp_path / "data", "--max-left-out", "0.2")
    assert list(read_excluded(tmp_path / "data/train")) == ["000001"]
    assert read_kaldi(tmp_path / "data/train/pinyin")["000002"] == "zai4 nar3 er2 zi5 ？"
    for lost in (4, 5):  # whichever of the two lines: no sentence gets another's pinyin
        path.write_text("\n".join(lines[:lost] + lines[lost + 1 :]), encoding="utf-8")
        with pytest.raises(ValueError, match="line 5"):
            prepare("baker", corpus, tmp_path / "data")


@pytest.mark.parametrize("line", ["广 guang3 州", "广 guang3 州 ZHOU", "广 州"])
def test_aishell3_leaves_out_lines_of_another_form(tmp_path, line, capsys):
    corpus = make_aishell3(tmp_path / "corpus", TTS, seconds=0.02)
    content = corpus / "train/content.txt"
    content.write_text(re.sub("(?<=SSB00050001.wav\t).*", line, content.read_text()))
    prepared("aishell3", corpus, tmp_path / "data", "--max-left-out", "0.1")
    assert list(read_excluded(tmp_path / "data/train")) == ["SSB00050001"]
    assert "test: 1 of its 3 speakers aren't in train, as SSB0784" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "line", "key"),
    [
        ("ljspeech", "LJ001-0001|One.|One.\n\nLJ001-0002|Two.\n", "line 3"),
        ("ljspeech", "LJ1|One.|One.\n", "LJ1"),
        ("librispeech", "NOT AN UTTERANCE\n", "'NOT'"),
        ("msu_ru_nsh", "\nru_0001 no parentheses", "line 2"),
        ("msu_ru_nsh", '( noise "шум" )', "noise"),
        ("speechocean762", "000010001\tA\n000999999\tA\n", "train/utt2spk: no speaker of 000999999"),
        ("msu_ru_nsh", '( ru_0001 "Снег, дом." )\n( ru_0012 "снег дом" )', "ru_0001 .* ru_0012"),
    ],
)
def test_transcripts_of_another_form_are_refused(tmp_path, name, line, key):
    corpus = MAKE[name](tmp_path / "corpus")
    transcripts(corpus).write_text(line)
    with pytest.raises(ValueError, match=key):
        prepare(name, corpus, tmp_path / "data")


def test_msu_ru_nsh_is_split_by_number_and_normalized_or_as_written(tmp_path):
    corpus = make_msu_ru_nsh(tmp_path / "corpus")
    path = transcripts(corpus)
    first, second, *rest = path.read_text(encoding="utf-8").split("\n")
    lines = ['( ru_0001 "Мир, -  вол+ос!" )', second.replace('"', '"e ', 1), *rest, '( ru_0036 "- !" )']
    path.write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    shutil.copy(corpus / "wav/ru_0001.wav", corpus / "wav/ru_0036.wav")
    for options, text in ((["--max-left-out", "0.1"], "мир волос"), (["--as-written"], "Мир, - вол+ос!")):
        sets = prepared("msu_ru_nsh", corpus, tmp_path / "data", "--max-left-out", "0.1", *options)
        assert [u.id for u in sets["test"]] == ["ru_0012", "ru_0024"]
        assert [u.id for u in sets["valid"]] == ["ru_0006", "ru_0018"]
        wav = str(corpus / "wav/ru_0001.wav")
        assert sets["train"][0] == Utterance("ru_0001", wav, text, "nsh", 0.06) and len(sets["train"]) == 19
        assert read_excluded(tmp_path / "data/test") == {"ru_0036": "empty transcript"}
        assert "'e'" in read_excluded(tmp_path / "data/train")["ru_0002"]


@pytest.mark.skipif("IMLSPIKE_MSU_RU_NSH" not in os.environ, reason="IMLSPIKE_MSU_RU_NSH names no folder")
def test_the_real_msu_ru_nsh(tmp_path):
    result = prepare("msu_ru_nsh", os.environ["IMLSPIKE_MSU_RU_NSH"], tmp_path)
    assert [len(kept) for kept, excluded in result.values() if not excluded] == [520, 49, 51]
    assert round(sum(u.seconds for kept, _ in result.values() for u in kept) / 60, 1) == 99.5


@pytest.mark.parametrize(("name", "extra"), [("aishell", "BAC009S0002W0999 copy"), ("libritts", "a b")])
def test_names_with_blanks_are_left_out(tmp_path, name, extra):
    corpus = MAKE[name](tmp_path / "corpus")
    file = audio(name, corpus)[0]
    shutil.copy(file, file.with_name(f"{extra}.wav"))
    if name == "libritts":
        file.with_name(f"{extra}.normalized.txt").write_text("one")
    prepared(name, corpus, tmp_path / "data", "--max-left-out", "0.2")
    left_out = {k: v for path in (tmp_path / "data").iterdir() for k, v in read_excluded(path).items()}
    assert list(left_out) == [extra]


def test_aishells_archives_give_the_same_as_folders_and_are_unpacked_once(tmp_path):
    def content(sets):
        return {split: [(u.id, u.text, u.speaker, u.seconds) for u in us] for split, us in sets.items()}

    plain = prepared("aishell", make_aishell(tmp_path / "a", AISHELL, (), 0), tmp_path / "plain")
    packed = make_aishell(tmp_path / "b", AISHELL, "all", 0)
    before = sorted(packed.rglob("*"))
    elsewhere = prepared("aishell", packed, tmp_path / "c", "--unpack-dir", str(tmp_path / "wav"))
    assert content(elsewhere) == content(plain) and sorted(packed.rglob("*")) == before
    assert elsewhere["dev"][0].wav.startswith(str(tmp_path / "wav/dev/S0724"))
    assert content(prepared("aishell", packed, tmp_path / "d")) == content(plain)
    for archive in packed.rglob("*.tar.gz"):
        archive.write_bytes(b"")  # whoever opened it again would fail
    assert content(prepared("aishell", packed, tmp_path / "d")) == content(plain)


@pytest.mark.parametrize("damage", ["cut", "no archive", "other content", "no folder"])
def test_a_damaged_archive_is_named_and_leaves_nothing_behind(tmp_path, damage):
    corpus = make_aishell(tmp_path / "corpus", AISHELL, archives=["S0003"])
    archive, target = corpus / "data_aishell/wav/S0003.tar.gz", None
    if damage == "other content":
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(transcripts(corpus), "notes.txt")
    elif damage == "no folder":
        target = transcripts(corpus)
    else:
        archive.write_bytes(archive.read_bytes()[:-900] if damage == "cut" else b"hello" * 99)
    with pytest.raises(ValueError, match=r"S0003\.tar\.gz"):
        prepare("aishell", corpus, tmp_path / "data", unpack_dir=target)
    assert not list(corpus.rglob("*.partial")) and not (corpus / "data_aishell/wav/train/S0003").exists()


def test_any_corpus_of_lhotses_is_prepared_from_its_manifests(tmp_path):
    lhotse = pytest.importorskip("lhotse.recipes.aishell")
    corpus = MAKE["aishell"](tmp_path / "corpus")
    manifests = lhotse.prepare_aishell(corpus, tmp_path / "manifests")
    assert len(manifests["train"]["recordings"]) == AISHELL["train"]
    audio("aishell", corpus)[0].unlink()
    argv = ["lhotse", "--output-dir", str(tmp_path / "data"), "--max-left-out", "0.2"]
    for kind in ("recordings", "supervisions"):
        argv += [f"--{kind}", str(tmp_path / f"manifests/aishell_{kind}_train.jsonl.gz")]
    assert main(argv) == 0
    theirs = read_data_dir(tmp_path / "data/train")
    prepare("aishell", corpus, tmp_path / "ours", max_left_out=0.2)
    assert theirs == read_data_dir(tmp_path / "ours/train")
    assert len(read_excluded(tmp_path / "data/train")) == 1
    for supervision in (said := list(manifests["train"]["supervisions"])):
        supervision.speaker, supervision.text = "A. Reader", f" {supervision.text}  x "
    lhotse.SupervisionSet.from_segments(said).to_file(tmp_path / "blanks.jsonl.gz")
    assert main([*argv[:-1], str(tmp_path / "blanks.jsonl.gz")]) == 0
    assert read_data_dir(tmp_path / "data/train")[0].speaker == "A._Reader"
    cut = [s.trim(end=0.05) for s in manifests["train"]["supervisions"]]
    lhotse.SupervisionSet.from_segments(cut).to_file(tmp_path / "cut.jsonl.gz")
    assert main([*argv[:-1], str(tmp_path / "cut.jsonl.gz"), "--max-left-out", "1"]) == 1


def test_a_corpus_of_lhotse_s_may_name_files_alike_in_folders_of_speakers(tmp_path):
    lhotse = pytest.importorskip("lhotse")
    recordings, said = [], []
    for speaker in ("s1", "s2"):
        path = tmp_path / speaker / "001.wav"
        path.parent.mkdir()
        soundfile.write(path, tone(0.5), 16000)
        recordings.append(lhotse.Recording.from_file(path, recording_id=f"{speaker}-001"))
        parts = ((0, 0.5),) if speaker == "s1" else ((0, 0.2), (0.2, 0.3))
        for n, (start, seconds) in enumerate(parts):
            about = dict(
                recording_id=f"{speaker}-001", start=start, duration=seconds, text="a b", speaker=speaker
            )
            said.append(lhotse.SupervisionSegment(id=f"{speaker}-001-{n}", **about))
    lhotse.RecordingSet.from_recordings(recordings).to_file(tmp_path / "r.jsonl")
    lhotse.SupervisionSet.from_segments(said).to_file(tmp_path / "s.jsonl")
    argv = ["lhotse", "--output-dir", str(tmp_path / "data"), "--max-left-out", "0.9"]
    assert main([*argv, "--recordings", f"{tmp_path}/r.jsonl", "--supervisions", f"{tmp_path}/s.jsonl"]) == 0
    assert [u.id for u in read_data_dir(tmp_path / "data/train")] == ["s1-001"]
    left_out = read_excluded(tmp_path / "data/train")
    assert set(left_out) == {"s2-001", "s2-001-1"} and all("part" in why for why in left_out.values())


def test_the_share_that_may_be_left_out_is_allowed_itself_and_an_empty_set_is_named():
    def result(kept, left_out):
        utterances = [Utterance(f"u{i}", "a.wav", "a", "s", 1.0) for i in range(kept)]
        return {"train": (utterances, {f"x{i}": "broken" for i in range(left_out)})}

    check_left_out(result(19, 1), "corpus", 0.05)
    with pytest.raises(ValueError, match="x0"):
        check_left_out(result(18, 2), "corpus", 0.05)
    with pytest.raises(ValueError, match="dev"):
        check_left_out(result(1, 0) | {"dev": ([], {})}, "corpus", 0.05)
    with pytest.raises(ValueError, match="--max-left-out"):
        check_left_out(result(1, 0), "corpus", 5)
