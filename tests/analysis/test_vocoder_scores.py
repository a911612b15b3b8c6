"""Scoring folders of synthesised audio: files in, files out, and every way in which they can be wrong."""

import csv
import functools
import json
import sys

import numpy as np
import pytest

from imlspike.analysis import vocoder_measures
from imlspike.analysis.vocoder_scores import (
    Settings,
    Task,
    character_errors,
    find_pairs,
    score_utterance,
    summarize,
)
from imlspike.bin.score_vocoder import main, name_systems
from imlspike.data.kaldi import read_data_dir
from imlspike.data.parallel import map_parallel
from imlspike.models import SpikingVocos
from tests.inference.small_vocoder import save

from .vocoder_audio import HOP, RATE, noisy, voice, write_set, write_system

CONFIG = {"sampling_rate": RATE, "n_fft": 512, "hop_length": HOP, "n_mels": 40, "dim": 16, "num_layers": 1}
QUICK = ["mcd", "mel_l1"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Three utterances, a good and a bad vocoder (the good one a little short), and a model's folder."""
    folder = tmp_path_factory.mktemp("corpus")
    waves = {f"u{i}": voice(0.5 + 0.1 * i, 100 + 20 * i, i) for i in range(3)}
    write_set(folder, waves, texts={"u0": "раз", "u1": "два", "u2": "три"})
    write_system(folder / "good", {u: noisy(w[: len(w) // HOP * HOP], 0.001) for u, w in waves.items()})
    write_system(folder / "bad", {u: noisy(w, 0.03) for u, w in waves.items()} | {"other": voice(0.5)})
    save(SpikingVocos(**CONFIG), folder / "exp")
    return folder


def run(corpus, output, *options, systems=("good", "bad"), data="data"):
    folders = [name if "=" in name else f"{name}={corpus / name}" for name in systems]
    return main(
        ["--data-dir", str(corpus / data), "--model", str(corpus / "exp"), "--output-dir", str(output)]
        + ["--resamples", "50", "--measures", *QUICK, *options, "--systems", *folders]
    )


def test_files_in_files_out(corpus, tmp_path, capsys):
    assert run(corpus, tmp_path, "--twin", "good", "--measures", *QUICK, "utmos") == 0
    report = json.loads((tmp_path / "scores.json").read_text())
    systems = report["systems"]
    assert list(systems) == ["natural", "griffin_lim", "good", "bad"]
    assert (report["utterances"], report["twin"], report["not_scored"]["bad"]) == (3, "good", ["other"])
    for key in QUICK:
        means = [systems[name]["scores"][key]["mean"] for name in ("natural", "good", "bad")]
        assert means[0] == pytest.approx(0, abs=1e-6) and means == sorted(means)
        for entry in systems.values():
            low, high = entry["scores"][key]["ci95"]
            assert low <= entry["scores"][key]["mean"] <= high
    with open(tmp_path / "scores.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    gap = systems["bad"]["scores"]["mcd"]["to_twin"]
    assert gap["mean"] == pytest.approx(
        systems["bad"]["scores"]["mcd"]["mean"] - systems["good"]["scores"]["mcd"]["mean"]
    )
    assert gap["ci95"][0] <= gap["mean"] <= gap["ci95"][1]
    assert systems["good"]["scores"]["mcd"]["to_twin"] is None
    assert [(row["utterance"], row["system"]) for row in rows[:2]] == [
        ("u0", "natural"),
        ("u0", "griffin_lim"),
    ]
    bad = [float(row["mcd"]) for row in rows if row["system"] == "bad"]
    assert systems["bad"]["scores"]["mcd"]["mean"] == pytest.approx(np.mean(bad))
    text = (tmp_path / "scores.md").read_text()
    assert "| natural speech |" in text and "| Griffin-Lim " in text and "UTMOS is empty: its weights" in text
    assert "bad: 1 files belong to no utterance: other" in text
    assert sorted(p.name for p in (tmp_path / "griffin_lim").iterdir()) == ["u0.wav", "u1.wav", "u2.wav"]
    assert "MCD, dB ↓" in capsys.readouterr().out


def test_several_processes_give_what_one_gives(corpus, tmp_path):
    settings = Settings.of(CONFIG, ["mcd"])
    tasks, _ = find_pairs(read_data_dir(corpus / "data"), {"good": corpus / "good"}, RATE, HOP)
    work = functools.partial(score_utterance, settings)
    assert list(map_parallel(work, tasks, 2, per_process=2)) == list(map(work, tasks))


def test_a_measure_that_fails_on_an_utterance_is_counted_and_named(corpus, monkeypatch, tmp_path, capsys):
    def choosy(natural, synthetic):
        if len(natural.samples) < 0.55 * RATE:
            raise RuntimeError("too short for me")
        return 1.0

    entry = vocoder_measures.MEASURES["pesq"]
    monkeypatch.setitem(
        vocoder_measures.MEASURES, "pesq", vocoder_measures.Measure(entry.title, choosy, True, 2, entry.what)
    )
    assert run(corpus, tmp_path, "--measures", "pesq", systems=["good"]) == 0
    score = json.loads((tmp_path / "scores.json").read_text())["systems"]["good"]["scores"]["pesq"]
    assert (score["mean"], score["utterances"]) == (1.0, 2)
    assert score["failed"] == {"u0": "RuntimeError: too short for me"}
    assert "PESQ of good, u0: no value" in capsys.readouterr().out
    alone = [score_utterance(Settings.of(CONFIG, ["pesq"]), Task("u0", str(corpus / "wav/u0.wav")))]
    summary = summarize(alone, ["pesq"], resamples=10)["natural"]["pesq"]
    assert (summary["mean"], summary["ci95"]) == (None, None)


def test_a_missing_library_leaves_an_empty_column(corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pesq", None)
    assert run(corpus, tmp_path, "--measures", "pesq", "mcd", systems=["good"]) == 0
    text = (tmp_path / "scores.md").read_text()
    assert "| good           | –      |" in text and "PESQ is empty: pesq can't be imported" in text


def test_what_is_wrong_is_named(corpus, tmp_path, capsys):
    def error(**changes):
        assert run(corpus, tmp_path / "out", **changes) == 1
        return capsys.readouterr().err

    (tmp_path / "empty").mkdir()
    assert "no .wav or .flac in it" in error(systems=[f"x={tmp_path / 'empty'}"])
    assert "no such folder" in error(systems=[f"x={tmp_path / 'gone'}"])
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
    assert "expected NAME=DIR" in error(systems=["=x"])
    write_set(tmp_path / "none", {})
    assert "holds no utterance" in error(data=tmp_path / "none/data")
    assert not (tmp_path / "out").exists()
    write_set(tmp_path / "short", {"blip": voice(0.01)})
    assert "blip: 160 samples" in error(systems=[], data=tmp_path / "short/data")
    assert main(["--data-dir", "x", "--model", str(tmp_path), "--output-dir", "x"]) == 1
    assert "no trained vocoder" in capsys.readouterr().err


def test_wrong_names_are_corrected(corpus, tmp_path, capsys):
    assert run(corpus, tmp_path, "--measures", "pesk", systems=[]) == 1
    assert "did you mean 'pesq'?" in capsys.readouterr().err
    with pytest.raises(ValueError, match="taken"):
        name_systems(["natural=x"])
    with pytest.raises(ValueError, match="taken"):
        name_systems(["a=x", "a=y"])


def test_character_errors_against_a_hand_count():
    texts = {"natural": {"a": "abcd", "b": "xyz"}, "v": {"a": "abd", "b": ""}}
    errors = character_errors({"a": "abcd", "b": "xy"}, texts, resamples=200)
    assert errors["natural"]["rate"] == pytest.approx(1 / 6)
    assert (errors["v"]["rate"], errors["v"]["per_utterance"]) == (0.5, {"a": 1, "b": 2})
    assert errors["v"]["over_natural"] == pytest.approx(2 / 6)
    low, high = errors["v"]["over_natural_ci95"]
    assert low <= 2 / 6 <= high
    assert errors["natural"]["over_natural_ci95"] == [0.0, 0.0]


def test_a_recogniser_hears_natural_speech_and_all_systems(corpus, tmp_path, monkeypatch):
    heard = []

    class Recogniser:
        @classmethod
        def from_pretrained(cls, path):
            return cls()

        def __call__(self, wave, sampling_rate):
            heard.append((len(wave), sampling_rate))
            return "два"

    monkeypatch.setattr("imlspike.Speech2Text", Recogniser, raising=False)
    assert run(corpus, tmp_path, "--asr-model", "exp/recogniser", systems=["good"]) == 0
    report = json.loads((tmp_path / "scores.json").read_text())
    assert len(heard) == 9 and {rate for _, rate in heard} == {RATE}
    assert report["asr_model"] == "recogniser"
    cer = report["systems"]["good"]["cer"]  # раз, два, три against два three times
    assert cer["per_utterance"] == {"u0": 3, "u1": 0, "u2": 3}
    assert cer["over_natural"] == 0
    assert (tmp_path / "asr/good").read_text() == "u0 два\nu1 два\nu2 два\n"
    assert "| +0.0 (+0.0 to +0.0)" in (tmp_path / "scores.md").read_text()
