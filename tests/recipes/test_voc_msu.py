"""The vocoder recipe of msu_ru_nsh on seconds of tones: all stages, once more for nothing, wrong settings."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import soundfile
import yaml

pytest.importorskip("lightning", reason="Lightning isn't installed (extra: vocoder)")

from tests.recipes import running  # noqa: E402
from tests.recipes.corpus import write_corpus  # noqa: E402
from tests.recipes.running import finish, table  # noqa: E402

pytestmark = pytest.mark.timeout(3000)  # half a minute of work for one idle core
MODELS = ("ann", "kd")


@dataclass
class Run:
    """Where the recipe ran, what it printed, and what a second run printed and changed."""

    work: Path
    printed: str
    printed_again: str
    changed_again: set[str]


def start(work: Path, *options: str) -> subprocess.Popen:
    """Start the recipe on the corpus in `work`, with a second voice that is there already."""
    given = ["--corpus_dir", work / "corpus", "--prepare_args", "--max-left-out 0.2", "--models", "kd"]
    given += ["--config", "tests/recipes/tiny_voc.yaml", "--extra_train", "more", "--test_utts", "1"]
    given += ["--score_args", "--measures mcd mel_l1"]
    return running.start("msu_ru_nsh/voc1", work, *given, *options)


def add_voice(work: Path) -> None:
    """A data directory `more` of one recording, at another rate."""
    folder = work / "data" / "more"
    folder.mkdir(parents=True)
    samples, rate = soundfile.read(work / "corpus" / "wav" / "ru_0001.wav")
    soundfile.write(folder / "a.wav", samples, rate // 2)
    seconds = 2 * len(samples) / rate
    for name, value in (("wav.scp", folder / "a.wav"), ("text", ""), ("utt2spk", "s"), ("utt2dur", seconds)):
        (folder / name).write_text(f"s-a {value}".rstrip() + "\n")


def states(work: Path) -> dict[Path, int]:
    """When each file below `work` was changed."""
    return {path: path.stat().st_mtime_ns for path in work.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    work = tmp_path_factory.mktemp("with a blank") / "work"
    write_corpus(work / "corpus")
    add_voice(work)
    printed = finish(start(work))
    before = states(work)
    again = finish(start(work))
    changed = {str(path.relative_to(work)) for path, time in states(work).items() if before.get(path) != time}
    return Run(work, printed, again, changed)


def test_all_models_train_to_the_end_the_spiking_one_taught_by_the_ann(run):
    for name in MODELS:
        config = yaml.safe_load((run.work / "exp" / name / "config.yaml").read_text())
        assert config["train_dirs"] == ["dump/limited/train", "dump/limited/more"]
        assert config["teacher"] == (None if name == "ann" else "exp/ann")
        assert config["generator"]["neuron"] == ("none" if name == "ann" else "plif")
        assert f"  {name}: step 2, validation mel" in run.printed
        assert (run.work / "exp" / name / "weights.safetensors").is_file()


def test_audio_has_one_rate_and_what_is_too_short_is_left_out(run):
    for name, count in {"train": 20, "more": 1, "valid": 2}.items():
        wavs = table(run.work / f"dump/limited/{name}/wav.scp")
        assert len(wavs) == count
        assert {soundfile.info(wav).samplerate for wav in wavs.values()} == {16000}
    assert "ru_0027" in table(run.work / "dump/limited/train/excluded.tsv")


def test_each_system_is_scored_on_the_chosen_recordings(run):
    scores = json.loads((run.work / "exp/scores/scores.json").read_text())
    assert list(scores["systems"]) == ["natural", "griffin_lim", *MODELS] and scores["utterances"] == 1
    for name in MODELS:
        (wav,) = (run.work / "exp" / name / "synthesis").glob("*.wav")
        natural = table(run.work / "data/test/wav.scp")[wav.stem]
        assert abs(soundfile.info(wav).frames - soundfile.info(natural).frames) <= 64
        assert scores["systems"][name]["scores"]["mcd"]["mean"] > 0
        energy = json.loads((run.work / "exp" / name / "profile" / "energy.json").read_text())
        assert energy["utterances"] == 1
    assert scores["asr_model"] is None and "--asr-model" in (run.work / "exp/scores/scores.md").read_text()


def test_a_run_of_what_is_complete_does_nothing(run):
    assert all(path.lower().startswith("exp/results") for path in run.changed_again)
    assert "done before" in run.printed_again and "validation mel" not in run.printed_again


def test_a_training_with_other_settings_is_not_taken_up_in_silence(run):
    before = states(run.work / "exp/kd")
    process = start(run.work, "--stage", "4", "--stop_stage", "4", "--train_args", "optimizer.lr=0.1")
    printed, _ = process.communicate(timeout=600)
    assert process.returncode != 0 and "exp/kd holds a training with other settings" in printed
    assert states(run.work / "exp/kd") == before


def test_a_wrong_key_and_features_that_differ_stop_before_anything_is_made(tmp_path, run):
    process = start(run.work, "--train_args", "generator.dimm=8")
    printed, _ = process.communicate(timeout=600)
    assert process.returncode != 0 and "did you mean 'dim'?" in printed and "stage 1" not in printed
    other = tmp_path / "voc"
    other.mkdir()
    (other / "ann.yaml").write_text("generator: {neuron: none, n_mels: 10}")
    (other / "kd.yaml").write_text("generator: {neuron: plif}")
    printed, _ = start(run.work, "--overrides", str(other)).communicate(timeout=600)
    assert "kd has n_mels=20, ann 10: one table needs the same features" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "kd"], "did you mean --models?"),
        (["--models", "plif tms"], "there is no"),
        (["--models", "kd kd"], "kd stands twice"),
        (["--models", "ann kd"], "ann is trained by --ann true"),
        (["--models", "", "--ann", "false"], "no model"),
        (["--config", "nowhere.yaml"], "--config: there is no nowhere.yaml"),
        (["--asr_model", "nowhere"], "--asr_model: there is no nowhere"),
        (["--train_args", "lr=1"], "'lr=1' is no setting"),
        (["--steps", "many"], "--steps is 'many'; expected a whole number"),
        (["--resume", "maybe"], "--resume is 'maybe'; expected one of"),
    ],
)
def test_a_wrong_option_stops_before_anything_is_made(tmp_path, options, message):
    command = ["bash", str(running.EGS / "msu_ru_nsh/voc1/run.sh"), "--workdir", str(tmp_path / "work")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and message in done.stderr
    assert not os.path.exists(tmp_path / "work")


def test_an_unknown_extra_set_is_told(run):
    printed, _ = start(run.work, "--extra_train", "nobody", "--stop_stage", "1").communicate(timeout=600)
    assert "--extra_train: there is no data/nobody/utt2dur" in printed
