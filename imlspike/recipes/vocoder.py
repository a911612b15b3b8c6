"""A vocoder from a corpus to a table of results: the ANN (Vocos), which teaches, and spiking models.

Models are overrides of one configuration.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from imlspike.data.mel import MEL_KEYS
from imlspike.data.yaml_file import flat
from imlspike.evaluation.training_log import vocoder_costs
from imlspike.recipes import data
from imlspike.recipes.data import CorpusOptions
from imlspike.recipes.options import OptionError, option
from imlspike.recipes.processes import ProgramError, RecipeError, check_words, program
from imlspike.recipes.progress import Log, log
from imlspike.recipes.runner import Needs, Recipe, asked
from imlspike.recipes.training import lack_of_memory

SOUND, LIMITED, TESTED = "dump/sound", "dump/limited", "dump/test"
MADE = ("checkpoints", "tensorboard", "config.yaml", "generator.*", "log.csv", "*.log")  # by a training


@dataclass
class Vocoder(CorpusOptions):
    """Options of a vocoder's recipe."""

    # Data
    test_set: str = option("test", "set that is synthesised and scored")
    extra_train: list = option(
        "", "more to train on: asterisk_en, _es, _fr, _it, _ru (fetched), or sets in data/"
    )
    min_wav_duration: float = option(0.3, "shortest recording to train on, in seconds")
    max_wav_duration: float = option(60.0, "longest recording to train on, in seconds")
    test_utts: int = option(0, "recordings of the test set to score, spread over it; 0: all")
    # Models
    config: str = option("", "YAML of a training, the base of all models")
    overrides: str = option("", "folder with a YAML for each model; its ann.yaml is the ANN")
    models: list = option("plif tsm kd tsm_kd imls", "spiking models to train", empty=True)
    ann: bool = option(True, "train the ANN too")
    steps: int = option(0, "steps of each training; 0: the YAML's")
    train_args: list = option("", "settings over the YAML, as 'optimizer.lr=0.0003'")
    # Results
    asr_model: str = option(
        "", "recognizer for the character error rate: an experiment of asr1, a zip, whisper; empty: none"
    )
    score_args: list = option(
        "", "further options of 'imlspike score', as '--crepe tiny --measures pesq mcd'"
    )
    profile_utts: int = option(
        20, "recordings of the test set on which spikes and energy are counted", least=1
    )

    in_paths = "train_set valid_set extra_train"

    def check(self) -> None:
        """See `Options.check`."""
        super().check()
        if wrong := [word for word in self.train_args if "." not in word.partition("=")[0]]:
            told = "write section.key=value, as optimizer.lr=0.0003"
            raise OptionError(f"--train_args: {wrong[0]!r} is no setting; {told}")
        check_words("score_args", "score", self.score_args, output_dir="o", data_dir="d", systems="a=b")
        self.asr_model = data.find_recognizer(self.asr_model)
        names = self.check_models()
        self.extra_train = data.unique(*self.extra_train)
        self.train_sets = data.unique(self.train_set, *self.extra_train)
        self.sets = data.unique(*self.train_sets, self.valid_set, self.test_set)
        self.configs = {name: read_config(name, self.trainer_words(name)) for name in names}
        first, *others = names
        for name in others:
            for key in MEL_KEYS:
                ours, theirs = (self.configs[one]["generator"][key] for one in (name, first))
                if ours != theirs:
                    told = "one table needs the same features for all; run them apart, with a --workdir each"
                    raise OptionError(f"{name} has {key}={ours}, {first} {theirs}: {told}")
        self.first, self.rate = first, self.configs[first]["generator"]["sampling_rate"]

    def trainer_words(self, name: str) -> list[str]:
        """The arguments of the trainer that make this model."""
        words = ["--config", self.config, "--config", f"{self.overrides}/{name}.yaml", *self.train_args]
        words += [f"trainer.steps={self.steps}"] if self.steps else []
        words += [f"trainer.seed={self.seed}"] if self.seed else []
        gpu = ["trainer.accelerator=gpu", f"trainer.devices={self.ngpu}"]
        return words + (gpu if self.ngpu else ["trainer.accelerator=cpu"])


def read_config(name: str, words: list[str]) -> dict:
    """A training's settings, every key checked; of the generator also those left to their defaults."""
    from imlspike.models.spiking_vocos import SpikingVocos
    from imlspike.training import config as settings

    try:
        config, _ = settings.read_config([*words, "--exp-dir=exp", "--train-dir=train", "--valid-dir=valid"])
        return config.as_dict() | {"generator": dict(SpikingVocos.from_config(config.generator).config)}
    except ValueError as error:
        raise OptionError(f"{name}: {error}") from None


recipe = Recipe(Vocoder)
stage = recipe.stage


@stage(1)
def prepare(o: Vocoder):
    """Data preparation."""
    yield from data.prepare_corpus(o, data.unique(o.train_set, o.valid_set, o.test_set))


@stage(1, each=lambda o: o.extra_train, when=asked("extra_train", "asterisk_en"))
def prepare_extra(o: Vocoder, name: str):
    """More to train on."""
    yield Needs(makes=data.tables(f"data/{name}"))
    if name.startswith("asterisk_"):
        where = {"download_dir": "downloads", "output_dir": "data"}
        program(o, "prepare", "asterisk", **where, languages=name.partition("_")[2])
    elif not Path("data", name, "utt2dur").is_file():
        told = "What isn't asterisk_<language> has to be a data directory, as 'imlspike prepare' writes it"
        raise RecipeError(f"--extra_train: there is no data/{name}/utt2dur. {told}")


