"""Mandarin words and sentences laid out as AiShell-1: the split, the layout, broken files and second runs."""

import random
import re
from collections import Counter
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.data.corpora import CORPORA
from imlspike.data.corpus import prepare
from imlspike.data.kaldi import read_data_dir
from tests.data.conftest import tone

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "egs/aishell/asr1/local/as_aishell.py"
spec = spec_from_file_location("as_aishell", SCRIPT)
script = module_from_spec(spec)
spec.loader.exec_module(script)

WORDS = [a + b for a in "天地人上下" for b in "天地人上下" if a != b]


@pytest.fixture
def words_dir(tmp_path):
    folder = tmp_path / "words"
    folder.mkdir()
    for i, word in enumerate(WORDS):
        samples = tone(0.3 + i / 100, 22050, 300 + 20 * i)
        soundfile.write(folder / f"cmn-{word}.mp3", samples, 22050, format="MP3")
    return folder


def lay_out(words_dir, output_dir, **options) -> int:
    options = {"held_out": 2, "min_count": 3, "nj": 1} | options
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    return script.main(["words", str(words_dir), str(output_dir), *arguments])


@settings(max_examples=40)
@given(
    st.sets(st.text("天地人上下", min_size=2, max_size=4), min_size=30, max_size=60),
    st.integers(1, 5),
    st.integers(1, 4),
)
def test_every_character_of_a_held_out_word_is_trained_on_often_enough(words, held_out, min_count):
    try:
        sets = script.split_texts(words, held_out, min_count)
    except ValueError as error:
        assert "can be held out" in str(error)
        return
    assert len(sets["dev"]) == len(sets["test"]) == held_out
    assert sorted(word for part in sets.values() for word in part) == sorted(words)
    for word in sets["dev"] + sets["test"]:
        assert all(sum(c in other for other in sets["train"]) >= min_count for c in word)


def test_the_split_depends_on_nothing_but_the_words():
    shuffled = random.Random(1).sample(WORDS, len(WORDS))
    assert script.split_texts(WORDS, 2, 3) == script.split_texts(shuffled, 2, 3)
    with pytest.raises(
        ValueError, match=r"only 4 of 20 texts can be held out, 8 are asked for; .*--min-count"
    ):
        script.split_texts(WORDS, 4, 6)


def test_the_recipe_prepares_it_as_aishell(words_dir, tmp_path, capsys):
    assert lay_out(words_dir, tmp_path / "out") == 0
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[:2] for row in table[1:]] == [["train", "16"], ["dev", "2"], ["test", "2"]]
    sets = prepare("aishell", CORPORA["aishell"], tmp_path / "out", tmp_path)
    assert not any(left for _, left in sets.values())
    first = sets["dev"][0][0]
    assert first.id == "BAC009S0724W0001" and first.speaker == "S0724"
    assert sorted(u.text for kept, _ in sets.values() for u in kept) == sorted(WORDS)
    for kept, _ in sets.values():
        for u in kept:
            samples, rate = soundfile.read(u.wav)
            source = 0.3 + WORDS.index(u.text) / 100, 300 + 20 * WORDS.index(u.text)
            assert rate == 16000 and 0 <= u.seconds - source[0] < 0.1  # MP3 pads
            pitch = np.argmax(np.abs(np.fft.rfft(samples, 16000)))
            assert abs(pitch - source[1]) <= 2


