"""Scoring folders of synthesized audio: files in, files out, a cache, and all that can be wrong with them."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from imlspike.bin.score import main, name_systems
from imlspike.data.audio import read_audio
from imlspike.data.files import read_kaldi, write_kaldi
from imlspike.data.write_audio import write_audio
from imlspike.evaluation import scoring
from imlspike.evaluation.measures import VOCODER, Measure
from imlspike.evaluation.recognition import command_recognizer
from imlspike.evaluation.scoring import Settings, score_or_recall, score_utterance, summarize
from imlspike.evaluation.systems import GRIFFIN_LIM, NATURAL, System, Task
from imlspike.models import SpikingVocos
from tests.evaluation.speechlike import HOP, RATE, noisy, voice, write_set, write_system
from tests.inference.small_vocoder import save

CONFIG = {"sampling_rate": RATE, "n_fft": 512, "hop_length": HOP, "n_mels": 40, "dim": 16, "num_layers": 1}
FEATURES = tuple(list(CONFIG.items())[:4])
SETTINGS = Settings("vocoder", RATE, HOP, ("mcd", "mel_l1"), features=FEATURES)
TEXTS = {"u0": "Раз, два!", "u1": "Тр+и.", "u2": "Четыре…"}
LENGTHS = ["length", "symbol_duration"]
ASR = """
import pathlib, sys
lines = [line.split() for line in pathlib.Path(sys.argv[1]).read_text().splitlines()]
right = {"u0": "раз два", "u1": "три", "u2": "четыре"}
heard = {name: right[name] if "long" not in wav else "раз" for name, wav in lines}
pathlib.Path(sys.argv[2]).write_text("".join(f"{name} {text}\\n" for name, text in heard.items()))
"""  # a recognizer: what it hears depends on the file's folder only


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Three utterances; a good system as `imlspike synthesize` leaves it (a little short), a noisy one, a
    longer one and a natural mel; a vocoder; a recognizer."""
    folder = tmp_path_factory.mktemp("corpus")
    waves = {f"u{i}": voice(0.5 + 0.1 * i, 100 + 20 * i, i) for i in range(3)}
    write_set(folder, waves, texts=TEXTS)
    write_system(folder / "good/wav", {u: noisy(w[: len(w) // HOP * HOP], 0.001) for u, w in waves.items()})
    write_system(folder / "bad", {u: noisy(w, 0.03) for u, w in waves.items()} | {"other": voice(0.5)})
    write_system(folder / "long", {u: np.append(w, w[: len(w) // 2]) for u, w in waves.items()})
    write_system(folder / "mel/wav", waves)
    (folder / "mel/synthesis.yaml").write_text("mode: natural\n")
    (folder / "good/synthesis.yaml").write_text(yaml.safe_dump({"mode": "free", "model": "exp/good"}))
    frames = {name: len(wave) // 256 + 1 for name, wave in waves.items()}
    write_kaldi(folder / "natural_durations", {name: f"10 {n - 10}" for name, n in frames.items()})
    write_kaldi(folder / "good/durations", {name: f"12 {n - 12}" for name, n in frames.items()})
    save(SpikingVocos(**CONFIG), folder / "exp")
    (folder / "asr.py").write_text(ASR)
    return folder


def score(corpus, output, *options, systems=("good", "bad"), data="data"):
    folders = [name if "=" in name else f"{name}={corpus / name}" for name in systems]
    fixed = ["--data-dir", str(corpus / data), "--output-dir", str(output), "--resamples", "50"]
    return main([*fixed, *options, "--systems", *folders])


def vocoders(corpus, output, *options, **more):
    given = ["--model", str(corpus / "exp"), "--measures", "mcd", "mel_l1", *options]
    return score(corpus, output, *given, **more)


def voices(corpus, output, *options, **more):
    return score(
        corpus, output, "--measures", *LENGTHS, *options, **{"systems": ("good", "long", "mel")} | more
    )


def asr(corpus):
    return ["--asr-command", f"{sys.executable} {corpus}/asr.py {{wav_scp}} {{text}}"]


def test_vocoders_in_files_out(corpus, tmp_path, capsys):
    assert vocoders(corpus, tmp_path, "--twin", "good", "--measures", "mcd", "mel_l1", "utmos") == 0
    report = json.loads((tmp_path / "scores.json").read_text())
    systems = report["systems"]
    assert list(systems) == [NATURAL, GRIFFIN_LIM, "good", "bad"]
    assert (report["utterances"], report["twin"], report["not_scored"]["bad"]) == (3, "good", ["other"])
    for key in ("mcd", "mel_l1"):
        means = [systems[name]["scores"][key]["mean"] for name in (NATURAL, "good", "bad")]
        assert means[0] == pytest.approx(0, abs=1e-6) and means == sorted(means)
        for entry in systems.values():
            low, high = entry["scores"][key]["ci95"]
            assert low <= entry["scores"][key]["mean"] <= high
    own, other = (systems[name]["scores"]["mcd"] for name in ("good", "bad"))
    gap = other["to_twin"]
    assert gap["mean"] == pytest.approx(other["mean"] - own["mean"]) and own["to_twin"] is None
    assert gap["ci95"][0] <= gap["mean"] <= gap["ci95"][1]
    with open(tmp_path / "scores.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    assert [(row["utterance"], row["system"]) for row in rows[:2]] == [("u0", NATURAL), ("u0", GRIFFIN_LIM)]
    assert other["mean"] == pytest.approx(np.mean([float(r["mcd"]) for r in rows if r["system"] == "bad"]))
    text = (tmp_path / "scores.md").read_text()
    for part in ("| natural speech |", "| Griffin-Lim ", "UTMOS is empty: its", "to no utterance: other"):
        assert part in text
    assert sorted(p.name for p in (tmp_path / "griffin_lim").iterdir()) == ["u0.wav", "u1.wav", "u2.wav"]
    assert "MCD, dB ↓" in capsys.readouterr().out


def test_voices_in_files_out(corpus, tmp_path, capsys):
    named = ["--natural-durations", str(corpus / "natural_durations"), "--asr-name", "a stub"]
    assert voices(corpus, tmp_path, *asr(corpus), *named) == 0
    report = json.loads((tmp_path / "scores.json").read_text())
    systems = report["systems"]
    assert list(systems) == [NATURAL, "good", "long", "mel"] and report["ceiling"] == "mel"
    assert systems["good"]["synthesis"]["model"] == "exp/good" and systems["long"]["synthesis"] is None
    assert systems["long"]["scores"]["length"]["mean"] == pytest.approx(50, abs=0.1)
    durations, without = (systems[name]["scores"]["symbol_duration"] for name in ("good", "long"))
    assert durations["mean"] == pytest.approx(2 * 16) and durations["failed"] == {}  # two frames of 16 ms
    assert without["mean"] is None and without["failed"] == {}
    cer = systems["long"]["cer"]
    assert cer["per_utterance"] == {"u0": 4, "u1": 3, "u2": 6} and systems["good"]["cer"]["rate"] == 0
    assert cer["rate"] == pytest.approx(13 / 16) == cer["over"]
    assert systems["long"]["wer"]["per_utterance"] == {"u0": 1, "u1": 1, "u2": 1}
    assert read_kaldi(tmp_path / "asr/long")["u1"] == "раз"
    text = (tmp_path / "scores.md").read_text()
    for part in ("over mel", "recognizer a stub", "No durations of their symbols came with: long, mel."):
        assert part in text


def test_what_is_not_there_is_said(corpus, tmp_path, monkeypatch):
    assert voices(corpus, tmp_path, systems=["good"]) == 0
    text = (tmp_path / "scores.md").read_text()
    for part in ("no natural durations were named", "no recognizer was named", "No ceiling was named"):
        assert part in text
    monkeypatch.setitem(sys.modules, "pesq", None)
    assert vocoders(corpus, tmp_path, "--measures", "pesq", "mcd", systems=["good"]) == 0
    text = (tmp_path / "scores.md").read_text()
    assert "| good           | –      |" in text and "PESQ is empty: pesq can't be imported" in text


def test_the_text_may_come_from_elsewhere(corpus, tmp_path, capsys):
    write_kaldi(tmp_path / "text", {"u0": "раз", "u1": "раз", "u2": "раз", "u3": "more"})
    options = [*asr(corpus), "--text", str(tmp_path / "text")]
    assert voices(corpus, tmp_path / "out", *options, "--ceiling", "long") == 0
    systems = json.loads((tmp_path / "out/scores.json").read_text())["systems"]
    assert systems["long"]["cer"]["rate"] == 0 == systems["long"]["cer"]["over"]
    assert systems[NATURAL]["cer"]["over"] == systems[NATURAL]["cer"]["rate"] > 1
    write_kaldi(tmp_path / "text", {"u0": "раз"})
    assert voices(corpus, tmp_path / "out", *options) == 1
    assert "no line for u1 (2 of 3)" in capsys.readouterr().err
    write_kaldi(tmp_path / "text", {"u0": "раз", "u1": "—", "u2": "два"})
    assert voices(corpus, tmp_path / "silent", *options) == 1  # before any work
    assert "u1" in capsys.readouterr().err and not (tmp_path / "silent").exists()


def test_a_trained_recognizer_hears_all_systems(corpus, tmp_path, monkeypatch):
    class Recognizer:
        @classmethod
        def from_pretrained(cls, path):
            assert path == "exp/full"
            return cls()

        def __call__(self, wave, sampling_rate):
            assert sampling_rate == RATE
            return "три"

    monkeypatch.setattr("imlspike.Speech2Text", Recognizer, raising=False)
    assert vocoders(corpus, tmp_path, "--asr-model", "exp/full", systems=["good"]) == 0
    report = json.loads((tmp_path / "scores.json").read_text())
    assert report["recognizer"] == "full" and report["systems"]["good"]["cer"]["over"] == 0
    assert [entry["cer"]["per_utterance"]["u1"] for entry in report["systems"].values()] == [0, 0, 0]
    assert (tmp_path / "asr/good").read_text() == "u0 три\nu1 три\nu2 три\n"


def test_a_measure_that_fails_on_an_utterance_is_counted_and_named(corpus, monkeypatch, tmp_path, capsys):
    def choosy(natural, synthetic):
        if len(natural.samples) < 0.55 * RATE:
            raise RuntimeError("too short for me")
        return 1.0 if len(natural.samples) < 0.65 * RATE else float("nan")

    monkeypatch.setitem(VOCODER, "pesq", Measure("PESQ", "↑", 2, choosy))
    assert vocoders(corpus, tmp_path, "--measures", "pesq", systems=["good"]) == 0
    found = json.loads((tmp_path / "scores.json").read_text())["systems"]["good"]["scores"]["pesq"]
    assert (found["mean"], found["utterances"]) == (1.0, 1)
    assert found["failed"]["u0"] == "RuntimeError: too short for me" and "nan" in found["failed"]["u2"]
    assert "PESQ of good, u0: no value" in capsys.readouterr().out
    settings = Settings("vocoder", RATE, HOP, ("pesq",), features=FEATURES)
    alone = [score_utterance(settings, Task("u0", {NATURAL: str(corpus / "wav/u0.wav")}))]
    assert summarize(alone, ["pesq"], resamples=10)[NATURAL]["pesq"]["ci95"] is None


def test_a_silent_file_has_no_score_and_the_others_count(corpus, tmp_path, monkeypatch, capsys):
    def fails_on_silence(natural, synthetic):
        return float(int(1 / float(synthetic.samples.max())) > 0)

    monkeypatch.setitem(VOCODER, "pesq", Measure("PESQ", "↑", 2, fails_on_silence))
    waves = {u: read_audio(corpus / f"good/wav/{u}.wav", RATE) for u in ("u0", "u1", "u2")}
    write_system(tmp_path / "quiet", waves | {"u1": 0 * waves["u1"]})
    assert vocoders(corpus, tmp_path, "--measures", "pesq", systems=[f"quiet={tmp_path / 'quiet'}"]) == 0
    printed = capsys.readouterr().out
    assert "of quiet, u1: no value (no speech in it, only zeros); the mean is over the other 2." in printed
    assert ", 2 utterances)" in printed


def test_what_is_wrong_with_vocoders_is_named(corpus, tmp_path, capsys):
    def error(*options, **changes):
        assert vocoders(corpus, tmp_path / "out", *options, **changes) == 1
        return capsys.readouterr().err

    (tmp_path / "empty").mkdir()
    assert "no .wav or .flac" in error(systems=[f"x={tmp_path / 'empty'}"])
    assert "no .wav or .flac" in error(systems=[f"x={tmp_path / 'gone'}"])
    waves = {f"u{i}": voice(0.5 + 0.1 * i) for i in range(3)}
    write_system(tmp_path / "two", {u: waves[u] for u in ("u0", "u2")})
    assert "no u1.wav or .flac (1 of 3" in error(systems=[f"x={tmp_path / 'two'}"])
    write_system(tmp_path / "long", waves | {"u2": np.append(waves["u2"], np.zeros(HOP + 1, np.float32))})
    assert f"u2: x has {len(waves['u2']) + HOP + 1} samples" in error(systems=[f"x={tmp_path / 'long'}"])
    write_system(tmp_path / "rate", waves, 24000)
    assert "24000 Hz with 1 channel(s)" in error(systems=[f"x={tmp_path / 'rate'}"])
    write_system(tmp_path / "torn", waves)
    (tmp_path / "torn/u1.wav").write_bytes(b"RIFFxxxxWAVE")
    assert "u1, x" in error(systems=[f"x={tmp_path / 'torn'}"])
    write_set(tmp_path / "none", {})
    assert "holds no utterance" in error(data=tmp_path / "none/data")
    assert "did you mean 'pesq'?" in error("--measures", "pesk", systems=[])
    assert "no trained vocoder" in error("--model", str(tmp_path / "empty"))
    assert not (tmp_path / "out").exists()
    write_set(tmp_path / "short", {"blip": voice(0.01)})
    assert "blip: 160 samples" in error(systems=[], data=tmp_path / "short/data")
    for entries in (["natural=x"], ["a=x", "a=y"], ["=x"]):
        with pytest.raises(ValueError, match="--systems"):
            name_systems(entries)


def test_what_is_wrong_with_voices_is_named(corpus, tmp_path, capsys):
    def error(*options, **changes):
        assert voices(corpus, tmp_path / "out", *options, **changes) == 1
        assert not (tmp_path / "out/scores.json").exists()
        return capsys.readouterr().err

    assert "did you mean 'mel'?" in error("--ceiling", "mell")
    natural = read_kaldi(corpus / "natural_durations")
    for table, message in (
        ({name: "10 10" for name in natural}, "add up to 0.320 s, its recording has 0.500 s"),
        ({name: f"{line} 3" for name, line in natural.items()}, "u0: 2 symbols in"),
        ({"u0": natural["u0"]}, "no line for u1"),
    ):
        write_kaldi(tmp_path / "durations", table)
        assert message in error("--natural-durations", str(tmp_path / "durations"))
    run = f"{sys.executable} -c"
    part = "import sys; open(sys.argv[2], 'w').write('u0 a' + chr(10))"
    for command, message in (
        ("recognize {wav_scp}", "{text}"),
        (f"{run} 'exit(3)' {{wav_scp}} {{text}}", "exit status 3"),
        ("/no/such/recognizer {wav_scp} {text}", "No such file"),
        (f"{run} 'pass' {{wav_scp}} {{text}}", "No such file"),
        (f'{run} "{part}" {{wav_scp}} {{text}}', "u1 stands in only one"),
    ):
        assert message in error("--asr-command", command, systems=["good"])
    for words in (["--ref", "x"], ["--data-dir", "x"]):
        with pytest.raises(SystemExit):
            main([*words, "--output-dir", "x"])


def test_a_command_gets_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy = f'{sys.executable} -c "import sys, shutil; shutil.copy(*sys.argv[1:])" {{wav_scp}} {{text}}'
    assert command_recognizer(copy)({"u0": "a b.wav"}, RATE) == {"u0": f"{tmp_path}/a b.wav"}


def test_a_systems_folder_may_be_named_with_its_wav(corpus):
    whole, inner = System.open(corpus / "good"), System.open(corpus / "good/wav")
    assert whole == inner and whole.durations == corpus / "good/durations"
    assert System.open(corpus / "bad").audio == corpus / "bad"


@pytest.fixture
def task(tmp_path):
    """An utterance and two systems' audio of it."""
    sounds = {NATURAL: voice(0.3), "good": noisy(voice(0.3), 0.001), GRIFFIN_LIM: noisy(voice(0.3), 0.03)}
    files = {name: str(tmp_path / f"{name}.wav") for name in sounds}
    for name, sound in sounds.items():
        write_audio(files[name], [sound], RATE)
    return Task("u1", files)


@pytest.fixture
def scored(monkeypatch):
    """The systems that were really scored, call by call."""
    calls = []

    def watched(settings, task):
        calls.append(sorted(task.files.keys() - {NATURAL}))
        return score_utterance(settings, task)

    monkeypatch.setattr(scoring, "score_utterance", watched)
    return calls


def test_what_is_known_is_not_scored_again_and_what_changed_is(task, scored, tmp_path):
    def recall(task, settings=SETTINGS, version="1.0"):
        return score_or_recall(tmp_path / "kept", {"pesq": version}, settings, task)

    recall(Task("u1", {name: task.files[name] for name in (NATURAL, "good")}))
    both, again = recall(task), recall(task)
    assert both == again == score_utterance(SETTINGS, task)
    assert list(again.values) == [NATURAL, "good", GRIFFIN_LIM]
    write_audio(task.files["good"], [noisy(voice(0.3), 0.01)], RATE)
    assert recall(task) == score_utterance(SETTINGS, task)
    other = Settings("vocoder", RATE, HOP, ("mcd",), features=FEATURES)
    assert recall(task, other) == score_utterance(other, task)
    recall(task, other, "1.1")
    write_audio(task.files[NATURAL], [noisy(voice(0.3), 0.002)], RATE)
    recall(task, other, "1.1")
    assert scored == [["good"], [GRIFFIN_LIM], ["good"], *3 * [["good", GRIFFIN_LIM]]]


def test_a_vocoder_s_scores_do_not_depend_on_what_else_is_scored(task):
    """Not even beside a shorter one, to whose length both would else be cut."""
    samples, _ = soundfile.read(task.files["good"], dtype="float32")
    shorter = Path(task.files["good"]).with_name("shorter.wav")
    write_audio(shorter, [samples[: len(samples) // 2]], RATE)
    beside = score_utterance(SETTINGS, Task("u1", task.files | {"shorter": shorter}))
    alone = score_utterance(SETTINGS, Task("u1", {name: task.files[name] for name in (NATURAL, "good")}))
    assert {name: beside.values[name] for name in alone.values} == alone.values
    assert beside.values["shorter"].keys() == alone.values["good"].keys() and not beside.failed


def test_failures_and_broken_files_are_not_kept(task, scored, tmp_path, monkeypatch):
    folder = tmp_path / "kept"
    folder.mkdir()
    for content in ("{", "[1]", '{"good": 3}'):
        (folder / "u1.json").write_text(content)
        assert score_or_recall(folder, {}, SETTINGS, task) == score_utterance(SETTINGS, task)
    assert set(json.loads((folder / "u1.json").read_text())) == set(task.files)
    (folder / "u1.json").unlink()

    def failing(settings, task):
        taken = score_utterance(settings, task)
        return taken.__class__("u1", taken.seconds, taken.values | {"good": {}}, {("good", "mcd"): "why"})

    monkeypatch.setattr(scoring, "score_utterance", failing)
    assert score_or_recall(folder, {}, SETTINGS, task).failed == {("good", "mcd"): "why"}
    assert set(json.loads((folder / "u1.json").read_text())) == {NATURAL, GRIFFIN_LIM}
