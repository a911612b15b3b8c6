"""ESPnet's trainings and statistics: on this machine, or where its launcher brings them."""

import shlex
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from imlspike.data.files import atomic_write
from imlspike.data.yaml_file import ConfigError, write_yaml
from imlspike.espnet.config import resolve
from imlspike.recipes.data import CorpusOptions, count, tables
from imlspike.recipes.options import ROOT, OptionError, existing, option
from imlspike.recipes.processes import ProgramError, RecipeError, call
from imlspike.recipes.progress import Count, Log, lines_in, log
from imlspike.recipes.runner import Needs

_COMMANDS = {"local": "", "slurm": "slurm.pl", "sge": "queue.pl", "ssh": "ssh.pl"}


@dataclass
class EspnetOptions(CorpusOptions):
    """Options of recipes that ESPnet trains: those of `CorpusOptions`, and where jobs run.

    As in ESPnet's cmd.sh there is a command for each kind of job: Kaldi's slurm.pl, queue.pl and ssh.pl,
    which ESPnet's users have in their recipes' utils. Settings of the cluster belong into conf/slurm.conf or
    conf/queue.conf in --workdir. ESPnet's batch is what all processes of a training get together.
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

    def check(self) -> None:
        """See `Options.check`."""
        super().check()
        default = _COMMANDS[self.cmd_backend]
        if default == "slurm.pl":
            own = Path(self.workdir, "conf/slurm.conf")
            default += f" --config {'conf/slurm.conf' if own.is_file() else ROOT / 'conf/slurm.conf'}"
        for name in ("train_cmd", "cuda_cmd", "decode_cmd"):
            setattr(self, name, getattr(self, name) or default)
            words = shlex.split(getattr(self, name))
            if words and not shutil.which(words[0]):
                raise OptionError(
                    f"--{name}: there is no {words[0]} on the PATH. Kaldi has it (utils and utils/parallel "
                    f"of egs/wsj/s5), and so has an ESPnet recipe; add that folder to PATH, or give --{name} "
                    f"'/its/folder/{words[0]}'"
                )
        if self.num_processes > 1 and (self.ngpu or self.num_nodes > 1 or self.host):
            raise OptionError(
                "--num_processes is for the CPU of one machine; on GPUs there is one process each (--ngpu)"
            )
        if self.num_nodes > 1 and self.host:
            raise OptionError("--host names the machines; leave --num_nodes away")
        if self.num_nodes > 1 and not self.cuda_cmd:
            raise OptionError(
                "--num_nodes needs a scheduler (--cmd_backend slurm), or name the machines with --host"
            )
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
        """What training reads: `train_sets` holds one set, `dump` is the folder of both."""
        return {"train": f"{self.dump}/{self.train_sets[0]}", "valid": f"{self.dump}/{self.valid_set}"}

    @property
    def data_files(self) -> list[str]:
        return [*tables(*self.folders.values()), *self.token_files]

    @property
    def wavs(self) -> list[str]:
        return [f"{folder}/wav.scp" for folder in self.folders.values()]

    def utterances_read(self) -> Count:
        """The progress of statistics."""
        pieces = f"{self.stats}/pieces/*/*/speech_shape"
        return Count("utterances", lambda: sum(map(count, self.wavs)), lambda: lines_in(pieces))

    def espnet_tables(self) -> dict[str, list]:
        """Audio and text, as ESPnet's [file, name, kind]."""
        kinds = [["wav.scp", "speech", "sound"], ["text", "text", "text"]]
        return {
            split: [[f"{folder}/{file}", *kind] for file, *kind in kinds]
            for split, folder in self.folders.items()
        }


def average(config: dict, given: str = "") -> str:
    """The model file that counts: `given`, or the average for the first criterion of a training's YAML."""
    phase, key, _ = config.get("best_model_criterion", [["train", "loss", "min"]])[0]
    return given or f"{phase}.{key}.ave.pth"


def configure(
    task: str, models: list[tuple[str, str, list[str]]], settings: list[str], shared: str
) -> dict[str, dict]:
    """The configuration of each model, every key checked, from its name, YAML and overrides.

    Raises:
        OptionError: for a wrong file or key, or if models differ in keys that begin with `shared`, by which
            they share statistics.
    """
    configs = {}
    for name, base, overrides in models:
        files = [
            existing(base, f"configuration of {name}"),
            *(existing(f, f"override of {name}") for f in overrides),
        ]
        try:
            configs[name] = resolve(files[0], files[1:], settings, task)
        except ConfigError as error:
            raise OptionError(str(error)) from None
    first, *others = configs
    for name in others:
        if select(configs[name], shared) != select(configs[first], shared):
            raise OptionError(
                f"{first} and {name} differ in {shared}: they can't share statistics, run them apart"
            )
    return configs


def select(config: dict, heads: str) -> dict:
    """The keys that begin with one of these words."""
    return {key: value for key, value in config.items() if key.startswith(tuple(heads.split()))}


def needs(exp: str, config: dict, inputs: list[str], settings: dict) -> Needs:
    """What a training in `exp` needs and makes."""
    made = [f"{exp}/config.yaml", f"{exp}/{average(config)}", f"{exp}/*.pth"]
    restart = [f"{exp}/checkpoint.pth", "*.pth", "train*.log", "tensorboard", "images", "att_ws"]
    return Needs(inputs, made, settings, restart, follow=Log(Path(exp).name, f"{exp}/train.log"))


def describe(o: EspnetOptions, exp: str, config: dict) -> None:
    """For the report and the model card: the command, and the model's settings without those of the data."""
    Path(exp, "command").write_text(o.command + "\n", encoding="utf-8")
    write_yaml(f"{exp}/train.yaml", config)


