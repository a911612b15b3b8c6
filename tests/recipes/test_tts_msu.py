"""The voice recipe of msu_ru_nsh on seconds of tones: all stages, once more for nothing, wrong settings."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

pytest.importorskip("espnet2", reason="ESPnet isn't installed (extra: asr)")

from imlspike.data.labels import read_durations  # noqa: E402
from imlspike.text.phonemes import front_end  # noqa: E402
from tests.recipes import running  # noqa: E402
from tests.recipes.corpus import write_corpus  # noqa: E402
from tests.recipes.running import EGS, HERE, finish, table  # noqa: E402

pytestmark = pytest.mark.timeout(3000)  # a minute of work for one idle core
MODELS = ("ann", "imls")


@dataclass
class Run:
    """Where the recipe ran, what it printed, and what a second run printed and changed."""

    work: Path
    printed: str
    printed_again: str
    changed_again: set[str]


def start(work: Path, *options: object) -> subprocess.Popen:
    """Start the recipe on the corpus in `work`."""
    given = ["--corpus_dir", work / "corpus", "--prepare_args", "--as-written --max-left-out 0.2"]
    given += ["--models", "imls", "--config", HERE / "tiny_tts.yaml", "--test_utts", "1", "--nj", "1"]
    given += [
        "--min_wav_duration",
        "0.2",
        "--score_args",
        "--measures mcd --resamples 10",
        "--profile_utts",
        "1",
    ]
    return running.start("msu_ru_nsh/tts1", work, *given, *options)


def states(work: Path) -> dict[Path, int]:
    """When each file below `work` was changed."""
    return {path: path.stat().st_mtime_ns for path in work.rglob("*") if path.is_file()}


def write_labels(corpus: Path, *names: str) -> None:
    """Festival's labels of sentences: their phones and a pause at both ends, each as long as the next."""
    lines = (corpus / "etc/txt.done.data").read_text().splitlines()
    texts = dict(line[2:-3].split(' "') for line in lines)
    (corpus / "lab").mkdir()
    for name in names or texts:
        phones = ["pau", *front_end("russian")(texts[name])[:-1], "pau"]
        wav = corpus / f"wav/{name}.wav"
        step = soundfile.info(wav).duration / len(phones) if wav.exists() else 0.1
        times = [f"{(n + 1) * step:.5f} 125 {phone}\n" for n, phone in enumerate(phones)]
        (corpus / f"lab/{name}.lab").write_text("".join(["#\n", *times]))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    work = tmp_path_factory.mktemp("with a blank") / "work"
    write_corpus(work / "corpus")
    write_labels(work / "corpus", "ru_0012")
    printed = finish(start(work))
    before = states(work)
    again = finish(start(work))
    changed = {str(path.relative_to(work)) for path, time in states(work).items() if before.get(path) != time}
    return Run(work, printed, again, changed)


def test_text_is_as_written_and_becomes_the_front_ends_symbols(run):
    words, symbols = table(run.work / "data/test/text"), table(run.work / "dump/symbols/test/text")
    assert words.keys() == symbols.keys() == {"ru_0012", "ru_0024"}
    for name, text in words.items():
        assert text[0].isupper() and text.endswith(".")
        assert symbols[name].split(" ") == front_end("russian")(text)
    assert table(run.work / "dump/test/text") == {"ru_0012": words["ru_0012"]}
    assert table(run.work / "dump/phn/test/text").keys() == {"ru_0012"}


def test_what_has_more_symbols_than_frames_is_left_out_and_listed(run):
    left_out = table(run.work / "dump/phn/train/excluded.tsv")
    assert left_out["ru_0027"].startswith("too short for its transcript")
    assert "ru_0027" not in table(run.work / "dump/phn/train/wav.scp")


