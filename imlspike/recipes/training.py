"""ESPnet's trainings and statistics: on this machine, or where its launcher brings them."""

import re
import shlex
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from glob import glob
from pathlib import Path

import numpy as np

from imlspike.data.files import atomic_write
from imlspike.data.model_files import average
from imlspike.data.yaml_file import ConfigError, write_yaml
from imlspike.espnet.config import resolve
from imlspike.recipes.data import CorpusOptions, count, tables
from imlspike.recipes.options import ROOT, OptionError, existing, option
from imlspike.recipes.processes import ProgramError, RecipeError, call
from imlspike.recipes.progress import Count, Log, log
from imlspike.recipes.runner import Needs

SPLITS = ("train", "valid")
GAVE_UP = b"gradients at all steps are invalid"  # ESPnet's words; it takes that for a training's end
_COMMANDS = {"local": "", "slurm": "slurm.pl", "sge": "queue.pl", "ssh": "ssh.pl"}


@dataclass
class EspnetOptions(CorpusOptions):
    """Options of recipes that ESPnet trains: those of `CorpusOptions`, and where jobs run.

    As in ESPnet's cmd.sh there is a command for each kind of job: Kaldi's slurm.pl, queue.pl and ssh.pl,
    which ESPnet's users have in their recipes' utils. Settings of the cluster belong into conf/slurm.conf or
    conf/queue.conf in --workdir. ESPnet's batch is what all processes of a training get together.

    A recipe's `check` also sets `dump` (the folder of both sets), `tokens`, `stats` (folders), `token_type`.
    """

    num_nodes: int = option(1, "machines of each training", least=1)
    num_processes: int = option(1, "processes of each training on the CPU", least=1)
    cmd_backend: str = option("local", "where jobs run", " ".join(_COMMANDS))
    train_cmd: str = option("", "command for statistics, as 'slurm.pl --mem 8G'; empty: the backend's")
    cuda_cmd: str = option("", "command for trainings; empty: the backend's")
    decode_cmd: str = option("", "command for decoding; empty: the backend's")
    host: str = option(
        "", "machines of each training, by ssh: 'host1,host2', with the GPUs 'host1:0:1,host2:0'"
    )

    bpe_model = ""

    def check(self) -> None:
        """See `Options.check`."""
        super().check()
        default = _COMMANDS[self.cmd_backend]
        if default == "slurm.pl":
            own = Path(self.workdir, "conf/slurm.conf")
            default += f" --config {'conf/slurm.conf' if own.is_file() else ROOT / 'conf/slurm.conf'}"
        for name in ("train_cmd", "cuda_cmd", "decode_cmd"):
            setattr(self, name, getattr(self, name) or default)
            try:
                words = shlex.split(getattr(self, name))
            except ValueError as error:
                raise OptionError(f"--{name} is {getattr(self, name)!r}: {error}") from None
            if words and not shutil.which(words[0]):
                raise OptionError(
                    f"--{name}: there is no {words[0]} on the PATH. Kaldi has it (utils and utils/parallel "
                    f"of egs/wsj/s5), and so has an ESPnet recipe; add that folder to PATH, or give --{name} "
                    f"'/its/folder/{words[0]}'"
                )
        if self.num_processes > 1 and (self.ngpu or self.num_nodes > 1 or self.host):
            told = "is for the CPU of one machine; on GPUs there is one process each (--ngpu)"
            raise OptionError(f"--num_processes {told}")
        if self.num_nodes > 1 and self.host:
            raise OptionError("--host names the machines; leave --num_nodes away")
        if self.num_nodes > 1 and not self.cuda_cmd:
            told = "needs a scheduler (--cmd_backend slurm), or name the machines with --host"
            raise OptionError(f"--num_nodes {told}")
        if self.host and " " in f"{self.workdir}{ROOT}{self.python}":
            raise OptionError(f"--host: ESPnet's launcher can't take a path with a blank ({self.workdir})")

    def check_gpus(self, local: bool = True) -> None:
        """GPUs of other machines can't be counted."""
        super().check_gpus(local and not (self.cuda_cmd or self.host or self.cmd_backend != "local"))

    @property
    def at_once(self) -> int:
        """See `CorpusOptions.at_once`."""
        return 1 if self.ngpu and not self.cuda_cmd else self.nj

    @property
    def folders(self) -> dict[str, str]:
        """The data directories that training reads."""
        return {"train": f"{self.dump}/{self.train_sets[0]}", "valid": f"{self.dump}/{self.valid_set}"}

    @property
    def token_files(self) -> list[str]:
        return [f"{self.tokens}/tokens.txt", *filter(None, [self.bpe_model])]

    @property
    def data_files(self) -> list[str]:
        return [*tables(*self.folders.values()), *self.token_files]

    @property
    def wavs(self) -> list[str]:
        return [f"{folder}/wav.scp" for folder in self.folders.values()]

    @property
    def shapes(self) -> dict[str, list]:
        """ESPnet's options for the lengths that `statistics` found."""
        return shapes_of(self.stats, "speech_shape", f"text_shape.{self.token_type}")

    @property
    def token_config(self) -> dict:
        """Settings by which ESPnet cuts texts."""
        tokens = {"token_type": self.token_type, "token_list": f"{self.tokens}/tokens.txt"}
        return tokens | {"bpemodel": self.bpe_model or None, "use_preprocessor": True}

    @property
    def data_config(self) -> dict:
        """Settings that statistics and training share."""
        kinds = [["wav.scp", "speech", "sound"], ["text", "text", "text"]]
        found = {
            split: [[f"{folder}/{file}", *kind] for file, *kind in kinds]
            for split, folder in self.folders.items()
        }
        return self.token_config | data_of(found)

    def utterances_read(self) -> Count:
        """The progress of statistics."""
        pieces = f"{self.stats}/pieces/*/*/speech_shape"
        return Count("utterances", lambda: sum(map(count, self.wavs)), lambda: sum(map(count, glob(pieces))))


