"""The AiShell-1 recipe from the archives to the packed model, on seconds of tones in its exact layout.

With a language model, at three speeds, as FLAC, joint decoding of both sets, scored in characters.
"""

import json
import math
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import soundfile

pytest.importorskip("espnet2", reason="ESPnet isn't installed (extra: asr)")

from tests.recipes.corpora import make_aishell  # noqa: E402
from tests.recipes.running import HERE, finish, rows, start, table  # noqa: E402

pytestmark = pytest.mark.timeout(3000)  # a minute of work for one idle core


@dataclass
class Run:
    """Where the recipe ran, and what it printed."""

    work: Path
    printed: str


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("aishell")
    make_aishell(folder / "corpus", archives=["S0003", "S0724"])
    options = ["--corpus_dir", folder / "corpus", "--prepare_args", "--max-left-out 0.2"]
    options += ["--asr_override", HERE / "tiny.yaml", "--asr_tag", "tiny"]
    options += ["--train_args", "max_epoch=1 batch_bins=150000"]
    options += ["--use_lm", "true", "--lm_config", HERE / "tiny_lm.yaml"]
    options += ["--decode_modes", "joint", "--ngpu", "0"]
    options += ["--inference_config", HERE / "tiny_decode.yaml", "--min_wav_duration", "0.8"]
    printed = finish(start("aishell/asr1", folder / "work", *options))
    return Run(folder / "work", printed)


def test_every_stage_of_espnet_s_is_there(run):
    stages = [int(number) for number in re.findall(r"\] stage (\d+): ", run.printed)]
    assert stages == list(range(1, 17))


def test_speakers_archives_transcripts_and_lone_recordings_are_taken_care_of(run):
    sets = {name: table(run.work / f"data/{name}/text") for name in ("train", "dev", "test")}
    assert {name: len(texts) for name, texts in sets.items()} == {"train": 20, "dev": 4, "test": 4}
    assert not any(" " in text for texts in sets.values() for text in texts.values())
    assert list(table(run.work / "data/train/excluded.tsv").values()) == ["audio without transcript"]


def test_three_speeds_without_what_is_too_short_as_flac(run):
    used = table(run.work / "dump/char_sp/train_sp/wav.scp")
    assert len(used) == 40 and sum(name.startswith("sp0.9-") for name in used) == 20
    reasons = table(run.work / "dump/char_sp/train_sp/excluded.tsv").values()
    assert sum("allowed are 0.8 to 20.0 s" in reason for reason in reasons) == 20  # sp1.1
    decoded = table(run.work / "dump/flac/test/wav.scp")
    assert {soundfile.info(path).format for path in [*used.values(), *decoded.values()]} == {"FLAC"}


def test_both_sets_are_decoded_with_the_language_model_and_scored_without_spaces(run):
    perplexity = float((run.work / "exp/lm/perplexity/ppl").read_text())
    assert 1 < perplexity < 1000 and f"{perplexity:.2f} a token" in run.printed
    for name in ("dev", "test"):
        folder = run.work / f"exp/tiny/decode_joint_lm/{name}"
        references = table(run.work / f"data/{name}/text")
        assert table(folder / "text").keys() == references.keys()
        score = json.loads((folder / "score.json").read_text())
        assert score["characters_include_space"] is False
        assert score["cer"]["reference_length"] == sum(map(len, references.values()))


def test_the_report_has_a_row_a_set_with_error_rate_speed_and_energy(run):
    results = (run.work / "exp/RESULTS.md").read_text(encoding="utf-8")
    shown = {(row["decoding"], row["set"]): row for row in rows(results)}
    assert shown.keys() == {("joint_lm", "dev"), ("joint_lm", "test")}
    assert all(float(row["RTF"]) > 0 and "(" in row["CER %"] for row in shown.values())
    assert shown["joint_lm", "dev"]["µJ/s full"] and "language model: lm, perplexity" in results
    assert not math.isnan(json.loads((run.work / "exp/tiny/profile/energy.json").read_text())["seconds"])


def test_the_pack_holds_both_models_and_the_card(run):
    with zipfile.ZipFile(run.work / "exp/tiny/tiny_valid.acc.ave.zip") as archive:
        names, card = set(archive.namelist()), archive.read("README.md").decode()
    assert {"bundle.yaml", "weights.safetensors", "lm.safetensors", "tokens.txt"} <= names
    assert "178 hours of read Mandarin" in card and "| joint_lm" in card and "run.sh --workdir" in card
