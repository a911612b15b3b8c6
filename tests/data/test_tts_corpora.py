"""LJSpeech, Baker and AISHELL-3 in miniature: what lhotse finds there, what a copy may lack, the splits."""

import hashlib
import re
import shutil
from pathlib import Path

import pytest
import soundfile

from imlspike.bin.prepare import main
from imlspike.data import aishell3, baker, ljspeech
from imlspike.data.files import read_kaldi
from imlspike.data.kaldi import read_data_dir, read_excluded
from imlspike.data.phonemes.mandarin import pinyin as spoken_as
from imlspike.data.pinyin import with_punctuation
from tests.recipes.tts_corpora import make_aishell3, make_baker, make_ljspeech

FEW = {"train": 4, "valid": 1, "test": 2}
SPLITS = ("train", "valid", "test")
# name -> what makes it, its folder, where its recordings lie, the prefix of lhotse's recipe
CORPORA = {
    "ljspeech": (make_ljspeech, "LJSpeech-1.1", "wavs", "ljspeech"),
    "baker": (make_baker, "BZNSYP", "Wave", "baker_zh"),
    "aishell3": (make_aishell3, "", "train/wav/SSB0005", "aishell3"),
}


@pytest.fixture(params=CORPORA)
def name(request):
    return request.param


@pytest.fixture
def corpus(name, tmp_path):
    return CORPORA[name][0](tmp_path / "corpus", FEW, seconds=0.02)


def run(name: str, corpus: Path, output_dir: Path, *options: str) -> int:
    argv = [name, "--corpus-dir", str(corpus), "--output-dir", str(output_dir), *options]
    return main(argv)


def prepared(name, corpus, output_dir, *options):
    """What stands in the directories that were written."""
    assert run(name, corpus, output_dir, *options) == 0
    return {split: read_data_dir(output_dir / split) for split in SPLITS}


def wavs(name: str, corpus: Path) -> list[Path]:
    return sorted((corpus / CORPORA[name][1] / CORPORA[name][2]).glob("*.wav"))


def labels(name: str, corpus: Path) -> Path:
    """The file with the transcripts of the first recordings."""
    path = {"ljspeech": "metadata.csv", "baker": "ProsodyLabeling/000001-010000.txt"}
    return corpus / CORPORA[name][1] / path.get(name, "train/content.txt")


def test_it_is_what_lhotse_prepares(name, corpus, tmp_path):
    lhotse = pytest.importorskip(f"lhotse.recipes.{CORPORA[name][3]}")
    ours = [u for us in prepared(name, corpus, tmp_path / "data").values() for u in us]
    manifests = getattr(lhotse, f"prepare_{CORPORA[name][3]}")(corpus / CORPORA[name][1])
    parts = [manifests[part] for part in ("train", "test")] if name == "aishell3" else [manifests]
    theirs = {
        s.id: s for part in parts for s in (*part["recordings"], *part["supervisions"]) if hasattr(s, "text")
    }
    files = {
        s.id: s
        for part in parts
        for s in (*part["recordings"], *part["supervisions"])
        if hasattr(s, "sources")
    }
    assert sorted(u.id for u in ours) == sorted(theirs) and len(ours) == (16 if name == "aishell3" else 7)
    for u in ours:
        said = theirs[u.id]
        assert u.text == (said.text if name == "aishell3" else said.custom["normalized_text"])
        assert (u.wav, u.seconds) == (files[u.id].sources[0].source, pytest.approx(files[u.id].duration))
        if name == "aishell3":
            assert u.speaker == said.speaker
    if name == "baker":
        pinyin = {
            k: v for split in SPLITS for k, v in read_kaldi(tmp_path / "data" / split / "pinyin").items()
        }
        assert {k: re.sub("[，。] ?", "", v).strip() for k, v in pinyin.items()} == {
            s.id: s.custom["pinyin"] for s in theirs.values()
        }


def test_punctuation_stays_and_numbers_are_spelled_out(tmp_path):
    lj = prepared("ljspeech", make_ljspeech(tmp_path / "lj", FEW, seconds=0.02), tmp_path / "a")
    assert all(re.fullmatch(r"[A-Z'][a-z']+, \"[a-z']+\" two\.", u.text) for us in lj.values() for u in us)
    mandarin = prepared("baker", make_baker(tmp_path / "baker", FEW, seconds=0.02), tmp_path / "b")
    assert mandarin["train"][0].text == "楼市用，交北楼。"
    pinyin = read_kaldi(tmp_path / "b/train/pinyin")
    assert pinyin["000001"] == "lou2 shi4 yong4 ， jiao1 bei3 lou2 。"


