"""The report of recognizers, voices and vocoders: what it reads, how it compares twins, where its links
lead."""

import json
import re
import subprocess
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import yaml

from imlspike.bin.profile import main as profile
from imlspike.bin.report import main
from imlspike.bin.score import main as score
from imlspike.data.files import write_kaldi
from imlspike.data.origin import git_state
from imlspike.evaluation import report_tables
from imlspike.evaluation.energy import FIGURES, Costs
from imlspike.evaluation.error_rates import score_files
from imlspike.evaluation.experiments import gather, portable
from imlspike.evaluation.report import compare, error_ratio, sentences
from imlspike.evaluation.report_tables import HEADS
from imlspike.evaluation.score_tables import twin_table
from imlspike.models import SpikingVocos
from tests.evaluation.speechlike import HOP, noisy, voice, write_set, write_system
from tests.evaluation.speechlike import RATE as VOCODER_RATE
from tests.inference.small_tts import RATE, write_voice
from tests.inference.small_vocoder import save

LOG = """\
x INFO: 1epoch results: [train] mel_post_loss=2.500, loss=9.000, time={0} seconds, total_count=50, \
[valid] mel_post_loss=1.500, duration_loss=0.250, loss=4.000, time=1 second, total_count=5
x INFO: 2epoch results: [train] mel_post_loss=2.000, loss=8.000, time={0} seconds, total_count=100, \
[valid] mel_post_loss=1.750, duration_loss=0.200, loss=5.000, time=1 second, total_count=10
x INFO: peak resident memory: {1} MB
"""
ALIGNMENT = {"set": "test", "utterances": 3, "boundaries": 90, "labelled": 100, "compared_share": 0.9}
ALIGNMENT |= {"median_ms": 12.5, "mean_ms": 20.0, "bias_ms": -1.0, "within": {"20": 0.5, "40": 0.7, "80": 1}}


def cells(table):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def named(table):
    """The rows of a table by their heads."""
    head = [cell.strip() for cell in table.splitlines()[0].split("|")[1:-1]]
    return [dict(zip(head, row, strict=True)) for row in cells(table)]


def recognizer(folder, hypotheses, seconds, memory, energies):
    references = {f"u{i}": "abcd" for i in range(len(hypotheses))}
    (folder / "decode_greedy/test").mkdir(parents=True)
    (folder / "config.yaml").write_text("encoder: iml_spikeformer\nseed: 7\n")
    (folder / "train.log").write_text(LOG.format(seconds, memory))
    for name, texts in (("ref", references), ("hyp", dict(zip(references, hypotheses, strict=True)))):
        (folder / name).write_text("".join(f"{utterance} {text}\n" for utterance, text in texts.items()))
    score_files(folder / "ref", folder / "hyp", folder / "decode_greedy/test", "greedy", resamples=50)
    figures = dict.fromkeys(FIGURES, 1) | dict(zip(("paper", "full", "int8"), energies, strict=True))
    report = {"encoder": figures, "model": figures, "figures": FIGURES, "costs_pj": asdict(Costs())}
    report |= {"beam": 10, "mean_count": 1.1, "firing_rate": 0.2, "utterances": 3, "seconds": 9.0}
    (folder / "profile").mkdir()
    (folder / "profile/energy.json").write_text(json.dumps(report | {"parameters": {"model": 2_100_000}}))
    return folder


@pytest.fixture
def pair(tmp_path):
    spiking = recognizer(tmp_path / "quick", ["abcx", "abcd", "abxx"], 40, 900, (1, 2, 1))
    return spiking, recognizer(tmp_path / "quick_ann", ["abxx", "abcx", "abxx"], 20, 600, (5, 6, 1))


