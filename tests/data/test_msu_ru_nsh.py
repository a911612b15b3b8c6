import os
import shutil
from pathlib import Path

import pytest

from imlspike.bin.prepare import main
from imlspike.data.corpora import CORPORA
from imlspike.data.corpus import prepare
from imlspike.data.kaldi import read_data_dir, read_excluded


def prepare_msu_ru_nsh(corpus, output_dir):
    return prepare("msu_ru_nsh", CORPORA["msu_ru_nsh"], corpus, output_dir)


def transcripts(corpus):
    return corpus / "etc" / "txt.done.data"


def test_the_split_is_by_number(corpus, tmp_path):
    result = prepare_msu_ru_nsh(corpus, tmp_path / "data")
    ids = {
        split: [u.id for u in read_data_dir(tmp_path / "data" / split)]
        for split in ("train", "valid", "test")
    }
    assert ids["test"] == ["ru_0012", "ru_0024"]
    assert ids["valid"] == ["ru_0006", "ru_0018"]
    assert len(ids["train"]) == 20 and not set(ids["train"]) & set(ids["valid"] + ids["test"])
    assert {split: [u.id for u in kept] for split, (kept, _) in result.items()} == ids


def test_the_directories_say_what_is_in_the_corpus(corpus, tmp_path):
    prepare_msu_ru_nsh(corpus, tmp_path / "data")
    first = read_data_dir(tmp_path / "data" / "train")[0]
    assert (first.id, first.text, first.speaker) == ("ru_0001", "мир мир мир привет", "nsh")
    assert first.wav == str(corpus / "wav" / "ru_0001.wav") and Path(first.wav).is_absolute()
    assert first.seconds == 0.51


def test_for_voices_the_text_stays_as_it_is_written(corpus, tmp_path):
    lines = transcripts(corpus).read_text().split("\n")
    lines[0] = '( ru_0001 "Мир, -  вол+ос!" )'
    transcripts(corpus).write_text("\n".join(lines))
    command = ["msu_ru_nsh", "--corpus-dir", str(corpus), "--output-dir", str(tmp_path), "--as-written"]
    assert main(command) == 0
    assert read_data_dir(tmp_path / "train")[0].text == "Мир, - вол+ос!"


def test_preparing_again_gives_the_same_bytes(corpus, tmp_path):
    prepare_msu_ru_nsh(corpus, tmp_path / "data")
    first = {path: path.read_bytes() for path in sorted((tmp_path / "data").rglob("*")) if path.is_file()}
    prepare_msu_ru_nsh(corpus, tmp_path / "data")
    assert first == {
        path: path.read_bytes() for path in sorted((tmp_path / "data").rglob("*")) if path.is_file()
    }


def test_what_lacks_its_half_is_counted_listed_and_left_out(corpus, tmp_path, capsys):
    (corpus / "wav" / "ru_0003.wav").unlink()
    shutil.copy(corpus / "wav" / "ru_0001.wav", corpus / "wav" / "ru_0030.wav")
    with open(transcripts(corpus), "a", encoding="utf-8") as out:
        out.write('( ru_0036 "- !" )\n')
    shutil.copy(corpus / "wav" / "ru_0001.wav", corpus / "wav" / "ru_0036.wav")
    data = tmp_path / "data"
    assert (
        main(["msu_ru_nsh", "--corpus-dir", str(corpus), "--output-dir", str(data), "--max-left-out", "0.2"])
        == 0
    )
    assert read_excluded(data / "train") == {"ru_0003": "transcript without audio"}
    assert read_excluded(data / "valid") == {"ru_0030": "audio without transcript"}
    assert read_excluded(data / "test") == {"ru_0036": "empty transcript"}
    assert "ru_0003" not in [u.id for u in read_data_dir(data / "train")]
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(row[0], row[1], row[-1]) for row in table[1:4]] == [
        ("train", "19", "1"),
        ("valid", "2", "1"),
        ("test", "2", "1"),
    ]


def test_too_much_left_out_is_an_error_and_nothing_is_written(corpus, tmp_path, capsys):
    for number in (1, 2):
        (corpus / "wav" / f"ru_{number:04d}.wav").write_bytes(b"")
    assert main(["msu_ru_nsh", "--corpus-dir", str(corpus), "--output-dir", str(tmp_path / "data")]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "2 of 24 utterances would be left out, more than 5%" in error and "ru_0001" in error
    assert not (tmp_path / "data").exists()


def test_a_strange_character_leaves_the_sentence_out(corpus, tmp_path):
    text = transcripts(corpus).read_text(encoding="utf-8")
    transcripts(corpus).write_text(text.replace('1 "', '1 "e ', 1), encoding="utf-8")  # a Latin e
    prepare_msu_ru_nsh(corpus, tmp_path / "data")
    assert "'e'" in read_excluded(tmp_path / "data/train")["ru_0001"]


def test_a_sentence_in_two_splits_is_refused(corpus, tmp_path):
    lines = transcripts(corpus).read_text(encoding="utf-8").splitlines()
    lines[11] = lines[0].replace("ru_0001", "ru_0012")
    transcripts(corpus).write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ValueError, match=r"ru_0001 .* ru_0012"):
        prepare_msu_ru_nsh(corpus, tmp_path / "data")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ru_0001 no parentheses", "line 25"),
        ('( ru_0001 "again" )', "ru_0001"),
        ('( noise "шум" )', "noise"),
    ],
)
def test_a_bad_transcript_line_is_refused(corpus, tmp_path, line, message):
    with open(transcripts(corpus), "a", encoding="utf-8") as out:
        out.write(line + "\n")
    with pytest.raises(ValueError, match=message):
        prepare_msu_ru_nsh(corpus, tmp_path / "data")


@pytest.mark.skipif(
    "IMLSPIKE_MSU_RU_NSH" not in os.environ, reason="IMLSPIKE_MSU_RU_NSH names no corpus folder"
)
def test_the_real_corpus(tmp_path):
    result = prepare_msu_ru_nsh(os.environ["IMLSPIKE_MSU_RU_NSH"], tmp_path)
    assert {split: len(kept) for split, (kept, _) in result.items()} == {
        "train": 520,
        "valid": 49,
        "test": 51,
    }
    assert not any(excluded for _, excluded in result.values())
    assert round(sum(u.seconds for kept, _ in result.values() for u in kept) / 60, 1) == 99.5
