"""Speech recognition from a corpus to a table of results, in ESPnet's stages and with its options where it has
them."""

import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from imlspike.data.files import atomic_write, read_kaldi, write_kaldi
from imlspike.espnet.config import ConfigError, read_yaml, resolve, write_config
from imlspike.recipes.data import corpus, count, data, format_audio, limit, prepare, spread, unique
from imlspike.recipes.options import OptionError, existing, option
from imlspike.recipes.processes import VERBS, RecipeError, call, program, verb
from imlspike.recipes.progress import Count, Log, lines_in, log, logs
from imlspike.recipes.runner import Item, Recipe
from imlspike.recipes.training import (
    LEFTOVERS,
    EspnetOptions,
    average,
    data_of,
    launch,
    run_jobs,
    shapes_of,
    statistics,
)  # fmt: skip

_SKIPS = {"skip_data_prep": range(1, 6), "skip_train": range(6, 12), "skip_eval": range(12, 15),
          "skip_packing": [15]}  # fmt: skip


@dataclass
class Asr(EspnetOptions):
    """Options of a recogniser's recipe."""

    # What to run
    skip_data_prep: bool = option(False, "leave out stages 1 to 5")
    skip_train: bool = option(False, "leave out stages 6 to 11")
    skip_eval: bool = option(False, "leave out stages 12 to 14")
    skip_packing: bool = option(False, "leave out stage 15")
    inference_nj: int = option(0, "processes that decode side by side; 0: as many as --nj")
    # Data
    test_sets: list = option("test", "sets to decode and score, separated by blanks; --valid_set may be among them")
    speed_perturb_factors: list = option("", "for example '0.9 1.0 1.1'; empty: none")
    audio_format: str = option("", "flac; empty: the files as preparation left them")
    token_type: str = option("char", "tokens", "char bpe")
    nbpe: int = option(300, "size of the bpe vocabulary")
    tokens_args: list = option("--on-unknown keep", "further options of 'imlspike tokens'")
    # Language model for the beam search
    use_lm: bool = option(False, "train a language model and decode with it")
    lm_config: str = option("", "training YAML of ESPnet's LM task")
    lm_tag: str = option("", "the language model stands in exp/lm_<tag>; empty: exp/lm")
    lm_args: list = option("", "further options of ESPnet's lm_train, as '--max_epoch 5'")
    lm_train_text: list = option("", "Kaldi texts to train on, seen from --workdir; empty: that of the training set")
    lm_dev_text: list = option("", "and to validate on; empty: that of the validation set")
    lm_test_text: list = option("", "and to measure perplexity on; empty: that of the first test set")
    # Models: one and its twin, or several that are trained side by side
    model: str = option("", "what {model} stands for in the names of YAML files, where the recipe has such")
    asr_config: str = option("", "training YAML")
    asr_override: list = option("", "YAML files that say what differs from it, separated by blanks")
    asr_tag: str = option("", "name of the experiment; empty: that of the last YAML")
    twin: str = option("false", "the ANN twin of the same size: true: beside the model; only; false", "true only false")
    twin_override: list = option("", "YAML files that make the twin of the model; its name is the model's with _ann")
    experiments: list = option("", "instead of all these, several: 'NAME:CONFIG[:OVERRIDE...] ...'")
    feats_normalize: str = option("global_mvn", "of the features", "global_mvn utterance_mvn")
    # Decoding
    decode_modes: list = option("greedy joint", "greedy: CTC; joint: CTC/attention beam search", "greedy joint")
    inference_config: str = option("conf/decode_joint.yaml", "YAML of the beam search")
    inference_args: list = option("", "further options of 'imlspike decode', as '--batch-seconds 60'")
    inference_asr_model: str = option("", "file in the experiment; empty: the average of the best epochs")
    inference_lm: str = option("", "file of the language model; empty: the average of the best epochs")
    # Results
    score_primary: str = option("cer", "the error rate that counts", "cer wer")
    score_spaces: bool = option(True, "false: characters are counted without the spaces between words")
    corpus_note: str = option("", "the corpus and its licence in a sentence, for the model card")
    license: str = option("apache-2.0", "of the packed model")
    profile_set: str = option("", "set on which spikes and energy are counted; empty: the first of --test_sets")
    profile_utts: int = option(200, "utterances of it to count on, spread over the set", least=1)

    def check(self) -> None:
        """See `Options.check`."""
        super().check()
        self.skip_stages += [str(n) for name, stages in _SKIPS.items() if getattr(self, name) for n in stages]
        self.inference_nj = self.inference_nj or self.nj
        self.profile_set = self.profile_set or self.test_sets[0]
        if self.audio_format not in ("", "flac"):
            raise OptionError(f"--audio_format is {self.audio_format!r}; expected flac, or nothing")
        if self.use_lm and not self.lm_config:
            raise OptionError("--use_lm true needs --lm_config, the YAML of ESPnet's LM task")
        self.lm_config = self.use_lm and existing(self.lm_config, "--lm_config")
        self.inference_config = existing(self.inference_config, "--inference_config")
        texts = {"train": self.train_set, "dev": self.valid_set, "test": self.test_sets[0]}
        for split, name in texts.items():
            texts[split] = getattr(self, f"lm_{split}_text") or [f"data/{name}/text"]
        tag = self.lm_tag.replace("{model}", self.model)
        self.lm_texts, self.lm = texts, f"exp/lm{tag and f'_{tag}'}"
        sp = "_sp" if self.speed_perturb_factors else ""
        self.train = self.train_set + sp
        self.sets = unique(self.train, self.valid_set, *self.test_sets)
        self.sound = f"dump/{self.audio_format}" if self.audio_format else "data"
        bpe = self.token_type == "bpe"
        self.dump = f"dump/bpe{self.nbpe}{sp}" if bpe else f"dump/char{sp}"
        self.tokens, self.stats = f"{self.dump}/tokens", f"{self.dump}/stats"
        self.bpe_model = f"{self.tokens}/bpe.model" if bpe else "none"
        self.configs = self.resolve()

    def resolve(self) -> dict[str, dict]:
        """The configuration of each model, every key checked."""
        configs = {}
        for name, base, overrides in self.models():
            base = existing(base, f"configuration of {name}")
            overrides = [existing(path, f"override of {name}") for path in overrides]
            try:
                configs[name] = resolve(base, overrides, self.train_args)
            except ConfigError as error:
                raise OptionError(str(error)) from None
        first, *others = configs
        for name in others:
            if any(configs[name].get(key) != configs[first].get(key) for key in ("frontend", "frontend_conf")):
                raise OptionError(f"{first} and {name} have different front ends; they can't share statistics")
        return configs

    def models(self) -> list[tuple[str, str, list[str]]]:
        """Name, configuration and overrides of each model."""
        if self.experiments:
            found = [(name, *files) for name, *files in (spec.split(":") for spec in self.experiments)]
            if short := [one[0] for one in found if len(one) < 2]:
                raise OptionError(f"--experiments: {short[0]!r} has no configuration; write NAME:CONFIG[:OVERRIDE...]")
            names = [name for name, *_ in found]
            if twice := [name for name in names if names.count(name) > 1]:
                raise OptionError(f"--experiments: the name {twice[0]} stands twice")
            return [(name, base, overrides) for name, base, *overrides in found]
        if not self.asr_config:
            raise OptionError("no model: give --asr_config YAML, or --experiments 'NAME:CONFIG[:OVERRIDE...] ...'")
        base, *override = (path.replace("{model}", self.model) for path in [self.asr_config, *self.asr_override])
        twin = [path.replace("{model}", self.model) for path in self.twin_override]
        name = self.asr_tag or Path([base, *override][-1]).stem
        found = [(name, base, override)] if self.twin != "only" else []
        if self.twin != "false" and not twin:
            raise OptionError("--twin needs --twin_override, the YAML that makes the twin of the model")
        return found + ([(f"{name}_ann", base, override + twin)] if self.twin != "false" else [])

    @property
    def hop(self) -> int:
        """Samples from one frame of the features to the next; 128 is ESPnet's default."""
        return (next(iter(self.configs.values())).get("frontend_conf") or {}).get("hop_length", 128)

    @property
    def input_layer(self) -> str:
        """The strongest subsampling of the encoders (conv2d < conv2d6 < conv2d8): all can train on what is left."""
        return max((conf.get("encoder_conf") or {}).get("input_layer", "conv2d") for conf in self.configs.values())

    def asr_model(self, name: str) -> str:
        """The model file that decodes."""
        return f"exp/{name}/{average(self.configs[name], self.inference_asr_model)}"

    @property
    def lm_model(self) -> str:
        return f"{self.lm}/{average(read_yaml(self.lm_config), self.inference_lm)}"

    def tag(self, name: str, mode: str) -> str:
        """Under which a decoding is stored: search, language model and model, as ESPnet's inference_tag."""
        search, model = mode, Path(self.asr_model(name)).stem
        if mode == "joint":
            stem = Path(self.inference_config).stem.removeprefix("decode_")
            search += "" if stem == "joint" else f"_{stem}"
            search += f"_lm_{Path(self.lm).name}_{Path(self.lm_model).stem}" if self.use_lm else ""
        args = "".join(self.inference_args).replace("--", "_").replace("/", "_")
        return f"decode_{search}{args}_asr_model_{model}"

    def decoding(self, name: str, mode: str, test_set: str) -> str:
        """The folder of a decoding."""
        return f"exp/{name}/{self.tag(name, mode)}/{test_set}"

    @property
    def token_config(self) -> dict:
        """How ESPnet cuts texts."""
        tokens = {"token_type": self.token_type, "token_list": f"{self.tokens}/tokens.txt"}
        return tokens | {"bpemodel": self.bpe_model, "use_preprocessor": True}

    @property
    def data_config(self) -> dict:
        """What statistics and training share."""
        folders = {"train": f"{self.dump}/{self.train}", "valid": f"{self.dump}/{self.valid_set}"}
        return self.token_config | data_of({
            split: [[f"{folder}/wav.scp", "speech", "sound"], [f"{folder}/text", "text", "text"]]
            for split, folder in folders.items()
        })  # fmt: skip


