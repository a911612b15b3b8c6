"""What ends a recipe from outside: a reader that goes away, a full disk."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from imlspike.bin import format as format_verb
from imlspike.bin import prepare
from imlspike.recipes import __main__ as recipes
from tests.recipes.corpus import write_corpus
from tests.small_disk import small_disk


@pytest.mark.parametrize("words", ["imlspike.recipes asr run.sh -- --help", "imlspike.bin.main fit --help"])
def test_a_reader_that_goes_away_leaves_no_traceback(words):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", *words.split()], stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    assert done.returncode in (0, 128 + signal.SIGPIPE) and done.stderr == ""  # 0: argparse looks away


def test_a_full_disk_while_preparing_names_the_file(tmp_path, capsys):
    corpus = ["msu_ru_nsh", "--corpus-dir", str(write_corpus(tmp_path / "corpus")), "--max-left-out", "0.2"]
    assert prepare.main([*corpus, "--output-dir", str(tmp_path / "data")]) == 0
    with small_disk(300):
        assert prepare.main([*corpus, "--output-dir", str(tmp_path / "more")]) == 1
        for form in ("wav", "flac"):
            words = ["--output-dir", str(tmp_path / form), "--audio-format", form, "--no-keep-fitting"]
            assert format_verb.main([str(tmp_path / "data/train"), *words]) == 1
    told = capsys.readouterr().err
    names = ("more/train/wav.scp", "wav/audio/nsh/ru_0001.wav", "flac/audio/nsh/ru_0001.flac")
    assert all(f"{tmp_path}/{name}: can't be written" in told for name in names)
    assert told.count("make room") == 3
    assert not [*tmp_path.rglob("*.tmp")]


def test_a_folder_that_cannot_be_written_is_told_with_its_path(tmp_path, monkeypatch, capsys):
    """Root may write anywhere, so the refusal is made up."""

    def refuse(*args):
        raise PermissionError(errno.EACCES, "Permission denied", "data")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recipes, "_run", refuse)
    assert recipes.main(["asr", "egs/x/asr1/run.sh", "--"]) == 1
    assert capsys.readouterr().err.startswith(f"run.sh: {tmp_path}/data: Permission denied; free it, or name")


def test_a_recipe_begins_without_loading_torch():
    program = "import sys, imlspike.recipes.asr, imlspike.recipes.tts; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
