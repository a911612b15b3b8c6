"""Where jobs run: what schedulers are asked for, what runs here, how it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("espnet2", reason="ESPnet isn't installed (extra: asr)")

TEMPLATE = Path(__file__).parents[2] / "egs" / "TEMPLATE" / "asr1"
RUN_LOCAL = TEMPLATE.parent / "utils" / "run_local.sh"

# What asr.sh does before a training, without what a training needs.
HEAD = f"""
set -euo pipefail
template={TEMPLATE} root={TEMPLATE.parents[2]}
. $template/../utils/options.sh
. $template/../utils/jobs.sh
. $template/../utils/recipe.sh
option python python3 ""
option ngpu 0 ""
option num_nodes 1 ""
option threads 1 ""
option nj 3 ""
option seed 7 ""
option workdir . ""
. $template/../utils/cmd.sh
. $template/../utils/espnet.sh
. $template/steps_train.sh
parse_options "$@"
check_commands
trap on_exit EXIT
trap 'exit 143' TERM
export PYTHONPATH="$root" PYTHONUNBUFFERED=1 OMP_NUM_THREADS=$threads MKL_NUM_THREADS=$threads
"""
TRAINING = """
work() { lock_experiment exp; launch_training exp asr_train --config "a b.yaml"; }
job "$(trainings_at_once)" work
wait_for_jobs
"""
# In the place of Python: ESPnet's launcher runs, the trainer is what a test makes of it.
PYTHON = """#!/bin/bash
if [[ $2 == espnet2.bin.* ]]; then exec {python} "$@"; fi
printf '%s\\n' "$@" > trainer
echo "in $PWD: $OMP_NUM_THREADS thread"
{trainer}
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with programs in bin/ that tests put on the PATH."""
    (tmp_path / "bin").mkdir()
    program(tmp_path, "python", PYTHON.format(python=sys.executable, trainer=""))
    return tmp_path


def program(folder: Path, name: str, text: str) -> None:
    """An executable file in bin/."""
    path = folder / "bin" / name
    path.write_text(text)
    path.chmod(0o755)


def start(folder: Path, *options: str, what: str = TRAINING) -> subprocess.Popen:
    """Start a training as the recipes do, or something else."""
    env = os.environ | {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    command = ["bash", "-c", HEAD + what, "asr.sh", "--python", str(folder / "bin" / "python"), *options]
    return subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def train(folder: Path, *options: str, fails: bool = False, what: str = TRAINING) -> str:
    """The same to its end; what it printed."""
    process = start(folder, *options, what=what)
    printed, _ = process.communicate(timeout=120)
    assert (process.returncode != 0) == fails, printed
    return printed


def words(path: Path) -> list[str]:
    """One word a line."""
    return path.read_text().splitlines()


RECORD = '#!/bin/bash\nprintf \'%s\\n\' "$@" > "$(basename "$0")_got"\n'


def test_slurm_is_asked_for_machines_gpus_and_the_whole_command(folder):
    program(folder, "slurm.pl", RECORD)
    train(folder, "--cmd_backend", "slurm", "--ngpu", "4", "--num_nodes", "2", "--threads", "3")
    got = words(folder / "slurm.pl_got")
    asked, command = got[: got.index("env")], got[got.index("env") :]
    assert asked == [
        *("--config", str(TEMPLATE.parent / "utils" / "slurm.conf"), "--gpu", "4", "--num_threads", "4"),
        *("--num_nodes", "2", "exp/train.log", "srun", "--export=ALL"),
    ]
    python = command.index(str(folder / "bin" / "python"))
    assert {f"PYTHONPATH={TEMPLATE.parents[2]}", "OMP_NUM_THREADS=3"} <= set(command[:python])
    assert command[python + 1 : -2] == [
        *("-m", "imlspike.espnet", "asr_train", "--config", "a b.yaml"),
        *("--output_dir", "exp", "--resume", "true", "--seed", "7"),
        *("--ngpu", "4", "--multiprocessing_distributed", "true", "--dist_launcher", "slurm"),
    ]
    assert command[-2] == "--dist_init_method" and command[-1].startswith(f"file://{folder}/exp/.dist_init_")


def test_options_and_settings_of_ones_own_take_the_place_of_the_defaults(folder):
    program(folder, "slurm.pl", RECORD)
    (folder / "conf").mkdir()
    (folder / "conf" / "slurm.conf").touch()
    train(folder, "--cmd_backend", "slurm", "--ngpu", "1")
    assert words(folder / "slurm.pl_got")[:5] == [
        "--config",
        "conf/slurm.conf",
        "--gpu",
        "1",
        "exp/train.log",
    ]
    train(folder, "--cuda_cmd", "slurm.pl --mem 9G", "--ngpu", "2")
    assert words(folder / "slurm.pl_got")[:5] == ["--mem", "9G", "--gpu", "2", "exp/train.log"]


def test_named_hosts_are_reached_by_ssh_one_process_for_each_gpu(folder):
    program(folder, "ssh", '#!/bin/bash\nprintf "%s\\n" "$@" > ssh_got.$RANDOM$RANDOM\n')
    train(folder, "--host", "one:0:1,two:3")
    got = [path.read_text() for path in folder.glob("ssh_got.*")]
    assert sorted(text.splitlines()[0] for text in got) == ["one", "one", "two"]
    for rank, local in enumerate((0, 1, 3)):
        options = f"--local_rank {local} --dist_rank {rank} --dist_world_size 3"
        (text,) = (text for text in got if options in text)
        assert f"cd {folder}" in text and f"env PYTHONPATH={TEMPLATE.parents[2]}" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cmd_backend", "slurm"], "there is no slurm.pl on the PATH. Kaldi has it"),
        (["--cuda_cmd", "my.pl --mem 4G"], "--cuda_cmd: there is no my.pl on the PATH"),
        (["--cmd_backend", "slrm"], "'slrm'; expected one of: local slurm sge ssh"),
        (["--num_nodes", "2"], "needs a scheduler (--cmd_backend slurm), or name the machines with --host"),
        (["--num_nodes", "2", "--host", "a,b", "--cuda_cmd", "true"], "leave --num_nodes away"),
        (["--num_processes", "2", "--ngpu", "1"], "--num_processes is for the CPU"),
        (["--num_processes", "0"], "--num_processes is 0; expected at least 1"),
    ],
)
def test_what_cannot_run_is_said_before_anything_starts(folder, options, message):
    assert message in train(folder, *options, fails=True)
    assert not (folder / "exp").exists()


def test_a_training_here_keeps_the_logs_of_those_before_it(folder):
    train(folder, "--num_processes", "2")
    assert f"in {folder}: 1 thread" in (folder / "exp/train.log").read_text()
    assert words(folder / "trainer")[:5] == ["-m", "imlspike.espnet", "asr_train", "--num_processes", "2"]
    program(folder, "python", PYTHON.format(python=sys.executable, trainer="echo boom; exit 1"))
    printed = train(folder, fails=True)
    assert "boom" in printed and "exp/launch.log" in printed
    assert "boom" in (folder / "exp/train.log").read_text()
    assert "boom" not in (folder / "exp/train.1.log").read_text()


def test_kill_ends_the_training_and_meanwhile_no_other_starts(folder):
    program(folder, "python", PYTHON.format(python=sys.executable, trainer="exec sleep 300.375"))
    running = start(folder)
    wait_until(lambda: processes("sleep\x00300.375"))
    assert "another process is training in exp" in train(folder, fails=True)
    running.terminate()
    running.communicate(timeout=60)
    assert running.returncode == 143
    wait_until(lambda: not processes("sleep\x00300.375"))


def test_a_trainer_whose_script_was_killed_is_found(folder):
    (folder / "exp").mkdir()
    holder = subprocess.Popen(
        ["flock", folder / "exp/.training", "sh", "-c", "echo up; exec sleep 300"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert holder.stdout.readline() == "up\n"
    assert "another process is training in exp" in train(folder, fails=True)
    os.killpg(holder.pid, signal.SIGKILL)
    holder.communicate()
    train(folder)


def wait_until(true) -> None:
    """Wait for something that a busy machine does late."""
    deadline = time.monotonic() + 100
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# What ESPnet's trainer leaves of the statistics of the utterances that it is told to read.
COLLECT = """
import pathlib, sys
import numpy as np
option = dict(zip(sys.argv, sys.argv[1:]))
for split in ("train", "valid"):
    out = pathlib.Path(option["--output_dir"], split)
    out.mkdir(parents=True)
    keys = [line.split()[0] for line in open(option[f"--{split}_shape_file"])]
    for name in ("speech", "text"):
        (out / f"{name}_shape").write_text("".join(f"{key} {int(key[1:])}\\n" for key in keys))
    (out / "batch_keys").write_text("speech\\ntext\\n")
    (out / "stats_keys").write_text("feats\\n")
    np.savez(out / "feats_stats.npz", count=len(keys), sum=sum(int(key[1:]) for key in keys))