recipe = Recipe("asr", Asr)
stage = recipe.stage


def no_lm(o: Asr) -> str:
    return "" if o.use_lm else "not asked for (--use_lm true)"


def names(o: Asr) -> list[tuple]:
    return [(name,) for name in o.configs]


def decodings(o: Asr) -> list[tuple]:
    return [(name, mode, test) for name in o.configs for mode in o.decode_modes for test in o.test_sets]


def token_files(o: Asr) -> list[str]:
    return [f"{o.tokens}/tokens.txt", *([o.bpe_model] if o.token_type == "bpe" else [])]


stage(1, "data preparation", inputs=corpus, settings="corpus corpus_dir prepare_args max_left_out",
      outputs=lambda o: data(*(f"data/{name}" for name in unique(o.train_set, o.valid_set, *o.test_sets))))(prepare)  # fmt: skip


@stage(2, "speed perturbation", inputs=lambda o: data(f"data/{o.train_set}"), outputs=lambda o: data(f"data/{o.train}"),
       settings="speed_perturb_factors audio_format",
       when=lambda o: "" if o.speed_perturb_factors else "not asked for (--speed_perturb_factors '0.9 1.0 1.1')")  # fmt: skip
def perturb_speed(o: Asr) -> None:
    form = ["--audio-format", o.audio_format or "wav", "--max-left-out", o.max_left_out, "--nj", o.nj]
    target = ["--factors", *o.speed_perturb_factors, "--output-dir", f"data/{o.train}"]
    program(o, "speed", f"data/{o.train_set}", *target, *form)


