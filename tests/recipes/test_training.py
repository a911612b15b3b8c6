"""Where ESPnet's jobs run: what schedulers are asked for, statistics in pieces, lack of memory."""

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("espnet2", reason="ESPnet isn't installed (extra: asr)")

from imlspike.recipes import training  # noqa: E402
from imlspike.recipes.options import ROOT  # noqa: E402
from imlspike.recipes.processes import ProgramError, RecipeError  # noqa: E402
from imlspike.recipes.training import EspnetOptions, launch, run_jobs, statistics  # noqa: E402
from tests.recipes.fakes import Programs  # noqa: E402

RECORD = '#!/bin/bash\nprintf \'%s\\n\' "$@" > "$(basename "$0")_got"\n'
CONFIG = {"batch_bins": 1000, "accum_grad": 2, "best_model_criterion": [["valid", "acc", "max"]]}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with programs in bin/, which is on the PATH."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "exp").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    return tmp_path


def program(name: str, text: str) -> None:
    """An executable file in bin/."""
    Path("bin", name).write_text(text)
    Path("bin", name).chmod(0o755)


def options(**given) -> EspnetOptions:
    made = EspnetOptions(**{"corpus": "aishell", "workdir": str(Path.cwd()), "seed": 7} | given)
    made.python = sys.executable
    made.check()
    return made


def test_a_training_here_gets_its_settings_in_a_file_and_its_log_is_appended_to(folder, monkeypatch):
    monkeypatch.setattr(training, "call", programs := Programs(monkeypatch))
    launch(options(num_processes=2), "exp", "asr", CONFIG, ["--a", "b c"])
    (words,) = programs.calls
    assert words[1:4] == ["-m", "imlspike.espnet", "asr"] and words[-8:-6] == ["--a", "b c"]
    assert words[-6:] == ["--num_processes", "2", "--ngpu", "0", "--multiprocessing_distributed", "true"]
    config = yaml.safe_load(Path("exp/run.yaml").read_text())
    assert config == CONFIG | {"output_dir": "exp", "resume": True, "seed": 7}


def test_slurm_is_asked_for_machines_gpus_and_the_whole_command(folder):
    program("slurm.pl", RECORD)
    launch(options(cmd_backend="slurm", ngpu="4", num_nodes=2, threads=3), "exp", "asr", CONFIG)
    got = Path("slurm.pl_got").read_text().splitlines()
    asked, command = got[: got.index("env")], got[got.index("env") :]
    assert asked == [
        *("--config", str(ROOT / "conf/slurm.conf"), "--gpu", "4", "--num_threads", "4"),
        *("--num_nodes", "2", "exp/train.log", "srun", "--export=ALL"),
    ]
    python = command.index(sys.executable)
    assert "OMP_NUM_THREADS=3" in command[:python] and any(
        word.startswith(f"PYTHONPATH={ROOT}") for word in command[:python]
    )
    assert command[python + 1 : python + 6] == ["-m", "imlspike.espnet", "asr", "--config", "exp/run.yaml"]
    assert command[-2] == "--dist_init_method" and command[-1].startswith(f"file://{folder}/exp/.dist_init_")


def test_settings_of_ones_own_take_the_place_of_the_defaults(folder):
    program("slurm.pl", RECORD)
    Path("conf").mkdir()
    Path("conf/slurm.conf").touch()
    assert options(cmd_backend="slurm", ngpu="1").cuda_cmd == "slurm.pl --config conf/slurm.conf"
    own = options(cuda_cmd="slurm.pl --mem 9G", ngpu="2")
    assert (own.cuda_cmd, own.train_cmd, own.at_once) == ("slurm.pl --mem 9G", "", 2)


def test_named_hosts_are_reached_by_ssh_one_process_for_each_gpu(folder):
    program("ssh", '#!/bin/bash\nprintf "%s\\n" "$@" > ssh_got.$RANDOM$RANDOM\n')
    launch(options(host="one:0:1,two:3"), "exp", "asr", CONFIG)
    got = [path.read_text() for path in folder.glob("ssh_got.*")]
    assert sorted(text.splitlines()[0] for text in got) == ["one", "one", "two"]
    for rank, local in enumerate((0, 1, 3)):
        asked = f"--local_rank {local} --dist_rank {rank} --dist_world_size 3"
        (text,) = (text for text in got if asked in text)
        assert f"cd {folder}" in text and f"env PYTHONPATH={ROOT}" in text


