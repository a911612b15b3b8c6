"""The recognizers' recipes: each stage in process with fakes for ESPnet's programs, and one in full."""

import json
import os
import re
import shlex
import signal
import time
import zipfile
from pathlib import Path

import pytest
import soundfile
import torch
import yaml

pytest.importorskip("espnet2", reason="ESPnet isn't installed (extra: asr)")

from imlspike.inference.experiment import language_model  # noqa: E402
from imlspike.recipes.asr_options import Asr  # noqa: E402
from imlspike.recipes.options import ROOT, OptionError, parse, usage  # noqa: E402
from imlspike.recipes.runner import read_record  # noqa: E402
from tests.recipes.corpora import make_aishell, make_librispeech, make_speechocean762  # noqa: E402
from tests.recipes.corpus import AUDIO_WITHOUT_WORDS, TOO_SHORT, WORDS_WITHOUT_AUDIO, write_corpus  # noqa: E402
from tests.recipes.fakes import HERE, Programs, run, table, use_forks, words_of  # noqa: E402

TINY = f"tiny:{HERE}/tiny.yaml"
# Those that users of ESPnet's recipes know, in ESPnet's spelling.
ESPNET_OPTIONS = """stage stop_stage skip_stages skip_data_prep skip_train skip_eval skip_packing python nj
inference_nj ngpu num_nodes train_set valid_set test_sets speed_perturb_factors audio_format min_wav_duration
max_wav_duration token_type nbpe asr_config asr_tag feats_normalize inference_config inference_args
inference_asr_model score_primary use_lm lm_config lm_tag lm_args lm_train_text inference_lm"""


@pytest.fixture
def programs(monkeypatch) -> Programs:
    return Programs(monkeypatch)


def msu(work: Path, words: str = "") -> int:
    """The recipe of msu_ru_nsh on seconds of tones, with one small model."""
    if not (work.parent / "corpus").exists():
        write_corpus(work.parent / "corpus")
    given = f"--corpus_dir '{work.parent}/corpus' --max_left_out 0.2 --use_lm false --experiments {TINY}"
    given += " --lm_text_program=''"  # it is fetched
    return run("msu_ru_nsh/asr1", work, f"{given} --inference_config {HERE}/tiny_decode.yaml {words}")


def test_espnet_s_options_are_there_under_their_names():
    listed = {line.split()[0][2:] for line in usage(Asr, {}).splitlines()[1:]}
    assert listed >= {*ESPNET_OPTIONS.split(), "corpus_dir", "peers", "experiments", "cmd_backend", "host"}


def test_all_stages_and_what_cannot_be_used_is_left_out_and_listed(programs, tmp_path, capfd):
    work = tmp_path / "with a blank" / "work"
    assert msu(work) == 0
    stages = [int(n) for n in re.findall(r"\] stage (\d+): ", capfd.readouterr().out)]
    assert stages == sorted([*range(1, 17), 5, 12])
    excluded = table(work / "data/train/excluded.tsv") | table(work / "dump/char/train/excluded.tsv")
    assert excluded.keys() == {WORDS_WITHOUT_AUDIO, AUDIO_WITHOUT_WORDS, TOO_SHORT}
    assert "too short for its transcript" in excluded[TOO_SHORT]
    trained_on = table(work / "dump/char/train/text").keys()
    assert len(trained_on) == 20 and trained_on == table(work / "dump/char/stats/train/speech_shape").keys()
    config = yaml.safe_load((work / "exp/tiny/run.yaml").read_text())
    assert config["normalize_conf"]["stats_file"] == str(work / "exp/tiny/feats_stats.npz")
    assert table(work / "dump/char/stats/train/text_shape.char")["ru_0001"] == "7,36"
    there = {path.name for path in (work / "exp/tiny").iterdir()}
    assert {"train.yaml", "tokens.txt", "feats_stats.npz", "command"} <= there
    assert "--max_left_out 0.2" in (work / "exp/tiny/command").read_text()
    before = len(programs.calls)
    assert msu(work) == 0 and len(programs.calls) == before + 1, "nothing but the report"


