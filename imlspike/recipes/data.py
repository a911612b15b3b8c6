"""Common part of recipes before training: options, and steps that prepare a corpus."""

import glob
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imlspike.data.files import make_folder, read_kaldi, write_kaldi
from imlspike.recipes.options import OptionError, Options, existing, option
from imlspike.recipes.processes import check_words, program, verb
from imlspike.recipes.progress import Log, log
from imlspike.recipes.runner import Needs

REPORT = ("RESULTS.md", "RESULTS_files", "results.json")
TABLES = ("wav.scp", "text", "utt2spk", "utt2dur")


@dataclass
class CorpusOptions(Options):
    """Options of every recipe that trains on a corpus.

    A recipe's `check` sets `train_sets`, all its `sets`, and `configs`, the configuration of each model.
    """

    seed: int = option(0, "random seed")
    corpus: str = option("", "corpus, as 'imlspike prepare' names it")
    corpus_dir: str = option("", "the corpus on this machine; empty: download it")
    prepare_args: list = option("", "further options of 'imlspike prepare'")
    max_left_out: float = option(
        0.05, "share of utterances that may be left out as broken or unspeakable", most=1
    )
    train_set: str = option("train", "training set")
    valid_set: str = option("valid", "validation set")
    min_wav_duration: float = option(0.1, "shortest recording to train on, in seconds")
    max_wav_duration: float = option(20.0, "longest recording to train on, in seconds")
    train_args: list = option("", "settings over the YAML, as 'max_epoch=20 optim_conf.lr=0.001'")
    resume: str = option(
        "true",
        "go on from a checkpoint; false: begin again; anyway: although settings changed",
        "true false anyway",
    )

    def check(self) -> None:
        """See `Options.check`."""
        if not self.corpus and self.stage <= 1:
            raise OptionError("--corpus is empty; name the corpus to prepare")
        if self.min_wav_duration > self.max_wav_duration:
            limits = f"--min_wav_duration {self.min_wav_duration:g} is above"
            raise OptionError(f"{limits} --max_wav_duration {self.max_wav_duration:g}: no recording is left")
        self.corpus_dir = self.corpus_dir and existing(self.corpus_dir, "--corpus_dir")
        if wrong := [word for word in self.train_args if "=" not in word]:
            raise OptionError(f"--train_args: {wrong[0]!r} is no setting; write key=value, as max_epoch=20")
        self.check_gpus()

    def check_gpus(self, local: bool = True) -> None:
        """Make a number of --ngpu; those of this machine (`local`) have to be there."""
        if self.ngpu not in ("all", "any") and not self.ngpu.isdecimal():
            raise OptionError(f"--ngpu is {self.ngpu!r}; expected a whole number, all, or any")
        found = count_gpus() if self.ngpu != "0" else 0
        self.ngpu = int({"all": found, "any": min(found, 1)}.get(self.ngpu, self.ngpu))
        if local and self.ngpu > found:
            told = f"this machine has {found} (nvidia-smi); train with --ngpu {found}"
            raise OptionError(f"--ngpu {self.ngpu}: {told}")

    def check_models(self) -> list[str]:
        """Names of the models of --ann and --models, each a YAML of the folder --overrides over --config."""
        for name in ("config", "overrides"):
            if not getattr(self, name):
                raise OptionError(f"--{name} is empty; it names the models' YAML")
            setattr(self, name, existing(getattr(self, name), f"--{name}"))
        if "ann" in self.models:
            raise OptionError("--models: ann is trained by --ann true")
        names = [*(["ann"] if self.ann else []), *self.models]
        if len(set(names)) < len(names):
            raise OptionError(f"--models: {next(n for n in names if names.count(n) > 1)} stands twice")
        if not names:
            raise OptionError("no model: --models is empty and --ann false")
        known = sorted(path.stem for path in Path(self.overrides).glob("*.yaml"))
        if wrong := [name for name in names if name not in known]:
            told = f"there is no {self.overrides}/{wrong[0]}.yaml; there are: {' '.join(known)}"
            raise OptionError(f"--models: {told}")
        return names

    @property
    def device(self) -> str:
        return "cuda" if self.ngpu else "cpu"

    @property
    def trained(self) -> list[str]:
        """The sets that training reads."""
        return unique(*self.train_sets, self.valid_set)

    @property
    def at_once(self) -> int:
        """Number of trainings that run side by side: one where they would share this machine's GPUs."""
        return 1 if self.ngpu else self.nj


def count_gpus() -> int:
    """The GPUs of this machine."""
    try:
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True).stdout
    except OSError:
        return 0
    return sum(line.startswith("GPU") for line in listed.splitlines())


def tables(*folders: str) -> list[str]:
    """The tables of data directories."""
    return [f"{folder}/{table}" for folder in folders for table in TABLES]


def unique(*names: str) -> list[str]:
    """Each name once."""
    return list(dict.fromkeys(names))


def count(table: str) -> int:
    """Lines of a table."""
    return Path(table).read_bytes().count(b"\n")


def weights(model: str) -> str:
    """The file that changes when a model does: the weights in its folder, or the file or folder itself."""
    file = Path(model, "weights.safetensors")
    return str(file) if file.is_file() else model