"""
STATISTICS = """
dump=dump train_used=train valid_set=valid token_type=char tokens=dump/tokens names=(tiny)
espnet_data() { :; }
log() { echo "$*"; }
collect_stats
"""


def test_statistics_of_many_utterances_are_collected_in_pieces_and_joined(folder):
    """11000 utterances for three processes: two of them have 5000 or more to read."""
    collect = f'exec {sys.executable} bin/collect.py "$@"'
    program(folder, "python", PYTHON.format(python=sys.executable, trainer=collect))
    (folder / "bin/collect.py").write_text(COLLECT)
    for split, count in (("train", 11000), ("valid", 5)):
        (folder / "dump" / split).mkdir(parents=True)
        lines = "".join(f"u{number:05d} {number}.wav\n" for number in range(count))
        (folder / "dump" / split / "wav.scp").write_text(lines)
    (folder / "dump/tokens").mkdir()
    (folder / "dump/tokens/tokens.txt").write_text("a\nb\nc\n")
    assert "11000 + 5 utterances" in train(folder, what=STATISTICS)
    stats = folder / "dump/stats"
    assert words(stats / "train/speech_shape") == [f"u{number:05d} {number}" for number in range(11000)]
    assert words(stats / "valid/text_shape.char") == [f"u{number:05d} {number},3" for number in range(5)]
    joined = np.load(stats / "train/feats_stats.npz")
    assert (joined["count"], joined["sum"]) == (11000, sum(range(11000)))
    assert [len(words(stats / f"pieces/train.{piece}")) for piece in (1, 2)] == [5500, 5500]
    assert not (stats / "pieces/train.3").exists()


def processes(command: str) -> list[Path]:
    """The processes that run a command, its words separated by NUL."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [path] if command.encode() in path.read_bytes() else []
        except OSError:  # ended meanwhile
            pass
    return found