def test_decodings_stand_under_model_search_and_language_model(programs, tmp_path, capsys):
    work = tmp_path / "work"
    lm = f"--use_lm true --lm_config {HERE}/tiny_lm.yaml --lm_tag small"
    assert msu(work) == 0 and msu(work, lm) == 0
    assert msu(work, "--decode_modes greedy --inference_asr_model 1epoch.pth") == 0
    found = {path.parent.parent.name for path in work.glob("exp/tiny/*/test/score.json")}
    assert found == {
        "decode_greedy_asr_model_valid.acc.ave",
        "decode_greedy_8bit_asr_model_valid.acc.ave",
        "decode_joint_tiny_decode_asr_model_valid.acc.ave",
        "decode_joint_tiny_decode_lm_lm_small_valid.loss.ave_asr_model_valid.acc.ave",
        "decode_greedy_asr_model_1epoch",
    }
    packed = [words for words in programs.calls if words[2].endswith("pack")]
    made = [words[words.index("--output") + 1][9:] for words in packed[::2]]
    assert made == ["tiny_valid.acc.ave.zip", "tiny_1epoch.zip"]
    assert msu(work, "--inference_asr_model nope.pth") == 1
    there = "exp/tiny/nope.pth, which isn't there; there are: 1epoch.pth checkpoint.pth valid.acc.ave.pth"
    assert there in capsys.readouterr().err
    searches = work.glob("exp/tiny/*/test/pieces/1/decode.yaml")
    weights = {path.parts[-5]: "lm_weight" in path.read_text() for path in searches}
    assert {"_lm_" in name for name, weight in weights.items() if weight} == {True} and len(weights) == 2
    given = [words for words in programs.calls if words[2].endswith("decode") and "--lm-file" in words]
    assert given and all("exp/lm_small/valid.loss.ave.pth" in words for words in given)


def test_energy_stands_under_its_model_file_which_pack_and_report_name(programs, tmp_path):
    work, other = tmp_path / "work", "--inference_asr_model 1epoch.pth"
    assert msu(work) == 0 and msu(work, f"--stage 12 {other}") == 0
    counted = {
        words[words.index("--model") + 1]: words[words.index("--output-dir") + 1]
        for words in programs.calls
        if words[2].endswith("profile")
    }
    assert counted == {
        "exp/tiny/valid.acc.ave.pth": "exp/tiny/profile",
        "exp/tiny/1epoch.pth": "exp/tiny/profile_1epoch",
    }
    assert "exp/tiny/profile_1epoch/energy.json" in read_record(work / "exp/tiny/.done/pack.json")["inputs"]
    reports = [words for words in programs.calls if words[2].endswith("report")]
    assert ["1epoch.pth" in words for words in reports] == [False, True]
    before = len(programs.calls)
    assert msu(work, "--stage 14 --stop_stage 14 --inference_asr_model valid.acc.ave.pth") == 0
    assert len(programs.calls) == before, "the file that counts, under its own name"


def test_a_new_training_leaves_no_results_of_the_old_one(programs, tmp_path, capsys):
    work, lm = tmp_path / "work", f"--use_lm true --lm_config {HERE}/tiny_lm.yaml --lm_tag small"
    assert msu(work) == 0 and msu(work, lm) == 0
    assert msu(work, "--stage 12 --inference_asr_model 1epoch.pth") == 0
    with_lm = work / "exp/tiny/decode_joint_tiny_decode_lm_lm_small_valid.loss.ave_asr_model_valid.acc.ave"
    assert with_lm.is_dir()
    assert msu(work, f"{lm} --stage 7 --stop_stage 7 --resume false") == 0
    assert not with_lm.exists() and not (work / "exp/lm_small/perplexity").exists()
    assert len([*work.glob("exp/tiny/decode_*")]) == 6
    capsys.readouterr()
    (work / "exp/tiny/bundle.yaml").touch()
    assert msu(work, "--stage 11 --stop_stage 11 --resume false --seed 5") == 0
    (told,) = [line for line in capsys.readouterr().out.splitlines() if "earlier weights" in line]
    assert "exp/tiny/profile_1epoch" in told
    left = [path.name for path in work.glob("exp/tiny/*")]
    assert not [
        name
        for name in left
        if name.startswith(("decode_", "profile")) or name.endswith((".zip", "bundle.yaml"))
    ]
    assert not (work / "exp/RESULTS.md").exists() and (work / "exp/tiny/valid.acc.ave.pth").exists()


