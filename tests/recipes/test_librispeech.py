"""The LibriSpeech recipe from its seven parts to the packed model, on seconds of tones in its exact layout.

At three speeds, BPE pieces, several sets, scored in words; the packed model transcribes what the recipe did.
"""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import soundfile

pytest.importorskip("espnet2", reason="ESPnet isn't installed (extra: asr)")

from tests.recipes.corpora import make_librispeech  # noqa: E402
from tests.recipes.running import HERE, finish, rows, start, table  # noqa: E402

pytestmark = pytest.mark.timeout(3000)  # a minute of work for one idle core
SETS = ("dev_clean", "test_other")


@dataclass
class Run:
    """Where the recipe ran, and what it printed."""

    work: Path
    printed: str


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("librispeech")
    make_librispeech(folder / "corpus")
    options = ["--corpus_dir", folder / "corpus", "--nbpe", "40", "--ngpu", "0"]
    options += ["--test_sets", " ".join(SETS)]
    options += ["--asr_override", HERE / "tiny.yaml", "--asr_tag", "tiny", "--profile_set", "test_other"]
    options += ["--train_args", "max_epoch=1 batch_bins=150000", "--decode_modes", "greedy"]
    printed = finish(start("librispeech/asr1", folder / "work", *options))
    return Run(folder / "work", printed)


def test_the_parts_are_joined_and_each_speed_is_there(run):
    counts = {path.parent.name: len(table(path)) for path in run.work.glob("data/*/text")}
    found = [counts[name] for name in ("train_960", "train_960_sp", "dev", "test_other")]
    assert found == [24, 72, 6, 3]
    used = table(run.work / "dump/bpe40_sp/train_960_sp/wav.scp")
    assert len(used) == 72
    assert {soundfile.info(path).format for path in used.values()} == {"FLAC"}


def test_tokens_are_pieces_of_words(run):
    tokens = (run.work / "dump/bpe40_sp/tokens/tokens.txt").read_text(encoding="utf-8").splitlines()
    assert len(tokens) == 40 and any(token.startswith("▁") for token in tokens)
    assert (run.work / "exp/tiny/bpe.model").is_file()


def test_words_are_what_counts_in_the_report(run):
    assert "perplexity" not in run.printed and "not asked for (--use_lm true)" in run.printed
    shown = {row["set"]: row for row in rows((run.work / "exp/RESULTS.md").read_text(encoding="utf-8"))}
    assert tuple(sorted(shown)) == SETS
    heads = list(shown["dev_clean"])
    assert heads.index("WER %") < heads.index("CER %")
    assert all(float(row["RTF"]) > 0 for row in shown.values())
    for name in SETS:
        folder = run.work / f"exp/tiny/decode_greedy/{name}"
        words = sum(len(text.split()) for text in table(run.work / f"data/{name}/text").values())
        assert json.loads((folder / "score.json").read_text())["wer"]["reference_length"] == words


def test_the_packed_model_transcribes_elsewhere_what_the_recipe_did(run):
    from imlspike import Speech2Text

    packed = run.work / "exp/tiny/tiny_valid.acc.ave.zip"
    with zipfile.ZipFile(packed) as archive:
        assert {"bpe.model", "bundle.yaml", "README.md"} <= set(archive.namelist())
    speech2text = Speech2Text.from_pretrained(packed)
    decoded = table(run.work / "exp/tiny/decode_greedy/test_other/text")
    wavs = table(run.work / "dump/flac/test_other/wav.scp")
    found = {utterance: speech2text(soundfile.read(wav)[0]) for utterance, wav in wavs.items()}
    assert found == decoded