def test_a_broken_file_is_named_and_what_was_done_is_kept(words_dir, tmp_path, capsys):
    sets = script.split_texts(WORDS, 2, 3)
    broken = words_dir / f"cmn-{sets['test'][0]}.mp3"
    whole = broken.read_bytes()
    broken.write_bytes(b"")
    assert lay_out(words_dir, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert broken.name in error and "is empty" in error and "--max-left-out" not in error
    assert not (tmp_path / "out/data_aishell").exists()
    before = {wav.name: wav.stat().st_mtime_ns for wav in (tmp_path / "out").rglob("*.wav")}
    assert len(before) == 19
    broken.write_bytes(whole)
    assert lay_out(words_dir, tmp_path / "out") == 0
    after = {wav.name: wav.stat().st_mtime_ns for wav in (tmp_path / "out/data_aishell").rglob("*.wav")}
    assert len(after) == 20 and before.items() < after.items()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["data_aishell"]


def test_a_second_run_changes_nothing_and_another_split_is_refused(words_dir, tmp_path, capsys):
    assert lay_out(words_dir, tmp_path / "out") == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.wav")}
    assert lay_out(words_dir, tmp_path / "out") == 0
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.wav")}
    assert lay_out(words_dir, tmp_path / "out", held_out=1) == 1
    assert "holds other texts or another split; remove it" in capsys.readouterr().err
    assert lay_out(tmp_path, tmp_path / "out") == 1
    assert "no words; expected files named cmn-<characters>.mp3" in capsys.readouterr().err


@pytest.fixture
def sentences_dir(tmp_path):
    """20 sentences of two speakers each, the first of both the same, with what the sample's texts have."""
    folder = tmp_path / "sentences"
    folder.mkdir()
    for speaker in ("S0150", "S0252"):
        for number, word in enumerate(WORDS, start=1):
            name = folder / f"BAC009{speaker}W{number:04d}"
            soundfile.write(f"{name}.opus", tone(0.2 + number / 100), 16000, format="OGG", subtype="OPUS")
            text = f"[n]{word}(T)" if number == 1 else f"{word} 3号·{speaker[1:]}"
            Path(f"{name}.txt").write_text(f"\ufeff{text}\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("what", ["sentences", "speakers"])
def test_sentences_are_held_out_or_a_speaker(sentences_dir, tmp_path, what):
    words = [what, str(sentences_dir), str(tmp_path / "out"), "--nj=1", "--held-out=3"]
    assert script.main(words) == script.main(words) == 0
    sets = prepare("aishell", CORPORA["aishell"], tmp_path / "out", tmp_path / "data")
    assert not any(left for _, left in sets.values())
    utterances = [u for kept, _ in sets.values() for u in kept]
    texts = {split: {u.text for u in kept} for split, (kept, _) in sets.items()}
    speakers = {split: {u.speaker for u in kept} for split, (kept, _) in sets.items()}
    assert len(utterances) == 40 and WORDS[0] + "T" in {u.text for u in utterances}
    assert {u.text[2:4] for u in utterances} == {"T", "三号"}
    assert not texts["dev"] & (texts["train"] | texts["test"]) and not speakers["train"] & speakers["test"]
    if what == "speakers":
        assert speakers == {"train": {"S0001"}, "dev": {"S0724"}, "test": {"S0765"}}
        assert len(texts["test"]) == 20 and len(texts["dev"]) == 3 and len(texts["train"]) == 17
    else:
        assert not texts["test"] & texts["train"] and len(texts["dev"]) == len(texts["test"]) == 3


def test_a_lost_recording_is_named_and_a_speaker_who_is_not_there(sentences_dir, tmp_path, capsys):
    words = ["speakers", str(sentences_dir), str(tmp_path / "out"), "--test-speaker=S9999"]
    assert script.main(words) == 1
    assert "S9999" in capsys.readouterr().err
    (sentences_dir / "BAC009S0252W0007.opus").unlink()
    assert script.main(words[:3]) == 1
    assert "BAC009S0252W0007 (1 such)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda folder: [path.unlink() for path in folder.iterdir()],
            "no sentences; expected BAC009",
        ),
        (
            lambda folder: (folder / "BAC009S0150Wx.txt").write_text("天"),
            "S0150Wx.txt .1 such. has an",
        ),
        (lambda folder: (folder / "BAC009S0150W0002.wav").write_bytes(b""), "81 files for 40 sentences"),
        (
            lambda folder: (folder / "BAC009S0150W0002.txt").write_bytes(b"\xc4"),
            "0002.txt, line 1: not UTF",
        ),
        (
            lambda folder: [path.unlink() for path in folder.glob("*S0150*")],
            "S0252; expected one of at",
        ),
    ],
)
def test_a_folder_of_something_else_is_told(sentences_dir, tmp_path, capsys, change, told):
    change(sentences_dir)
    assert script.main(["speakers", str(sentences_dir), str(tmp_path / "out"), "--held-out=3"]) == 1
    assert re.search(told, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_other_files_are_left_alone_and_no_set_is_empty(sentences_dir, tmp_path, capsys):
    (sentences_dir / "README.txt").write_text("of AISHELL")
    words = ["sentences", str(sentences_dir), str(tmp_path / "out"), "--nj=1"]
    assert script.main([*words, "--held-out=3"]) == 0
    with pytest.raises(SystemExit):
        script.main([*words, "--held-out=0"])
    assert "--held-out: '0' is no whole number from 1" in capsys.readouterr().err


def test_real_words(real_audio, tmp_path):
    """A few of them, made of common characters so that some can be held out."""
    files = {path.stem[4:]: path for path in (real_audio / "mandarin_words").glob("cmn-*.mp3")}
    if not files:
        pytest.skip("no mandarin_words in IMLSPIKE_TEST_DATA")
    common = {character for character, _ in Counter("".join(sorted(files))).most_common(40)}
    words = sorted(word for word in files if set(word) <= common)[:20]
    (tmp_path / "words").mkdir()
    for word in words:
        (tmp_path / "words" / files[word].name).symlink_to(files[word])
    assert lay_out(tmp_path / "words", tmp_path / "out", held_out=1, min_count=1) == 0
    prepare("aishell", CORPORA["aishell"], tmp_path / "out", tmp_path / "data")
    utterances = [u for split in ("train", "dev", "test") for u in read_data_dir(tmp_path / "data" / split)]
    assert sorted(u.text for u in utterances) == words
    assert all(0.9 < u.seconds < 2.2 for u in utterances)
