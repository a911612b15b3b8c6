"""A voice from a corpus to a table of results: the ANN twin (FastSpeech 2), SpikeVoice, and further models.

Models are overrides of one configuration. No aligner and no labels are needed: durations are learned from text
and sound; or they are those of phone labels (--durations_from).
"""

import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from imlspike.data.files import atomic_write, read_kaldi, write_kaldi
from imlspike.data.kaldi import read_data_dir, read_excluded, write_data_dir
from imlspike.espnet.config import ConfigError, resolve, write_config
from imlspike.recipes.data import (
    corpus,
    count,
    data,
    format_audio,
    limit,
    link_audio,
    models,
    prepare,
    spread,
    unique,
)  # fmt: skip
from imlspike.recipes.options import OptionError, existing, option
from imlspike.recipes.processes import RecipeError, program, verb
from imlspike.recipes.progress import Count, Log, lines_in, log, logs
from imlspike.recipes.runner import Recipe
from imlspike.recipes.training import (
    LEFTOVERS,
    EspnetOptions,
    average,
    data_of,
    launch,
    shapes_of,
    statistics,
)  # fmt: skip

TOKENS, SOUND, DUMP, TESTED = "dump/symbols", "dump/sound", "dump/phn", "dump/test"
STATS = f"{DUMP}/stats"
FEATURES = ("feats", "pitch", "energy")