@pytest.mark.parametrize("name", ["baker", "aishell3"], indirect=True)
def test_the_pinyin_is_of_the_same_utterances_and_speakable(name, corpus, tmp_path):
    for split, utterances in prepared(name, corpus, tmp_path / "data").items():
        pinyin = read_kaldi(tmp_path / "data" / split / "pinyin")
        assert sorted(pinyin) == [u.id for u in utterances]
        for u in utterances:
            spoken = [word for word in pinyin[u.id].split() if word[-1].isdigit()]
            assert len(spoken) == sum(c.isalpha() for c in u.text)
            tones = [symbol for symbol in spoken_as(pinyin[u.id], u.id) if symbol[-1].isdigit()]
            assert len(tones) == len(spoken)


def test_each_set_has_its_numbers_and_a_missing_recording_moves_no_other(name, corpus, tmp_path):
    whole = prepared(name, corpus, tmp_path / "whole")
    sets = {split: {u.id for u in us} for split, us in whole.items()}
    times = {"train": 2, "valid": 2, "test": 3} if name == "aishell3" else dict.fromkeys(SPLITS, 1)
    assert {split: len(ids) for split, ids in sets.items()} == {s: FEW[s] * times[s] for s in SPLITS}
    assert not sets["train"] & sets["valid"] and not sets["valid"] & sets["test"]
    wavs(name, corpus)[0].unlink()
    less = prepared(name, corpus, tmp_path / "less", "--max-left-out", "0.3")
    for split in SPLITS:
        there = {u.id for u in less[split]} | read_excluded(tmp_path / "less" / split).keys()
        assert there == sets[split]


def test_what_lacks_its_half_is_left_out_and_hidden_files_play_no_part(name, corpus, tmp_path, capsys):
    first, second, third = wavs(name, corpus)[:3]
    first.unlink()
    shutil.copy(second, second.with_name(second.name.replace("0002", "0099")))
    shutil.copy(second, second.with_name(f"._{second.name}"))
    rate = {"ljspeech": 22050, "baker": 48000, "aishell3": 44100}[name]
    soundfile.write(third, [0.0] * 800, 16000, subtype="PCM_16")
    assert run(name, corpus, tmp_path / "data") == 1
    assert "utterances would be left out, more than 5%" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
    prepared(name, corpus, tmp_path / "data", "--max-left-out", "0.5")
    left_out = read_excluded(tmp_path / "data/train")
    assert left_out.pop(third.stem).endswith(f"16000 Hz with 1 channel(s); expected {rate} Hz mono")
    assert left_out == {
        first.stem: "transcript without audio",
        second.stem.replace("0002", "0099"): "audio without transcript",
    }


def test_another_folder_and_a_doubled_line_are_refused(name, corpus, tmp_path, capsys):
    assert run(name, tmp_path / "elsewhere", tmp_path / "data") == 1
    assert "expected" in capsys.readouterr().err
    if folder := CORPORA[name][1]:
        assert prepared(name, corpus, tmp_path / "a") == prepared(name, corpus / folder, tmp_path / "b")
    path = labels(name, corpus)
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "\n".join(text.split("\n")[:2]) + "\n", encoding="utf-8")
    assert run(name, corpus, tmp_path / "data") == 1
    assert "stands twice" in capsys.readouterr().err
    path.write_bytes(text.encode("utf-16"))
    assert run(name, corpus, tmp_path / "data") == 1
    assert f"{path.name}" in (told := capsys.readouterr().err) and "UTF-8" in told


@pytest.mark.parametrize(
    ("module", "args", "hint"),
    [
        (ljspeech, ("wav1",), "LJ001-0001"),
        (baker, ("1",), "000001"),
        (aishell3, ("train", "x"), "SSB00050001"),
    ],
)
def test_strange_names_are_refused_with_an_example(module, args, hint):
    with pytest.raises(ValueError, match=f"{args[-1]}: expected a name like {hint}"):
        module.split_of(*args)