def find_recognizer(model: str) -> str:
    """--asr_model with an absolute path: whisper[:FOLDER], or a trained model; OptionError if absent."""
    kind, colon, folder = model.partition(":")
    if kind != "whisper":
        return model and existing(model, "--asr_model")
    return f"{kind}:{existing(folder, '--asr_model')}" if colon else kind


def recognizer_files(model: str) -> list[str]:
    """The files of the recognizer that `find_recognizer` names; none of whisper's own packages."""
    path = model.removeprefix("whisper").removeprefix(":")
    return [weights(path)] if path else []


def prepare_corpus(o: CorpusOptions, sets: list[str], *more: str) -> Iterator[Needs]:
    """A step: data directories of the corpus below data/, with further tables."""
    folders = [f"data/{name}" for name in sets]
    if absent := [name for name in sets if not Path("data", name, "wav.scp").is_file()]:
        from imlspike.bin.prepare import CORPORA, SETS  # here only: they load torch

        if o.corpus not in SETS:
            raise OptionError(f"--corpus {o.corpus}: expected one of: {' '.join(SETS)}")
        given = {"corpus_dir": "c", "output_dir": "data", "max_left_out": o.max_left_out}
        check_words("prepare_args", "prepare", [o.corpus, *o.prepare_args], **given)
        known = CORPORA[o.corpus].all_sets if o.corpus in CORPORA else sets
        if wrong := [name for name in absent if name not in known]:
            told = f"{o.corpus} has no such set; there are: {' '.join(known)}"
            raise OptionError(f"--train_set, --valid_set or --test_set: {wrong[0]}: {told}")
    made = unique(*tables(*folders), *(f"{folder}/{table}" for folder in folders for table in more))
    settings = o.pick("corpus corpus_dir prepare_args max_left_out")
    yield Needs([o.corpus_dir] if o.corpus_dir else [], made, settings)
    source = {"corpus_dir": o.corpus_dir} if o.corpus_dir else {"download_dir": "downloads"}
    share = {"max_left_out": o.max_left_out}
    program(o, "prepare", o.corpus, *o.prepare_args, **source, **share, output_dir="data")


def format_audio(o: CorpusOptions, source: str, target: str, form: str, rate: int) -> Iterator[Needs]:
    """A step: a data directory whose audio has one format and rate."""
    yield Needs(tables(source), tables(target), o.pick("max_left_out") | {"format": form, "rate": rate})
    how = {"audio_format": form, "sampling_rate": rate} | o.pick("max_left_out nj")
    program(o, "format", source, output_dir=target, **how)


def limit(o: CorpusOptions, source: str, target: str, layer: str = "none", **given: int) -> Iterator[Needs]:
    """A step: a data directory without what is too long or too short."""
    settings = o.pick("min_wav_duration max_wav_duration")
    yield Needs(tables(source), tables(target), settings | given)
    ends = {"min_seconds": o.min_wav_duration, "max_seconds": o.max_wav_duration}
    verb("fit", source, output_dir=target, input_layer=layer, **ends, **given)


def count_spikes(
    o, name: str, source: str, inputs: list, model: dict, suffix: str = "", **settings
) -> Iterator[Needs]:
    """A step: spikes, operations and energy of exp/<name> on some utterances of a set; the name of the folder
    has the `suffix` of the model file."""
    out = f"exp/{name}/profile{suffix}"
    settings |= o.pick("profile_utts")
    progress = Log(name, f"{out}/log")
    yield Needs([*inputs, *tables(source)], [f"{out}/energy.json"], settings, follow=progress)
    spread(source, o.profile_utts, f"{out}/data")
    program(o, "profile", **model, data_dir=f"{out}/data", output_dir=out, log=f"{out}/log")


def made_of(name: str, *patterns: str) -> list[str]:
    """Patterns of what is made of the weights of exp/<name>: its own, the scores and the report of all."""
    name = glob.escape(name)
    own = ["bundle.yaml", "weights.safetensors", "profile", "profile_*", f"{name}_*.zip", *patterns]
    own = [f"exp/{name}/{pattern}" for pattern in own]
    return [*own, "exp/scores*/scores.*", *(f"exp/{made}" for made in REPORT)]


def spread(source: str, most: int, target: str) -> None:
    """Every n-th utterance of a data directory, so that at most `most` are left; 0: all."""
    names = list(read_kaldi(f"{source}/wav.scp"))
    kept = names[:: -(-len(names) // most) if most else 1]
    make_folder(target)
    for table in TABLES:
        content = read_kaldi(f"{source}/{table}")
        write_kaldi(f"{target}/{table}", {name: content[name] for name in kept})


def copy_tables(source: str, target: str, *tables: str) -> None:
    """Tables of a data directory, those that it has, for the utterances of another."""
    kept = read_kaldi(f"{target}/wav.scp")
    for table in tables:
        if Path(source, table).is_file():
            content = read_kaldi(f"{source}/{table}")
            write_kaldi(f"{target}/{table}", {name: content[name] for name in kept})


def link_audio(data_dir: str, folder: str) -> None:
    """Links to the recordings of a data directory, each under its utterance's name."""
    make_folder(folder)
    for name, wav in read_kaldi(f"{data_dir}/wav.scp").items():
        link = Path(folder, f"{name}.wav")
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.realpath(wav))
    log(f"  {count(f'{data_dir}/wav.scp')} utterances")
