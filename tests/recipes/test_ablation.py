"""ablate.sh: lists of a recipe that takes no time, and every override."""

import argparse
import re
import shutil
from pathlib import Path

import pytest

from imlspike.data.model_files import average
from imlspike.espnet.config import read_yaml
from imlspike.recipes import __main__
from imlspike.recipes.options import ROOT
from imlspike.recipes.processes import call
from tests.recipes.corpus import write_corpus
from tests.recipes.fakes import run as run_recipe
from tests.recipes.fakes import table

# Notes its calls; "trains" one experiment once; fails for the name in FAILS.
TOY = """#!/usr/bin/env bash
set -euo pipefail
while [ $# -gt 0 ]; do printf -v "${1#--}" %s "$2"; shift 2; done
cd "$workdir"
echo "$stage-$stop_stage nj=$nj seed=${seed:-} nodes=${num_nodes:-} modes=$decode_modes $experiments" >> calls
echo "${ngpu:-none}" >> gpus
[ "$stage" = 11 ] || exit 0
name=${experiments%%:*}
[ "$name" != "${FAILS:-}" ] || { echo "no luck"; exit 1; }
[ ! -f "exp/$name/.done/train.json" ] || exit 0
mkdir -p "exp/$name/.done" "exp/$name/DECODING/test"
touch "running.$name"; ls running.* | wc -l >> most; sleep 0.3; rm "running.$name"
echo "encoder: iml_spikeformer" > "exp/$name/config.yaml"
echo '{"cer": {"rate": 0.5, "errors": 5}, "per_utterance": {"u": {"cer": [5, 10]}}}' \\
    > "exp/$name/DECODING/test/score.json"
echo "trained" >> "exp/$name/.done/train.json"
"""
LIST = "base decay_none : 0 1\nqk_both : 1"


class Toy:
    """A folder with a recipe that only notes what it is asked for."""

    def __init__(self, folder: Path):
        self.folder, self.work = folder, folder / "with a blank"
        model = Path(average(read_yaml(ROOT / "conf/quick.yaml"))).stem
        (folder / "run.sh").write_text(TOY.replace("DECODING", f"decode_greedy_asr_model_{model}"))

    def run(self, *words: str) -> int:
        own = ["ablation", "ablate.sh", "--recipe", self.folder, "--workdir", self.work, "--"]
        return __main__.main([*map(str, own), *words])

    def calls(self) -> list[str]:
        return (self.work / "calls").read_text().splitlines() if (self.work / "calls").exists() else []

    def trained(self) -> dict[str, int]:
        """How often each experiment was trained to its end."""
        return {
            path.parts[-3]: len(path.read_text().split()) for path in self.work.glob("exp/*/.done/train.json")
        }


@pytest.fixture
def toy(tmp_path) -> Toy:
    return Toy(tmp_path)


def test_data_once_then_every_run_of_the_list_two_side_by_side(toy, capfd):
    assert toy.run("--list", LIST, "--num_nodes", "2", "--budget", "conf/ablations/budget.yaml") == 0
    printed = capfd.readouterr().out
    first, *runs = toy.calls()
    names = ["base_s0", "decay_none_s0", "base_s1", "decay_none_s1", "qk_both_s1"]
    conf, specs = ROOT / "conf", {}
    for name in names:
        own = "" if name[:-3] == "base" else f":{conf}/ablations/{name[:-3]}.yaml"
        specs[name] = f"{name}:{conf}/quick.yaml:{conf}/ablations/budget.yaml{own}"
    everything = " ".join(specs[name] for name in names)
    assert first == f"1-10 nj=2 seed= nodes=2 modes=greedy {everything}"
    wanted = [f"11-13 nj=1 seed={name[-1]} nodes=2 modes=greedy {specs[name]}" for name in names]
    assert sorted(runs) == sorted(wanted) and set(runs[:2]) == set(wanted[:2]) and runs[-1] == wanted[-1]
    assert max(map(int, (toy.work / "most").read_text().split())) == 2
    assert re.search(r"base_s0: complete; [12] of 5 runs, \d+ s left", printed)
    assert "5 of 5 runs are complete." in printed and "| decay_none |" in printed
    assert (toy.work / "exp/ablations/RESULTS.md").is_file() and (
        toy.work / "exp/base_s0/source.txt"
    ).is_file()
    assert toy.run("--list", LIST) == 0 and list(toy.trained().values()) == [1] * 5


def test_a_run_that_fails_is_told_the_others_go_on_and_the_same_command_repeats_nothing(
    toy, capfd, monkeypatch
):
    monkeypatch.setenv("FAILS", "base_s1")
    assert toy.run("--list", LIST) == 1
    printed = capfd.readouterr()
    assert "base_s1 FAILED" in printed.out and "no luck" in printed.out and "failed: base_s1" in printed.err
    assert "4 of 5 runs are complete; not yet: base_s1." in printed.out
    monkeypatch.delenv("FAILS")
    assert toy.run("--list", LIST) == 0 and list(toy.trained().values()) == [1] * 5


def test_what_an_earlier_table_knows_is_not_trained_again(toy, capfd):
    before = toy.work / "exp/ablations/results.json"
    assert toy.run("--list", "base : 0 1") == 0
    known = toy.folder / "known.json"
    known.write_text(before.read_text())
    shutil.rmtree(toy.work)
    assert toy.run("--list", LIST, "--known", str(known)) == 0
    assert set(toy.trained()) == {"decay_none_s0", "decay_none_s1", "qk_both_s1"}
    assert "5 of 5 runs are complete." in capfd.readouterr().out and "base_s0" not in toy.calls()[0]
    shutil.rmtree(toy.work)
    assert toy.run("--list", "base : 0 1", "--known", str(known)) == 0 and toy.calls() == []