def test_energy_is_that_of_the_model_file_that_is_asked_for(pair, tmp_path):
    folder, output = pair[0], tmp_path / "RESULTS.md"
    with open(folder / "config.yaml", "a") as config:
        config.write("best_model_criterion: [[valid, acc, max]]\n")
    own = gather(folder)["energy"]
    assert own["firing_rate"] == 0.2 and gather(folder, "valid.acc.ave.pth")["energy"] == own
    assert gather(folder, "1epoch.pth")["energy"] is None, "better none than that of another"
    (folder / "profile_1epoch").mkdir()
    (folder / "profile_1epoch/energy.json").write_text(json.dumps(own | {"firing_rate": 0.3}))
    assert gather(folder, "1epoch.pth")["energy"]["firing_rate"] == 0.3
    assert main([str(folder), "--model", "1epoch.pth", "--output", str(output)]) == 0
    text = output.read_text()
    assert "30.0 %" in text and "20.0 %" not in text and "quick: 1epoch" in text
    (folder / "profile/energy.json").write_text(json.dumps(own | {"figures": {"int8_mac": "an earlier one"}}))
    with pytest.raises(ValueError, match="quick/profile/energy.json"):
        gather(folder)


def test_twins_are_compared(pair):
    experiments = [gather(folder) for folder in pair]
    [comparison] = compare(experiments)
    assert (comparison["name"], comparison["peer"]) == ("quick", "quick_ann")
    [cer] = comparison["errors"]
    assert cer["ratio"] == 3 / 5
    assert cer["ci95"] == [0, 1]  # all drawn: the sentence without errors; the third
    assert (comparison["seconds_per_epoch"], comparison["peak_memory_mb"]) == (2.0, 1.5)
    said = "\n".join(sentences(experiments, [comparison]))
    assert "an epoch takes 2.00 times that of quick_ann, its memory is 1.50 times" in said
    assert "quick: energy of the encoder, 1 paper: WINS against quick_ann (0.20 of its energy)" in said
    assert "quick: energy of the model, 3 int8, unary: ties with quick_ann" in said
    own = experiments[0]["scores"][0]
    assert error_ratio(own, own) == {"ratio": 1.0, "ci95": [1.0, 1.0]}
    with pytest.raises(ValueError, match="ghost"):
        error_ratio(own, own | {"per_utterance": {"ghost": {"cer": [0, 4]}}})


def test_the_error_rate_that_counts_comes_first_and_is_the_one_compared(pair, capsys, tmp_path):
    (pair[0] / "command").write_text("./run.sh --model quick\n")
    for piece, seconds in (("1", 5.0), ("2", 2.5)):
        (pair[0] / "decode_greedy/test/pieces" / piece).mkdir(parents=True)
        times = json.dumps({"audio_seconds": 30.0, "seconds": seconds})
        (pair[0] / "decode_greedy/test/pieces" / piece / "text.json").write_text(times)
    (tmp_path / "lm/perplexity").mkdir(parents=True)
    (tmp_path / "lm/perplexity/ppl").write_text("12.345\n")
    output = tmp_path / "RESULTS.md"
    arguments = ["--primary", "wer", "--lm", tmp_path / "lm", "--output", output, "--command", "./run.sh"]
    assert main(list(map(str, [*pair, *arguments]))) == 0
    text = output.read_text(encoding="utf-8")
    rows = named(text[text.index("| model") :].partition("\n\n")[0])
    assert list(rows[0]).index("WER %") < list(rows[0]).index("CER %")
    assert (rows[0]["decoding"], rows[0]["set"], rows[0]["RTF"]) == ("greedy", "test", "0.125 (2 jobs)")
    assert rows[0]["WER / ann"].startswith("0.67 (")  # of 3 sentences 2 are wrong against 3
    for part in ("lm, perplexity 12.3", "- command: `./run.sh`\n- command: `./run.sh --model", "torch"):
        assert part in text
    assert "25.0 (" in rows[0]["CER %"] and "seed: 7" in text and "a beam of 10" in text
    record = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert [e["name"] for e in record["experiments"]] == ["quick", "quick_ann"]
    assert record["experiments"][0]["training"]["seconds_per_epoch"] == 40
    assert str(output) in capsys.readouterr().out