def run_local(folder: Path, *args: str) -> subprocess.CompletedProcess:
    return subprocess.run([RUN_LOCAL, *args], cwd=folder, capture_output=True, text=True, timeout=60)


def test_run_local_passes_on_the_exit_status_and_writes_the_log(tmp_path):
    done = run_local(
        tmp_path, "--gpu", "2", "--mem", "4G", "log/a", "sh", "-c", "echo out; echo err >&2; exit 3"
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.endswith("the last lines of log/a:\n" + (tmp_path / "log/a").read_text())
    assert words(tmp_path / "log/a")[1:] == ["out", "err"]


def test_run_local_runs_an_array_and_tells_which_part_failed(tmp_path):
    done = run_local(tmp_path, "--gpu", "0", "JOB=2:4", "log/a.JOB", "sh", "-c", "echo n=JOB; [ JOB != 3 ]")
    assert done.returncode == 1 and "log/a.3" in done.stderr and "log/a.2" not in done.stderr
    assert [words(tmp_path / f"log/a.{n}")[1:] for n in (2, 3, 4)] == [["n=2"], ["n=3"], ["n=4"]]
    assert run_local(tmp_path, "JOB=1:2", "log/b.JOB", "true").returncode == 0


def test_run_local_starts_no_more_at_once_than_allowed(tmp_path):
    script = "touch on.JOB; ls on.* | wc -l >> most; sleep 0.4; rm on.JOB"
    run_local(tmp_path, "--max-jobs-run", "2", "JOB=1:5", "log.JOB", "sh", "-c", script)
    assert max(map(int, words(tmp_path / "most"))) == 2 and len(words(tmp_path / "most")) == 5


@pytest.mark.parametrize("args", [["log"], ["JOB=1:2", "log", "true"], ["--gpu", "1"]])
def test_run_local_explains_how_it_is_called(tmp_path, args):
    done = run_local(tmp_path, *args)
    assert done.returncode == 2 and "LOG PROGRAM" in done.stderr and not list(tmp_path.iterdir())