def test_gpus_and_switches_reach_the_recipe_and_one_training_has_the_gpus(toy):
    words = ["--list", "base : 0 1", "--nj", "2", "--skip_packing"]
    assert toy.run(*words, "--ngpu", "1") == 0
    assert (toy.work / "gpus").read_text().split() == ["1"] * 3
    assert set((toy.work / "most").read_text().split()) == {"1"}


def test_a_dry_run_tells_what_is_trained(toy, capsys):
    assert toy.run("--list", "base : 0") == 0 and capsys.readouterr()
    assert toy.run("--list", "base : 0 1", "--dry_run") == 0
    printed = capsys.readouterr().out
    assert "base_s0: would run: trained before" in printed and "base_s1: would run: not trained" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--list decay_non", "did you mean decay_none?"),
        ("--config conf/quik.yaml", "--config: there is no conf/quik.yaml"),
        ("--budget nowhere.yaml", "--budget: there is no nowhere.yaml"),
        ("--seed 3", "--seed is set by the list"),
        ("--seeds 0,1", "--seeds: '0,1'"),
        ("--inference_asr_model latest.pth", "--inference_asr_model gives decodings other names"),
        ("--train_args best_model_criterion=[[valid,loss,min]]", "--train_args best_model_criterion"),
        ("--colour blue", "--colour"),
        ("--dry_run --nonsense=1", "--nonsense"),
        ("--known conf/quick.yaml", "--known: "),
        ("--spikes yes", "--spikes is 'yes'"),
    ],
)
def test_a_wrong_option_stops_before_anything_runs(toy, capsys, options, message):
    assert toy.run(*options.split()) == 2
    assert message in capsys.readouterr().err and toy.calls() == []


@pytest.mark.parametrize("corpus", ["aishell", "librispeech", "msu_ru_nsh"])
def test_the_scripts_give_it_what_it_takes(corpus, tmp_path, capsys):
    assert run_recipe(f"{corpus}/asr1", tmp_path, "--dry_run", "ablate.sh") == 0
    assert "stage 2: runs\n  base_s0: would run" in capsys.readouterr().out


def test_a_script_starts_its_recipe_and_that_its_programs(tmp_path):
    write_corpus(tmp_path / "corpus")
    words = f"--stop_stage 1 --max_left_out 0.2 --corpus_dir {tmp_path}/corpus --workdir {tmp_path}/work"
    call(["bash", ROOT / "egs/msu_ru_nsh/voc1/run.sh", *words.split()], tmp_path / "log")
    assert len(table(tmp_path / "work/data/train/wav.scp")) == 21


SIZES = "output_size=16 linear_units=32 attention_heads=2 num_blocks=2 input_channels=4"
SMALL = [f"encoder_conf.{size}" for size in SIZES.split()]
PEERS = {"conformer", "transformer"}  # ESPnet's, without input_channels
SMALL += ["decoder_conf.linear_units=32", "decoder_conf.attention_heads=2"]
TOKENS = ["<blank>", "<unk>", *"abcdefgh", "<sos/eos>"]


def test_every_ablation_of_quick_builds_trains_and_is_another_model():
    """One forward and backward pass of each override under the budget, small."""
    pytest.importorskip("espnet2", reason="ESPnet isn't installed (extra: asr)")
    import torch

    from imlspike.espnet import register
    from imlspike.espnet.config import resolve
    from imlspike.evaluation.ablations import read_list

    register()
    from espnet2.tasks.asr import ASRTask

    defaults = vars(ASRTask.get_parser().parse_args(["--output_dir", "none", "--token_type", "char"]))
    speech, lengths = 0.1 * torch.randn(2, 16000), torch.tensor([16000, 13000])
    text, text_lengths = torch.randint(2, 10, (2, 6)), torch.tensor([6, 4])
    seen = {}
    runs = read_list("conf/ablations/main.txt", seeds=[0], places=[ROOT])
    # Of which only the gradient differs, that needs its teacher, whose widths are made small here.
    others = ("window_levels", "distill", "width_64", "width_128", "input_channels_48")
    runs += [run for run in read_list("conf/ablations/gap.txt", places=[ROOT]) if run.ablation not in others]
    for run in runs:
        if run.ablation in seen:
            continue
        parts = {*run.ablation.split("+")}
        unlike = ["input_channels"] if PEERS & parts else []
        unlike += [] if "spiking_decoder" in parts else ["decoder_conf"]
        small = [one for one in SMALL if not any(key in one for key in unlike)]
        layers = [ROOT / "conf/ablations/budget.yaml", *run.overrides]
        config = resolve(ROOT / "conf/quick.yaml", layers, small)
        torch.manual_seed(0)
        args = argparse.Namespace(**defaults | config | {"token_list": TOKENS, "normalize": "utterance_mvn"})
        model = ASRTask.build_model(args).train()
        loss = model(speech, lengths, text, text_lengths)[0]
        loss.backward()
        grads = [p.grad for p in model.encoder.parameters() if p.grad is not None]
        assert grads and all(grad.isfinite().all() for grad in grads), run.ablation
        assert loss.isfinite(), run.ablation
        # A learned threshold begins as the fixed one does.
        seen[run.ablation] = loss.item(), sum(p.numel() for p in model.parameters())
    assert len(set(seen.values())) == len(seen), seen