def test_sets_have_their_size_and_small_ones_a_warning(pair, tmp_path):
    exp, texts = pair[0], {f"u{i}": "ab cd ёж" for i in range(3)}
    train = write_set(tmp_path / "train", {u: tone(i) for i, u in enumerate("abcd")}, RATE, {"a": "да нет"})
    config = {"token_type": "char", "token_list": ["<blank>", "<unk>", *"abcdun", "<sos/eos>"]}
    config["train_data_path_and_name_and_type"] = [[f"{train}/wav.scp", "speech", "sound"]]
    config["best_model_criterion"] = [["valid", "acc", "max"]]
    (exp / "config.yaml").write_text(yaml.safe_dump(config))
    for count in (1, 2):  # of an earlier run with fewer epochs, too
        (exp / f"valid.acc.ave_{count}best.pth").touch()
    write_kaldi(exp / "ref", texts)
    score_files(exp / "ref", exp / "ref", exp / "decode_greedy/test", resamples=10)
    pieces = exp / "decode_greedy/test/pieces/1"
    pieces.mkdir(parents=True)
    (pieces / "text.json").write_text(json.dumps({"audio_seconds": 36.0, "seconds": 9.0}))
    trained, scored = named(report_tables.sets_table([gather(exp)]))
    assert [*trained.values()] == ["quick", "training", "4", f"{2 / 3600:.3g}", "5", "–"]
    assert [*scored.values()] == ["quick", "test", "3", "0.01", "9", "33 %"]  # by the decoding's seconds
    (exp / "text").symlink_to(exp / "ref")
    write_kaldi(exp / "utt2dur", {u: "24.0" for u in [*texts, "other"]})
    assert named(report_tables.sets_table([gather(exp)]))[1]["hours"] == "0.02"  # of those scored only
    [row] = named(report_tables.training_table([gather(exp)]))
    assert row["epochs averaged"] == "2, by max valid acc"
    assert "test: utterances scored: only 3;" in " ".join(sentences([gather(exp)], []))
    many = gather(exp)
    many["scores"][0]["utterances"] = 20
    assert "WARNING" not in " ".join(sentences([many], []))


def test_without_spaces_the_table_says_sentences_and_not_words(pair):
    for folder in pair:
        score_files(folder / "ref", folder / "hyp", folder / "decode_greedy/test", resamples=50, spaces=False)
    experiments = [gather(folder) for folder in pair]
    shown = report_tables.rates_table(experiments)
    assert named(report_tables.sets_table(experiments))[0]["words"] == "–"
    assert "sentences wrong %" in shown and "WER" not in shown


def test_what_is_not_there_yet_leaves_gaps_and_what_is_wrong_is_named(pair, tmp_path, capsys):
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare/config.yaml").write_text("seed: 1\n")
    bare = gather(tmp_path / "bare")
    assert (bare["training"], bare["scores"], bare["energy"]) == (None, [], None)
    output = ["--output", str(tmp_path / "R.md")]
    assert main([str(tmp_path / "bare"), *output]) == 0
    text = (tmp_path / "R.md").read_text()
    assert "Nothing was decoded." in text and "## Firing rates" not in text and "## Alignment" not in text
    (tmp_path / "bare/config.yaml").write_text("tts_conf: {}\n")
    with pytest.raises(ValueError, match="quick"):
        compare([gather(pair[0])] * 2)
    score = pair[1] / "decode_greedy/test/score.json"
    for content in ("{", "{}"):
        score.write_text(content)
        with pytest.raises(ValueError, match="quick_ann/decode_greedy/test/score.json"):
            gather(pair[1])
    for words, message in (
        ([str(tmp_path / "nothing")], "nothing: no config.yaml"),
        ([str(pair[0]), str(tmp_path / "bare")], "recognizer and voice"),
        (["--scores", str(tmp_path)], "scores.json: no such file"),
        ([str(pair[0]), "--lm", str(tmp_path / "nowhere")], "nowhere: no such folder"),
    ):
        assert main([*words, *output]) == 1
        assert message in capsys.readouterr().err


def test_git_state(tmp_path):
    assert git_state(tmp_path) == "unknown"

    def git(*arguments):
        identity = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "file").write_text("a")
    git("init")
    git("add", "file")
    git("commit", "-m", "first", "--no-verify")
    clean = git_state(tmp_path)
    assert len(clean) == 40
    (tmp_path / "file").write_text("b")
    assert git_state(tmp_path) == f"{clean} (dirty)"