def test_jobs_run_side_by_side_here_and_as_an_array_elsewhere(folder):
    run_jobs(options(), "", 3, "log/a.JOB", ["sh", "-c", "echo n=JOB"])
    assert [Path(f"log/a.{n}").read_text().splitlines()[1] for n in (1, 2, 3)] == ["n=1", "n=2", "n=3"]
    program("queue.pl", RECORD)
    run_jobs(options(), "queue.pl -q all", 3, "log/b.JOB", ["true", "JOB"], gpu=True)
    got = Path("queue.pl_got").read_text().splitlines()
    assert got[:6] == ["-q", "all", "--gpu", "1", "JOB=1:3", "log/b.JOB"] and got[-2:] == ["true", "JOB"]
    with pytest.raises(ProgramError, match="log/c.2"):
        run_jobs(options(), "", 3, "log/c.JOB", ["sh", "-c", "[ JOB != 2 ]"])


def test_statistics_of_many_utterances_are_collected_in_pieces_and_joined(folder, monkeypatch):
    """11000 utterances for three processes: two of them have 5000 or more to read."""
    Programs(monkeypatch)
    o = options(nj=3)
    o.tokens, o.token_type = "tokens", "char"
    Path("tokens").mkdir()
    Path("tokens/tokens.txt").write_text("a\nb\nc\n")
    for split, count in (("train", 11000), ("valid", 5)):
        Path(split).write_text("".join(f"u{number:05d} {number}.wav\n" for number in range(count)))
    statistics(o, "stats", "asr", CONFIG, ["train", "valid"])
    lines = Path("stats/train/speech_shape").read_text().splitlines()
    assert lines == [f"u{number:05d} 6" for number in range(11000)]
    assert Path("stats/valid/text_shape.char").read_text().splitlines() == [
        f"u{number:05d} 6,3" for number in range(5)
    ]
    joined = np.load("stats/train/feats_stats.npz")
    assert (joined["count"], joined["sum"]) == (11000, 66000)
    counts = [len(Path(f"stats/pieces/train.{n}").read_text().splitlines()) for n in (1, 2)]
    assert counts == [5500, 5500] and not Path("stats/pieces/train.3").exists()


def test_a_trainer_killed_for_memory_is_told_with_what_to_halve(folder, monkeypatch):
    program("killed", "#!/bin/bash\nkill -9 $$\n")
    o = options()
    o.python = "bin/killed"
    told = 'lack of memory .* GB.*--resume anyway --train_args ".*batch_bins=500 accum_grad=4"'
    with pytest.raises(RecipeError, match=told):
        launch(o, "exp", "asr", CONFIG)
    o.lm_args = ["--max_epoch", "3"]
    with pytest.raises(RecipeError, match='--lm_args "--max_epoch 3 --batch_size 1 --accum_grad 2"'):
        launch(o, "exp", "lm", {"batch_size": 1})
    program("killed", "#!/bin/bash\nexit 1\n")
    with pytest.raises(RecipeError, match="^(?!.*memory)"):
        launch(o, "exp", "asr", CONFIG)


def test_a_user_s_own_neurons_go_where_the_training_goes(folder, monkeypatch):
    monkeypatch.setenv("IMLSPIKE_NEURONS", "mine")
    program("slurm.pl", RECORD)
    launch(options(cmd_backend="slurm", ngpu="4"), "exp", "asr", CONFIG)
    assert "IMLSPIKE_NEURONS=mine" in Path("slurm.pl_got").read_text().splitlines()


def test_a_training_that_espnet_gave_up_is_no_training(folder, monkeypatch):
    said = "The gradients at all steps are invalid in this epoch."
    program("gave_up", f"#!/bin/bash\necho '{said}'\n")
    o = options()
    o.python = "bin/gave_up"
    with pytest.raises(RecipeError, match="train.log"):
        launch(o, "exp", "asr", CONFIG)
    program("gave_up", "#!/bin/bash\necho done\n")
    launch(o, "exp", "asr", CONFIG)  # what an earlier call said is in the same log


def test_statistics_that_are_no_numbers_are_refused(tmp_path):
    (tmp_path / "train").mkdir()
    np.savez(tmp_path / "train/feats_stats.npz", count=1, sum=np.array([1.0, np.nan]))
    with pytest.raises(RecipeError, match="feats_stats"):
        training._check_finite(str(tmp_path))


def test_gpus_are_those_that_are_there(folder, monkeypatch):
    monkeypatch.setattr("imlspike.recipes.data.count_gpus", lambda: 2)
    assert [options(ngpu=given).ngpu for given in ("0", "all", "any", "1")] == [0, 2, 1, 1]
    with pytest.raises(ValueError, match="--ngpu 3: this machine has 2"):
        options(ngpu="3")
    program("slurm.pl", RECORD)
    assert options(ngpu="8", cmd_backend="slurm").ngpu == 8