@stage(3, "format of the audio", each=lambda o: [(name,) for name in o.sets], settings="audio_format",
       inputs=lambda o, name: data(f"data/{name}"), outputs=lambda o, name: data(f"{o.sound}/{name}"),
       when=lambda o: "" if o.audio_format else "not asked for (--audio_format flac)")  # fmt: skip
def format_set(o: Asr, name: str) -> None:
    format_audio(o, f"data/{name}", f"{o.sound}/{name}", o.audio_format, 16000)


@stage(4, "removal of what is too long or too short", each=lambda o: [(o.train,), (o.valid_set,)],
       settings="min_wav_duration max_wav_duration",
       inputs=lambda o, name: data(f"{o.sound}/{name}"), outputs=lambda o, name: data(f"dump/raw/{name}"))  # fmt: skip
def limit_durations(o: Asr, name: str) -> None:
    limit(o, f"{o.sound}/{name}", f"dump/raw/{name}")


def texts(o: Asr) -> list[str]:
    """Folders: what the tokens are made of, then what they have to cover."""
    return [f"dump/raw/{o.train}", f"dump/raw/{o.valid_set}", *(f"{o.sound}/{name}" for name in o.test_sets)]


@stage(5, "tokens", inputs=lambda o: data(*texts(o)), outputs=token_files, settings="token_type nbpe tokens_args")
def make_tokens(o: Asr) -> None:
    size = ["--nbpe", o.nbpe] if o.token_type == "bpe" else []
    made_of, *covers = texts(o)
    words = ["--output-dir", o.tokens, "--type", o.token_type, *size, *o.tokens_args]
    verb("tokens", "--train", made_of, "--check", *covers, *words)