def data_of(found: dict[str, list]) -> dict[str, list]:
    """ESPnet's options for the tables, [file, name, kind] each, of "train" and "valid"."""
    return {f"{split}_data_path_and_name_and_type": kinds for split, kinds in found.items()}


def shapes_of(stats: str, *names: str) -> dict[str, list]:
    """ESPnet's options for files of lengths."""
    return {f"{split}_shape_file": [f"{stats}/{split}/{name}" for name in names] for split in SPLITS}


def configure(
    task: str, models: Iterable[tuple[str, str, list[str]]], settings: list[str], shared: str
) -> dict[str, dict]:
    """The configuration of each model, every key checked, from its name, YAML and overrides.

    Raises:
        OptionError: for a wrong file or key, or if models differ in keys that begin with `shared`, by which
            they share statistics.
    """
    configs = {}
    for name, base, overrides in models:
        if not re.fullmatch(r"\w[\w.+-]*", name):
            raise OptionError(f"{name!r} names a model's folder; expected letters, digits and . _ + -")
        base = existing(base, f"configuration of {name}")
        overrides = [existing(file, f"override of {name}") for file in overrides]
        try:
            configs[name] = resolve(base, overrides, settings, task)
        except ConfigError as error:
            raise OptionError(str(error).replace("--set ", "--train_args ", 1)) from None
    first, *others = configs
    for name in others:
        if select(configs[name], shared) != select(configs[first], shared):
            told = f"differ in {shared}: they can't share statistics, run them apart"
            raise OptionError(f"{first} and {name} {told}")
    return configs


def select(config: dict, heads: str) -> dict:
    """The keys that begin with one of these words, without augmentation, which statistics don't see."""
    found = {key: value for key, value in config.items() if key.startswith(tuple(heads.split()))}
    if found.get("frontend_conf"):
        conf = {k: v for k, v in found["frontend_conf"].items() if k not in ("augment", "augment_after")}
        found["frontend_conf"] = conf
    return found