@dataclass
class Tts(EspnetOptions):
    """Options of a voice's recipe."""

    # Data
    test_set: str = option("test", "set that is spoken and scored")
    hold_out_from: str = option("", "prepared set to cut those three out of; empty: they are as prepared")
    hold_out_every: int = option(50, "n: every n-th utterance of a speaker is test, each half-way between valid", least=3)
    front_end: str = option("", "from text to symbols: english, mandarin, russian, ... ('imlspike phonemes --help')")
    text_table: str = option("text", "table that the front end reads: text, or pinyin where the corpus has it")
    voice_front_end: str = option("", "and that of the trained voice, where new text is written in another way")
    use_sid: bool = option(False, "a voice for each speaker of the training set")
    min_wav_duration: float = option(0.3, "shortest utterance to train on, in seconds")
    durations_from: str = option("aligner", "what the symbols' durations in training come from", "aligner labels")
    test_utts: int = option(0, "utterances of the test set to speak, spread over it; 0: all")
    # Models
    config: str = option("", "training YAML, the base of all models")
    changes: list = option("", "YAML files that say what differs from it in all models, separated by blanks")
    overrides: str = option("conf/tts", "folder with a YAML for each model; its ann.yaml is the ANN")
    models: list = option("spikevoice sequential imls", "spiking models to train, each an override of that name")
    ann: bool = option(True, "train the ANN twin too")
    # Results
    vocoder: str = option("griffin_lim", "what makes sound of mels: an experiment of voc1 with the same features, or griffin_lim")
    inference_model: str = option("", "file in the experiment; empty: the average of the best epochs")
    asr_model: str = option("", "a trained recogniser (an experiment of asr1, a zip) for the character error rate; empty: none")
    labels: str = option("", "folder of phone labels (.lab, .TextGrid): for --durations_from labels, or to check the learned by")
    corpus_labels: str = option("", "instead of it, the name of the folder that the corpus itself has them in")
    score_args: list = option("", "further options of 'imlspike score-voice'")
    profile_utts: int = option(20, "utterances of the test set on which spikes and energy are counted", least=1)

    def check(self) -> None:
        """See `Options.check`."""
        super().check()
        if self.hold_out_from in (self.train_set, self.valid_set, self.test_set):
            told = "is one of the sets that are cut out of it; give these other names"
            raise OptionError(f"--hold_out_from: {self.hold_out_from} {told}")
        if not self.front_end:
            raise OptionError("--front_end is empty; 'imlspike phonemes --help' lists them")
        if self.durations_from == "labels" and not (self.labels or self.corpus_labels):
            raise OptionError("--durations_from labels needs --labels FOLDER, with a .lab or .TextGrid an utterance")
        self.asr_model = self.asr_model and existing(self.asr_model, "--asr_model")
        self.labels = self.labels and existing(self.labels, "--labels")
        if self.vocoder != "griffin_lim":
            self.vocoder = existing(self.vocoder, "--vocoder")
        names, changes = models(self), [existing(path, "--changes") for path in self.changes]
        given = ["tts_conf.aligner=false"] if self.durations_from == "labels" else []
        self.configs, self.token_type, self.tokens = {}, "phn", TOKENS
        self.sets = unique(self.train_set, self.valid_set, self.test_set)
        for name in names:
            try:
                files = [*changes, f"{self.overrides}/{name}.yaml"]
                self.configs[name] = resolve(self.config, files, [*given, *self.train_args], "tts")
            except ConfigError as error:
                raise OptionError(str(error)) from None
        for name in names[1:]:
            if self.features(name) != self.features(names[0]):
                raise OptionError(f"{names[0]} and {name} have different features; they can't share statistics")
        features = self.configs[names[0]].get("feats_extract_conf") or {}
        self.rate, self.hop = features.get("fs"), features.get("hop_length")
        if not (self.rate and self.hop):
            raise OptionError(f"{self.config}: feats_extract_conf has to say fs (the sampling rate) and hop_length")

    def features(self, name: str) -> dict:
        """What a model's configuration says of mel, pitch and energy."""
        heads = tuple(f"{kind}_extract" for kind in FEATURES)
        return {key: value for key, value in self.configs[name].items() if key.startswith(heads)}

    @property
    def first(self) -> str:
        """The model whose configuration collects statistics and whose experiment has the features."""
        return next(iter(self.configs))

    def model_file(self, name: str) -> str:
        return f"exp/{name}/{average(self.configs[name], self.inference_model)}"

    def find_labels(self) -> str:
        """The folder of phone labels, if there is one: --labels, or --corpus_labels in the corpus."""
        if self.labels or not self.corpus_labels:
            return self.labels
        top = Path(self.corpus_dir or "downloads")
        found = sorted(path for path in top.glob(f"**/{self.corpus_labels}") if path.is_dir())
        return str(found[0]) if found else ""

    def timing(self) -> list[str]:
        """The folder of labels that durations come from, as a step's input."""
        return [self.find_labels() or f"{self.corpus_labels}/ in the corpus"] if self.durations_from == "labels" else []

    def data_config(self, *, feats: bool) -> dict:
        """What statistics and training share; `feats`: with what statistics found."""
        tables = {}
        for split, name in (("train", self.train_set), ("valid", self.valid_set)):
            tables[split] = [[f"{DUMP}/{name}/wav.scp", "speech", "sound"], [f"{DUMP}/{name}/text", "text", "text"]]
            tables[split] += [[f"{DUMP}/{name}/utt2sid", "sids", "text_int"]] * self.use_sid
            if feats:
                tables[split] += [[f"{STATS}/{split}/collect_feats/{kind}.scp", kind, "npy"] for kind in FEATURES[1:]]
                tables[split] += [[file, "durations", "text_int"] for file in timed(self, name)]
        tokens = {"use_preprocessor": True, "token_type": "phn", "token_list": f"{TOKENS}/tokens.txt"}
        return tokens | data_of(tables)

    def config_of(self, name: str) -> dict:
        """A model's configuration with the number of speakers."""
        config = self.configs[name]
        speakers = {"speakers": count(f"{DUMP}/spk2sid")} if self.use_sid else {}
        return config | {"tts_conf": (config.get("tts_conf") or {}) | speakers}


recipe = Recipe("tts", Tts)
stage = recipe.stage


def names(o: Tts) -> list[tuple]:
    return [(name,) for name in o.configs]


def each_set(o: Tts) -> list[tuple]:
    return [(name,) for name in o.sets]


def prepared(o: Tts) -> list[str]:
    sets = [o.hold_out_from] if o.hold_out_from else o.sets
    return unique(*data(*(f"data/{name}" for name in sets)), *(f"data/{name}/{o.text_table}" for name in sets))


stage(1, "data preparation", inputs=corpus, settings="corpus corpus_dir prepare_args max_left_out", outputs=prepared)(prepare)


