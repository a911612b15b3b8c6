"""The further text of msu_ru_nsh's language model, from files as Debian's fortunes-ru has them."""

import importlib.util
import sys
from pathlib import Path

import pytest

from imlspike.data.files import read_kaldi

PROGRAM = Path(__file__).parents[2] / "egs/msu_ru_nsh/asr1/local/lm_text.py"
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

pytestmark = pytest.mark.skipif(not PROGRAM.is_file(), reason="only beside the sources")


@pytest.fixture(scope="module")
def module():
    spec = importlib.util.spec_from_file_location("lm_text", PROGRAM)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_what_is_russian_is_kept_once_and_the_rest_is_counted(module, tmp_path):
    (tmp_path / "sayings").write_text(SAYINGS)
    kept, left_out = module.lm_text([tmp_path / "sayings"], {"течет": "течёт"})
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


def test_a_dialogue_is_no_author(module):
    assert list(module.sentences("Кто там?\n-- Это я.\n\t-- Л. Толстой\n%\n")) == ["Кто там?", "-- Это я."]


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