def needs(exp: str, config: dict, inputs: list[str], settings: dict, results: list[str]) -> Needs:
    """The needs and products of a training in `exp`, and what is made of it (`Needs.results`)."""
    made = [f"{exp}/config.yaml", f"{exp}/{average(config)}", f"{exp}/*.pth"]
    restart = [f"{exp}/checkpoint.pth", "*.pth", "train*.log", "tensorboard", "images", "att_ws"]
    progress = Log(Path(exp).name, f"{exp}/train.log")
    return Needs(inputs, made, settings, restart, follow=progress, results=results)


def describe(o: EspnetOptions, exp: str, config: dict) -> None:
    """For the report and the model card: the command, and the model's settings without those of the data."""
    Path(exp, "command").write_text(o.command + "\n", encoding="utf-8")
    write_yaml(f"{exp}/train.yaml", config)


def espnet(o: EspnetOptions, program: str, *words: object, log: str) -> None:
    """Run a program of espnet2.bin that needs this project's models."""
    call([o.python, "-m", "imlspike.espnet", program, *words], log, o.environment)


def launch(o: EspnetOptions, exp: str, task: str, config: dict, words: list = ()) -> None:
    """ESPnet's training of a task in the folder `exp`, which gets run.yaml and train.log.

    Raises:
        RecipeError: if it fails; for lack of memory it says what to halve.
    """
    write_yaml(f"{exp}/run.yaml", config | {"output_dir": exp, "resume": True, "seed": o.seed})
    words = ["--config", f"{exp}/run.yaml", *words]
    words += ["--num_processes", o.num_processes] if o.num_processes > 1 else []
    train_log = Path(exp, "train.log")
    begin = train_log.stat().st_size if train_log.exists() else 0
    try:
        if o.cuda_cmd or o.host:
            _launch_elsewhere(o, exp, [task, *words])
        else:
            here = ["--ngpu", o.ngpu, "--multiprocessing_distributed", "true"]
            espnet(o, task, *words, *here, log=str(train_log))
    except ProgramError as error:
        key = next((key for key in ("batch_bins", "batch_size") if config.get(key)), "batch_size")
        half = {key: max(1, config.get(key, 20) // 2), "accum_grad": 2 * config.get("accum_grad", 1)}
        told = [*o.train_args, *(f"{key}={value}" for key, value in half.items())]
        told = f'--train_args "{" ".join(told)}"'
        if task == "lm":
            told = " ".join([*o.lm_args, *(f"--{key} {value}" for key, value in half.items())])
            told = f'--lm_args "{told}"'
        raise RecipeError(f"{lack_of_memory(error, exp, told)}{error}") from None
    if train_log.exists() and GAVE_UP in train_log.read_bytes()[begin:]:
        raise RecipeError(f"{train_log}: loss or gradients were not finite in a whole epoch; ESPnet stopped")


def _launch_elsewhere(o: EspnetOptions, exp: str, words: list) -> None:
    """A training by ESPnet's launcher: on named hosts, or where a scheduler's command puts it."""
    where = ["--num_nodes", o.num_nodes]
    if o.host:
        where = ["--host", o.host, "--envfile", "path.sh" if Path("path.sh").is_file() else "none"]
    where += ["--log", f"{exp}/train.log", "--init_file_prefix", f"{Path.cwd()}/{exp}/.dist_init_"]
    launcher = [o.python, "-m", "espnet2.bin.launch", "--cmd", o.cuda_cmd or "none", "--ngpu", o.ngpu]
    program = [*_env(o), o.python, "-m", "imlspike.espnet", *words]
    call([*launcher, *where, "--", *program], f"{exp}/launch.log", o.environment)


def lack_of_memory(error: ProgramError, exp: str, half: str) -> str:
    """The sentence about a training that was killed for memory; empty if that wasn't the reason."""
    told = f"Halve the batch: --resume anyway {half}"
    return f"{exp}: killed, most likely for lack of memory ({error.memory}). {told}\n" if error.memory else ""


def _env(o: EspnetOptions) -> list[str]:
    """Words to put before a program that runs elsewhere: schedulers and ssh don't pass the environment on."""
    return ["env", *(f"{name}={value}" for name, value in o.environment.items())]


def run_jobs(
    o: EspnetOptions, command: str, number: int, log_file: str, words: list, gpu: bool = False
) -> None:
    """Run a program `number` times at once, in whose words and log JOB is the number of each, from 1 on."""
    words = [str(word) for word in words]
    if command:
        several = [f"JOB=1:{number}"] if number > 1 else []
        submit = [*shlex.split(command), "--gpu", int(gpu), *several, log_file, *_env(o), *words]
        return call(submit, f"{log_file.replace('JOB', 'all')}.submit")

    def one(n: str) -> None:
        call([word.replace("JOB", n) for word in words], log_file.replace("JOB", n), o.environment)

    with ThreadPoolExecutor(number) as pool:
        list(pool.map(one, map(str, range(1, number + 1))))


def statistics(
    o, stats: str, task: str, config: dict, sources: list[str], words: list = (), least: int = 5000
) -> None:
    """Collect statistics by ESPnet in the folder `stats`, in several processes.

    Each works on `least` lines or more of both sources, tables for train and valid; the words may name its
    part of them as STATS/pieces/train.JOB. The length of a text becomes 'tokens,size of the vocabulary', as
    ESPnet weighs a batch by their product.
    """
    pieces = max(1, min(count(sources[0]) // least, o.nj, count(sources[1])))
    shutil.rmtree(stats, ignore_errors=True)
    Path(stats, "pieces").mkdir(parents=True)
    program = ["--config", f"{stats}/run.yaml", *words, "--output_dir", f"{stats}/pieces/JOB"]
    for split, table in zip(SPLITS, sources, strict=True):
        program += [f"--{split}_shape_file", f"{stats}/pieces/{split}.JOB"]
        lines = Path(table).read_bytes().splitlines(keepends=True)
        for n in range(pieces):
            part = lines[-(-n * len(lines) // pieces) : -(-(n + 1) * len(lines) // pieces)]
            Path(stats, "pieces", f"{split}.{n + 1}").write_bytes(b"".join(part))
    write_yaml(f"{stats}/run.yaml", config | {"collect_stats": True, "ngpu": 0})
    program = [o.python, "-m", "imlspike.espnet", task, *program]
    run_jobs(o, o.train_cmd, pieces, f"{stats}/log/stats.JOB.log", program)
    folders = [word for n in range(pieces) for word in ("--input_dir", f"{stats}/pieces/{n + 1}")]
    joined = [o.python, "-m", "espnet2.bin.aggregate_stats_dirs", *folders, "--output_dir", stats]
    call(joined, f"{stats}/join.log", o.environment)
    _check_finite(stats)
    vocabulary = count(f"{o.tokens}/tokens.txt")
    for split in SPLITS:
        lengths = Path(stats, split, "text_shape").read_text(encoding="utf-8").splitlines()  # in their order
        with atomic_write(f"{stats}/{split}/text_shape.{o.token_type}") as out:
            out.writelines(f"{length},{vocabulary}\n" for length in lengths)
        log(f"  {split}: {len(lengths)} utterances")


def _check_finite(stats: str) -> None:
    """Raise RecipeError if a sum over the training set isn't finite, which one bad sample is enough for."""
    for file in sorted(Path(stats).glob("*/*_stats.npz")):
        with np.load(file) as sums:
            if not all(np.isfinite(sums[name]).all() for name in sums):
                raise RecipeError(
                    f"{file}: not finite, a recording holds samples that are no numbers; with --audio_format "
                    "flac, from stage 3 on, all are read, and such are left out and listed"
                )