def test_a_decoding_is_done_in_pieces_and_an_interrupted_one_goes_on(programs, tmp_path, capsys):
    work = tmp_path / "work"
    decode = "--stage 12 --stop_stage 12 --decode_modes greedy --test_sets 'valid test' --inference_nj"
    assert msu(work, "--stop_stage 11") == 0
    programs.calls.clear()
    assert msu(work, f"{decode} 8") == 0
    out = work / "exp/tiny/decode_greedy_asr_model_valid.acc.ave"
    assert len(programs.calls) == 4, "no more pieces than a set has utterances"
    assert "tiny, greedy, valid: real-time factor 0.250" in capsys.readouterr().out
    assert table(out / "test/text").keys() == table(work / "data/test/text").keys()
    assert msu(work, f"{decode} 2") == 0 and len(programs.calls) == 4
    (out / "test/text").unlink()
    (out / "test/pieces/2/text").unlink()
    assert msu(work, f"{decode} 8") == 0 and len(programs.calls) == 5
    (work / "exp/tiny/valid.acc.ave.pth").write_text("another model")
    assert msu(work, f"{decode} 2") == 0 and len(programs.calls) == 7
    assert [path.name for path in (out / "test/pieces").iterdir()] == ["1"]


def test_a_training_with_other_settings_is_not_taken_up_in_silence(programs, tmp_path, capsys):
    assert msu(tmp_path / "work", "--stop_stage 11") == 0
    capsys.readouterr()
    before = len(programs.calls)
    for words in ("--stop_stage 11", "--stop_stage 11 --dry_run"):  # at once, not behind the statistics
        assert msu(tmp_path / "work", f"{words} --token_type bpe --nbpe 40") == 1
        assert len(programs.calls) == before
        assert "--token_type was char and is bpe" in capsys.readouterr().err
    again = "--stage 11 --stop_stage 11 --train_args max_epoch=9"
    assert msu(tmp_path / "work", again) == 1 and len(programs.calls) == before
    told = capsys.readouterr().err
    assert "max_epoch was 3 and is 9" in told and "--resume anyway" in told and "--resume false" in told
    assert msu(tmp_path / "work", f"{again} --resume anyway") == 0 and len(programs.calls) == before + 1


def test_a_language_model_is_trained_anew_on_another_text_of_the_same_lengths(programs, tmp_path, capsys):
    work, lm = tmp_path / "work", f"--stop_stage 7 --use_lm true --lm_config {HERE}/tiny_lm.yaml"
    lm += f" --lm_train_text {tmp_path}/text"
    (tmp_path / "text").write_text("a аб\n")
    assert msu(work, lm) == 0
    (tmp_path / "text").write_text("a ба\n")
    assert msu(work, lm) == 1 and f"{tmp_path}/text has changed" in capsys.readouterr().err


def test_an_n_gram_is_made_in_a_stage_of_its_own_and_opens_as_a_language_model(programs, tmp_path, capsys):
    work, settings = tmp_path / "work", ROOT / "conf/train_lm.yaml"
    words = f"--use_lm true --lm_config {settings}"
    assert msu(work, words) == 0
    assert not any("lm_train" in words for words in programs.calls)
    told = capsys.readouterr().out
    ppl = float((work / "exp/lm_quick/perplexity/ppl").read_text())
    assert f"{ppl:.2f} a token" in told and 1 < ppl < 20
    about, states, tokens = language_model(work / "exp/lm_quick")
    assert about["lm"] == "ngram" and about["lm_conf"]["ngrams"] == len(states["ngrams"]) > 10
    assert tokens == tuple((work / "exp/tiny/tokens.txt").read_text().split("\n")[:-1])
    given = [words for words in programs.calls if words[2].endswith("decode") and "--lm-file" in words]
    assert given and all("exp/lm_quick/train.loss.ave.pth" in words for words in given)
    assert msu(work, f"{words} --dry_run") == 0
    assert "n-gram language model: done before" in capsys.readouterr().out