def test_ljspeech_with_another_number_of_fields_names_the_line(tmp_path):
    path = tmp_path / "metadata.csv"
    path.write_text("LJ001-0001|One.|One.\n\nLJ001-0002|Two.\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"metadata.csv, line 3: .*expected name\|text\|normalised text"):
        ljspeech.read_metadata(path)


@pytest.mark.parametrize("lost", [0, 1])
def test_baker_with_a_line_lost_names_where(tmp_path, lost):
    """Whichever of the two lines is lost, no sentence gets another's pinyin."""
    path = labels("baker", make_baker(tmp_path, FEW, seconds=0.02))
    lines = path.read_text(encoding="utf-8").split("\n")
    path.write_text("\n".join(lines[: 4 + lost] + lines[5 + lost :]), encoding="utf-8")
    with pytest.raises(ValueError, match="line 5: .*expected 000001<TAB>text, and its pinyin in the next"):
        baker.read_labels(path)


def test_baker_leaves_out_what_its_pinyin_does_not_fit(tmp_path):
    corpus = make_baker(tmp_path / "corpus", FEW, seconds=0.02)
    path = labels("baker", corpus)
    first = "\ufeff000001\tＢ#2北京#4。\r\n\tP IY1 bei3 jing1\r\n"
    first += "000002\t在哪儿#1儿子#4？\r\n\tzai4 nar3 er2 zi5\r\n"
    rest = path.read_text(encoding="utf-8").split("\n", maxsplit=4)[4]
    path.write_text(first + rest, encoding="utf-8", newline="")
    prepared("baker", corpus, tmp_path / "data", "--max-left-out", "0.2")
    assert read_excluded(tmp_path / "data/train") == {
        "000001": "'P' in its pinyin is no syllable with a tone, as ni3"
    }
    assert read_kaldi(tmp_path / "data/train/pinyin")["000002"] == "zai4 nar3 er2 zi5 ？"


@pytest.mark.parametrize(
    ("text", "syllables", "reason"),
    [
        ("北京", "bei3", "more characters in '北京' than its 1 syllables"),
        ("北京", "bei3 jing1 le5", "fewer characters in '北京' than its 3 syllables"),
        ("北A京", "bei3 ei1 jing1", "character 'A' in '北A京' is neither Chinese nor punctuation"),
        ("儿", "", "more characters"),
    ],
)
def test_pinyin_that_does_not_fit_is_told(text, syllables, reason):
    with pytest.raises(ValueError, match=reason):
        with_punctuation(text, syllables.split())


@pytest.mark.parametrize("line", ["广 guang3 州", "广 guang3 州 ZHOU", "广 州"])
def test_aishell3_leaves_out_lines_of_another_form(tmp_path, line):
    corpus = make_aishell3(tmp_path / "corpus", FEW, seconds=0.02)
    content = corpus / "train/content.txt"
    content.write_text(re.sub("(?<=SSB00050001.wav\t).*", line, content.read_text()))
    prepared("aishell3", corpus, tmp_path / "data", "--max-left-out", "0.1")
    assert list(read_excluded(tmp_path / "data/train")) == ["SSB00050001"]


def test_aishell3_names_the_sets_with_speakers_that_train_lacks(tmp_path, capsys):
    prepared("aishell3", make_aishell3(tmp_path / "corpus", FEW, seconds=0.02), tmp_path / "data")
    assert capsys.readouterr().err.count("test: 1 of its 3 speakers aren't in train, as SSB0784") == 1


def test_ljspeech_is_fetched_checked_and_unpacked(tmp_path, monkeypatch, capsys):
    """From an archive that lies there already, as after a download."""
    corpus, target = make_ljspeech(tmp_path / "corpus", FEW, seconds=0.02), tmp_path / "downloads"
    archive = shutil.make_archive(str(target / "LJSpeech-1.1"), "bztar", corpus)
    content = Path(archive).read_bytes()
    md5 = hashlib.md5(content).hexdigest()
    monkeypatch.setattr(ljspeech, "ARCHIVE", ljspeech.Archive("LJSpeech-1.1.tar.bz2", len(content), md5))
    assert run("ljspeech", target, tmp_path / "data") == 1
    assert f"--download-dir {target} checks and unpacks it" in capsys.readouterr().err
    assert ljspeech.download_ljspeech(target) == target / "LJSpeech-1.1"
    assert [path.name for path in target.iterdir()] == ["LJSpeech-1.1"]
    again = prepared("ljspeech", ljspeech.download_ljspeech(target), tmp_path / "data")
    assert [u.id for u in again["test"]] == ["LJ001-0050", "LJ001-0100"]


@pytest.mark.parametrize("name", ["baker", "aishell3"], indirect=True)
def test_without_a_published_checksum_there_is_no_download(name, capsys):
    with pytest.raises(SystemExit):
        main([name, "--download-dir", "downloads"])
    assert "--corpus-dir is required" in capsys.readouterr().err