@stage(1, "sets cut out of one", settings="hold_out_every", inputs=lambda o: data(f"data/{o.hold_out_from}"),
       outputs=lambda o: data(*(f"data/{name}" for name in o.sets)),
       when=lambda o: "" if o.hold_out_from else "not asked for (--hold_out_from SET)")  # fmt: skip
def hold_out(o: Tts) -> None:
    """Of each speaker's utterances, in the order of their names, every n-th is test, each half-way between two
    of these valid; a speaker with few of them is in train alone."""
    source, sets, seen = f"data/{o.hold_out_from}", {name: [] for name in o.sets}, Counter()
    for utterance in read_data_dir(source):
        seen[utterance.speaker] += 1
        place = seen[utterance.speaker] % o.hold_out_every
        sets[{0: o.test_set, o.hold_out_every // 2: o.valid_set}.get(place, o.train_set)].append(utterance)
    for name, utterances in sets.items():
        if not utterances:
            raise RecipeError(f"{source}: nothing is left for {name}; --hold_out_every {o.hold_out_every} is too much")
        write_data_dir(f"data/{name}", utterances, read_excluded(source) if name == o.train_set else {})
        log(f"  data/{name}: {len(utterances)} utterances, {sum(u.seconds for u in utterances) / 3600:.2f} hours")


@stage(2, "text to symbols", settings="front_end text_table use_sid durations_from max_left_out",
       inputs=lambda o: [*(f"data/{name}/{table}" for name in o.sets for table in ("wav.scp", "utt2spk", o.text_table)), *o.timing()],
       outputs=lambda o: [f"{TOKENS}/tokens.txt", *data(*(f"{TOKENS}/{name}" for name in o.sets))])  # fmt: skip
def make_symbols(o: Tts) -> None:
    """The training set first, which makes the list of symbols where the front end has none. Durations from
    labels are of the labels' phones, so these are the symbols then."""
    tokens = "--write-tokens"
    for name in o.sets:
        words = ["--data-dir", f"data/{name}", "--table", o.text_table, "--output-dir", f"{TOKENS}/{name}"]
        words += ["--max-left-out", o.max_left_out]
        verb("phonemes", "--front-end", o.front_end, *words, tokens, f"{TOKENS}/tokens.txt")
        if o.durations_from == "labels":
            words = ["--data-dir", f"{TOKENS}/{name}", "--symbols-dir", f"{TOKENS}/{name}", "--punctuate"]
            program(o, "durations", "--labels", o.find_labels(), *words, "--tokens", f"{TOKENS}/tokens.txt")
        tokens = "--tokens"
    if o.use_sid:
        for name in o.sets[1:]:
            leave_out_unknown_speakers(f"{TOKENS}/{o.train_set}", f"{TOKENS}/{name}")


def leave_out_unknown_speakers(train: str, folder: str) -> None:
    """No voice is trained for a speaker who isn't in the training set."""
    known = {utterance.speaker for utterance in read_data_dir(train)}
    utterances = read_data_dir(folder)
    kept = [utterance for utterance in utterances if utterance.speaker in known]
    out = {u.id: f"speaker {u.speaker} is not in {train}" for u in utterances if u.speaker not in known}
    if not kept:
        told = "take another set, or cut one out of the training set with --hold_out_from"
        raise RecipeError(f"{folder}: none of its speakers is in {train}, so none has a voice; {told}")
    if out:
        write_data_dir(folder, kept, read_excluded(folder) | out)
        log(f"  {folder}: {len(kept)} utterances, {len(out)} left out (speakers not in {train})")


@stage(3, "audio of one rate", each=each_set, settings="rate", inputs=lambda o, name: data(f"{TOKENS}/{name}"),
       outputs=lambda o, name: data(f"{SOUND}/{name}"))  # fmt: skip
def format_set(o: Tts, name: str) -> None:
    format_audio(o, f"{TOKENS}/{name}", f"{SOUND}/{name}", "wav", o.rate)


def timed(o: Tts, name: str) -> list[str]:
    """The frames of each symbol of a set, with --durations_from labels."""
    return [f"{DUMP}/{name}/durations"] if o.durations_from == "labels" else []


@stage(3, "removal of what is too long, too short, or has more symbols than frames",
       each=lambda o: [(name,) for name in unique(o.train_set, o.valid_set)],
       settings="min_wav_duration max_wav_duration hop rate durations_from",
       inputs=lambda o, name: [*data(f"{SOUND}/{name}"), *o.timing()],
       outputs=lambda o, name: [*data(f"{DUMP}/{name}"), *timed(o, name)])  # fmt: skip
def limit_durations(o: Tts, name: str) -> None:
    words = ["--hop", o.hop, "--sampling-rate", o.rate]
    limit(o, f"{SOUND}/{name}", f"{DUMP}/{name}", *words, input_layer="voice")
    time_symbols(o, name)


def time_symbols(o: Tts, name: str) -> None:
    for file in timed(o, name):
        words = ["--data-dir", f"{DUMP}/{name}", "--output-file", file, "--hop-length", o.hop]
        program(o, "durations", "--labels", o.find_labels(), *words)


@stage(3, "choice of what is spoken and scored", settings="test_utts hop durations_from",
       inputs=lambda o: [*data(f"{SOUND}/{o.test_set}"), f"data/{o.test_set}/text", *o.timing()],
       outputs=lambda o: [*data(TESTED), *data(f"{DUMP}/{o.test_set}"), *timed(o, o.test_set)])  # fmt: skip
def choose_test(o: Tts) -> None:
    """dump/phn/<test set> in symbols, dump/test in words, with the recordings under the utterances' names."""
    spoken = f"{DUMP}/{o.test_set}"
    for folder in (TESTED, spoken):
        shutil.rmtree(folder, ignore_errors=True)
    spread(f"{SOUND}/{o.test_set}", o.test_utts, spoken)
    time_symbols(o, o.test_set)
    link_audio(spoken, f"{TESTED}/wav")
    for table in ("wav.scp", "utt2spk", "utt2dur"):
        shutil.copy(f"{spoken}/{table}", TESTED)
    words = read_kaldi(f"data/{o.test_set}/text")
    write_kaldi(f"{TESTED}/text", {name: words[name] for name in read_kaldi(f"{spoken}/text")})


def stats_files(o: Tts) -> list[str]:
    made = [f"{split}/{file}" for split in ("train", "valid") for file in
            ("speech_shape", "text_shape.phn", "collect_feats/pitch.scp", "collect_feats/energy.scp")]  # fmt: skip
    return [f"{STATS}/{file}" for file in (*made, *(f"train/{kind}_stats.npz" for kind in FEATURES))]


def wavs(o: Tts) -> list[str]:
    return [f"{DUMP}/{o.train_set}/wav.scp", f"{DUMP}/{o.valid_set}/wav.scp"]


@stage(4, "statistics of mel, pitch and energy", jobs=lambda o: 1, outputs=stats_files,
       inputs=lambda o: [*data(f"{DUMP}/{o.train_set}", f"{DUMP}/{o.valid_set}"), f"{TOKENS}/tokens.txt"],
       settings=lambda o: o.features(o.first) | {"use_sid": o.use_sid},
       follow=lambda o, items: [Count("utterances", sum(map(count, wavs(o))), lambda: lines_in(f"{STATS}/pieces/*/*/speech_shape"))])  # fmt: skip
def collect_statistics(o: Tts) -> None:
    """Sums of mel, pitch and energy, for norms; and pitch and energy themselves, which training reads: finding
    pitch takes longer than a training step."""
    if o.use_sid:
        number_speakers(o)
    none = {"normalize": None, "pitch_normalize": None, "energy_normalize": None, "write_collected_feats": True}
    config = o.config_of(o.first) | none | o.data_config(feats=False)
    statistics(o, STATS, "tts", config, wavs(o), least=200)  # pitch takes time
    for path in [*Path(STATS).glob("pieces/*/*/collect_feats/data_feats"), *Path(STATS).glob("**/collect_feats/feats.scp")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def number_speakers(o: Tts) -> None:
    """ESPnet's numbers of speakers: those of the training set from 1 on, in the order of their names; 0 is
    nobody."""
    speakers = sorted(set(read_kaldi(f"{DUMP}/{o.train_set}/utt2spk").values()))
    numbers = {"<unk>": 0} | {speaker: n for n, speaker in enumerate(speakers, start=1)}
    with atomic_write(f"{DUMP}/spk2sid") as out:
        out.writelines(f"{speaker} {n}\n" for speaker, n in numbers.items())
    for name in o.sets:
        utt2spk = read_kaldi(f"{DUMP}/{name}/utt2spk")
        write_kaldi(f"{DUMP}/{name}/utt2sid", {utterance: str(numbers[who]) for utterance, who in utt2spk.items()})
    log(f"  {len(speakers)} speakers")


@stage(5, "training", each=names, jobs=lambda o: o.at_once, follow=logs("train.log"),
       inputs=lambda o, name: [*data(f"{DUMP}/{o.train_set}", f"{DUMP}/{o.valid_set}"), f"{TOKENS}/tokens.txt", *stats_files(o),
                               *timed(o, o.train_set), *timed(o, o.valid_set)],
       settings=lambda o, name: o.configs[name] | {"seed": o.seed, "use_sid": o.use_sid},
       outputs=lambda o, name: [f"exp/{name}/config.yaml", f"exp/{name}/{average(o.configs[name])}", f"exp/{name}/*.pth"],
       checkpoint=lambda o, name: [f"exp/{name}/checkpoint.pth", *LEFTOVERS])  # fmt: skip
def train(o: Tts, name: str) -> None:
    exp = f"exp/{name}"
    Path(exp, "command").write_text(o.command + "\n", encoding="utf-8")  # for the report
    write_config(o.configs[name], f"{exp}/train.yaml")
    describe_voice(o, name)
    config = o.config_of(name) | o.data_config(feats=True) | {"fold_length": [240000, 150]}
    for kind, head in zip(FEATURES, ("", "pitch_", "energy_"), strict=True):
        shutil.copy(f"{STATS}/train/{kind}_stats.npz", exp)
        norm = {"stats_file": f"{Path.cwd()}/{exp}/{kind}_stats.npz"}
        config |= {f"{head}normalize": "global_mvn", f"{head}normalize_conf": norm}
    shutil.copy(f"{TOKENS}/tokens.txt", exp)
    launch(o, exp, "tts", config | shapes_of(STATS, "speech_shape", "text_shape.phn"))


def describe_voice(o: Tts, name: str) -> None:
    """exp/NAME/voice.yaml: what 'imlspike synthesize' has to know besides ESPnet's files."""
    voice = {"front_end": o.voice_front_end or o.front_end, "model_file": average(o.configs[name])}
    if o.use_sid:
        shutil.copy(f"{DUMP}/spk2sid", f"exp/{name}")
        voice["speakers"] = [speaker for speaker, n in read_kaldi(f"{DUMP}/spk2sid").items() if n != "0"]
    write_config(voice, f"exp/{name}/voice.yaml")


def syntheses(o: Tts) -> list[tuple]:
    """Each model free and with the teacher forced; and the natural mels of the first model, which bound what a
    voice can reach with this vocoder."""
    return [(o.first, "natural"), *((name, mode) for name in o.configs for mode in ("free", "forced"))]


def spoken(o: Tts, name: str, mode: str) -> str:
    """The folder of a synthesis, stored under vocoder and model file."""
    tag = f"_{Path(o.model_file(name)).stem}" * bool(o.inference_model) + f"_{Path(o.vocoder).name}" * (o.vocoder != "griffin_lim")
    return f"exp/natural{tag}" if mode == "natural" else f"exp/{name}/{mode}{tag}"


def vocoder(o: Tts) -> list[str]:
    return [] if o.vocoder == "griffin_lim" else [f"{o.vocoder}/generator.pth" if os.path.isdir(o.vocoder) else o.vocoder]


@stage(6, "synthesis", each=syntheses, jobs=lambda o: o.nj, settings=lambda o, name, mode: {"vocoder": o.vocoder},
       inputs=lambda o, name, mode: [f"exp/{name}/config.yaml", o.model_file(name), *vocoder(o), *data(f"{DUMP}/{o.test_set}")],
       outputs=lambda o, name, mode: [f"{spoken(o, name, mode)}/synthesis.yaml"],
       follow=lambda o, items: [Log(" ".join(item), f"{spoken(o, *item)}/log") for item in items])  # fmt: skip
def synthesize(o: Tts, name: str, mode: str) -> None:
    out = spoken(o, name, mode)
    shutil.rmtree(f"{out}/wav", ignore_errors=True)
    for file in ("durations", "synthesis.yaml"):
        Path(out, file).unlink(missing_ok=True)
    given = [word for file in timed(o, o.test_set) for word in ("--durations", file)] if mode == "forced" else []
    words = ["--data-dir", f"{DUMP}/{o.test_set}", "--output-dir", out, "--model", f"exp/{name}", "--mode", mode]
    words += ["--model-file", Path(o.model_file(name)).name, "--vocoder", o.vocoder, "--device", o.device]
    program(o, "synthesize", *words, "--threads", o.threads, *given, log=f"{out}/log")


def systems(o: Tts) -> dict[str, str]:
    """Name and folder of what is scored."""
    found = {"natural_mel": spoken(o, o.first, "natural")}
    for name in o.configs:
        found |= {name: spoken(o, name, "free"), f"{name}_forced": spoken(o, name, "forced")}
    return found


@stage(7, "scores", jobs=lambda o: 1, outputs=lambda o: ["exp/scores/scores.json"],
       settings=lambda o: {"systems": systems(o), "score_args": o.score_args, "asr_model": o.asr_model, "hop": o.hop},
       inputs=lambda o: [*(f"{folder}/synthesis.yaml" for folder in systems(o).values()), *data(TESTED)],
       follow=lambda o, items: [Log("scores", "exp/scores/log")])  # fmt: skip
def score(o: Tts) -> None:
    words = ["--data-dir", TESTED, "--systems", *(f"{name}={folder}" for name, folder in systems(o).items())]
    words += ["--output-dir", "exp/scores", "--nj", o.nj, *o.score_args]
    words += ["--asr-model", o.asr_model] if o.asr_model else []
    words += ["--twin", "ann"] if o.ann else []
    words += ["--natural-durations", f"{spoken(o, o.first, 'forced')}/durations", "--hop-length", o.hop]
    program(o, "score_voice", *words, "--ceiling", "natural_mel", log="exp/scores/log")
    log("  exp/scores/scores.md")


def no_alignment(o: Tts) -> str:
    if o.durations_from == "labels":
        return "none are learned, the durations are those of labels"
    return "" if o.find_labels() else "not asked for (--labels FOLDER)"


@stage(7, "alignments against labels", each=names, jobs=lambda o: o.nj, when=no_alignment,
       inputs=lambda o, name: [f"exp/{name}/config.yaml", o.model_file(name), o.find_labels(), *data(f"{DUMP}/{o.test_set}")],
       outputs=lambda o, name: [f"exp/{name}/alignment/alignment.json"])  # fmt: skip
def score_alignment(o: Tts, name: str) -> None:
    out = f"exp/{name}/alignment"
    words = ["--model", f"exp/{name}", "--data-dir", f"{DUMP}/{o.test_set}", "--labels", o.find_labels()]
    program(o, "score_alignment", *words, "--output-dir", out, log=f"{out}/log")
    log(f"  {out}/alignment.md")


@stage(8, "spikes and energy", each=names, jobs=lambda o: o.nj, settings="profile_utts", follow=logs("profile/log"),
       inputs=lambda o, name: [f"exp/{name}/config.yaml", o.model_file(name), *data(f"{DUMP}/{o.test_set}")],
       outputs=lambda o, name: [f"exp/{name}/profile/energy.json"])  # fmt: skip
def profile(o: Tts, name: str) -> None:
    out = f"exp/{name}/profile"
    spread(f"{DUMP}/{o.test_set}", o.profile_utts, f"{out}/data")
    program(o, "profile", "--exp", f"exp/{name}", "--data-dir", f"{out}/data", "--output-dir", out, log=f"{out}/log")


@stage(9, "report", always=True, inputs=lambda o: ["exp/scores/scores.json"], outputs=lambda o: ["exp/RESULTS.md"])
def report(o: Tts) -> None:
    words = [*(f"exp/{name}" for name in o.configs), "--scores", "exp/scores", "--command", o.command]
    program(o, "report_voice", *words, "--output", "exp/RESULTS.md")