def test_training_reads_pitch_and_energy_that_stage_4_wrote(run):
    arguments = (run.work / "exp/imls/train.log").read_text()
    for split in ("train", "valid"):
        folder = Path("dump/phn/stats") / split / "collect_feats"
        names = table(run.work / "dump/phn" / split / "wav.scp").keys()
        frames = table(run.work / "dump/phn/stats" / split / "speech_shape")
        for kind in ("pitch", "energy"):
            assert f"{folder}/{kind}.scp,{kind},npy" in arguments
            values = table(run.work / folder / f"{kind}.scp")
            assert values.keys() == names
            for name, file in values.items():
                assert np.load(run.work / file).shape == (int(frames[name]) // 256 + 1, 1)
        assert not (run.work / folder / "feats.scp").exists()
    assert not list(run.work.rglob("data_feats"))


def test_all_models_train_to_the_end_and_differ_as_their_files_say(run):
    for name in MODELS:
        exp = run.work / "exp" / name
        config = yaml.safe_load((exp / "config.yaml").read_text())
        assert config["tts_conf"]["neuron"] == ("none" if name == "ann" else "imls")
        assert config["normalize"] == config["pitch_normalize"] == config["energy_normalize"] == "global_mvn"
        assert "2epoch results" in (exp / "train.log").read_text()
        assert (exp / "valid.loss.ave.pth").exists() and f"{name}: epoch 2/2" in run.printed
        voice = yaml.safe_load((exp / "voice.yaml").read_text())
        assert voice == {"front_end": "russian", "model_file": "valid.loss.ave.pth"}
        bundle = yaml.safe_load((exp / "bundle.yaml").read_text())
        assert (bundle["kind"], bundle["front_end"]) == ("voice", "russian")


def test_the_test_set_is_spoken_freely_and_as_it_was_and_scored(run):
    folders = {"natural_mel": "exp/natural"}
    for name in MODELS:
        folders |= {name: f"exp/{name}/free", f"{name}_forced": f"exp/{name}/forced"}
    scores = json.loads((run.work / "exp/scores/scores.json").read_text())
    assert set(folders) | {"natural"} == scores["systems"].keys()
    recording = soundfile.info(run.work / "dump/test/wav/ru_0012.wav")
    for name, folder in folders.items():
        spoken = soundfile.info(run.work / folder / "wav/ru_0012.wav")
        assert spoken.samplerate == recording.samplerate == 16000
        if not name.endswith(MODELS):
            assert abs(spoken.frames - recording.frames) <= 256


def test_alignments_are_held_against_the_corpus_labels_and_spikes_are_counted(run):
    for name in MODELS:
        exp = run.work / "exp" / name
        assert json.loads((exp / "alignment/alignment.json").read_text())
        assert (exp / "profile/energy.json").exists()
    results = (run.work / "exp/RESULTS.md").read_text()
    assert all(f"`{name}`" in results or f"| {name} " in results for name in MODELS)


def test_a_run_of_what_is_complete_writes_the_report_anew_and_nothing_else(run):
    assert run.changed_again and all(re.match("exp/(RESULTS|results)", file) for file in run.changed_again)
    assert "done before" in run.printed_again and "epoch 1/" not in run.printed_again


def test_durations_can_be_those_of_labels(tmp_path):
    """No aligner learns then, and forced speech has the labels' durations, too."""
    work = tmp_path / "work"
    write_labels(write_corpus(work / "corpus"))
    options = ["--ann", "false", "--durations_from", "labels", "--train_args", "max_epoch=1"]
    finish(start(work, *options, "--stop_stage", "6"))
    log = (work / "exp/imls/train.log").read_text()
    assert "mel_loss" in log and "forward_sum_loss" not in log
    assert yaml.safe_load((work / "exp/imls/config.yaml").read_text())["tts_conf"]["aligner"] is False
    texts = table(work / "dump/phn/train/text")
    assert len(texts) == 20 and "ru_0027" not in texts
    durations = read_durations(work / "dump/phn/train/durations")
    frames = table(work / "dump/phn/stats/train/speech_shape")
    for name, text in texts.items():
        assert text.split() == front_end("russian")(table(work / "data/train/text")[name])
        assert sum(durations[name]) == int(frames[name]) // 256 + 1
        first, *others, last, _ = durations[name]  # two labels' time, one's each, one's, and the pause
        assert abs(first - 2 * np.mean(others)) <= 2 and abs(last - np.mean(others)) <= 1
    spoken = read_durations(work / "exp/imls/forced/durations")
    assert spoken == read_durations(work / "dump/phn/test/durations") != {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--frontend", "russian"], "did you mean --front_end?"),
        (["--models", "spikvoice"], "--models: there is no"),
        (["--models", "ann"], "ann is trained by --ann true"),
        (["--vocoder", "nowhere"], "--vocoder: there is no nowhere"),
        (["--labels", "nowhere"], "--labels: there is no nowhere"),
        (["--durations_from", "lables"], "expected one of: aligner labels"),
        (["--durations_from", "labels", "--corpus_labels="], "--durations_from labels needs these: --labels"),
        (["--front_end="], "--front_end is empty"),
        (["--use_sid", "yes"], "--use_sid is 'yes'; expected one of: true false"),
        (["--train_args", "max_epoch"], "'max_epoch' is no setting"),
        (["--hold_out_from", "train"], "give these other names"),
        (["--changes", "no.yaml"], "--changes: there is no no.yaml"),
    ],
)
def test_a_wrong_option_stops_before_anything_is_made(tmp_path, options, message):
    command = [
        "bash",
        EGS / "msu_ru_nsh/tts1/run.sh",
        "--workdir",
        tmp_path / "work",
        "--python",
        sys.executable,
    ]
    done = subprocess.run([*map(str, command), *options], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and message in done.stderr
    assert not (tmp_path / "work").exists()
