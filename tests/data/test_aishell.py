"""AiShell-1 in miniature: what lhotse finds in it, and all that a real copy of it may lack."""

import re
import shutil
import tarfile
from pathlib import Path

import pytest
import soundfile

from imlspike.bin.prepare import main
from imlspike.data.aishell import SPLITS, normalize_mandarin, prepare_aishell, split_of
from imlspike.data.kaldi import read_data_dir, read_excluded
from tests.recipes.corpora import make_aishell

FEW = {"train": 6, "dev": 2, "test": 2}


@pytest.fixture
def corpus(tmp_path):
    return make_aishell(tmp_path / "corpus", FEW, without_transcript=0)


def transcripts(corpus: Path) -> Path:
    return corpus / "data_aishell/transcript/aishell_transcript_v0.8.txt"


def a_wav(corpus: Path, split: str = "train") -> Path:
    return sorted((corpus / "data_aishell/wav" / split).rglob("*.wav"))[0]


def prepared(corpus, output_dir, **options):
    """What stands in the directories that were written."""
    prepare_aishell(corpus, output_dir, **options)
    return {split: read_data_dir(output_dir / split) for split in SPLITS}


def test_it_is_what_lhotse_prepares(corpus, tmp_path):
    recipe = pytest.importorskip("lhotse.recipes.aishell")
    theirs = recipe.prepare_aishell(corpus)
    for split, utterances in prepared(corpus, tmp_path / "data").items():
        supervisions = {s.id: s for s in theirs[split]["supervisions"]}
        recordings = {r.id: r for r in theirs[split]["recordings"]}
        assert [u.id for u in utterances] == sorted(supervisions) and len(utterances) == FEW[split]
        for u in utterances:
            assert (u.text, u.speaker) == (supervisions[u.id].text, supervisions[u.id].speaker)
            assert (u.wav, u.seconds) == (recordings[u.id].sources[0].source, recordings[u.id].duration)


@pytest.mark.parametrize("letter", "ａｂｃｋｔＡＢ")
def test_letters_of_full_width_become_plain_ones_as_in_lhotse(letter):
    recipe = pytest.importorskip("lhotse.recipes.aishell")
    text = f"这 件 {letter} 恤 ok"
    if letter.islower():
        assert normalize_mandarin(text) == recipe.text_normalize(text).replace(" ", "")
    assert normalize_mandarin(text)[2] in "ABCKT" and normalize_mandarin(text).isupper()


def test_kaldis_order_holds(corpus, tmp_path):
    """Sorted by utterance is sorted by speaker, which Kaldi's tools take for granted."""
    for utterances in prepared(corpus, tmp_path / "data").values():
        assert [u.speaker for u in utterances] == sorted(u.speaker for u in utterances)
        assert all(u.speaker in u.id for u in utterances)


def test_archives_give_the_same_as_folders_and_are_unpacked_once(tmp_path):
    plain = prepared(make_aishell(tmp_path / "a", FEW, (), 0), tmp_path / "plain")
    packed = make_aishell(tmp_path / "b", FEW, ["S0003", "S0764"], 0)
    first = prepared(packed, tmp_path / "packed")
    texts = {split: [(u.id, u.text, u.speaker, u.seconds) for u in us] for split, us in plain.items()}
    assert texts == {split: [(u.id, u.text, u.speaker, u.seconds) for u in us] for split, us in first.items()}
    unpacked = {path: path.stat().st_mtime_ns for path in packed.rglob("*")}
    (packed / "data_aishell/wav/S0003.tar.gz").write_bytes(b"")  # whoever opened it again would fail
    prepare_aishell(packed, tmp_path / "packed")
    assert unpacked.keys() == {path: 0 for path in packed.rglob("*")}.keys()
    assert not list(packed.rglob("*.partial"))


def test_archives_are_unpacked_to_another_folder_where_the_corpus_cannot_be_written(tmp_path, capsys):
    corpus = make_aishell(tmp_path / "corpus", FEW, archives="all", without_transcript=0)
    before = sorted(corpus.rglob("*"))
    (tmp_path / "file").write_text("")
    argv = ["aishell", "--corpus-dir", str(corpus), "--output-dir", str(tmp_path / "data"), "--unpack-dir"]
    assert main([*argv, str(tmp_path / "file")]) == 1
    error = capsys.readouterr().err
    assert "S0002.tar.gz can't be unpacked to" in error and "with --unpack-dir" in error
    assert main([*argv, str(tmp_path / "wav")]) == 0
    assert sorted(corpus.rglob("*")) == before, "the corpus stays as it was"
    assert read_data_dir(tmp_path / "data/dev")[0].wav.startswith(str(tmp_path / "wav/dev/S0724"))