@stage(5, "removal of what is too short for its transcript", each=lambda o: [(o.train,), (o.valid_set,)],
       settings=lambda o, name: {"input_layer": o.input_layer, "hop": o.hop},
       inputs=lambda o, name: [*data(f"dump/raw/{name}"), *token_files(o)],
       outputs=lambda o, name: data(f"{o.dump}/{name}"))  # fmt: skip
def fit_transcripts(o: Asr, name: str) -> None:
    bpe = ["--bpe-model", o.bpe_model] if o.token_type == "bpe" else []
    layer = ["--input-layer", o.input_layer, "--hop", o.hop]
    verb("fit", f"dump/raw/{name}", "--output-dir", f"{o.dump}/{name}", *bpe, *layer)


def lm_shapes(o: Asr) -> list[str]:
    return [f"{o.dump}/lm/stats/{split}/text_shape.{o.token_type}" for split in ("train", "valid")]


@stage(6, "statistics of the language model's text", when=no_lm, outputs=lm_shapes,
       settings=lambda o: read_yaml(o.lm_config),
       inputs=lambda o: [*o.lm_texts["train"], *o.lm_texts["dev"], *token_files(o)])
def lm_statistics(o: Asr) -> None:
    folder = f"{o.dump}/lm"
    tables = [join_texts(o.lm_texts["train"], f"{folder}/train.txt"), join_texts(o.lm_texts["dev"], f"{folder}/valid.txt")]
    words = []  # a process reads its part only: the text may be large
    for split in ("train", "valid"):
        words += [f"--{split}_data_path_and_name_and_type", f"{folder}/stats/pieces/{split}.JOB,text,text"]
    statistics(o, f"{folder}/stats", "lm", read_yaml(o.lm_config) | o.token_config, tables, words)


def join_texts(files: Iterable[str], target: str) -> str:
    """Texts in one table, without utterances that have no words: there is nothing to learn from."""
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as out:
        for file in files:
            with open(file, encoding="utf-8") as lines:
                out.writelines(line for line in lines if len(line.split()) > 1)
    return target


@stage(7, "training of the language model", when=no_lm, jobs=lambda o: 1, inputs=lm_shapes,
       settings=lambda o: read_yaml(o.lm_config) | {"lm_args": o.lm_args, "seed": o.seed},
       outputs=lambda o: [f"{o.lm}/config.yaml", o.lm_model, f"{o.lm}/*.pth"],
       checkpoint=lambda o: [f"{o.lm}/checkpoint.pth", *LEFTOVERS],
       follow=lambda o, items: [Log("lm", f"{o.lm}/train.log")])
def train_lm(o: Asr) -> None:
    if o.token_type == "bpe":
        shutil.copy(o.bpe_model, o.lm)
    texts = data_of({split: [[f"{o.dump}/lm/{split}.txt", "text", "text"]] for split in ("train", "valid")})
    shapes = shapes_of(f"{o.dump}/lm/stats", f"text_shape.{o.token_type}")
    launch(o, o.lm, "lm", read_yaml(o.lm_config) | o.token_config | texts | shapes | {"fold_length": [150]}, o.lm_args)


