"""ablate.sh: lists of a recipe that takes no time, every override, and a list of the real recipe."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ABLATE = ROOT / "egs" / "TEMPLATE" / "asr1" / "ablate.sh"

PIPED = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}

# Notes its calls; "trains" one experiment as asr.sh does, once; fails for the name in FAILS.
TOY = """#!/usr/bin/env bash
set -euo pipefail
while [ $# -gt 0 ]; do printf -v "${1#--}" %s "$2"; shift 2; done
cd "$workdir"
echo "$stage-$stop_stage nj=$nj seed=${seed:-} colour=${colour:-} modes=$decode_modes $experiments" >> calls
[ "$stage" = 11 ] || exit 0
name=${experiments%%:*}
[ "$name" != "${FAILS:-}" ] || { echo "no luck"; exit 1; }
[ ! -f "exp/$name/.done/train" ] || exit 0
mkdir -p "exp/$name/.done" "exp/$name/decode_greedy/test"
touch "running.$name"; ls running.* | wc -l >> most; sleep "${TAKES:-0.4}"; rm "running.$name"
echo "encoder: iml_spikeformer" > "exp/$name/config.yaml"
echo '{"cer": {"rate": 0.5, "errors": 5, "reference_length": 10}}' > "exp/$name/decode_greedy/test/score.json"
echo "trained" >> "exp/$name/.done/train"
"""
# Leaves out tables, which would each load torch: those on the way, and all with NO_TABLE=1.
PYTHON = f"""#!/usr/bin/env bash
case " $* " in *" --quiet "*) echo "table" >> "$WORK/calls"; exit 0 ;; esac
case " $* " in *" --exp-dir "*) [ -z "${{NO_TABLE:-}}" ] || exit 0 ;; esac
exec {sys.executable} "$@"
"""


class Toy:
    """A folder with a recipe that only notes what it is asked for."""

    def __init__(self, folder: Path):
        self.work = folder / "with a blank"
        self.work.mkdir()
        (folder / "run.sh").write_text(TOY)
        (folder / "python").write_text(PYTHON)
        (folder / "python").chmod(0o755)
        self.command = ["bash", ABLATE, "--recipe", folder, "--workdir", self.work]
        self.command += ["--python", folder / "python"]

    def start(self, *options: str, **env: str) -> subprocess.Popen:
        """Start the list as a process group of its own."""
        command = [*map(str, self.command), *options]
        return subprocess.Popen(command, env=os.environ | {"WORK": str(self.work)} | env, **PIPED)

    def run(self, *options: str, **env: str) -> tuple[int, str]:
        """Its exit status and what it printed."""
        process = self.start(*options, **env)
        printed, _ = process.communicate(timeout=200)
        return process.returncode, printed

    def calls(self, kind: str = "") -> list[str]:
        """The lines that the recipe noted, those that begin with `kind`."""
        path = self.work / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if line.startswith(kind)]


    def trained(self) -> dict[str, int]:
        """How often each experiment was trained to its end."""
        return {path.parts[-3]: len(path.read_text().split()) for path in self.work.glob("exp/*/.done/train")}


@pytest.fixture
def toy(tmp_path) -> Toy:
    return Toy(tmp_path)


LIST = "base decay_none : 0 1\nqk_both : 1"


def test_data_once_then_every_run_of_the_list_two_side_by_side(toy):
    status, printed = toy.run("--list", LIST, "--colour", "blue", "--budget", "conf/ablations/budget.yaml")
    assert status == 0, printed
    first, *runs = toy.calls("1")
    names = ["base_s0", "decay_none_s0", "base_s1", "decay_none_s1", "qk_both_s1"]
    specs = {
        name: f"{name}:conf/quick.yaml{'' if file == 'base' else f':conf/ablations/{file}.yaml'}"
        ":conf/ablations/budget.yaml"
        for name in names
        for file in [name[:-3]]
    }
    everything = " ".join(specs[name] for name in names)
    assert first == f"1-10 nj=2 seed= colour=blue modes=greedy {everything}"
    wanted = [f"11-13 nj=1 seed={name[-1]} colour=blue modes=greedy {specs[name]}" for name in names]
    assert sorted(runs) == sorted(wanted)
    assert set(runs[:2]) == set(wanted[:2]) and runs[-1] == wanted[-1]
    assert max(map(int, (toy.work / "most").read_text().split())) == 2
    assert len(toy.calls("table")) == 5
    assert re.search(r"base_s0: complete; [12] of 5 runs, \d s a run, about \d min left", printed)
    assert "5 of 5 runs are complete." in printed and "| decay_none |" in printed
    assert (toy.work / "exp/ablations/RESULTS.md").is_file()


def test_a_killed_list_goes_on_and_repeats_nothing(toy):
    process = toy.start("--list", LIST, "--nj", "1")
    deadline = time.monotonic() + 100
    while len(toy.trained()) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert len(toy.trained()) < 5
    status, printed = toy.run("--list", LIST, "--nj", "1", NO_TABLE="1")
    assert status == 0, printed
    assert list(toy.trained().values()) == [1] * 5
    status, printed = toy.run("--list", LIST, NO_TABLE="1")
    assert status == 0 and list(toy.trained().values()) == [1] * 5 and "s a run" not in printed


def test_an_ended_list_takes_its_runs_with_it(toy):
    process = toy.start("--list", LIST, TAKES="50")
    deadline = time.monotonic() + 100
    while len(list(toy.work.glob("running.*"))) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.terminate()
    printed, _ = process.communicate(timeout=40)  # ends when nobody holds the pipe any more
    assert process.returncode == 143 and "The same command goes on from there" in printed


def test_a_run_that_fails_is_told_and_the_others_go_on(toy):
    status, printed = toy.run("--list", LIST, FAILS="base_s1")
    assert status == 1
    assert "base_s1 FAILED" in printed and "no luck" in printed
    assert "4 of 5 runs are complete; not yet: base_s1." in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--list", "base decay_non"], "did you mean decay_none?"),
        (["--config", "conf/quik.yaml"], "--config: there is no conf/quik.yaml"),
        (["--budget", "nowhere.yaml"], "--budget: there is no nowhere.yaml"),
        (["--seed", "3"], "--seed is set by the list"),
        (["--spikes", "yes"], "--spikes is 'yes'; expected one of: true false"),
    ],
)
def test_a_wrong_option_stops_before_anything_runs(toy, options, message):
    status, printed = toy.run(*options)
    assert status != 0 and message in printed and toy.calls() == []


SIZES = "output_size=16 linear_units=32 attention_heads=2 num_blocks=2 input_channels=4"
SMALL = [f"encoder_conf.{size}" for size in SIZES.split()]
SMALL += ["decoder_conf.linear_units=32", "decoder_conf.attention_heads=2"]
TOKENS = ["<blank>", "<unk>", *"abcdefgh", "<sos/eos>"]


def test_every_ablation_of_quick_builds_trains_and_is_another_model():
    """One forward and backward pass of each override under the budget, small."""
    pytest.importorskip("espnet2", reason="ESPnet isn't installed (extra: asr)")
    import argparse

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
    for run in read_list("conf/ablations/main.txt", seeds=[0], places=[ROOT]):
        if run.ablation in seen:
            continue
        overrides = [run.override] if run.override else []
        config = resolve(ROOT / "conf/quick.yaml", [*overrides, ROOT / "conf/ablations/budget.yaml"], SMALL)
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


@pytest.mark.timeout(3000)  # a minute of work for one idle core
def test_a_list_of_the_real_recipe_is_killed_resumed_and_told_in_a_table(tmp_path):
    pytest.importorskip("espnet2", reason="ESPnet isn't installed (extra: asr)")
    from tests.recipes.corpus import write_corpus

    work = tmp_path / "work"
    write_corpus(work / "corpus")
    command = ["bash", ROOT / "egs/msu_ru_nsh/asr1/ablate.sh", "--config", HERE / "tiny.yaml"]
    command += ["--workdir", work, "--python", sys.executable, "--corpus_dir", work / "corpus"]
    command += ["--prepare_args", "--max-left-out 0.2", "--train_args", "max_epoch=1", "--budget", ""]
    command += ["--nj", "1", "--test_sets", "test", "--list", "base decay_none : 3"]
    command = list(map(str, command))
    process = subprocess.Popen(command, **PIPED)
    deadline = time.monotonic() + 1500
    while not (work / "exp/decay_none_s3/train.log").exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    base = work / "exp/base_s3"
    assert (base / "decode_greedy/test/score.json").is_file()
    before = {path: path.stat().st_mtime_ns for path in base.rglob("*") if path.is_file()}
    process = subprocess.Popen(command, **PIPED)
    printed, _ = process.communicate(timeout=1500)
    assert process.returncode == 0, printed
    after = {path: path.stat().st_mtime_ns for path in base.rglob("*") if path.is_file()}
    assert {path.name for path in after if before.get(path) != after[path]} <= {".lock"}
    assert "2 of 2 runs are complete." in printed and "decay_none_s3: epoch 1/1, train loss" in printed
    results = json.loads((work / "exp/ablations/results.json").read_text())
    assert [row["name"] for row in results["rows"]] == ["base", "decay_none"]
    assert results["rows"][1]["sets"]["test"]["difference"]["by_seed"].keys() == {"3"}
    assert all(run["epochs"] == 1 and run["parameters"].endswith("K") for run in results["runs"])
    assert "seed: 3" in (work / "exp/decay_none_s3/config.yaml").read_text()
    assert "decay: none" in (work / "exp/decay_none_s3/config.yaml").read_text()