def test_librispeech_has_pieces_of_words_of_three_speeds_as_flac(programs, tmp_path, capsys):
    make_librispeech(tmp_path / "corpus")
    work, sets = tmp_path / "work", ("dev_clean", "test_other")
    options = f"--corpus_dir {tmp_path}/corpus --nbpe 40 --ngpu 0 --test_sets '{' '.join(sets)}'"
    options += f" --asr_override {HERE}/tiny.yaml --profile_set test_other --decode_modes greedy"
    assert run("librispeech/asr1", work, options) == 0
    counts = {path.parent.name: len(table(path)) for path in work.glob("data/*/text")}
    assert [counts[name] for name in ("train_960", "train_960_sp", "dev", "test_other")] == [24, 72, 6, 3]
    used = table(work / "dump/bpe40_sp/train_960_sp/wav.scp")
    assert len(used) == 72 and {soundfile.info(work / wav).format for wav in used.values()} == {"FLAC"}
    tokens = (work / "dump/bpe40_sp/tokens/tokens.txt").read_text(encoding="utf-8").splitlines()
    assert len(tokens) == 40 and any(token.startswith("▁") for token in tokens)
    assert (work / "exp/tiny/bpe.model").is_file()
    assert "not asked for (--use_lm true)" in capsys.readouterr().out
    score = work / "exp/tiny/decode_greedy_asr_model_valid.acc.ave/dev_clean/score.json"
    assert json.loads(score.read_text())["wer"]["reference_length"] == 6
    primary = [words[words.index("--primary") + 1] for words in programs.calls if "--primary" in words]
    assert primary == ["wer", "wer"]


def test_speechocean762_is_scored_by_groups_of_speakers(programs, tmp_path, capsys):
    make_speechocean762(tmp_path / "corpus")
    options = (
        f"--corpus_dir {tmp_path}/corpus --asr_override {HERE}/tiny.yaml --peers '' --decode_modes greedy"
    )
    assert run("speechocean762/asr1", tmp_path / "work", f"{options} --stop_stage 13") == 0
    assert len(table(tmp_path / "work/dump/char_sp/train_sp/text")) == 3 * 14
    score = tmp_path / "work/exp/tiny/decode_greedy_asr_model_valid.acc.ave/test/score.json"
    assert list(json.loads(score.read_text())["groups"]) == [
        "all",
        "age adult",
        "age child",
        "gender f",
        "gender m",
    ]
    assert run("speechocean762/asr1", tmp_path / "work", f"{options} --stop_stage 13 --dry_run") == 0
    assert "tiny greedy test: done before" in capsys.readouterr().out
    ours = [f"{name}.yaml" for name in ("quick", "full", "full")]
    named = {
        "full": ours,
        "full_relu": [*ours, "full_relu.yaml"],
        "full_conformer": [*ours, "full_conformer.yaml"],
    }
    assert dict(models_of("speechocean762")) == named


def models_of(recipe: str, words: str = "") -> list[tuple[str, list[str]]]:
    """The models of a recipe: their names and the names of their YAML files."""
    given = parse(Asr, words_of(f"{recipe}/asr1")[2:-1])[0] | parse(Asr, shlex.split(words))[0]
    models = Asr(**given).models()
    return [(name, [Path(file).name for file in (base, *others)]) for name, base, others in models]


def test_energy_is_counted_on_a_test_set_wherever_the_validation_set_stands():
    def profiled(words: str) -> str:
        given = parse(Asr, words_of("msu_ru_nsh/asr1")[2:-1])[0] | parse(Asr, shlex.split(words))[0]
        options = Asr(**given)
        options.check()
        return options.profile_set

    assert profiled("--test_sets 'valid test'") == profiled("--test_sets 'test valid'") == "test"
    assert profiled("--test_sets valid") == "valid" and profiled("--profile_set other") == "other"