@stage(8, "perplexity of the language model", when=no_lm, jobs=lambda o: 1,
       inputs=lambda o: [o.lm_model, *o.lm_texts["test"]], outputs=lambda o: [f"{o.lm}/perplexity/ppl"])  # fmt: skip
def perplexity(o: Asr) -> None:
    out = f"{o.lm}/perplexity"
    text = join_texts(o.lm_texts["test"], f"{out}/text")
    words = ["--data_path_and_name_and_type", f"{text},text,text", "--train_config", f"{o.lm}/config.yaml"]
    words += ["--model_file", o.lm_model, "--output_dir", out, "--ngpu", min(o.ngpu, 1)]
    call([o.python, "-m", "imlspike.espnet", "-m", "espnet2.bin.lm_calc_perplexity", *words], f"{out}/log", o.environment)
    ppl = float(Path(out, "ppl").read_text())
    log(f"  {ppl:.2f} a token, ends of sentences counted, on {' '.join(o.lm_texts['test'])}")


stage(9, "n-gram language model", when=lambda o: "not used")(lambda o: None)


def stats_files(o: Asr) -> list[str]:
    shapes = [f"{o.stats}/{split}/{kind}" for split in ("train", "valid")
              for kind in ("speech_shape", f"text_shape.{o.token_type}")]  # fmt: skip
    return [*shapes, f"{o.stats}/train/feats_stats.npz"]


@stage(10, "statistics of the features", jobs=lambda o: 1, outputs=stats_files,
       inputs=lambda o: [*training_data(o), *token_files(o)],
       settings=lambda o: {key: value for key, value in first_config(o).items() if key.startswith("frontend")},
       follow=lambda o, items: [Count("utterances", sum(map(count, wavs(o))),
                                      lambda: lines_in(f"{o.stats}/pieces/*/*/speech_shape"))])
def collect_statistics(o: Asr) -> None:
    statistics(o, o.stats, "asr", first_config(o) | o.data_config | {"normalize": None}, wavs(o))


def first_config(o: Asr) -> dict:
    return next(iter(o.configs.values()))


def training_data(o: Asr) -> list[str]:
    return data(f"{o.dump}/{o.train}", f"{o.dump}/{o.valid_set}")


def wavs(o: Asr) -> list[str]:
    return [f"{o.dump}/{o.train}/wav.scp", f"{o.dump}/{o.valid_set}/wav.scp"]


@stage(11, "training", each=names, jobs=lambda o: o.at_once, follow=logs("train.log"),
       inputs=lambda o, name: [*training_data(o), *token_files(o), *stats_files(o)],
       settings=lambda o, name: o.configs[name] | {"seed": o.seed, "feats_normalize": o.feats_normalize},
       outputs=lambda o, name: [f"exp/{name}/config.yaml", f"exp/{name}/{average(o.configs[name])}", f"exp/{name}/*.pth"],
       checkpoint=lambda o, name: [f"exp/{name}/checkpoint.pth", *LEFTOVERS])
def train(o: Asr, name: str) -> None:
    exp, config = f"exp/{name}", o.configs[name]
    Path(exp, "command").write_text(o.command + "\n", encoding="utf-8")  # for the report and the model card
    write_config(config, f"{exp}/train.yaml")
    for file in [*token_files(o), f"{o.stats}/train/feats_stats.npz"]:
        shutil.copy(file, exp)
    normalize = {"normalize": o.feats_normalize}
    if o.feats_normalize == "global_mvn":
        normalize["normalize_conf"] = {"stats_file": f"{Path.cwd()}/{exp}/feats_stats.npz"}
    shapes = shapes_of(o.stats, "speech_shape", f"text_shape.{o.token_type}")
    launch(o, exp, "asr", config | o.data_config | normalize | shapes | {"fold_length": [80000, 150]})


