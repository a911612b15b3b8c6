"""The further text of recipes' language models, from files as Debian's fortunes and fortunes-ru have them."""

import importlib.util
import sys
from pathlib import Path

import pytest

from imlspike.data.files import read_kaldi
from imlspike.recipes.fortunes import lm_text, sentences

EGS = Path(__file__).parents[2] / "egs"
SAYINGS = """Ещё не вечер! Всё течет
и меняется.
\t\t-- Гераклит
%
В 1905 году было хуже. Да.
%
"Все будет хорошо, - сказал он. - Или нет?" Windows не виновата.
%
Все течёт и меняется.
"""

pytestmark = pytest.mark.skipif(not EGS.is_dir(), reason="only beside the sources")


def program_of(corpus):
    spec = importlib.util.spec_from_file_location("lm_text", EGS / corpus / "asr1/local/lm_text.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def module():
    return program_of("msu_ru_nsh")


def test_what_is_russian_is_kept_once_and_the_rest_is_counted(module, tmp_path):
    (tmp_path / "sayings").write_text(SAYINGS)
    kept, left_out = lm_text([tmp_path / "sayings"], module.normalizer(["течёт"]))
    assert list(kept.values()) == [
        "ещё не вечер",
        "всё течёт и меняется",
        "все будет хорошо сказал он",
        "или нет",
        "все течёт и меняется",
    ]
    assert left_out == 3  # with a number, of one word, with Latin letters
    assert len(set(kept)) == 5


def test_a_word_gets_its_yo_where_the_transcripts_know_no_other_spelling(module):
    texts = ["всё её время ещё", "все ещё здесь"]
    assert module.words_with_yo(texts) == {"ее": "её", "еще": "ещё"}


def test_the_text_is_kaldi_s_and_other_files_are_not_read(module, tmp_path, monkeypatch, capsys):
    folder, train, out = tmp_path / "fortunes", tmp_path / "train", tmp_path / "new/text"
    folder.mkdir()
    train.write_text("a всё ещё\n")
    (folder / "2001.03").write_text("Еще не вечер.\n%\n")
    for suffix in ("dat", "u8"):  # an index, and a link to the text
        (folder / f"2001.03.{suffix}").write_text("Это не читают.")
    words = ["lm_text.py", "--train", str(train), "--output", str(out), "--source", str(folder)]
    monkeypatch.setattr(sys, "argv", words)
    module.main()
    assert read_kaldi(out) == {"fortune_000000": "ещё не вечер"}
    assert "1 sentences; 0 left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text, words",
    [
        (
            "'Tis the dogs' \u201cwell-known\u201d bone -- isn\u2019t it?",
            "TIS THE DOGS WELL KNOWN BONE ISN'T IT",
        ),
        ("A caf\u00e9.", None),
        ("In 1905 it was worse.", None),
    ],
)
def test_english_is_capitals_and_apostrophes_inside_words(text, words):
    normalize = program_of("speechocean762").normalize
    if words:
        assert normalize(text) == words
    else:
        with pytest.raises(ValueError):
            normalize(text)


def test_the_english_program_writes_kaldi_s_text(tmp_path, monkeypatch):
    (tmp_path / "fortunes").mkdir()
    (tmp_path / "fortunes/art").write_text(
        "Art is long.  Life isn't.\n\t\t-- Hippocrates\n%\nNo!\n%\nArt is long.\n"
    )
    (tmp_path / "train").write_text("a B\n")
    words = ["lm_text.py", "--train", str(tmp_path / "train"), "--output", str(tmp_path / "text")]
    monkeypatch.setattr(sys, "argv", [*words, "--source", str(tmp_path / "fortunes")])
    program_of("speechocean762").main()
    assert list(read_kaldi(tmp_path / "text").values()) == ["ART IS LONG", "LIFE ISN'T"]


def test_a_dialogue_is_no_author():
    assert list(sentences("Кто там?\n-- Это я.\n\t-- Л. Толстой\n%\n")) == ["Кто там?", "-- Это я."]


@pytest.mark.parametrize("there", [True, False])
def test_without_sentences_or_the_package_it_says_what_to_do(module, tmp_path, monkeypatch, there):
    (tmp_path / "train").write_text("a б\n")
    words = ["lm_text.py", "--train", str(tmp_path / "train"), "--output", str(tmp_path / "text")]
    words += ["--source", str(tmp_path / "none")] if there else ["--downloads", str(tmp_path / "new")]
    (tmp_path / "none").mkdir()
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setenv("PATH", str(tmp_path))  # no apt
    with pytest.raises(SystemExit) as stopped:
        module.main()
    assert ("fortunes-ru" if there else "--lm_text_program ''") in str(stopped.value)
    assert not (tmp_path / "text").exists()
