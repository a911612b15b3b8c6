"""The whole recipe on seconds of tones: killed in an epoch, run to its end, and run once more for nothing."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("espnet2", reason="ESPnet isn't installed (extra: asr)")

from imlspike.evaluation.training_log import read_log  # noqa: E402
from tests.recipes import running  # noqa: E402
from tests.recipes.corpus import AUDIO_WITHOUT_WORDS, TOO_SHORT, WORDS_WITHOUT_AUDIO, write_corpus  # noqa: E402
from tests.recipes.running import finish  # noqa: E402

HERE = Path(__file__).parent
RECIPE = HERE.parents[1] / "egs" / "msu_ru_nsh" / "asr1" / "run.sh"
EPOCHS = 3
REPORT = {"exp/RESULTS.md", "exp/results.json", "exp/learning_curves.png"}
SPIKING = f"tiny:{HERE}/tiny.yaml"
BOTH = f"{SPIKING} tiny_ann:{HERE}/tiny.yaml:{HERE}/tiny_ann.yaml"


@dataclass
class Recipe:
    """A folder where the recipe ran, what the killed run had left, and what the two after it printed."""

    work: Path
    epochs_when_killed: list[int]
    printed: str
    printed_again: str
    changed_again: list[Path]

    def lines(self, path: str) -> dict[str, str]:
        """A Kaldi table as a dictionary."""
        lines = (self.work / path).read_text(encoding="utf-8").splitlines()
        return {line.split()[0]: line.partition(" ")[2] for line in lines}


def start(work: Path, *options: str) -> subprocess.Popen:
    """Start the recipe on the corpus in `work`, without a language model."""
    given = ["--corpus_dir", work / "corpus", "--prepare_args", "--max-left-out 0.2"]
    given += ["--use_lm", "false", "--inference_config", "egs/TEMPLATE/asr1/conf/decode_joint.yaml"]
    return running.start("msu_ru_nsh/asr1", work, *given, *options)


def epochs_finished(log: Path) -> list[int]:
    """The epochs whose results an ESPnet log and those before it tell, in their order."""
    return [int(n) for n in re.findall(r" (\d+)epoch results:", read_log(log) if log.exists() else "")]


def kill_within_epoch(work: Path) -> list[int]:
    """Run the recipe, kill -9 its process group in the middle of epoch 2; the epochs it finished."""
    log = work / "exp" / "tiny" / "train.log"
    process = start(work, "--experiments", SPIKING, "--stop_stage", "11")
    deadline = time.monotonic() + 1000
    while not (log.exists() and "2epoch:train:1-" in log.read_text()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, log.read_text() if log.exists() else "the training did not start"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return epochs_finished(log)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Recipe:
    work = tmp_path_factory.mktemp("with a blank") / "work"
    write_corpus(work / "corpus")
    finished = kill_within_epoch(work)
    printed = finish(start(work, "--experiments", BOTH))
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*") if path.is_file()}
    again = finish(start(work, "--experiments", BOTH))
    after = {path: path.stat().st_mtime_ns for path in work.rglob("*") if path.is_file()}
    changed = [path.relative_to(work) for path in after if before.get(path) != after[path]]
    return Recipe(work, finished, printed, again, changed)


pytestmark = pytest.mark.timeout(3000)  # minutes of work for one idle core


def test_a_killed_training_goes_on_and_ends_with_the_same_epochs(recipe):
    assert recipe.epochs_when_killed == [1]
    epochs = list(range(1, EPOCHS + 1))
    assert epochs_finished(recipe.work / "exp/tiny/train.log") == epochs
    assert epochs_finished(recipe.work / "exp/tiny_ann/train.log") == epochs
    assert f"tiny_ann: epoch {EPOCHS}/{EPOCHS}, train loss" in recipe.printed


def test_what_cannot_be_used_is_counted_listed_and_left_out(recipe):
    excluded = recipe.lines("data/test/excluded.tsv") | recipe.lines("data/train/excluded.tsv")
    fit = (recipe.work / "dump/char/train/excluded.tsv").read_text()
    for split in ("train", "valid", "test"):
        excluded |= recipe.lines(f"data/{split}/excluded.tsv")
    assert set(excluded) == {WORDS_WITHOUT_AUDIO, AUDIO_WITHOUT_WORDS}
    assert TOO_SHORT in fit and "too short for its transcript" in fit
    trained_on = recipe.lines("dump/char/train/text")
    assert len(trained_on) == 20 and TOO_SHORT not in trained_on
    assert recipe.lines("dump/char/stats/train/speech_shape").keys() == trained_on.keys()


def test_every_test_sentence_is_decoded_both_ways_by_both_models_and_scored(recipe):
    sentences = recipe.lines("data/test/text").keys()
    assert sentences == {"ru_0012", "ru_0024"}
    for name in ("tiny", "tiny_ann"):
        for mode in ("greedy", "joint"):
            folder = recipe.work / "exp" / name / f"decode_{mode}" / "test"
            assert recipe.lines(str(folder / "text")).keys() == sentences
            assert json.loads((folder / "score.json").read_text())["utterances"] == 2


def test_the_averaged_model_decodes_and_the_experiment_holds_what_it_needs(recipe):
    log = (recipe.work / "exp/tiny/decode_joint/test/pieces/1/log").read_text()
    assert "valid.acc.ave.pth" in log
    found = {path.name for path in (recipe.work / "exp/tiny").iterdir()}
    assert {"train.yaml", "config.yaml", "tokens.txt", "feats_stats.npz", "tensorboard", "images"} <= found


def test_the_report_is_printed_and_names_configuration_versions_seed_and_command(recipe):
    for path in REPORT:
        assert path in recipe.printed and (recipe.work / path).stat().st_size > 0
    results = (recipe.work / "exp/RESULTS.md").read_text()
    rows = [line for line in results.splitlines() if re.search(r"\btiny(_ann)?\b", line) and "|" in line]
    assert len(rows) >= 2 and all(row in recipe.printed for row in rows)
    for text in ("espnet 2", "torch 2", "seed: 0", "run.sh --workdir"):
        assert text in results
    assert re.search(r"git: ([0-9a-f]{40}|unknown)", results)


def test_a_run_of_what_is_complete_does_nothing(recipe):
    assert {str(path) for path in recipe.changed_again} <= REPORT
    assert "done before" in recipe.printed_again and "epoch 1/" not in recipe.printed_again


def test_a_training_with_other_settings_is_not_taken_up_in_silence(recipe):
    process = start(recipe.work, "--experiments", SPIKING, "--stage", "11", "--train_args", "max_epoch=9")
    printed, _ = process.communicate(timeout=1500)
    assert process.returncode != 0 and "--resume anyway" in printed
    assert epochs_finished(recipe.work / "exp/tiny/train.log") == list(range(1, EPOCHS + 1))


def test_two_trainings_never_write_one_experiment(recipe):
    with open(recipe.work / "exp/tiny/.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = start(recipe.work, "--experiments", SPIKING, "--stage", "11", "--stop_stage", "11")
        printed, _ = process.communicate(timeout=1500)
    assert process.returncode != 0 and "another process is training in exp/tiny" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tokentype", "bpe"], "did you mean --token_type?"),
        (["--twn", "false"], "did you mean --twin?"),
        (["--decode_modes", "greedy beam"], "'beam'; expected one of: greedy joint"),
        (["--experiments", "a:nowhere.yaml"], "configuration of a: there is no nowhere.yaml"),
        (["--corpus_dir", "nowhere"], "--corpus_dir: there is no nowhere"),
        (["--skip_train", "yes"], "--skip_train is 'yes'; expected one of: true false"),
        (["--max_wav_duration", "20s"], "--max_wav_duration is '20s'; expected a number"),
        (["--inference_nj", "0"], "--inference_nj is 0; expected at least 1"),
        (["--use_lm", "true", "--lm_config="], "--use_lm true needs --lm_config"),
        (["--score_primary", "ser"], "--score_primary is 'ser'; expected one of: cer wer"),
        (["--train_args", "max_epoch"], "'max_epoch' is no setting"),
    ],
)
def test_a_wrong_option_stops_before_anything_is_made(tmp_path, options, message):
    command = ["bash", str(RECIPE), "--workdir", str(tmp_path / "work"), "--python", sys.executable, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and message in done.stderr
    assert not (tmp_path / "work").exists()


def test_a_wrong_key_of_a_configuration_stops_with_the_nearest_right_one(recipe, tmp_path):
    (tmp_path / "typo.yaml").write_text("encoder_conf: {kapa: 0.4}")
    options = ["--experiments", f"typo:{HERE}/tiny.yaml:{tmp_path}/typo.yaml", "--stage", "11"]
    printed, _ = (process := start(recipe.work, *options)).communicate(timeout=1500)
    assert process.returncode != 0 and "did you mean 'kappa'?" in printed