@stage(2, each=lambda o: o.sets)
def format_set(o: Vocoder, name: str):
    """Audio of one rate."""
    yield from data.format_audio(o, f"data/{name}", f"{SOUND}/{name}", "wav", o.rate)


@stage(2, each=lambda o: o.trained)
def limit_durations(o: Vocoder, name: str):
    """Removal of what is too long or too short."""
    yield from data.limit(o, f"{SOUND}/{name}", f"{LIMITED}/{name}", sampling_rate=o.rate)


@stage(2)
def choose_test(o: Vocoder):
    """Choice of what is scored."""
    yield Needs(data.tables(f"{SOUND}/{o.test_set}"), data.tables(TESTED), o.pick("test_utts"))
    shutil.rmtree(TESTED, ignore_errors=True)
    data.spread(f"{SOUND}/{o.test_set}", o.test_utts, TESTED)
    data.copy_tables(f"data/{o.test_set}", TESTED, "utt2lang")
    data.link_audio(TESTED, f"{TESTED}/audio")


@stage(3, each=lambda o: ["ann"], jobs=lambda o: 1, when=asked("ann", "true"))
def train_ann(o: Vocoder, name: str):
    """Training of the ANN."""
    yield from train_one(o, name)


@stage(4, each=lambda o: o.models, jobs=lambda o: o.at_once)
def train(o: Vocoder, name: str):
    """Training of the spiking models."""
    yield from train_one(o, name)


def train_one(o: Vocoder, name: str):
    """A step: the ANN comes first, for it may teach the others."""
    exp, config = f"exp/{name}", o.configs[name]
    inputs = data.tables(*(f"{LIMITED}/{one}" for one in o.trained))
    inputs += [f"{config['teacher']}/weights.safetensors"] if config["teacher"] else []
    from imlspike.training.config import FREE  # here only: it loads torch

    settings = {key: value for key, value in flat(config) if not key.endswith("_dirs") and key not in FREE}
    made, progress = [f"{exp}/weights.safetensors", f"{exp}/bundle.yaml"], Log(name, f"{exp}/train.log")
    results = data.made_of(name, "synthesis")
    yield Needs(inputs, made, settings, [f"{exp}/checkpoints", *MADE], progress, results=results)
    how = {"exp_dir": exp, "valid_dir": f"{LIMITED}/{o.valid_set}"}
    how |= {"train_dir": [f"{LIMITED}/{one}" for one in o.train_sets]}
    how |= {"resume": "anyway"} if o.resume == "anyway" else {}
    try:
        program(o, "train_vocoder", *o.trainer_words(name), **how, log=f"{exp}/console.log")
    except ProgramError as error:
        half = [*o.train_args, f"data.batch_size={max(1, config['data']['batch_size'] // 2)}"]
        told = f'--train_args "{" ".join(half)}"'
        raise RecipeError(f"{lack_of_memory(error, exp, told)}{error}") from None
    done, steps = vocoder_costs(Path(exp, "log.csv"))["steps"], config["trainer"]["steps"]
    if done < steps:  # trainer.max_time_minutes: a half-trained model is no result
        raise RecipeError(f"{exp}: the time was up at step {done} of {steps}")


@stage(5, each=lambda o: o.configs, jobs=lambda o: o.nj)
def synthesize(o: Vocoder, name: str):
    """Copy-synthesis."""
    exp, made = f"exp/{name}", f"exp/{name}/synthesis"
    inputs, progress = [f"{exp}/weights.safetensors", *data.tables(TESTED)], Log(name, f"{exp}/synthesis.log")
    yield Needs(inputs, [made], follow=progress)
    shutil.rmtree(made, ignore_errors=True)
    how = {"model": exp} | o.pick("threads device")
    program(o, "vocode", f"{TESTED}/audio", made, **how, log=f"{exp}/synthesis.log")


@stage(6, jobs=lambda o: 1)
def score(o: Vocoder):
    """Scoring."""
    folders = {name: f"exp/{name}/synthesis" for name in o.configs}
    inputs = [*(f"exp/{name}/weights.safetensors" for name in folders), *folders.values()]
    inputs += [*data.tables(TESTED), *data.recognizer_files(o.asr_model)]
    settings = {"names": [*folders]} | o.pick("score_args asr_model")
    yield Needs(inputs, ["exp/scores/scores.json"], settings, follow=Log("scores", "exp/scores/log"))
    how = {"systems": [f"{name}={folder}" for name, folder in folders.items()], "model": f"exp/{o.first}"}
    how |= {"data_dir": TESTED, "output_dir": "exp/scores"} | o.pick("nj asr_model")
    program(o, "score", *o.score_args, **how, log="exp/scores/log")
    log("  exp/scores/scores.md")


@stage(7, each=lambda o: o.configs, jobs=lambda o: o.nj)
def profile(o: Vocoder, name: str):
    """Spikes and energy."""
    exp = f"exp/{name}"
    yield from data.count_spikes(o, name, TESTED, [f"{exp}/weights.safetensors"], {"exp": exp})


@stage(8)
def report(o: Vocoder):
    """Report."""
    yield Needs(["exp/scores/scores.json"], always=True)
    exps = [f"exp/{name}" for name in o.configs]
    program(o, "report", *exps, scores="exp/scores", command=o.command, output="exp/RESULTS.md")