def test_the_models_are_the_spiking_one_and_its_peers():
    spiking, ann = "train_asr_iml_spikeformer", "train_asr_transformer.yaml"
    for recipe in ("aishell", "librispeech"):
        plain, peer = (spiking, [f"{spiking}.yaml"]), (f"{spiking}_transformer", [f"{spiking}.yaml", ann])
        assert models_of(recipe) == [plain]
        assert models_of(recipe, "--peers transformer") == [plain, peer]
        override = models_of(recipe, "--asr_override conf/time_conv.yaml")
        assert override == [("time_conv", [f"{spiking}.yaml", "time_conv.yaml"])]
        assert models_of(recipe, "--experiments q:a.yaml:b.yaml") == [("q", ["a.yaml", "b.yaml"])]
    full, peers = ["quick.yaml", "full.yaml"], ("relu", "conformer", "transformer")
    found = models_of("msu_ru_nsh", f"--model full --peers '{' '.join(peers)}'")
    assert found == [("full", full), *((f"full_{peer}", [*full, f"full_{peer}.yaml"]) for peer in peers)]
    assert [name for name, _ in models_of("msu_ru_nsh")] == ["quick", "quick_relu"]


def test_a_further_text_is_prepared_and_counts_in_the_n_gram(programs, tmp_path, capsys):
    work = tmp_path / "work"
    sayings = work / "downloads/fortunes-ru/usr/share/games/fortunes/ru"  # as if fetched
    sayings.mkdir(parents=True)
    (sayings / "life").write_text("Век живи, век учись.\n%\n")
    words = f"--use_lm true --lm_config {ROOT}/conf/train_lm.yaml --stop_stage 9"
    program = f"--lm_text_program {ROOT}/egs/msu_ru_nsh/asr1/local/lm_text.py"
    assert msu(work, f"{words} {program}") == 0
    assert (work / "data/lm/text").read_text() == "fortune_000000 век живи век учись\n"
    spoken = (work / "data/train/text").read_text().splitlines()
    read = (work / "exp/lm_quick/train.txt").read_text().splitlines()
    assert read == [*(line for line in spoken if len(line.split()) > 1), "fortune_000000 век живи век учись"]
    assert "text for the language model: not done before" in capsys.readouterr().out
    assert msu(work, f"{words} {program} --lm_train_text data/train/text --dry_run") == 0
    assert "text for the language model" not in capsys.readouterr().out
    own = "--lm_train_text './data/lm/text' --lm_text_program='' --dry_run"
    assert msu(work, f"{words} {own}") == 0  # a text of that name is the user's, where no program is
    assert "text for the language model" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--use_lm true --lm_text_program nowhere.py", "--lm_text_program: there is no nowhere.py"),
        ("--use_lm true --lm_text_program egs", "expected a Python file"),
        ("--pers relu", "did you mean --peers?"),
        ("--decode_modes greedy_beam", "expected one of: greedy greedy_8bit joint"),
        ("--experiments a:nowhere.yaml", "configuration of a: there is no nowhere.yaml"),
        (f"--experiments a/b:{HERE}/tiny.yaml", "'a/b' names a model's folder"),
        ("--experiments a", "'a' has no configuration"),
        (f"--experiments {TINY} --train_args encoder_conf.kapa=0.4", "did you mean 'kappa'?"),
        ("--test_sets=", "--test_sets is empty"),
        ("--test_sets nope", "nope: msu_ru_nsh has no such set; there are: train valid test"),
        ("--inference_args '--convrt'", "--inference_args: unrecognized arguments: --convrt"),
        ("--speed_perturb_factors '0.9 fast'", "--speed_perturb_factors: 'fast'"),
        ("--corpus msu", "--corpus msu"),
        ("--python /nowhere", "--python"),
        ("--min_wav_duration 30", "--min_wav_duration 30 is above --max_wav_duration 20"),
        ("--corpus_dir nowhere", "--corpus_dir: there is no nowhere"),
        ("--skip_train yes", "--skip_train is 'yes'"),
        ("--use_lm true --lm_config=", "--use_lm true needs --lm_config"),
        ("--train_args max_epoch", "'max_epoch' is no setting"),
        ("--speed_perturb_factors '0 1'", "--speed_perturb_factors: "),
        ("--speed_perturb_factors '1 1.0'", "--speed_perturb_factors: "),
        ("--pretrained_model nowhere/{model}.pth", "--pretrained_model is 'nowhere/{model}.pth'"),
        ("--asr_override {size}.yaml", "--asr_override is '{size}.yaml'"),
        ("--train_args encoder_conf.input_layer=conv1d3", "encoder_conf.input_layer is conv1d3"),
        ("--pretrained_model nowhere/{name}.pth", "--pretrained_model: there is no nowhere/quick.pth"),
        ("--ngpu 1", "--ngpu 1: this machine has 0"),
        ("--stage 17", "--stage is 17"),
        ("--num_nodes 2", "--num_nodes needs a scheduler"),
        ("--num_nodes 2 --host a,b", "leave --num_nodes away"),
        ("--num_processes 2 --host a", "--num_processes is for the CPU"),
        ("--cmd_backend slurm", "there is no slurm.pl on the PATH"),
    ],
)
def test_a_wrong_option_stops_before_anything_is_made(refused, options, message):
    assert message in refused("msu_ru_nsh/asr1", options)


