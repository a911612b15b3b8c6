import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from imlspike.bin.prepare import main
from imlspike.data.audio import read_audio
from imlspike.data.kaldi import read_data_dir, read_excluded
from imlspike.data.msu_ru_nsh import prepare_msu_ru_nsh, split_of
from tests.data.conftest import tone


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
    assert read_excluded(data / "test") == {"ru_0036": "empty transcript '- !'"}
    assert "ru_0003" not in [u.id for u in read_data_dir(data / "train")]
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(row[0], row[1], row[-1]) for row in table[1:4]] == [
        ("train", "19", "1"),
        ("valid", "2", "1"),
        ("test", "2", "1"),
    ]


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "nan"])
def test_broken_audio_is_listed_with_its_reason_and_left_out(corpus, tmp_path, damage):
    wav = corpus / "wav" / "ru_0005.wav"
    if damage == "nan":
        soundfile.write(wav, np.full(16000, np.nan), 16000, subtype="FLOAT")
    else:
        wav.write_bytes({"truncated": wav.read_bytes()[:-100], "empty": b"", "text": b"hello" * 99}[damage])
    prepare_msu_ru_nsh(corpus, tmp_path / "data")
    excluded = read_excluded(tmp_path / "data" / "train")
    reason = {"truncated": "truncated", "empty": "is empty", "text": "not readable", "nan": "NaN"}[damage]
    assert list(excluded) == ["ru_0005"] and reason in excluded["ru_0005"]
    assert "ru_0005" not in [u.id for u in read_data_dir(tmp_path / "data" / "train")]


def test_too_much_left_out_is_an_error_and_nothing_is_written(corpus, tmp_path, capsys):
    for number in (1, 2):
        (corpus / "wav" / f"ru_{number:04d}.wav").write_bytes(b"")
    assert main(["msu_ru_nsh", "--corpus-dir", str(corpus), "--output-dir", str(tmp_path / "data")]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "2 of 24 utterances would be left out, more than 5%" in error and "ru_0001" in error
    assert not (tmp_path / "data").exists()


def test_other_rates_and_channels_are_converted(corpus, tmp_path):
    stereo = np.stack([tone(1.0, 44100, 440)] * 2, axis=1)
    soundfile.write(corpus / "wav" / "ru_0001.wav", stereo, 44100)
    prepare_msu_ru_nsh(corpus, tmp_path / "data")
    first, second = read_data_dir(tmp_path / "data" / "train")[:2]
    assert first.wav == str(tmp_path / "data" / "wav" / "ru_0001.wav")
    samples = read_audio(first.wav)
    assert len(samples) == round(first.seconds * 16000) == 16000
    assert np.argmax(np.abs(np.fft.rfft(samples))) == 440
    assert second.wav == str(corpus / "wav" / "ru_0002.wav"), "what needs no conversion stays where it is"


def test_a_strange_character_names_utterance_and_character(corpus, tmp_path):
    text = transcripts(corpus).read_text(encoding="utf-8")
    transcripts(corpus).write_text(text.replace("снег", "снeг", 1), encoding="utf-8")  # a Latin e
    with pytest.raises(ValueError, match=r"ru_00\d\d: character 'e' \(U\+0065\)"):
        prepare_msu_ru_nsh(corpus, tmp_path / "data")


def test_a_sentence_in_two_splits_is_refused(corpus, tmp_path):
    lines = transcripts(corpus).read_text(encoding="utf-8").splitlines()
    lines[11] = lines[0].replace("ru_0001", "ru_0012")
    transcripts(corpus).write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ValueError, match=r"ru_0001 \(train\) and ru_0012 \(test\) have the same transcript"):
        prepare_msu_ru_nsh(corpus, tmp_path / "data")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ru_0001 no parentheses", r"txt.done.data, line 25: .*expected \( name"),
        ('( ru_0001 "again" )', r"txt.done.data, line 25: 'ru_0001' stands twice"),
        ('( noise "шум" )', r"noise: expected a name like ru_0001"),
    ],
)
def test_a_bad_transcript_line_is_refused(corpus, tmp_path, line, message):
    with open(transcripts(corpus), "a", encoding="utf-8") as out:
        out.write(line + "\n")
    with pytest.raises(ValueError, match=message):
        prepare_msu_ru_nsh(corpus, tmp_path / "data")


def test_a_folder_that_is_not_the_corpus_is_refused(tmp_path, capsys):
    assert main(["msu_ru_nsh", "--corpus-dir", str(tmp_path), "--output-dir", str(tmp_path / "data")]) == 1
    assert "expected etc/txt.done.data and wav/" in capsys.readouterr().err


def test_an_incomplete_corpus_is_refused(corpus, tmp_path):
    lines = transcripts(corpus).read_text(encoding="utf-8").splitlines()
    transcripts(corpus).write_text("\n".join(lines[:5]), encoding="utf-8")
    for wav in sorted((corpus / "wav").iterdir())[5:]:
        wav.unlink()
    with pytest.raises(ValueError, match="no utterance for valid"):
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


def test_every_split_is_named():
    assert [split_of(f"ru_{n:04d}") for n in (0, 6, 7, 12, 18, 840)] == [
        "test",
        "valid",
        "train",
        "test",
        "valid",
        "test",
    ]