def search_files(o: Asr, name: str, mode: str) -> list[str]:
    models = [f"exp/{name}/config.yaml", o.asr_model(name)]
    if mode == "joint" and o.use_lm:
        models += [f"{o.lm}/config.yaml", o.lm_model]
    return models


def search(o: Asr, mode: str) -> dict:
    """Settings of the search; without a language model it has no weight."""
    found = read_yaml(o.inference_config) if mode == "joint" else {}
    return {key: value for key, value in found.items() if o.use_lm or key != "lm_weight"}


def decode_settings(o: Asr, name: str, mode: str, test: str, *piece: int) -> dict:
    return {"search": search(o, mode), "inference_args": o.inference_args, "piece": piece}


def decode_inputs(o: Asr, name: str, mode: str, test: str, *piece: int) -> list[str]:
    return [*search_files(o, name, mode), f"{o.sound}/{test}/wav.scp"]


def pieces(o: Asr) -> list[tuple]:
    """What is left to decode, in so many pieces that all decodings together keep --inference_nj busy."""
    found = []
    for item in decodings(o):
        if Item(recipe.step("join_pieces"), o, item).reason():
            wav_scp = f"{o.sound}/{item[-1]}/wav.scp"
            total = -(-o.inference_nj // len(decodings(o)))
            total = min(total, count(wav_scp)) if os.path.exists(wav_scp) else total
            found += [(*item, n + 1, total) for n in range(total)]
    return found


@stage(12, "decoding", each=pieces, jobs=lambda o: o.inference_nj, inputs=decode_inputs, settings=decode_settings,
       outputs=lambda o, name, mode, test, n, total: [f"{o.decoding(name, mode, test)}/pieces/{n}/text"],
       follow=lambda o, items: [Count("s of audio decoded", sum(seconds_of(o, test) for *_, test in decodings(o)),
                                      lambda: sum(decoded(o, *item) for item in decodings(o)))])  # fmt: skip
def decode(o: Asr, name: str, mode: str, test: str, n: int, total: int) -> None:
    out, wav_scp = f"{o.decoding(name, mode, test)}/pieces/{n}", read_kaldi(f"{o.sound}/{test}/wav.scp")
    write_kaldi(f"{out}/wav.scp", {key: wav_scp[key] for key in list(wav_scp)[n - 1 :: total]})
    words = ["--config", f"exp/{name}/config.yaml", "--model", o.asr_model(name), "--mode", mode, "--device", o.device]
    words += ["--data-dir", out, "--output", f"{out}/text", *o.inference_args]
    if mode == "joint":
        write_config(search(o, mode), f"{out}/decode.yaml")
        lm = ["--lm-config", f"{o.lm}/config.yaml", "--lm-file", o.lm_model] if o.use_lm else []
        words += ["--decode-config", f"{out}/decode.yaml", *lm]
    run_jobs(o, o.decode_cmd, 1, f"{out}/log", [o.python, "-m", VERBS.format("decode"), *words], o.ngpu > 0)


@stage(12, "joining of what was decoded", each=decodings, inputs=decode_inputs, settings=decode_settings,
       outputs=lambda o, *item: [f"{o.decoding(*item)}/text"])  # fmt: skip
def join_pieces(o: Asr, *item: str) -> None:
    out, here = o.decoding(*item), {str(n) for *parts, n, _ in pieces(o) if tuple(parts) == item}
    for folder in Path(out, "pieces").iterdir():  # of an earlier run with more of them
        if folder.name not in here:
            shutil.rmtree(folder)
    parts = glob(f"{out}/pieces/*/text")
    write_kaldi(f"{out}/text", {key: text for part in parts for key, text in read_kaldi(part).items()})
    took = [json.loads(Path(f"{part}.json").read_text()) for part in parts]
    audio, work = (sum(one[key] for one in took) for key in ("audio_seconds", "seconds"))
    log(f"  {', '.join(item)}: real-time factor {work / audio if audio else 0:.3f}")


def seconds_of(o: Asr, test: str) -> float:
    return sum(map(float, read_kaldi(f"{o.sound}/{test}/utt2dur").values()))


def decoded(o: Asr, *item: str) -> float:
    """Seconds of audio that the logs of a decoding tell of."""
    logs = [Path(path).read_text(errors="replace") for path in glob(f"{o.decoding(*item)}/pieces/*/log")]
    told = [re.findall(r"^decoded (\d+)|, ([\d.]+) s of audio in ", text, re.M) for text in logs]
    return sum(float(max(found[-1])) for found in told if found)


@stage(13, "scoring", each=decodings, settings="score_spaces",
       inputs=lambda o, *item: [f"{o.sound}/{item[-1]}/text", f"{o.decoding(*item)}/text"],
       outputs=lambda o, *item: [f"{o.decoding(*item)}/score.json"])  # fmt: skip
def score(o: Asr, *item: str) -> None:
    out = o.decoding(*item)
    words = ["--ref", f"{o.sound}/{item[-1]}/text", "--hyp", f"{out}/text", "--output-dir", out, "--name", ", ".join(item)]
    verb("score", *words, *([] if o.score_spaces else ["--no-spaces"]))


@stage(14, "spike counts and energy", each=names, jobs=lambda o: o.nj, settings=lambda o, name: profile_settings(o),
       inputs=lambda o, name: [f"exp/{name}/config.yaml", o.asr_model(name), *data(f"{o.sound}/{o.profile_set}")],
       outputs=lambda o, name: [f"exp/{name}/profile/energy.json"],
       follow=logs("profile/log"))  # fmt: skip
def profile(o: Asr, name: str) -> None:
    out = f"exp/{name}/profile"
    spread(f"{o.sound}/{o.profile_set}", o.profile_utts, f"{out}/data")
    words = ["--config", f"exp/{name}/config.yaml", "--model", o.asr_model(name), "--data-dir", f"{out}/data"]
    program(o, "profile", *words, "--output-dir", out, "--beam", profile_settings(o)["beam"], log=f"{out}/log")


def profile_settings(o: Asr) -> dict:
    """ESPnet's default beam is 20."""
    return {"profile_utts": o.profile_utts, "beam": read_yaml(o.inference_config).get("beam_size", 20)}


def packed(o: Asr, name: str) -> str:
    return f"exp/{name}/{name}_{Path(o.asr_model(name)).stem}.zip"


@stage(15, "packing", each=names, jobs=lambda o: o.nj, settings="corpus_note license score_primary",
       inputs=lambda o, name: [*search_files(o, name, "joint"), o.inference_config, *results_of(o, name)],
       outputs=lambda o, name: [packed(o, name)])  # fmt: skip
def pack(o: Asr, name: str) -> None:
    lm = ["--lm", o.lm, "--lm-model", o.lm_model] if o.use_lm else []
    words = [f"exp/{name}", "--model", o.asr_model(name), *lm, "--output", packed(o, name), "--decode-config", o.inference_config]
    words += ["--train-dir", f"{o.dump}/{o.train}", "--corpus", o.corpus_note, "--license", o.license]
    program(o, "pack", *words, "--primary", o.score_primary, "--command", o.command, log=f"exp/{name}/pack.log")
    log(f"  {packed(o, name)}: {os.path.getsize(packed(o, name)) / 1e6:.1f} MB")


def results_of(o: Asr, name: str) -> list[str]:
    """What the model card tells: scores of this model file, and its energy."""
    model = Path(o.asr_model(name)).stem
    return sorted(glob(f"exp/{name}/decode_*_asr_model_{model}/*/score.json") + glob(f"exp/{name}/profile/energy.json"))


@stage(16, "report", always=True, inputs=lambda o: [f"exp/{name}/config.yaml" for name in o.configs],
       outputs=lambda o: ["exp/RESULTS.md"])  # fmt: skip
def report(o: Asr) -> None:
    if not any(results_of(o, name) for name in o.configs):
        raise RecipeError("nothing is scored yet; run stages 12 and 13 first")
    lm = ["--lm", o.lm] if o.use_lm else []
    exps = [f"exp/{name}" for name in o.configs]
    program(o, "report", *exps, "--command", o.command, *lm, "--primary", o.score_primary, "--output", f"{Path.cwd()}/exp/RESULTS.md")