def espnet(o: EspnetOptions, program: str, *words: object, log: str) -> None:
    """Run a program of espnet2.bin that needs this project's models."""
    call([o.python, "-m", "imlspike.espnet", program, *words], log, o.environment)


def data_of(tables: dict[str, list]) -> dict[str, list]:
    """ESPnet's options for the tables, [file, name, kind] each, of "train" and "valid"."""
    return {f"{split}_data_path_and_name_and_type": found for split, found in tables.items()}


def shapes_of(stats: str, *names: str) -> dict[str, list]:
    """ESPnet's options for the lengths that `statistics` found."""
    return {
        f"{split}_shape_file": [f"{stats}/{split}/{name}" for name in names] for split in ("train", "valid")
    }


def launch(o: EspnetOptions, exp: str, task: str, config: dict, words: list = ()) -> None:
    """ESPnet's training of a task in the folder `exp`, which gets run.yaml and train.log.

    Raises:
        RecipeError: if it fails; for lack of memory it says what to halve.
    """
    write_yaml(f"{exp}/run.yaml", config | {"output_dir": exp, "resume": True, "seed": o.seed})
    program = [o.python, "-m", "imlspike.espnet", task, "--config", f"{exp}/run.yaml", *words]
    program += ["--num_processes", o.num_processes] if o.num_processes > 1 else []
    try:
        if not (o.cuda_cmd or o.host):
            here = ["--ngpu", o.ngpu, "--multiprocessing_distributed", "true"]
            return call([*program, *here], f"{exp}/train.log", o.environment)
        where = ["--num_nodes", o.num_nodes]
        if o.host:
            where = ["--host", o.host, "--envfile", "path.sh" if Path("path.sh").is_file() else "none"]
        launcher = [o.python, "-m", "espnet2.bin.launch", "--cmd", o.cuda_cmd or "none", "--ngpu", o.ngpu]
        launcher += [*where, "--log", f"{exp}/train.log"]
        launcher += ["--init_file_prefix", f"{Path.cwd()}/{exp}/.dist_init_"]
        call([*launcher, "--", *_env(o), *program], f"{exp}/launch.log", o.environment)
    except ProgramError as error:
        key = next((key for key in ("batch_bins", "batch_size") if config.get(key)), "batch_size")
        half = f"{key}={config.get(key, 20) // 2} accum_grad={2 * config.get('accum_grad', 1)}"
        raise RecipeError(f"{lack_of_memory(error, exp, half)}{error}") from None


def lack_of_memory(error: ProgramError, exp: str, half: str) -> str:
    """What to tell of a training that was killed for memory; empty if that wasn't the reason."""
    told = f'most likely for lack of memory ({error.memory}). Halve the batch: --train_args "{half}"'
    return f"{exp}: killed, {told}\n" if error.memory else ""


def _env(o: EspnetOptions) -> list[str]:
    """What to put before a program that runs elsewhere: schedulers and ssh don't pass the environment on."""
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
    with ThreadPoolExecutor(number) as pool:
        calls = [
            pool.submit(
                call,
                [word.replace("JOB", str(n)) for word in words],
                log_file.replace("JOB", str(n)),
                o.environment,
            )
            for n in range(1, number + 1)
        ]
    for one in calls:
        one.result()


def statistics(
    o, stats: str, task: str, config: dict, tables: list[str], words: list = (), least: int = 5000
) -> None:
    """Collect statistics by ESPnet in the folder `stats`, in several processes.

    Each works on `least` lines or more of both tables, train and valid; the words may name its part of them
    as STATS/pieces/train.JOB. The length of a text becomes 'tokens,size of the vocabulary', as ESPnet weighs
    a batch by their product.
    """
    pieces = max(1, min(count(tables[0]) // least, o.nj, count(tables[1])))
    shutil.rmtree(stats, ignore_errors=True)
    Path(stats, "pieces").mkdir(parents=True)
    for split, table in zip(("train", "valid"), tables, strict=True):
        lines = Path(table).read_text(encoding="utf-8").splitlines(keepends=True)
        for n in range(pieces):
            part = lines[-(-n * len(lines) // pieces) : -(-(n + 1) * len(lines) // pieces)]
            Path(stats, "pieces", f"{split}.{n + 1}").write_text("".join(part), encoding="utf-8")
    write_yaml(f"{stats}/run.yaml", config | {"collect_stats": True, "ngpu": 0})
    program = [o.python, "-m", "imlspike.espnet", task, "--config", f"{stats}/run.yaml", *words]
    for split in ("train", "valid"):
        program += [f"--{split}_shape_file", f"{stats}/pieces/{split}.JOB"]
    program += ["--output_dir", f"{stats}/pieces/JOB"]
    run_jobs(o, o.train_cmd, pieces, f"{stats}/log/stats.JOB.log", program)
    folders = [word for n in range(pieces) for word in ("--input_dir", f"{stats}/pieces/{n + 1}")]
    joined = [o.python, "-m", "espnet2.bin.aggregate_stats_dirs", *folders, "--output_dir", stats]
    call(joined, f"{stats}/join.log", o.environment)
    vocabulary = count(f"{o.tokens}/tokens.txt")
    for split in ("train", "valid"):
        shapes = Path(stats, split, "text_shape").read_text(encoding="utf-8").splitlines()  # in their order
        with atomic_write(f"{stats}/{split}/text_shape.{o.token_type}") as out:
            out.writelines(f"{shape},{vocabulary}\n" for shape in shapes)
        log(f"  {split}: {len(shapes)} utterances")