def test_models_with_different_front_ends_are_refused(tmp_path):
    (tmp_path / "other.yaml").write_text("frontend_conf: {hop_length: 80}")
    both = f"{TINY} other:{HERE}/tiny.yaml:{tmp_path}/other.yaml"
    with pytest.raises(OptionError, match="tiny and other differ in frontend"):
        Asr(experiments=both, corpus="aishell").check()


def run_alone(work: Path, words: str) -> None:
    """The recipe and its programs in a process group of their own."""
    os.setpgid(0, 0)
    run("aishell/asr1", work, words)


@pytest.mark.timeout(600)
def test_aishell_in_full_killed_in_an_epoch_and_gone_on(tmp_path, monkeypatch, capfd):
    """From the archives to the packed model, with a language model, at three speeds, scored in characters."""
    make_aishell(tmp_path / "corpus", archives=["S0003", "S0724"])
    work, log = tmp_path / "work", tmp_path / "work/exp/tiny/train.log"
    words = f"--ngpu 0 --max_left_out 0.2 --min_wav_duration 0.8 --corpus_dir {tmp_path}/corpus --use_lm true"
    words += f" --decode_modes joint --test_sets test --lm_config {HERE}/tiny_lm.yaml"
    words += f" --inference_config {HERE}/tiny_decode.yaml --asr_override {HERE}/tiny.yaml --train_args"
    words += " 'max_epoch=2 batch_bins=60000'"
    use_forks(monkeypatch)
    recipe = torch.multiprocessing.get_context("fork").Process(target=run_alone, args=(work, words))
    recipe.start()
    deadline = time.monotonic() + 400
    while not (log.exists() and "2epoch:train:1-" in log.read_text()):
        assert recipe.is_alive() and time.monotonic() < deadline, capfd.readouterr()
        time.sleep(0.02)
    os.killpg(recipe.pid, signal.SIGKILL)
    recipe.join()
    capfd.readouterr()
    assert run("aishell/asr1", work, words) == 0, capfd.readouterr()
    told = capfd.readouterr().out
    epochs = re.findall(r" (\d+)epoch results:", log.read_text())
    assert epochs == ["1", "2"], "no epoch is trained twice"
    assert "tiny: epoch 2/2, train loss" in told and "stage 11: training" in told
    sets = {name: table(work / f"data/{name}/text") for name in ("train", "dev", "test")}
    assert {name: len(texts) for name, texts in sets.items()} == {"train": 20, "dev": 4, "test": 4}
    assert list(table(work / "data/train/excluded.tsv").values()) == ["audio without transcript"]
    reasons = table(work / "dump/char_sp/train_sp/excluded.tsv").values()
    assert sum("allowed are 0.8 to 20.0 s" in reason for reason in reasons) == 20  # those of speed 1.1
    tag = "joint_tiny_decode_lm_lm_valid.loss.ave_asr_model_valid.acc.ave"
    folder = work / f"exp/tiny/decode_{tag}/test"
    score = json.loads((folder / "score.json").read_text())
    assert score["characters_include_space"] is False
    assert score["cer"]["reference_length"] == sum(map(len, sets["test"].values()))
    results = (work / "exp/RESULTS.md").read_text(encoding="utf-8")
    for text in ("valid.acc.ave", "language model: lm, perplexity", "run.sh --workdir", "seed: 0"):
        assert text in results
    with zipfile.ZipFile(work / "exp/tiny/tiny_valid.acc.ave.zip") as archive:
        names, card = set(archive.namelist()), archive.read("README.md").decode()
    assert {"bundle.yaml", "weights.safetensors", "tokens.txt"} <= names
    assert "178 hours of read Mandarin" in card
