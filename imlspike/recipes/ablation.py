"""Ablations of a recognizer's recipe: every run of a list, by the recipe's stages, and a table over seeds.

Runs are trained, decoded and scored, some side by side; data, tokens and statistics are made once
for all. Options that aren't listed here go to the recipe's run.sh (its --help lists them), as --train_args
max_epoch=20; but for what the list sets: the models, their names and seeds.
"""

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from imlspike.data.files import make_folder
from imlspike.data.model_files import average
from imlspike.data.yaml_file import read_yaml
from imlspike.evaluation.ablations import read_known, read_list, write_report
from imlspike.recipes.asr_options import Asr
from imlspike.recipes.options import ROOT, OptionError, Options, existing, option, parse
from imlspike.recipes.processes import RecipeError, call
from imlspike.recipes.progress import Log, duration, log
from imlspike.recipes.runner import Needs, Recipe

OWN = "experiments asr_config asr_override asr_tag seed peers".split()
NAMING = "inference_args inference_asr_model".split()  # a table looks for the decodings without
LOGS = "exp/ablations/log"
_table = threading.Lock()


@dataclass
class Ablation(Options):
    """Options of an ablation."""

    passes_on = Asr  # what isn't known goes to the recipe

    recipe: str = option("egs/msu_ru_nsh/asr1", "folder of the recipe")
    list: str = option(
        "conf/ablations/main.txt",
        "'NAME ... [: SEED ...]' or a .txt file of such lines; NAME: base, one of conf/ablations, a YAML, or "
        "several with + between",
    )
    seeds: str = option("0", "seeds of lines that name none, as '0 1 2'")
    config: str = option("conf/quick.yaml", "training YAML, the base")
    budget: str = option("", "YAML laid over --config in every run, as conf/ablations/budget.yaml")
    measure: str = option("cer", "the error rate that counts", "cer wer")
    decoding: str = option(
        "greedy",
        "CTC with weights of 32 or of 8 bits, or a search with the language model",
        "greedy greedy_8bit joint",
    )
    spikes: bool = option(False, "count spikes and energy of every run (minutes each)")
    known: str = option(
        "", "results.json of earlier tables of this decoding: their runs are neither trained nor looked for"
    )
    results: str = option("", "folder of the table; empty: exp/ablations in --workdir")
    ngpu: str = option("", "GPUs of each training, one after the other then; empty: as the recipe has it")

    def check(self) -> None:
        """See `Options.check`."""
        parse(Asr, self.passed_on)  # what isn't known there is refused here
        if own := [name for name in self.passed_on[::2] if name[2:] in OWN]:
            raise OptionError(f"{own[0]} is set by the list (--help)")
        if naming := [name for name in self.passed_on[::2] if name[2:] in NAMING]:
            raise OptionError(f"{naming[0]} gives decodings other names; a table has the usual ones")
        if any("best_model_criterion" in word for word in self.passed_on):
            raise OptionError("--train_args best_model_criterion: say it in --config, which names the model")
        self.recipe = existing(self.recipe, "--recipe")
        self.config = existing(self.config, "--config")
        self.budget = self.budget and existing(self.budget, "--budget")
        self.results = os.path.abspath(self.results or f"{self.workdir}/exp/ablations")
        if wrong := [seed for seed in self.seeds.split() if not seed.isdecimal()]:
            raise OptionError(f"--seeds: {wrong[0]!r} is no seed; expected whole numbers, as '0 1 2'")
        try:
            seeds = [int(seed) for seed in self.seeds.split()]
            runs = read_list(self.list, seeds, places=(".", self.recipe, ROOT))
        except ValueError as error:
            raise OptionError(f"--list: {error}") from None
        self.runs = {r.name: r._replace(overrides=tuple(p.resolve() for p in r.overrides)) for r in runs}
        tag = "joint*" if self.decoding == "joint" else self.decoding  # it names the language model, too
        self.decoded = f"{tag}_asr_model_{Path(average(read_yaml(self.config))).stem}"
        files = [existing(file, "--known") for file in self.known.split()]
        try:
            self.taken = read_known(files, self.measure, self.decoded)
        except ValueError as error:
            raise OptionError(f"--known: {error}") from None
        self.to_train = [name for name in self.runs if name not in self.taken]
        self.failed, self.ended = [], []

    @property
    def at_once(self) -> int:
        """Trainings side by side: one on GPUs, unless a scheduler shares them out."""
        return 1 if self.ngpu not in ("", "0") and "--cuda_cmd" not in self.passed_on else self.nj

    def experiment(self, name: str) -> str:
        """A run as --experiments of the recipe names it."""
        layers = [self.config, *filter(None, [self.budget]), *self.runs[name].overrides]
        return ":".join(map(str, [name, *layers]))


