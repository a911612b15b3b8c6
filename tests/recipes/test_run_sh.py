"""Every recipe's run.sh: its options, its errors, and the configurations that it gives to the driver."""

import gzip
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

EGS = Path(__file__).parents[2] / "egs"
RECIPES = sorted(
    path.parent.relative_to(EGS) for path in EGS.glob("*/asr1/run.sh") if "TEMPLATE" not in str(path)
)
PAPER_SIZED = [Path("aishell/asr1"), Path("librispeech/asr1")]
# Those that users of ESPnet's recipes know, in ESPnet's spelling.
ESPNET_OPTIONS = """stage stop_stage skip_stages skip_data_prep skip_train skip_eval skip_packing python nj
inference_nj ngpu num_nodes train_set valid_set test_sets speed_perturb_factors audio_format min_wav_duration
max_wav_duration token_type nbpe asr_config asr_tag feats_normalize inference_config inference_args
inference_asr_model score_primary use_lm lm_config lm_tag lm_args lm_train_text inference_lm"""


def run(recipe: Path, *args: str) -> subprocess.CompletedProcess:
    """What the recipe says, called from elsewhere."""
    command = ["bash", str(EGS / recipe / "run.sh"), *args]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_help_lists_espnet_s_options_and_does_nothing(recipe):
    before = sorted((EGS / recipe).iterdir())
    done = run(recipe, "--stage", "3", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    listed = {line.split()[0][2:] for line in done.stdout.splitlines() if line.startswith("  --")}
    assert listed >= {*ESPNET_OPTIONS.split(), "corpus_dir", "twin", "experiments"}
    assert sorted((EGS / recipe).iterdir()) == before


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--stge", "3"], "unknown option --stge; did you mean --stage?"),
        (["--corpusdir", "x"], "unknown option --corpusdir; did you mean --corpus_dir?"),
        (["--twn", "true"], "unknown option --twn; did you mean --twin?"),
        (["--ngpus=2"], "unknown option --ngpus; did you mean --ngpu?"),
        (["--twin", "both"], "--twin is 'both'; expected one of: true"),
        (["train"], "unexpected argument 'train'"),
    ],
)
def test_a_wrong_option_names_the_nearest_right_one(recipe, args, message):
    done = run(recipe, *args)
    assert done.returncode == 2 and message in done.stderr and done.stdout == ""


def configured(recipe: Path, folder: Path, *args: str) -> list[list[str]]:
    """The YAML files of each experiment, as the driver hands them to `imlspike config` (a stand-in here)."""
    python = folder / "python"
    python.write_text(
        f'#!/usr/bin/env bash\necho "$*" >> {folder}/calls\n'
        'while [ $# -gt 1 ]; do if [ "$1" = --output ]; then touch "$2"; fi; shift; done\n'
    )
    python.chmod(0o755)
    done = run(recipe, "--workdir", f"{folder}/work", "--python", str(python), "--stage", "99", *args)
    assert done.returncode == 0, done.stderr
    calls = (folder / "calls").read_text().replace(" --then ", "\n").splitlines()
    return [[word for word in call.split() if "/conf/" in word] for call in sorted(calls)]


@pytest.mark.parametrize("recipe", PAPER_SIZED, ids=str)
def test_the_models_are_the_spiking_one_and_its_twin(recipe, tmp_path):
    spiking = str(EGS / recipe / "conf/train_asr_iml_spikeformer.yaml")
    twin = [spiking, str(EGS / recipe / "conf/train_asr_transformer.yaml")]
    expected = {"false": [[spiking]], "only": [twin], "true": [[spiking], twin]}
    for value, yamls in expected.items():
        (tmp_path / value).mkdir()
        given = configured(recipe, tmp_path / value, "--twin", value)
        assert sorted(given) == sorted(yamls)


@pytest.mark.parametrize("recipe", PAPER_SIZED, ids=str)
def test_another_model_takes_the_place_of_the_recipe_s(recipe, tmp_path):
    root = EGS.parent
    given = configured(recipe, tmp_path, "--asr_override", "conf/time_conv.yaml", "--nj", "1")
    spiking = str(EGS / recipe / "conf/train_asr_iml_spikeformer.yaml")
    assert given == [[spiking, str(root / "conf/time_conv.yaml")]]
    (tmp_path / "calls").unlink()
    one = f"quick:{root}/conf/quick.yaml"
    assert configured(recipe, tmp_path, "--experiments", one) == [[f"{root}/conf/quick.yaml"]]


@pytest.mark.parametrize("recipe", PAPER_SIZED, ids=str)
def test_a_model_that_would_be_ignored_is_an_error(recipe):
    done = run(recipe, "--twin", "only", "--asr_tag", "x", "--python", sys.executable)
    assert done.returncode == 2 and "name all models in --experiments" in done.stderr


def test_the_text_for_language_models_is_a_kaldi_text_of_the_published_file_only(tmp_path):
    archive, script = tmp_path / "text.gz", EGS / "librispeech/asr1/local/lm_text.sh"
    archive.write_bytes(gzip.compress(b"A MAN\n\nTWO WORDS MORE\n"))
    command = ["bash", str(script), str(tmp_path), str(archive)]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1 and "is not the published file" in refused.stderr
    assert not (tmp_path / "data").exists()
    checksum = hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()
    trusting = tmp_path / "lm_text.sh"
    trusting.write_text(re.sub(r"^md5=\w+", f"md5={checksum}", script.read_text(), flags=re.M))
    command[1] = str(trusting)
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    text = (tmp_path / "data/local/other_text/text").read_text()
    assert text == "lm_00000001 A MAN\nlm_00000002 TWO WORDS MORE\n"
