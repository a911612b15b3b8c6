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
from imlspike.espnet.config import read_yaml, write_config
from imlspike.recipes.data import count, count_spikes, data, format_audio, limit, prepare_corpus, unique
from imlspike.recipes.options import OptionError, existing, option
from imlspike.recipes.processes import VERBS, program, verb
from imlspike.recipes.progress import Count, lines_in, log
from imlspike.recipes.runner import Item, Needs, Recipe
from imlspike.recipes.training import (
    EspnetOptions,
    average,
    configure,
    data_of,
    describe,
    espnet,
    launch,
    run_jobs,
    shapes_of,
    statistics,
    training,
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
        tag = self.lm_tag.format(model=self.model)
        self.lm_texts, self.lm = texts, f"exp/lm{tag and f'_{tag}'}"
        sp = "_sp" if self.speed_perturb_factors else ""
        self.train = self.train_set + sp
        self.sets = unique(self.train, self.valid_set, *self.test_sets)
        self.sound = f"dump/{self.audio_format}" if self.audio_format else "data"
        bpe = self.token_type == "bpe"
        self.dump = f"dump/bpe{self.nbpe}{sp}" if bpe else f"dump/char{sp}"
        self.tokens, self.stats = f"{self.dump}/tokens", f"{self.dump}/stats"
        self.bpe_model = f"{self.tokens}/bpe.model" if bpe else ""
        self.configs = configure("asr", self.models(), self.train_args, "frontend")

    def models(self) -> list[tuple[str, str, list[str]]]:
        """Name, configuration and overrides of each model."""
        if self.experiments:
            found = [tuple(spec.split(":")) for spec in self.experiments]
            if short := [one[0] for one in found if len(one) < 2]:
                told = "has no configuration; write NAME:CONFIG[:OVERRIDE...]"
                raise OptionError(f"--experiments: {short[0]!r} {told}")
            names = [name for name, *_ in found]
            if twice := [name for name in names if names.count(name) > 1]:
                raise OptionError(f"--experiments: the name {twice[0]} stands twice")
            return [(name, base, overrides) for name, base, *overrides in found]
        if not self.asr_config:
            raise OptionError("no model: give --asr_config YAML, or --experiments 'NAME:CONFIG[:OVERRIDE...]'")
        if self.twin != "false" and not self.twin_override:
            raise OptionError("--twin needs --twin_override, the YAML that makes the twin of the model")
        base, *override = (path.format(model=self.model) for path in [self.asr_config, *self.asr_override])
        twin = [path.format(model=self.model) for path in self.twin_override]
        name = self.asr_tag or Path([base, *override][-1]).stem
        found = [(name, base, override)] if self.twin != "only" else []
        return found + ([(f"{name}_ann", base, override + twin)] if self.twin != "false" else [])

    @property
    def hop(self) -> int:
        """Samples from one frame of the features to the next; 128 is ESPnet's default."""
        return (next(iter(self.configs.values())).get("frontend_conf") or {}).get("hop_length", 128)

    @property
    def input_layer(self) -> str:
        """The encoders' strongest subsampling (conv2d < conv2d6 < conv2d8): all can train on what is left."""
        encoders = [config.get("encoder_conf") or {} for config in self.configs.values()]
        return max(conf.get("input_layer", "conv2d") for conf in encoders)

    def asr_model(self, name: str) -> str:
        """The model file that decodes."""
        return f"exp/{name}/{average(self.configs[name], self.inference_asr_model)}"

    @property
    def lm_settings(self) -> dict:
        return read_yaml(self.lm_config)

    @property
    def lm_model(self) -> str:
        return f"{self.lm}/{average(self.lm_settings, self.inference_lm)}"

    def lm_files(self, mode: str) -> list[str]:
        """Configuration and model of the language model, where this search uses it."""
        return [f"{self.lm}/config.yaml", self.lm_model] if self.use_lm and mode == "joint" else []

    def search(self, mode: str) -> dict:
        """Settings of the search; without a language model it has no weight."""
        found = read_yaml(self.inference_config) if mode == "joint" else {}
        return {key: value for key, value in found.items() if self.use_lm or key != "lm_weight"}

    def decoding(self, name: str, mode: str, test_set: str) -> str:
        """The folder of a decoding, under search, language model and model as ESPnet's inference_tag."""
        tag = mode
        if mode == "joint":
            stem = Path(self.inference_config).stem.removeprefix("decode_")
            tag += "" if stem == "joint" else f"_{stem}"
            tag += f"_lm_{Path(self.lm).name}_{Path(self.lm_model).stem}" if self.use_lm else ""
        tag += "".join(self.inference_args).replace("--", "_").replace("/", "_")
        return f"exp/{name}/decode_{tag}_asr_model_{Path(self.asr_model(name)).stem}/{test_set}"

    @property
    def token_files(self) -> list[str]:
        return [f"{self.tokens}/tokens.txt", *filter(None, [self.bpe_model])]

    @property
    def data_files(self) -> list[str]:
        return data(f"{self.dump}/{self.train}", f"{self.dump}/{self.valid_set}")

    @property
    def wavs(self) -> list[str]:
        return [f"{self.dump}/{self.train}/wav.scp", f"{self.dump}/{self.valid_set}/wav.scp"]

    @property
    def stats_files(self) -> list[str]:
        shapes = shapes_of(self.stats, "speech_shape", f"text_shape.{self.token_type}")
        return [*sum(shapes.values(), []), f"{self.stats}/train/feats_stats.npz"]

    @property
    def token_config(self) -> dict:
        """How ESPnet cuts texts."""
        tokens = {"token_type": self.token_type, "token_list": f"{self.tokens}/tokens.txt"}
        return tokens | {"bpemodel": self.bpe_model or None, "use_preprocessor": True}

    @property
    def data_config(self) -> dict:
        """What statistics and training share."""
        tables = {}
        for split, name in (("train", self.train), ("valid", self.valid_set)):
            folder = f"{self.dump}/{name}"
            tables[split] = [[f"{folder}/wav.scp", "speech", "sound"], [f"{folder}/text", "text", "text"]]
        return self.token_config | data_of(tables)


recipe = Recipe("asr", Asr)
stage = recipe.stage


def no_lm(o: Asr) -> str:
    return "" if o.use_lm else "not asked for (--use_lm true)"


def names(o: Asr) -> list[tuple]:
    return [(name,) for name in o.configs]


def decodings(o: Asr) -> list[tuple]:
    return [(name, mode, test) for name in o.configs for mode in o.decode_modes for test in o.test_sets]


@stage(1, "data preparation")
def prepare(o: Asr):
    yield from prepare_corpus(o, unique(o.train_set, o.valid_set, *o.test_sets))


@stage(2, "speed perturbation", when=lambda o: no_speeds(o))
def perturb_speed(o: Asr):
    settings = o.pick("speed_perturb_factors audio_format max_left_out")
    yield Needs(data(f"data/{o.train_set}"), data(f"data/{o.train}"), settings)
    words = ["--factors", *o.speed_perturb_factors, "--audio-format", o.audio_format or "wav", "--nj", o.nj]
    words += ["--output-dir", f"data/{o.train}", "--max-left-out", o.max_left_out]
    program(o, "speed", f"data/{o.train_set}", *words)


def no_speeds(o: Asr) -> str:
    return "" if o.speed_perturb_factors else "not asked for (--speed_perturb_factors '0.9 1.0 1.1')"


def as_they_are(o: Asr) -> str:
    return "" if o.audio_format else "not asked for (--audio_format flac)"


@stage(3, "format of the audio", each=lambda o: [(name,) for name in o.sets], when=as_they_are)
def format_set(o: Asr, name: str):
    yield from format_audio(o, f"data/{name}", f"{o.sound}/{name}", o.audio_format, 16000)


def trained_sets(o: Asr) -> list[tuple]:
    return [(o.train,), (o.valid_set,)]


@stage(4, "removal of what is too long or too short", each=trained_sets)
def limit_durations(o: Asr, name: str):
    yield from limit(o, f"{o.sound}/{name}", f"dump/raw/{name}")


@stage(5, "tokens")
def make_tokens(o: Asr):
    covers = [f"dump/raw/{o.valid_set}", *(f"{o.sound}/{name}" for name in o.test_sets)]
    settings = o.pick("token_type nbpe tokens_args")
    yield Needs(data(f"dump/raw/{o.train}", *covers), o.token_files, settings)
    words = ["--train", f"dump/raw/{o.train}", "--check", *covers, "--output-dir", o.tokens]
    size = ["--nbpe", o.nbpe] if o.token_type == "bpe" else []
    verb("tokens", *words, "--type", o.token_type, *size, *o.tokens_args)


@stage(5, "removal of what is too short for its transcript", each=trained_sets)
def fit_transcripts(o: Asr, name: str):
    source, target = f"dump/raw/{name}", f"{o.dump}/{name}"
    yield Needs([*data(source), *o.token_files], data(target), o.pick("input_layer hop"))
    bpe = ["--bpe-model", o.bpe_model] if o.bpe_model else []
    verb("fit", source, "--output-dir", target, *bpe, "--input-layer", o.input_layer, "--hop", o.hop)


def lm_shapes(o: Asr) -> dict[str, list]:
    return shapes_of(f"{o.dump}/lm/stats", f"text_shape.{o.token_type}")


@stage(6, "statistics of the language model's text", when=no_lm)
def lm_statistics(o: Asr):
    inputs = [*o.lm_texts["train"], *o.lm_texts["dev"], *o.token_files]
    yield Needs(inputs, sum(lm_shapes(o).values(), []), o.lm_settings)
    folder, words = f"{o.dump}/lm", []  # a process reads its part only: the text may be large
    texts = {"train": o.lm_texts["train"], "valid": o.lm_texts["dev"]}
    tables = [join_texts(files, f"{folder}/{split}.txt") for split, files in texts.items()]
    for split in texts:
        words += [f"--{split}_data_path_and_name_and_type", f"{folder}/stats/pieces/{split}.JOB,text,text"]
    statistics(o, f"{folder}/stats", "lm", o.lm_settings | o.token_config, tables, words)


def join_texts(files: Iterable[str], target: str) -> str:
    """Texts in one table, without utterances that have no words: there is nothing to learn from."""
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(target) as out:
        for file in files:
            with open(file, encoding="utf-8") as lines:
                out.writelines(line for line in lines if len(line.split()) > 1)
    return target


@stage(7, "training of the language model", when=no_lm, jobs=lambda o: 1)
def train_lm(o: Asr):
    settings = o.lm_settings | o.pick("lm_args seed")
    yield training(o.lm, o.lm_settings, sum(lm_shapes(o).values(), []), settings)
    if o.bpe_model:
        shutil.copy(o.bpe_model, o.lm)
    texts = {split: [[f"{o.dump}/lm/{split}.txt", "text", "text"]] for split in ("train", "valid")}
    config = o.lm_settings | o.token_config | data_of(texts) | lm_shapes(o) | {"fold_length": [150]}
    launch(o, o.lm, "lm", config, o.lm_args)


@stage(8, "perplexity of the language model", when=no_lm, jobs=lambda o: 1)
def perplexity(o: Asr):
    out = f"{o.lm}/perplexity"
    yield Needs([o.lm_model, *o.lm_texts["test"]], [f"{out}/ppl"])
    text = join_texts(o.lm_texts["test"], f"{out}/text")
    words = ["--data_path_and_name_and_type", f"{text},text,text", "--train_config", f"{o.lm}/config.yaml"]
    words += ["--model_file", o.lm_model, "--output_dir", out, "--ngpu", min(o.ngpu, 1)]
    espnet(o, "espnet2.bin.lm_calc_perplexity", *words, log=f"{out}/log")
    ppl = float(Path(out, "ppl").read_text())
    log(f"  {ppl:.2f} a token, ends of sentences counted, on {' '.join(o.lm_texts['test'])}")


@stage(9, "n-gram language model", when=lambda o: "not used")
def train_ngram(o: Asr):
    yield Needs()


@stage(10, "statistics of the features", jobs=lambda o: 1)
def collect_statistics(o: Asr):
    config = next(iter(o.configs.values()))
    settings = {key: value for key, value in config.items() if key.startswith("frontend")}
    progress = Count("utterances", lambda: sum(map(count, o.wavs)), lambda: lines_in(f"{o.stats}/*/*/*/speech_shape"))
    yield Needs([*o.data_files, *o.token_files], o.stats_files, settings, follow=progress)
    statistics(o, o.stats, "asr", config | o.data_config | {"normalize": None}, o.wavs)


@stage(11, "training", each=names, jobs=lambda o: o.at_once)
def train(o: Asr, name: str):
    exp, config = f"exp/{name}", o.configs[name]
    inputs = [*o.data_files, *o.token_files, *o.stats_files]
    yield training(exp, config, inputs, config | o.pick("seed feats_normalize"))
    for file in [*o.token_files, f"{o.stats}/train/feats_stats.npz"]:
        shutil.copy(file, exp)
    given = {"normalize": o.feats_normalize, "fold_length": [80000, 150]}
    if o.feats_normalize == "global_mvn":
        given["normalize_conf"] = {"stats_file": f"{Path.cwd()}/{exp}/feats_stats.npz"}
    shapes = shapes_of(o.stats, "speech_shape", f"text_shape.{o.token_type}")
    describe(o, exp, config)
    launch(o, exp, "asr", config | o.data_config | given | shapes)


def pieces(o: Asr) -> list[tuple]:
    """What is left to decode, in so many pieces that all decodings together keep --inference_nj busy."""
    found = []
    for item in decodings(o):
        if Item(join_pieces, o, item).reason():
            wav_scp = f"{o.sound}/{item[-1]}/wav.scp"
            total = -(-o.inference_nj // len(decodings(o)))
            total = min(total, count(wav_scp)) if os.path.exists(wav_scp) else total
            found += [(*item, n + 1, total) for n in range(total)]
    return found


def decoding_needs(o: Asr, name: str, mode: str, test: str, made: str, piece=(), progress=None) -> Needs:
    models = [f"exp/{name}/config.yaml", o.asr_model(name), *o.lm_files(mode)]
    settings = {"search": o.search(mode), "inference_args": o.inference_args, "piece": piece}
    return Needs([*models, f"{o.sound}/{test}/wav.scp"], [made], settings, follow=progress)


@stage(12, "decoding", each=pieces, jobs=lambda o: o.inference_nj)
def decode(o: Asr, name: str, mode: str, test: str, n: int, total: int):
    whole, wav_scp = o.decoding(name, mode, test), f"{o.sound}/{test}/wav.scp"
    out, told = f"{whole}/pieces/{n}", f"s of {test} decoded by {name}, {mode}"
    progress = Count(told, lambda: seconds_of(f"{o.sound}/{test}"), lambda: decoded(whole)) if n == 1 else None
    yield decoding_needs(o, name, mode, test, f"{out}/text", (n, total), progress)
    wavs = read_kaldi(wav_scp)
    write_kaldi(f"{out}/wav.scp", {key: wavs[key] for key in list(wavs)[n - 1 :: total]})
    words = ["--config", f"exp/{name}/config.yaml", "--model", o.asr_model(name), "--mode", mode]
    words += ["--device", o.device, "--data-dir", out, "--output", f"{out}/text", *o.inference_args]
    if mode == "joint":
        write_config(o.search(mode), f"{out}/decode.yaml")
        words += ["--decode-config", f"{out}/decode.yaml"]
        for option_name, file in zip(("--lm-config", "--lm-file"), o.lm_files(mode), strict=False):
            words += [option_name, file]
    command = [o.python, "-m", VERBS.format("decode"), *words]
    run_jobs(o, o.decode_cmd, 1, f"{out}/log", command, o.ngpu > 0)


@stage(12, "joining of what was decoded", each=decodings)
def join_pieces(o: Asr, *item: str):
    out = o.decoding(*item)
    yield decoding_needs(o, *item, f"{out}/text")
    here = {str(n) for *parts, n, _ in pieces(o) if tuple(parts) == item}
    for folder in [one for one in Path(out, "pieces").iterdir() if one.name not in here]:
        shutil.rmtree(folder)  # of an earlier run with more of them
    parts = glob(f"{out}/pieces/*/text")
    write_kaldi(f"{out}/text", {key: text for part in parts for key, text in read_kaldi(part).items()})
    took = [json.loads(Path(f"{part}.json").read_text()) for part in parts]
    audio, work = (sum(one[key] for one in took) for key in ("audio_seconds", "seconds"))
    log(f"  {', '.join(item)}: real-time factor {work / audio if audio else 0:.3f}")


def seconds_of(folder: str) -> float:
    return sum(map(float, read_kaldi(f"{folder}/utt2dur").values()))


def decoded(out: str) -> float:
    """Seconds of audio that the logs of a decoding tell of."""
    texts = [Path(path).read_text(errors="replace") for path in glob(f"{out}/pieces/*/log")]
    told = [re.findall(r"^decoded (\d+)|, ([\d.]+) s of audio in ", text, re.M) for text in texts]
    return sum(float(max(found[-1])) for found in told if found)


@stage(13, "scoring", each=decodings)
def score(o: Asr, *item: str):
    out, truth = o.decoding(*item), f"{o.sound}/{item[-1]}/text"
    yield Needs([truth, f"{out}/text"], [f"{out}/score.json"], o.pick("score_spaces"))
    words = ["--ref", truth, "--hyp", f"{out}/text", "--output-dir", out, "--name", ", ".join(item)]
    verb("score", *words, *([] if o.score_spaces else ["--no-spaces"]))


@stage(14, "spike counts and energy", each=names, jobs=lambda o: o.nj)
def profile(o: Asr, name: str):
    exp, source, beam = f"exp/{name}", f"{o.sound}/{o.profile_set}", o.search("joint").get("beam_size", 20)
    model = ["--config", f"{exp}/config.yaml", "--model", o.asr_model(name), "--beam", beam]  # 20: ESPnet's
    yield from count_spikes(o, exp, source, [model[1], model[3]], model, {"beam": beam})


@stage(15, "packing", each=names, jobs=lambda o: o.nj)
def pack(o: Asr, name: str):
    exp, model, lm = f"exp/{name}", o.asr_model(name), o.lm_files("joint")
    made = f"{exp}/{name}_{Path(model).stem}.zip"
    inputs = [f"{exp}/config.yaml", model, *lm, o.inference_config, *results_of(o, name)]
    yield Needs(inputs, [made], o.pick("corpus_note license score_primary"))
    words = [exp, "--model", model, "--output", made, "--decode-config", o.inference_config]
    words += ["--lm", o.lm, "--lm-model", o.lm_model] if lm else []
    words += ["--train-dir", f"{o.dump}/{o.train}", "--corpus", o.corpus_note, "--license", o.license]
    words += ["--primary", o.score_primary, "--command", o.command]
    program(o, "pack", *words, log=f"{exp}/pack.log")
    log(f"  {made}: {os.path.getsize(made) / 1e6:.1f} MB")


def results_of(o: Asr, name: str) -> list[str]:
    """What the model card tells: scores of this model file, and its energy."""
    scores = f"exp/{name}/decode_*_asr_model_{Path(o.asr_model(name)).stem}/*/score.json"
    return sorted(glob(scores) + glob(f"exp/{name}/profile/energy.json"))


@stage(16, "report")
def report(o: Asr):
    yield Needs([f"exp/{name}/config.yaml" for name in o.configs], always=True)
    lm = ["--lm", o.lm] if o.use_lm else []
    words = [*(f"exp/{name}" for name in o.configs), *lm, "--primary", o.score_primary, "--command", o.command]
    program(o, "report", *words, "--output", f"{Path.cwd()}/exp/RESULTS.md")