recipe = Recipe(Ablation)
stage = recipe.stage


def run_recipe(o: Ablation, log_file: str | None, *words: object) -> None:
    """Some stages of the recipe."""
    given = ["--decode_modes", o.decoding, "--use_lm", str(o.decoding == "joint").lower(), *o.passed_on]
    given += ["--workdir", o.workdir, *(["--ngpu", o.ngpu] if o.ngpu else [])]
    command = ["bash", f"{o.recipe}/run.sh", *given, "--python", o.python, "--threads", o.threads, *words]
    call(command, log_file, o.environment)


@stage(1)
def prepare(o: Ablation):
    """Data, tokens and statistics of all runs."""
    yield Needs(always=True)
    if not o.to_train:
        return
    specs = " ".join(o.experiment(name) for name in o.to_train)
    run_recipe(o, None, "--stage", 1, "--stop_stage", 10, "--nj", o.nj, "--experiments", specs)


@stage(2, each=lambda o: o.to_train, jobs=lambda o: o.at_once)
def one_run(o: Ablation, name: str):
    """Runs."""
    fresh = not Path(f"exp/{name}/.done/train.json").is_file()
    told = "not trained to its end yet" if fresh else "trained before; decoded and scored where that is left"
    yield Needs(always=told, follow=Log(name, f"exp/{name}/train.log"))
    begin = time.monotonic()
    if fresh:
        from imlspike.data.origin import git_state  # here only: it loads torch

        make_folder(f"exp/{name}")
        Path(f"exp/{name}/source.txt").write_text(git_state(ROOT))
    words = ["--stage", 11, "--stop_stage", 14 if o.spikes else 13, "--nj", 1]
    try:
        words += ["--seed", o.runs[name].seed, "--experiments", o.experiment(name)]
        run_recipe(o, f"{LOGS}/{name}.log", *words)
    except RecipeError as error:
        o.failed.append(name)
        log(f"  {name} FAILED, the others go on: {error}")
        return
    make_table(o)
    # Those that were trained just now, and not before, tell how long the others will take.
    o.ended.append(time.monotonic() - begin if fresh else 0)
    timed, left = [seconds for seconds in o.ended if seconds], len(o.to_train) - len(o.ended)
    told = (
        f", {duration(sum(timed) / len(timed) * left / min(o.at_once, left))} left" if timed and left else ""
    )
    log(f"  {name}: complete; {len(o.ended)} of {len(o.to_train)} runs{told}")


@stage(3)
def table(o: Ablation):
    """Table."""
    yield Needs(always=True)
    shown, said, files = make_table(o)
    print(f"\n{shown}\n", *said, f"\nresults: {' '.join(map(str, files))}", sep="\n")
    if o.failed:
        raise RecipeError(f"failed: {' '.join(o.failed)} (their logs: {LOGS})")


def make_table(o: Ablation) -> tuple:
    """The table, its sentences and its files, of the runs that are complete."""
    with _table:
        return write_report(list(o.runs.values()), "exp", o.results, o.measure, o.decoded, o.command, o.taken)
