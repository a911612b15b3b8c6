"""The voices' report: its tables, its links, what it says of the aims; no path of a machine in it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from imlspike.analysis.report_parts import twin_table
from imlspike.analysis.voice_measures import MEASURES
from imlspike.analysis.voice_report import (
    aims,
    alignment_table,
    energy_table,
    gather,
    modules_table,
    portable,
    sentences,
    synthesis_table,
    training_table,
)
from imlspike.bin.profile import main as profile
from imlspike.bin.report_voice import main as report
from imlspike.bin.score_voice import main as score
from tests.inference.small_tts import RATE, write_voice

from .vocoder_audio import write_set, write_system

TEXTS = {"a": "a b , c .", "b": "d e f .", "c": "x y w a b !"}
NAMES = ("ann", "lif")
LOG = """\
[vm] (trainer:394) INFO: 1epoch results: [train] mel_post_loss=2.500, loss=9.000, time={0} seconds, \
total_count=50, [valid] mel_post_loss=1.500, duration_loss=0.250, loss=4.000, time=1 second, total_count=5
[vm] (trainer:394) INFO: 2epoch results: [train] mel_post_loss=2.000, loss=8.000, time={0} seconds, \
total_count=100, [valid] mel_post_loss=1.750, duration_loss=0.200, loss=5.000, time=1 second, total_count=10
[vm] (worker:39) INFO: peak resident memory: 512 MB
"""
ALIGNMENT = {"set": "test", "utterances": 3, "boundaries": 90, "labelled": 100, "compared_share": 0.9}
ALIGNMENT |= {"median_ms": 12.5, "mean_ms": 20.0, "bias_ms": -1.0}
ALIGNMENT |= {"within": {"20": 0.5, "40": 0.75, "80": 1.0}}


def tone(seed):
    """Half a second of something."""
    return 0.1 * np.random.default_rng(seed).standard_normal(RATE // 2).astype(np.float32)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A scored and profiled ANN and its spiking twin, neither of them trained, as a recipe leaves them."""
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("recipe")
    data = write_set(folder, {name: tone(i) for i, name in enumerate(TEXTS)}, RATE, TEXTS)
    for name, neuron in zip(NAMES, ("none", "lif"), strict=True):
        exp = write_voice(folder / name, neuron=neuron)
        config = yaml.safe_load((exp / "config.yaml").read_text()) | {"seed": 7, "init_param": ["/my/x.pth"]}
        (exp / "config.yaml").write_text(yaml.safe_dump(config))
        (exp / "train.log").write_text(LOG.format(10 if name == "ann" else 25))
        (exp / "command").write_text(f"./run.sh --corpus_dir {folder}/corpus --models {name}\n")
        where = ["--exp", str(exp), "--data-dir", str(data), "--output-dir", str(exp / "profile")]
        assert profile([*where, "--limit", "2"]) == 0
    (folder / "lif/alignment").mkdir()
    (folder / "lif/alignment/alignment.json").write_text(json.dumps(ALIGNMENT))
    (folder / "lif/alignment/boundaries.png").write_bytes(b"\x89PNG")
    systems = []
    for i, name in enumerate(("natural_mel", *NAMES)):
        waves = {u: tone(3 * i + j)[: RATE // (2 + i)] for j, u in enumerate(TEXTS)}
        write_system(folder / "out" / name / "wav", waves, RATE)
        synthesis = {"mode": "free", "model": f"{folder}/{name}", "vocoder": "griffin_lim", "utterances": 3}
        synthesis |= {"computing_per_second_of_audio": 0.25}
        (folder / "out" / name / "synthesis.yaml").write_text(yaml.safe_dump(synthesis))
        systems.append(f"{name}={folder}/out/{name}")
    options = ["--measures", "length", "--resamples", "50", "--ceiling", "natural_mel", "--output-dir"]
    options += [str(folder / "scores"), "--twin", "ann", "--asr-command", "cp {wav_scp} {text}"]
    assert score(["--data-dir", str(data), "--systems", *systems, *options]) == 0
    return folder


@pytest.fixture
def experiments(results):
    return [gather(results / name) for name in NAMES]


def test_the_report_has_tables_pictures_and_sound_that_are_there(results, capsys):
    output = results / "out dir/RESULTS.md"
    arguments = ["--scores", str(results / "scores"), "--output", str(output), "--samples", "2"]
    command = ["--command", f"./run.sh --corpus_dir {results}/corpus"]
    assert report([*(str(results / name) for name in NAMES), *arguments, *command]) == 0
    text, data = output.read_text(), (output.parent / "results.json").read_text()
    links = re.findall(r"\]\(([^)]+)\)", text)
    # two utterances of four systems, their spectrograms, firing rates and raster, boundaries, learning curves
    assert len(links) == 2 * 4 + 2 + 2 + 1 + 1
    for link in links:
        file = output.parent / link
        assert file.is_file() and "RESULTS_files/" in link
        assert file.read_bytes().startswith(b"RIFF" if link.endswith("wav") else b"\x89PNG")
    for part in (
        "natural speech",
        "natural_mel",
        "--corpus_dir corpus --models lif",
        "seeds: 7 (training)",
        "the median boundary is 12.5 ms off, at most 40 ms",
        "lif: an epoch takes 2.50 times the ANN's",
        "recogniser cp",
    ):
        assert part in text, part
    assert re.search(r"lif: character error rate [-+]\d+\.\d points over natural_mel", text)
    for content in (text, data):
        assert str(results) not in content and "/my/" not in content and "feats.npz" not in content
    found = json.loads(data)
    assert found["twin"] == "ann" and found["scores"]["utterances"] == 3
    assert found["experiments"][1]["training"]["steps"] == 100
    assert "results:" in capsys.readouterr().out


def cells(table):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def test_the_training_is_that_of_the_log(experiments):
    ann, lif = cells(training_table(experiments))
    assert lif[:7] == ["lif", "lif", "4", "stsa", "7", "2", "100"] and ann[1:4] == ["none (ANN)", "", "ann"]
    # 25 s an epoch, 52 s in all, 512 MB; of the first epoch, whose loss is lowest
    assert lif[7:] == ["25", "0.01", "512", "1", "1.500", "0.250", "–", "–"]
    assert experiments[1]["training"]["hours"] == pytest.approx(52 / 3600)


def test_energies_are_shares_of_the_twins_and_modules_those_of_the_profile(experiments):
    ann, lif = cells(energy_table(experiments, "ann"))
    energies = [e["energy"]["model"] for e in experiments]
    assert lif[2] == f"{100 * experiments[1]['energy']['firing_rate']:.1f} %" and ann[2] == "–"
    assert lif[6] == f"{100 * energies[1]['paper'] / energies[0]['paper']:.1f} %"
    assert lif[8] == f"{100 * energies[1]['full'] / energies[0]['full']:.1f} %"
    assert (ann[6], ann[8]) == ("100.0 %", "100.0 %")
    assert lif[-1] == f"{experiments[1]['energy']['seconds']:.1f}"
    assert cells(energy_table(experiments, None))[1][6] == "–"
    rows = cells(modules_table(experiments))
    assert [row[0] for row in rows] == ["encoder", "adaptor", "decoder", "mel", "postnet"]
    decoder, part = (experiments[1]["energy"][key]["decoder"] for key in ("modules", "parts"))
    assert rows[2][2] == f"{100 * decoder['rate']:.1f} %: {part['paper']:.4g} / {part['full']:.4g}"
    said = " ".join(sentences(experiments, "ann"))
    assert "lif: energy of the decoder:" in said and "lif: energy of the model:" in said
    assert "ANN's energy" in said and not sentences(experiments[:1], "ann")


def test_the_aims_are_met_or_not(results, experiments):
    scores = json.loads((results / "scores/scores.json").read_text())
    for name, more in (("ann", 0.149), ("lif", 0.151)):
        scores["systems"][name]["cer"] = {"over": more, "over_ci95": [0.1, 0.2]}
    said = " ".join(aims(scores, experiments))
    assert "ann: character error rate +14.9 points over natural_mel (+10.0 to +20.0), within 15" in said
    assert "lif: character error rate +15.1 points over natural_mel (+10.0 to +20.0), NOT within 15" in said
    assert "natural_mel:" not in said
    experiments[1]["alignment"] = ALIGNMENT | {"median_ms": 40.1}
    assert "40.1 ms off, MORE than 40 ms" in " ".join(aims(scores, experiments))
    [line] = cells(alignment_table(experiments))
    assert line[:6] == ["lif: test", "3", "90 of 100 (90 %)", "40.1", "20.0", "-1.0"]
    assert line[6:] == ["50.0 %", "75.0 %", "100.0 %"]
    assert alignment_table(experiments[:1]) == ""


def test_differences_to_the_twin_are_those_of_the_means(results):
    scores = json.loads((results / "scores/scores.json").read_text())
    rows = {row[0]: row[1] for row in cells(twin_table(scores, MEASURES))}
    lif, ann = (scores["systems"][name]["scores"]["length"]["mean"] for name in ("lif", "ann"))
    assert rows.keys() == {"natural_mel", "lif"} and rows["lif"].split()[0] == f"{lif - ann:+.1f}" != "+0.0"


def test_how_the_systems_spoke(results):
    scores = portable(json.loads((results / "scores/scores.json").read_text()))
    rows = cells(synthesis_table(scores))
    assert rows[1] == ["ann", "free", "ann", "griffin_lim", "3", "0.250"] and len(rows) == 3
    for entry in scores["systems"].values():
        entry["synthesis"] = None
    assert synthesis_table(scores) == ""


def test_what_is_missing_is_named_and_what_may_be_missing_is_left_out(results, tmp_path, capsys):
    options = ["--output", str(tmp_path / "r.md"), "--scores"]
    assert report([*options, str(tmp_path)]) == 1
    assert "scores.json: no such file; `imlspike score-voice` writes it" in capsys.readouterr().err
    assert report([str(tmp_path), *options, str(results / "scores")]) == 1
    assert "no config.yaml" in capsys.readouterr().err
    (tmp_path / "config.yaml").write_text("asr: 1\n")
    assert report([str(tmp_path), *options, str(results / "scores")]) == 1
    assert "no tts_conf" in capsys.readouterr().err
    (tmp_path / "config.yaml").write_text("tts_conf: {}\n")
    assert report([str(tmp_path), *options, str(results / "scores"), "--samples", "0"]) == 0
    text = (tmp_path / "r.md").read_text()
    assert "## Training" in text and "## Firing rates" not in text and "## Alignment" not in text


def test_paths_lose_their_place(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert portable([f"{tmp_path}/exp/a.pth", 3, None]) == ["exp/a.pth", 3, None]
    for text in ("5 µJ/s", "exp/lif/wav", "https://host/a/b", "~/x/y", "and/or", "/", "a / b"):
        assert portable(text) == text
    assert portable(f"--exp={Path('/data')}/x/exp --n '/a/b c'") == "--exp=exp --n 'b c'"
