"""Scoring voices: files in, files out, a recogniser that is any command, and every way to be wrong."""

import csv
import json
import sys

import numpy as np
import pytest
import yaml

from imlspike.analysis.voice_scores import open_system, plain, recognition_errors
from imlspike.bin._systems import command_recogniser
from imlspike.bin.score_voice import main
from imlspike.data.files import read_kaldi, write_kaldi

from .vocoder_audio import RATE, noisy, voice, write_set, write_system

TEXTS = {"u0": "Раз, два!", "u1": "Тр+и.", "u2": "Четыре…"}
QUICK = ["mcd", "length", "symbol_duration"]

# A recogniser in one line: what it hears depends on the file's folder only.
ASR = """
import pathlib, sys
lines = [line.split() for line in pathlib.Path(sys.argv[1]).read_text().splitlines()]
right = {"u0": "раз два", "u1": "три", "u2": "четыре"}
heard = {name: right[name] if "bad" not in wav else "раз" for name, wav in lines}
pathlib.Path(sys.argv[2]).write_text("".join(f"{name} {text}\\n" for name, text in heard.items()))
"""


@pytest.fixture(autouse=True, scope="module")
def libraries():
    pytest.importorskip("librosa")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Three utterances; a good system as `imlspike synthesize` leaves it, a longer one, and a natural mel."""
    folder = tmp_path_factory.mktemp("corpus")
    waves = {f"u{i}": voice(0.4 + 0.1 * i, 100 + 20 * i, i) for i in range(3)}
    write_set(folder, waves, texts=TEXTS)
    frames = {name: len(wave) // 256 + 1 for name, wave in waves.items()}
    write_system(folder / "good/wav", {name: noisy(wave, 0.001) for name, wave in waves.items()})
    write_kaldi(folder / "natural_durations", {name: f"10 {n - 10}" for name, n in frames.items()})
    write_kaldi(folder / "good/durations", {name: f"12 {n - 12}" for name, n in frames.items()})
    (folder / "good/synthesis.yaml").write_text(yaml.safe_dump({"mode": "free", "model": "exp/good"}))
    longer = {name: np.append(noisy(wave, 0.05), wave[: len(wave) // 2]) for name, wave in waves.items()}
    write_system(folder / "bad", longer | {"other": voice(0.3)})
    write_system(folder / "mel/wav", waves)
    (folder / "mel/synthesis.yaml").write_text("mode: natural\n")
    (folder / "asr.py").write_text(ASR)
    return folder


def run(corpus, output, *options, systems=("good", "bad", "mel"), data="data"):
    folders = [name if "=" in name else f"{name}={corpus / name}" for name in systems]
    fixed = ["--data-dir", str(corpus / data), "--output-dir", str(output), "--resamples", "50"]
    return main([*fixed, "--measures", *QUICK, *options, "--systems", *folders])


def asr(corpus):
    return ["--asr-command", f"{sys.executable} {corpus}/asr.py {{wav_scp}} {{text}}"]


def test_files_in_files_out(corpus, tmp_path, capsys):
    named = ["--natural-durations", str(corpus / "natural_durations"), "--asr-name", "a stub"]
    assert run(corpus, tmp_path, *asr(corpus), *named, "--twin", "good") == 0
    report = json.loads((tmp_path / "scores.json").read_text())
    systems = report["systems"]
    assert list(systems) == ["natural", "good", "bad", "mel"]
    assert (report["ceiling"], report["not_scored"]["bad"]) == ("mel", ["other"])
    assert systems["good"]["synthesis"]["model"] == "exp/good" and systems["bad"]["synthesis"] is None
    for key, entry in ((key, entry) for key in QUICK for entry in (systems["natural"], systems["mel"])):
        assert key == "symbol_duration" or entry["scores"][key]["mean"] == pytest.approx(0, abs=1e-9)
    mcd = [systems[name]["scores"]["mcd"]["mean"] for name in ("natural", "good", "bad")]
    assert mcd == sorted(mcd) and mcd[1] > 0
    assert systems["bad"]["scores"]["length"]["mean"] == pytest.approx(50, abs=0.1)
    assert systems["bad"]["scores"]["mcd"]["to_twin"]["mean"] == pytest.approx(mcd[2] - mcd[1])
    durations = systems["good"]["scores"]["symbol_duration"]
    assert durations["mean"] == pytest.approx(2 * 16) and durations["failed"] == {}  # two frames of 16 ms
    without = systems["bad"]["scores"]["symbol_duration"]
    assert without["mean"] is None and without["failed"] == {}
    cer = systems["bad"]["cer"]
    assert cer["per_utterance"] == {"u0": 4, "u1": 3, "u2": 6}
    assert cer["rate"] == pytest.approx(13 / 16) == cer["over"] and systems["good"]["cer"]["rate"] == 0
    assert systems["bad"]["wer"]["per_utterance"] == {"u0": 1, "u1": 1, "u2": 1}
    assert read_kaldi(tmp_path / "asr/bad")["u1"] == "раз"
    with open(tmp_path / "scores.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 12 and rows[2]["system"] == "bad" and rows[2]["word_errors"] == "1"
    text = (tmp_path / "scores.md").read_text()
    assert "| natural speech |" in text and "over mel" in text and "recogniser a stub" in text
    assert "bad: 1 files belong to no utterance: other" in text
    assert "No durations of their symbols came with: bad, mel." in text
    assert "MCD, dB ↓" in capsys.readouterr().out


def test_what_is_not_there_is_said(corpus, tmp_path):
    assert run(corpus, tmp_path, "--measures", "length", "symbol_duration", systems=["good"]) == 0
    text = (tmp_path / "scores.md").read_text()
    assert "durations, ms is empty: no natural durations were named" in text
    assert "CER and WER are empty: no recogniser was named" in text and "No ceiling was named" in text


def test_the_text_may_come_from_elsewhere(corpus, tmp_path, capsys):
    write_kaldi(tmp_path / "text", {"u0": "раз", "u1": "раз", "u2": "раз", "u3": "more"})
    options = ["--measures", "length", *asr(corpus), "--text", str(tmp_path / "text")]
    assert run(corpus, tmp_path / "out", *options, "--ceiling", "bad") == 0
    systems = json.loads((tmp_path / "out/scores.json").read_text())["systems"]
    assert systems["bad"]["cer"]["rate"] == 0 == systems["bad"]["cer"]["over"]
    assert systems["natural"]["cer"]["over"] == systems["natural"]["cer"]["rate"] > 1
    write_kaldi(tmp_path / "text", {"u0": "раз"})
    assert run(corpus, tmp_path / "out", *options) == 1
    assert "no line for u1 (2 of 3)" in capsys.readouterr().err


def test_a_trained_recogniser_hears_all_systems(corpus, tmp_path, monkeypatch):
    class Recogniser:
        @classmethod
        def from_pretrained(cls, path):
            assert path == "exp/full"
            return cls()

        def __call__(self, wave, sampling_rate):
            assert sampling_rate == RATE
            return "три"

    monkeypatch.setattr("imlspike.Speech2Text", Recogniser, raising=False)
    assert run(corpus, tmp_path, "--asr-model", "exp/full", "--measures", "length", systems=["good"]) == 0
    report = json.loads((tmp_path / "scores.json").read_text())
    assert report["recogniser"] == "full"
    assert [report["systems"][name]["cer"]["per_utterance"]["u1"] for name in ("natural", "good")] == [0, 0]


def test_what_is_wrong_is_named(corpus, tmp_path, capsys):
    def error(*options, **changes):
        assert run(corpus, tmp_path / "out", *options, **changes) == 1
        assert not (tmp_path / "out/scores.json").exists()
        return capsys.readouterr().err

    assert "did you mean 'mel'?" in error("--ceiling", "mell")
    assert "did you mean 'mcd'?" in error("--measures", "mdc")
    assert "no such folder" in error(systems=[f"x={tmp_path / 'gone'}"])
    assert "is taken" in error(systems=["natural=x"])
    write_system(tmp_path / "two/wav", {u: voice(0.3) for u in ("u0", "u2")})
    assert "no u1.wav or .flac (1 of 3" in error(systems=[f"x={tmp_path / 'two'}"])
    write_system(tmp_path / "rate/wav", {f"u{i}": voice(0.3) for i in range(3)}, 24000)
    assert "24000 Hz with 1 channel(s)" in error(systems=[f"x={tmp_path / 'rate'}"])
    write_set(tmp_path / "none", {})
    assert "holds no utterance" in error(data=tmp_path / "none/data")
    natural = read_kaldi(corpus / "natural_durations")
    for table, message in (
        ({name: "10 10" for name in natural}, "add up to 0.320 s, its recording has 0.400 s"),
        ({name: f"{line} 3" for name, line in natural.items()}, "u0: 2 symbols in"),
        ({"u0": natural["u0"]}, "no line for u1"),
    ):
        write_kaldi(tmp_path / "durations", table)
        assert message in error("--natural-durations", str(tmp_path / "durations"))


def test_a_command_that_fails_is_named(corpus, tmp_path, capsys):
    def error(command):
        assert run(corpus, tmp_path, "--asr-command", command, systems=["good"]) == 1
        return capsys.readouterr().err

    assert "expected {wav_scp} (read) and {text} (written)" in error("recognise {wav_scp}")
    assert "exit status 3" in error(f"{sys.executable} -c 'exit(3)' {{wav_scp}} {{text}}")
    assert "No such file" in error("/no/such/recogniser {wav_scp} {text}")
    assert "No such file" in error(f"{sys.executable} -c 'pass' {{wav_scp}} {{text}}")
    part = "import sys; open(sys.argv[2], 'w').write('u0 a' + chr(10))"
    assert "u1 stands in only one" in error(f'{sys.executable} -c "{part}" {{wav_scp}} {{text}}')


def test_a_command_gets_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy = f'{sys.executable} -c "import sys, shutil; shutil.copy(*sys.argv[1:])" {{wav_scp}} {{text}}'
    done = []
    heard = command_recogniser(copy)({"u0": "a b.wav"}, RATE, lambda: done.append(1))
    assert heard == {"u0": f"{tmp_path}/a b.wav"} and done == [1]


def test_case_and_punctuation_cannot_be_heard():
    assert plain("«Что-то — не то!» Й ё") == "что то не то й ё"
    assert plain("It's 5 o'clock") == "its 5 oclock" and plain("你好，世界。") == "你好 世界"
    heard = {"natural": {"a": "что то"}, "v": {"a": "ЧТО, ТО!"}}
    assert recognition_errors({"a": "Чт+о-то."}, heard, resamples=10)["v"]["wer"]["rate"] == 0


def test_a_systems_folder_may_be_named_with_its_wav(corpus):
    whole, inner = open_system(corpus / "good"), open_system(corpus / "good/wav")
    assert whole == inner and whole.durations == corpus / "good/durations"
    assert open_system(corpus / "bad").audio == corpus / "bad"
