"""The vocoders' report: its tables, its links, what it says of layers that hardly fire."""

import json
import re
from pathlib import Path

import pytest
import yaml

from imlspike.analysis.report_parts import rates_table, twin_table
from imlspike.analysis.vocoder_measures import MEASURES
from imlspike.analysis.vocoder_report import energy_table, gather, sentences
from imlspike.bin.profile import main as profile
from imlspike.bin.report_vocoder import main as report
from imlspike.bin.score_vocoder import main as score
from imlspike.data.files import atomic_write
from imlspike.models import SpikingVocos
from tests.inference.small_vocoder import save

from .vocoder_audio import HOP, RATE, noisy, voice, write_set, write_system

SIZES = dict(
    sampling_rate=RATE, n_fft=512, hop_length=HOP, n_mels=40, dim=8, intermediate_dim=16, num_layers=2
)
TEXTS = {"a": "раз", "b": "два", "c": "три"}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A scored and profiled ANN and its spiking twin, neither of them trained, as a recipe leaves them."""
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("recipe")
    waves = {name: voice(0.4 + 0.1 * i, seed=i) for i, name in enumerate(TEXTS)}
    data = write_set(folder, waves, texts=TEXTS)
    for name, neuron in (("ann", "none"), ("plif", "plif")):
        save(SpikingVocos(**SIZES, neuron=neuron), folder / name)
        config = {"generator": SIZES | {"neuron": neuron}, "trainer": {"seed": 7}, "run": {"git": "abc"}}
        (folder / name / "config.yaml").write_text(yaml.safe_dump(config))
        with atomic_write(folder / name / "log.csv") as out:
            out.write("step,discriminator_steps,seconds,valid_mel\n100,0,60,\n200,50,120.5,0.75\n")
        where = ["--exp", str(folder / name), "--data-dir", str(data)]
        assert profile([*where, "--output-dir", str(folder / name / "profile")]) == 0
    write_system(folder / "ann/wav", {u: noisy(w, 0.002) for u, w in waves.items()})
    write_system(folder / "plif/wav", {u: noisy(w, 0.02) for u, w in waves.items()})
    options = [
        "--measures",
        "mcd",
        "mel_l1",
        "utmos",
        "--resamples",
        "100",
        "--output-dir",
        str(folder / "scores"),
    ]
    systems = [f"{name}={folder / name / 'wav'}" for name in ("ann", "plif")]
    where = ["--data-dir", str(data), "--model", str(folder / "ann")]
    assert score([*where, *options, "--systems", *systems]) == 0
    return folder


def test_the_report_has_tables_pictures_and_sound_that_are_there(results, capsys):
    output = results / "out dir/RESULTS.md"
    arguments = ["--scores", str(results / "scores"), "--output", str(output), "--command", "./run.sh voc"]
    assert report([str(results / "ann"), str(results / "plif"), *arguments]) == 0
    text = output.read_text()
    links = re.findall(r"\]\(([^)]+)\)", text)
    # sound of four systems, two pictures of spectrograms, firing rates and raster (not of the ANN)
    assert len(links) == 2 * 4 + 2 + 2
    for link in links:
        assert (output.parent / link).is_file() and "RESULTS_files/" in link
    assert all((output.parent / link).read_bytes()[:4] == b"RIFF" for link in links if link.endswith("wav"))
    for part in (
        "natural speech",
        "Griffin-Lim",
        "minus ann",
        "./run.sh voc",
        "abc",
        "200 ",
        "seed: 7",
        "2.0 ",
    ):
        assert part in text
    assert re.search(r"\| plif +\| plif +\| 4 +\| off +\|", text)
    assert json.loads((output.parent / "results.json").read_text())["scores"]["utterances"] == 3
    assert "results:" in capsys.readouterr().out


def test_every_layer_stands_in_the_table_and_those_that_hardly_fire_are_named(results):
    experiments = [gather(results / name) for name in ("ann", "plif")]
    scores = json.loads((results / "scores/scores.json").read_text())
    table = rates_table(experiments, "backbone.")
    assert [line.split()[1] for line in table.splitlines()[2:]] == [
        f"blocks.{n}.neuron{k}" for n in (0, 1) for k in (1, 2)
    ]
    said = " ".join(sentences(experiments, scores))
    dead = [layer for layer in experiments[1]["layers"] if not 0.005 < layer["rate"] < 0.6]
    assert dead and f"plif: outside 0.5 % and 60 % fire {len(dead)} of 4 layers" in said
    assert all(f"{layer['name']} (" in said for layer in dead) and table.count("!") == len(dead)
    assert "plif: energy of the backbone:" in said and "plif: energy of the model:" in said
    for layer in experiments[1]["layers"]:
        layer["rate"] = 0.1
    experiments[1]["energy"]["rates_out_of_range"] = {}
    assert "all 4 neuron layers fire between" in " ".join(sentences(experiments, scores))


def test_energies_are_shares_of_the_twins(results):
    experiments = [gather(results / name) for name in ("ann", "plif")]
    ann, plif = (line.split("|")[1:-1] for line in energy_table(experiments, "ann").splitlines()[2:])
    assert ann[7].strip() == "100.0 % / 100.0 %"
    by_hand = [e["energy"]["table_3"]["blocks"] for e in experiments]
    assert plif[7].split("/")[0].strip() == f"{100 * by_hand[1] / by_hand[0]:.1f} %"


def test_differences_to_the_twin_are_those_of_the_means(results):
    scores = json.loads((results / "scores/scores.json").read_text())
    line = next(line for line in twin_table(scores, MEASURES).splitlines() if "plif" in line)
    means = [scores["systems"][name]["scores"]["mcd"]["mean"] for name in ("plif", "ann")]
    assert line.split("|")[2].split()[0] == f"{means[0] - means[1]:+.2f}"
    assert twin_table(scores | {"twin": None, "systems": {}}, MEASURES) == ""


def test_a_recogniser_within_five_points_or_not(results):
    scores = json.loads((results / "scores/scores.json").read_text())
    for name, more in (("ann", 0.02), ("plif", 0.051)):
        scores["systems"][name]["cer"] = {"over_natural": more, "over_natural_ci95": [0.0, 0.1]}
    said = " ".join(sentences([], scores))
    assert "ann: character error rate +2.0 points over natural speech (+0.0 to +10.0), within 5" in said
    assert "+5.1 points over natural speech (+0.0 to +10.0), NOT within 5 points" in said


def test_what_is_missing_is_named(results, tmp_path, capsys):
    options = ["--output", str(tmp_path / "r.md"), "--scores"]
    assert report([*options, str(tmp_path)]) == 1
    assert "scores.json: no such file" in capsys.readouterr().err
    assert report([str(tmp_path), *options, str(results / "scores")]) == 1
    assert "no config.yaml" in capsys.readouterr().err
    moved = json.loads((results / "scores/scores.json").read_text())
    moved["systems"]["plif"]["folder"] = str(tmp_path / "moved")
    (tmp_path / "scores.json").write_text(json.dumps(moved))
    assert report([*options, str(tmp_path)]) == 1
    assert str(Path("moved/a.wav")) in capsys.readouterr().err