TEXTS = {"a": "a b , c .", "b": "d e f .", "c": "x y w a b !"}
SIZES = dict(
    sampling_rate=VOCODER_RATE, n_fft=512, hop_length=HOP, n_mels=40, dim=8, intermediate_dim=16, num_layers=2
)


def tone(seed):
    """Half a second of something."""
    return 0.1 * np.random.default_rng(seed).standard_normal(RATE // 2).astype(np.float32)


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    """A scored and profiled ANN and its spiking twin, neither of them trained, as a recipe leaves them."""
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("voices")
    data = write_set(folder, {name: tone(i) for i, name in enumerate(TEXTS)}, RATE, TEXTS)
    for name, neuron in (("ann", "none"), ("lif", "lif")):
        exp = write_voice(folder / name, neuron=neuron)
        config = yaml.safe_load((exp / "config.yaml").read_text()) | {"seed": 7, "init_param": ["/my/x.pth"]}
        (exp / "config.yaml").write_text(yaml.safe_dump(config))
        (exp / "train.log").write_text(LOG.format(10 if name == "ann" else 25, 512))
        (exp / "command").write_text(f"./run.sh --corpus_dir {folder}/corpus --models {name}\n")
        where = ["--exp", str(exp), "--data-dir", str(data), "--output-dir", str(exp / "profile")]
        assert profile([*where, "--limit", "2"]) == 0
    (folder / "lif/alignment").mkdir()
    (folder / "lif/alignment/alignment.json").write_text(json.dumps(ALIGNMENT))
    (folder / "lif/alignment/boundaries.png").write_bytes(b"\x89PNG")
    systems = []
    for i, name in enumerate(("natural_mel", "ann", "lif")):
        waves = {u: tone(3 * i + j)[: RATE // (2 + i)] for j, u in enumerate(TEXTS)}
        write_system(folder / "out" / name / "wav", waves, RATE)
        synthesis = {"mode": "free", "model": f"{folder}/{name}", "vocoder": "griffin_lim", "utterances": 3}
        synthesis |= {"computing_per_second_of_audio": 0.25}
        (folder / "out" / name / "synthesis.yaml").write_text(yaml.safe_dump(synthesis))
        systems.append(f"{name}={folder}/out/{name}")
    options = ["--measures", "length", "--resamples", "50", "--ceiling", "natural_mel", "--output-dir"]
    options += [str(folder / "scores"), "--asr-command", "cp {wav_scp} {text}"]
    assert score(["--data-dir", str(data), "--systems", *systems, *options]) == 0
    return folder


@pytest.fixture(scope="module")
def vocoders(tmp_path_factory):
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("vocoders")
    waves = {name: voice(0.4 + 0.1 * i, seed=i) for i, name in enumerate(TEXTS)}
    data = write_set(folder, waves, texts=TEXTS)
    for name, neuron, level in (("ann", "none", 0.002), ("plif", "plif", 0.02)):
        save(SpikingVocos(**SIZES, neuron=neuron), folder / name)
        config = {"generator": SIZES | {"neuron": neuron}, "trainer": {"seed": 7}, "run": {"git": "abc"}}
        (folder / name / "config.yaml").write_text(yaml.safe_dump(config))
        log = "step,discriminator_steps,seconds,valid_mel\n200,50,7200,0.75\n400,250,"  # cut
        (folder / name / "log.csv").write_text(log)
        where = ["--exp", str(folder / name), "--data-dir", str(data)]
        assert profile([*where, "--output-dir", str(folder / name / "profile")]) == 0
        write_system(folder / name / "wav", {u: noisy(w, level) for u, w in waves.items()})
    options = ["--measures", "mcd", "utmos", "--resamples", "100", "--output-dir", str(folder / "scores")]
    systems = [f"{name}={folder / name / 'wav'}" for name in ("ann", "plif")]
    assert (
        score(["--data-dir", str(data), "--model", str(folder / "ann"), *options, "--systems", *systems]) == 0
    )
    return folder


def report(folder, names, *options):
    """The text of a report whose links were looked at, their number, and results.json as text."""
    output = folder / "out dir/RESULTS.md"
    arguments = ["--scores", str(folder / "scores"), "--output", str(output), "--samples", "2", *options]
    assert main([*(str(folder / name) for name in names), *arguments]) == 0
    text, data = output.read_text(), (output.parent / "results.json").read_text()
    links = re.findall(r"\]\((RESULTS_files[^)]+)\)", text)
    for link in links:
        file = output.parent / link
        assert file.read_bytes().startswith(b"RIFF" if link.endswith("wav") else b"\x89PNG")
    return text, len(links), data


def test_a_report_of_voices_has_tables_pictures_and_sound_that_are_there(voices):
    text, links, data = report(voices, ("ann", "lif"), "--command", f"./run.sh --corpus_dir {voices}/corpus")
    # two utterances of four systems, their spectrograms, firing rates and raster, boundaries, learning curves
    assert links == 2 * 4 + 2 + 2 + 1 + 1
    for part in ("natural speech", f"--corpus_dir {voices}/corpus --models lif", "seed: 7", "recognizer cp"):
        assert part in text, part
    assert "lif: the median boundary is 12.5 ms off, at most 40 ms" in text
    assert "lif: training: an epoch takes 2.50 times that of ann" in text
    assert re.search(r"lif: character error rate [-+]\d+\.\d points over natural_mel", text)
    for content in (text, data):
        content = re.sub("./run.sh --corpus_dir.*", "", content)
        assert not any(word in content for word in (str(voices), "/my/", "feats.npz"))
    assert json.loads(data)["experiments"][1]["training"]["steps"] == 100


def test_a_report_of_vocoders(vocoders):
    text, links, data = report(vocoders, ("ann", "plif"))
    assert links == 2 * 4 + 2 + 2
    assert "WARNING: audio: utterances scored: only 3;" in text and "natural speech, 11 words" in text
    for part in ("Griffin-Lim", "minus ann", "abc", "eqs 15, 16"):
        assert part in text
    assert json.loads(data)["scores"]["utterances"] == 3
    experiments = [gather(vocoders / name) for name in ("ann", "plif")]
    row = named(report_tables.training_table(experiments))[1]
    assert (row["neuron"], row["T"], row["temporal shift"], row["seed"]) == ("plif", "4", "off", "7")
    shown = [row[head] for head in ("steps", "discriminator steps", "hours", "mel")]
    assert shown == ["200", "50", "2.00", "0.750"]
    by_hand = [e["energy"]["table_3"]["blocks"] for e in experiments]
    shown = named(report_tables.energy_table(experiments))[1]["eqs 15, 16: 1e9 pJ"]
    assert shown.endswith(f"({100 * by_hand[1] / by_hand[0]:.1f} %)")
    scores = json.loads((vocoders / "scores/scores.json").read_text())
    for name, more in (("ann", 0.02), ("plif", 0.051)):
        scores["systems"][name]["cer"] = {"over": more, "over_ci95": [0.0, 0.1]}
    said = " ".join(sentences(experiments, compare(experiments), scores))
    assert "ann: character error rate +2.0 points over natural speech (+0.0 to +10.0), within 5" in said
    assert "+5.1 points over natural speech (+0.0 to +10.0), NOT within 5 points" in said
    assert "plif: energy of the backbone, 1 paper:" in said and "plif: energy of the model, 5" in said


def test_every_layer_stands_in_the_table_and_those_that_hardly_fire_are_named(vocoders):
    experiments = [gather(vocoders / name) for name in ("ann", "plif")]
    table, said = report_tables.layers_table(experiments), " ".join(sentences(experiments, []))
    layers = experiments[1]["layers"]
    assert [row[0] for row in cells(table)] == [layer["name"] for layer in layers] and len(layers) == 4
    dead = [layer for layer in layers if not 0.005 < layer["rate"] < 0.6]
    assert dead and f"plif: outside 0.5 % and 60 % fire {len(dead)} of 4 layers" in said
    assert all(f"{layer['name']} (" in said for layer in dead) and table.count("!") == len(dead)
    experiments[1]["energy"]["rates_out_of_range"] = {}
    assert "all 4 neuron layers fire between" in " ".join(sentences(experiments, []))


def test_the_training_is_that_of_the_log_and_energies_are_shares_of_the_twins(voices):
    experiments = [gather(voices / name) for name in ("ann", "lif")]
    ann, lif = named(report_tables.training_table(experiments))
    assert (ann["neuron"], ann["T"], ann["attention"]) == ("none (ANN)", "", "ann")
    # 25 s an epoch, 52 s in all, 512 MB; of the first epoch, whose loss is lowest
    heads = ("epochs", "steps", "seconds per epoch", "hours", "peak memory mb", HEADS["best_epoch"])
    shown = [lif[head] for head in heads]
    assert shown == ["2", "100", "25", "0.01", "512", "1"] and lif["mel post loss"] == "1.500"
    assert experiments[1]["training"]["hours"] == pytest.approx(52 / 3600)
    ann, lif = cells(report_tables.energy_table(experiments))
    energies = [e["energy"]["model"] for e in experiments]
    assert lif[2] == f"{100 * experiments[1]['energy']['firing_rate']:.1f} %" and ann[2] == "–"
    speed = experiments[1]["energy"]["speed"]
    assert f"{speed['seconds_per_second']:.3g} (load {speed['load']:.1f})" in lif
    shown = named(report_tables.accountings_table(experiments))
    assert shown[1]["lif"].endswith(f" / {energies[1]['full']:.4g}") and len(shown) == len(FIGURES) + 1
    rows = cells(report_tables.modules_table(experiments))
    assert [row[0] for row in rows] == ["encoder", "adaptor", "decoder", "mel", "postnet"]
    decoder, part = (experiments[1]["energy"][key]["decoder"] for key in ("modules", "parts"))
    assert rows[2][2] == f"{100 * decoder['rate']:.1f} %: {part['paper']:.4g} / {part['full']:.4g}"


def test_aims_boundaries_differences_and_how_the_systems_spoke(voices):
    experiments = [gather(voices / name) for name in ("ann", "lif")]
    scores = portable(json.loads((voices / "scores/scores.json").read_text()))
    rows = {row[0]: row[1] for row in cells(twin_table(scores))}
    lif, ann = (scores["systems"][name]["scores"]["length"]["mean"] for name in ("lif", "ann"))
    assert rows.keys() == {"natural_mel", "lif"} and rows["lif"].split()[0] == f"{lif - ann:+.1f}" != "+0.0"
    spoken = cells(report_tables.synthesis_table(scores))
    assert spoken[1] == ["ann", "free", "ann", "griffin_lim", "3", "0.250"]
    for name, more in (("ann", 0.149), ("lif", 0.151)):
        scores["systems"][name]["cer"] = {"over": more, "over_ci95": [0.1, 0.2]}
    experiments[1]["alignment"] = ALIGNMENT | {"median_ms": 40.1}
    said = " ".join(sentences(experiments, [], scores))
    assert "ann: character error rate +14.9 points over natural_mel (+10.0 to +20.0), within 15" in said
    assert "lif: character error rate +15.1 points over natural_mel (+10.0 to +20.0), NOT within 15" in said
    assert "natural_mel: character" not in said and "40.1 ms off, MORE than 40 ms" in said
    [line] = cells(report_tables.alignment_table(experiments))
    assert line[:6] == ["lif: test", "3", "90 of 100 (90 %)", "40.1", "20.0", "-1.0"]


def test_audio_that_was_moved_is_named(vocoders, tmp_path, capsys):
    moved = json.loads((vocoders / "scores/scores.json").read_text())
    moved["systems"]["plif"]["folder"] = str(tmp_path / "moved")
    (tmp_path / "scores.json").write_text(json.dumps(moved))
    assert main(["--output", str(tmp_path / "r.md"), "--scores", str(tmp_path)]) == 1
    assert str(Path("moved/a.wav")) in capsys.readouterr().err


def test_paths_lose_their_place(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert portable([f"{tmp_path}/exp/a.pth", 3, None]) == ["exp/a.pth", 3, None]
    for text in ("5 µJ/s", "exp/lif/wav", "https://host/a/b", "~/x/y", "and/or", "/", "a / b"):
        assert portable(text) == text
    assert portable(f"--exp={Path('/data')}/x/exp --n '/a/b c'") == "--exp=exp --n 'b c'"