@pytest.mark.parametrize("damage", ["cut", "no archive", "other content"])
def test_a_damaged_archive_is_named_and_leaves_nothing_behind(tmp_path, damage):
    corpus = make_aishell(tmp_path / "corpus", FEW, archives=["S0003"])
    archive = corpus / "data_aishell/wav/S0003.tar.gz"
    if damage == "other content":
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(transcripts(corpus), "notes.txt")
    else:
        archive.write_bytes(archive.read_bytes()[:-900] if damage == "cut" else b"hello" * 99)
    with pytest.raises(ValueError, match=r"S0003\.tar\.gz: (damaged|expected train/)"):
        prepare_aishell(corpus, tmp_path / "data")
    assert not list(corpus.rglob("*.partial")) and not (corpus / "data_aishell/wav/train/S0003").exists()


def test_what_lacks_its_half_or_its_text_is_counted_listed_and_left_out(tmp_path, capsys):
    corpus = make_aishell(tmp_path / "corpus", FEW, without_transcript=1)
    lost = a_wav(corpus, "dev")
    lost.unlink()
    lines = transcripts(corpus).read_text(encoding="utf-8").splitlines()
    empty = lines[-1].split()[0]
    transcripts(corpus).write_text(
        "\n".join([*lines[:-1], empty, "BAC009S0800W0001 无 声"]), encoding="utf-8"
    )
    data = tmp_path / "data"
    argv = ["aishell", "--corpus-dir", str(corpus), "--output-dir", str(data)]
    assert main(argv) == 1
    assert "4 of 12 utterances would be left out" in capsys.readouterr().err and not data.exists()
    assert main([*argv, "--max-left-out", "0.4"]) == 0
    assert read_excluded(data / "train") == {"BAC009S0002W0125": "audio without transcript"}
    assert read_excluded(data / "dev") == {lost.stem: "transcript without audio"}
    assert read_excluded(data / "test") == {
        empty: "empty transcript",
        "BAC009S0800W0001": "transcript without audio",
    }
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(row[0], row[1], row[-1]) for row in table[1:4]] == [
        ("train", "6", "1"),
        ("dev", "1", "1"),
        ("test", "1", "2"),
    ]


@pytest.mark.parametrize("damage", ["truncated", "empty", "no samples", "text", "rate"])
def test_broken_audio_is_listed_with_its_reason_and_left_out(corpus, tmp_path, damage):
    wav = a_wav(corpus)
    if damage in ("rate", "no samples"):
        rate = 8000 if damage == "rate" else 16000
        soundfile.write(wav, [0.0] * 8000 if damage == "rate" else [], rate, subtype="PCM_16")
    else:
        wav.write_bytes({"truncated": wav.read_bytes()[:-100], "empty": b"", "text": b"hello" * 99}[damage])
    kept = prepared(corpus, tmp_path / "data", max_left_out=0.2)["train"]
    reason = read_excluded(tmp_path / "data/train")[wav.stem]
    words = {"empty": "is empty", "text": "not readable", "rate": "8000 Hz with 1 .*expected 16000"}
    assert wav.stem not in [u.id for u in kept] and len(kept) == 5
    assert re.search(words.get(damage, damage), reason)


def test_an_utterance_with_two_wavs_or_two_lines_is_refused(corpus, tmp_path):
    wav = a_wav(corpus)
    other = corpus / "data_aishell/wav/dev/S0002" / wav.name
    other.parent.mkdir()
    shutil.copy(wav, other)
    with pytest.raises(ValueError, match=rf"'{wav.stem}' has two files, .*/train/.* and .*/dev/"):
        prepare_aishell(corpus, tmp_path / "data")
    shutil.rmtree(other.parent)
    with open(transcripts(corpus), "a", encoding="utf-8") as out:
        out.write(f"{wav.stem} 又\n")
    with pytest.raises(ValueError, match=rf"line 11: key '{wav.stem}' stands twice"):
        prepare_aishell(corpus, tmp_path / "data")


def test_either_folder_is_accepted_and_any_other_is_told_the_layout(corpus, tmp_path, capsys):
    assert prepared(corpus, tmp_path / "a") == prepared(corpus / "data_aishell", tmp_path / "b")
    argv = ["aishell", "--corpus-dir", str(tmp_path), "--output-dir", str(tmp_path / "data")]
    assert main(argv) == 1
    error = capsys.readouterr().err
    assert "not AiShell-1; expected data_aishell/transcript/aishell_transcript_v0.8.txt and" in error
    (tmp_path / "data_aishell.tgz").write_bytes(b"")
    assert main(argv) == 1
    assert f"--download-dir {tmp_path} checks and unpacks it" in capsys.readouterr().err


def test_the_published_sets():
    ids = [f"BAC009S{n:04d}W0122" for n in (2, 723, 724, 763, 764, 916)]
    assert [split_of(utterance) for utterance in ids] == ["train", "train", "dev", "dev", "test", "test"]
    with pytest.raises(ValueError, match="noise: expected a name like BAC009S0002W0122"):
        split_of("noise")
