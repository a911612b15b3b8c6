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
from imlspike.espnet.config import write_config
from imlspike.recipes import data, training
from imlspike.recipes.options import OptionError, existing, option
from imlspike.recipes.processes import RecipeError, program, verb
from imlspike.recipes.progress import Log, log
from imlspike.recipes.runner import Needs, Recipe
from imlspike.recipes.training import EspnetOptions, average, data_of, launch, shapes_of, statistics

TOKENS, SOUND, DUMP, TESTED = "dump/symbols", "dump/sound", "dump/phn", "dump/test"
STATS = f"{DUMP}/stats"
FEATURES = ("feats", "pitch", "energy")
SHARED = "feats_extract pitch_extract energy_extract"


@dataclass
class Tts(EspnetOptions):
    """Options of a voice's recipe."""

    # Data
    test_set: str = option("test", "set that is spoken and scored")
    hold_out_from: str = option("", "prepared set to cut those three out of; empty: they are as prepared")
    hold_out_every: int = option(
        50, "n: every n-th utterance of a speaker is test, each half-way between valid", least=3
    )
    front_end: str = option(
        "", "from text to symbols: english, mandarin, russian, ... ('imlspike phonemes --help')"
    )
    text_table: str = option(
        "text", "table that the front end reads: text, or pinyin where the corpus has it"
    )
    voice_front_end: str = option(
        "", "and that of the trained voice, where new text is written in another way"
    )
    use_sid: bool = option(False, "a voice for each speaker of the training set")
    min_wav_duration: float = option(0.3, "shortest utterance to train on, in seconds")
    durations_from: str = option(
        "aligner", "what the symbols' durations in training come from", "aligner labels"
    )
    test_utts: int = option(0, "utterances of the test set to speak, spread over it; 0: all")
    # Models
    config: str = option("", "training YAML, the base of all models")
    changes: list = option("", "YAML files that say what differs from it in all models, separated by blanks")
    overrides: str = option("conf/tts", "folder with a YAML for each model; its ann.yaml is the ANN")
    models: list = option(
        "spikevoice sequential imls", "spiking models to train, each an override of that name"
    )
    ann: bool = option(True, "train the ANN twin too")
    # Results
    vocoder: str = option(
        "griffin_lim",
        "what makes sound of mels: an experiment of voc1 with the same features, or griffin_lim",
    )
    inference_model: str = option("", "file in the experiment; empty: the average of the best epochs")
    asr_model: str = option(
        "", "a trained recogniser (an experiment of asr1, a zip) for the character error rate; empty: none"
    )
    labels: str = option(
        "",
        "folder of phone labels (.lab, .TextGrid): for --durations_from labels, or to check the learned by",
    )
    corpus_labels: str = option(
        "", "instead of it, the name of the folder that the corpus itself has them in"
    )
    score_args: list = option("", "further options of 'imlspike score-voice'")
    profile_utts: int = option(
        20, "utterances of the test set on which spikes and energy are counted", least=1
    )

    def check(self) -> None:
        """See `Options.check`."""
        super().check()
        if self.hold_out_from in (self.train_set, self.valid_set, self.test_set):
            told = "is one of the sets that are cut out of it; give these other names"
            raise OptionError(f"--hold_out_from: {self.hold_out_from} {told}")
        if not self.front_end:
            raise OptionError("--front_end is empty; 'imlspike phonemes --help' lists them")
        if self.durations_from == "labels" and not (self.labels or self.corpus_labels):
            raise OptionError(
                "--durations_from labels needs --labels FOLDER, with a .lab or .TextGrid an utterance"
            )
        self.asr_model = self.asr_model and existing(self.asr_model, "--asr_model")
        self.labels = self.labels and existing(self.labels, "--labels")
        if self.vocoder != "griffin_lim":
            self.vocoder = existing(self.vocoder, "--vocoder")
        names, changes = data.models(self), [existing(path, "--changes") for path in self.changes]
        given = ["tts_conf.aligner=false"] if self.durations_from == "labels" else []
        self.token_type, self.tokens, self.token_files = "phn", TOKENS, [f"{TOKENS}/tokens.txt"]
        self.train_sets, self.dump, self.stats = [self.train_set], DUMP, STATS
        self.sets = data.unique(self.train_set, self.valid_set, self.test_set)
        files = [(name, self.config, [*changes, f"{self.overrides}/{name}.yaml"]) for name in names]
        self.configs = training.configure("tts", files, [*given, *self.train_args], SHARED)
        features = self.configs[names[0]].get("feats_extract_conf") or {}
        self.rate, self.hop, self.first = features.get("fs"), features.get("hop_length"), names[0]
        if not (self.rate and self.hop):
            raise OptionError(
                f"{self.config}: feats_extract_conf has to say fs (the sampling rate) and hop_length"
            )

    def model_file(self, name: str) -> str:
        return f"exp/{name}/{average(self.configs[name], self.inference_model)}"

    def model(self, name: str) -> list[str]:
        return [f"exp/{name}/config.yaml", self.model_file(name)]

    def find_labels(self) -> str:
        """The folder of phone labels, if there is one: --labels, or --corpus_labels in the corpus."""
        if self.labels or not self.corpus_labels:
            return self.labels
        top = Path(self.corpus_dir or "downloads")
        found = sorted(path for path in top.glob(f"**/{self.corpus_labels}") if path.is_dir())
        return str(found[0]) if found else ""

    def timing(self) -> list[str]:
        """The folder of labels that durations come from, as a step's input."""
        missing = f"{self.corpus_labels}/ in {self.corpus_dir or 'downloads'}"
        return [self.find_labels() or missing] if self.durations_from == "labels" else []

    def durations(self, name: str) -> list[str]:
        """The frames of each symbol of a set, with --durations_from labels."""
        return [f"{DUMP}/{name}/durations"] if self.durations_from == "labels" else []

    def data_config(self, *, feats: bool) -> dict:
        """What statistics and training share; `feats`: with what statistics found."""
        tables = self.espnet_tables()
        for split, name in (("train", self.train_set), ("valid", self.valid_set)):
            tables[split] += [[f"{DUMP}/{name}/utt2sid", "sids", "text_int"]] * self.use_sid
            if feats:
                tables[split] += [
                    [f"{STATS}/{split}/collect_feats/{kind}.scp", kind, "npy"] for kind in FEATURES[1:]
                ]
                tables[split] += [[file, "durations", "text_int"] for file in self.durations(name)]
        tokens = {"use_preprocessor": True, "token_type": "phn", "token_list": f"{TOKENS}/tokens.txt"}
        return tokens | data_of(tables)

    def config_of(self, name: str) -> dict:
        """A model's configuration with the number of speakers."""
        config = self.configs[name]
        speakers = {"speakers": data.count(f"{DUMP}/spk2sid")} if self.use_sid else {}
        return config | {"tts_conf": (config.get("tts_conf") or {}) | speakers}


recipe = Recipe("tts", Tts)
stage = recipe.stage


@stage(1, "data preparation")
def prepare(o: Tts):
    yield from data.prepare_corpus(o, [o.hold_out_from] if o.hold_out_from else o.sets, o.text_table)


@stage(
    1, "sets cut out of one", when=lambda o: "" if o.hold_out_from else "not asked for (--hold_out_from SET)"
)
def hold_out(o: Tts):
    """Of each speaker's utterances, in the order of their names, every n-th is test, each half-way between two
    of these valid; a speaker with few of them is in train alone."""
    source, sets, seen, n = (
        f"data/{o.hold_out_from}",
        {name: [] for name in o.sets},
        Counter(),
        o.hold_out_every,
    )
    yield Needs(
        data.tables(source), data.tables(*(f"data/{name}" for name in o.sets)), o.pick("hold_out_every")
    )
    for utterance in read_data_dir(source):
        seen[utterance.speaker] += 1
        places = {0: o.test_set, n // 2: o.valid_set}
        sets[places.get(seen[utterance.speaker] % n, o.train_set)].append(utterance)
    for name, utterances in sets.items():
        if not utterances:
            raise RecipeError(f"{source}: nothing is left for {name}; --hold_out_every {n} is too much")
        write_data_dir(f"data/{name}", utterances, read_excluded(source) if name == o.train_set else {})
        log(
            f"  data/{name}: {len(utterances)} utterances, {sum(u.seconds for u in utterances) / 3600:.2f} hours"
        )


@stage(2, "text to symbols")
def make_symbols(o: Tts):
    """The training set first, which makes the list of symbols where the front end has none. Durations from
    labels are of the labels' phones, so these are the symbols then."""
    tables = [f"data/{name}/{table}" for name in o.sets for table in ("wav.scp", "utt2spk", o.text_table)]
    made = [f"{TOKENS}/tokens.txt", *data.tables(*(f"{TOKENS}/{name}" for name in o.sets))]
    settings = o.pick("front_end text_table use_sid durations_from max_left_out")
    yield Needs([*tables, *o.timing()], made, settings)
    tokens = "--write-tokens"
    for name in o.sets:
        words = ["--data-dir", f"data/{name}", "--table", o.text_table, "--output-dir", f"{TOKENS}/{name}"]
        words += ["--front-end", o.front_end, "--max-left-out", o.max_left_out]
        verb("phonemes", *words, tokens, f"{TOKENS}/tokens.txt")
        if o.durations_from == "labels":
            words = ["--data-dir", f"{TOKENS}/{name}", "--symbols-dir", f"{TOKENS}/{name}", "--punctuate"]
            program(o, "durations", "--labels", o.find_labels(), *words, "--tokens", f"{TOKENS}/tokens.txt")
        if o.use_sid:
            leave_out_unknown_speakers(f"{TOKENS}/{o.train_set}", f"{TOKENS}/{name}")
        tokens = "--tokens"


def leave_out_unknown_speakers(train: str, folder: str) -> None:
    """No voice is trained for a speaker who isn't in the training set."""
    known, utterances = {u.speaker for u in read_data_dir(train)}, read_data_dir(folder)
    kept = [utterance for utterance in utterances if utterance.speaker in known]
    out = {u.id: f"speaker {u.speaker} is not in {train}" for u in utterances if u.speaker not in known}
    if not kept:
        told = "take another set, or cut one out of the training set with --hold_out_from"
        raise RecipeError(f"{folder}: none of its speakers is in {train}, so none has a voice; {told}")
    if out:
        write_data_dir(folder, kept, read_excluded(folder) | out)
        log(f"  {folder}: {len(kept)} utterances, {len(out)} left out (speakers not in {train})")


@stage(3, "audio of one rate", each=data.each_set)
def format_set(o: Tts, name: str):
    yield from data.format_audio(o, f"{TOKENS}/{name}", f"{SOUND}/{name}", "wav", o.rate)


@stage(3, "removal of what is too long, too short, or has more symbols than frames", each=data.trained_sets)
def limit_durations(o: Tts, name: str):
    yield from data.limit(o, f"{SOUND}/{name}", f"{DUMP}/{name}", "voice", hop=o.hop, sampling_rate=o.rate)


@stage(3, "choice of what is spoken and scored")
def choose_test(o: Tts):
    """dump/phn/<test set> in symbols, dump/test in words, with the recordings under the utterances' names."""
    source, spoken, texts = f"{SOUND}/{o.test_set}", f"{DUMP}/{o.test_set}", f"data/{o.test_set}/text"
    yield Needs([*data.tables(source), texts], data.tables(TESTED, spoken), o.pick("test_utts"))
    for folder in (TESTED, spoken):
        shutil.rmtree(folder, ignore_errors=True)
    data.spread(source, o.test_utts, spoken)
    data.link_audio(spoken, f"{TESTED}/wav")
    for table in ("wav.scp", "utt2spk", "utt2dur"):
        shutil.copy(f"{spoken}/{table}", TESTED)
    words = read_kaldi(texts)
    write_kaldi(f"{TESTED}/text", {name: words[name] for name in read_kaldi(f"{spoken}/text")})


def by_aligner(o: Tts) -> str:
    return "" if o.durations_from == "labels" else "durations are learned (--durations_from labels)"


@stage(3, "durations by labels", each=data.each_set, when=by_aligner)
def time_symbols(o: Tts, name: str):
    (made,) = o.durations(name)
    yield Needs([*data.tables(f"{DUMP}/{name}"), *o.timing()], [made], o.pick("hop"))
    words = ["--data-dir", f"{DUMP}/{name}", "--output-file", made, "--hop-length", o.hop]
    program(o, "durations", "--labels", o.find_labels(), *words)


def stats_files() -> list[str]:
    files = ("speech_shape", "text_shape.phn", "collect_feats/pitch.scp", "collect_feats/energy.scp")
    made = [f"{STATS}/{split}/{file}" for split in ("train", "valid") for file in files]
    return made + [f"{STATS}/train/{kind}_stats.npz" for kind in FEATURES]


@stage(4, "statistics of mel, pitch and energy", jobs=lambda o: 1)
def collect_statistics(o: Tts):
    """Sums of mel, pitch and energy, for norms; and pitch and energy themselves, which training reads: finding
    pitch takes longer than a training step."""
    settings = training.select(o.configs[o.first], SHARED) | o.pick("use_sid")
    yield Needs(o.data_files, stats_files(), settings, follow=o.utterances_read())
    if o.use_sid:
        number_speakers(o)
    none = {
        "normalize": None,
        "pitch_normalize": None,
        "energy_normalize": None,
        "write_collected_feats": True,
    }
    config = o.config_of(o.first) | none | o.data_config(feats=False)
    statistics(o, STATS, "tts", config, o.wavs, least=200)  # pitch takes time
    for path in [*Path(STATS).glob("*/*/*/collect_feats/data_feats"), *Path(STATS).glob("**/feats.scp")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def number_speakers(o: Tts) -> None:
    """ESPnet's numbers of speakers: those of the training set from 1 on, in the order of their names; 0 is
    nobody."""
    speakers = sorted(set(read_kaldi(f"{DUMP}/{o.train_set}/utt2spk").values()))
    numbers = {"<unk>": 0} | {speaker: n for n, speaker in enumerate(speakers, start=1)}
    with atomic_write(f"{DUMP}/spk2sid") as out:
        out.writelines(f"{speaker} {n}\n" for speaker, n in numbers.items())
    for name in o.sets:
        speaker_of = read_kaldi(f"{DUMP}/{name}/utt2spk")
        write_kaldi(f"{DUMP}/{name}/utt2sid", {name: str(numbers[who]) for name, who in speaker_of.items()})
    log(f"  {len(speakers)} speakers")


@stage(5, "training", each=data.names, jobs=lambda o: o.at_once)
def train(o: Tts, name: str):
    exp, config = f"exp/{name}", o.configs[name]
    inputs = [*o.data_files, *stats_files(), *o.durations(o.train_set), *o.durations(o.valid_set)]
    yield training.needs(exp, config, inputs, config | o.pick("seed use_sid"))
    training.describe(o, exp, config)
    voice = {"front_end": o.voice_front_end or o.front_end, "model_file": average(config)}
    if o.use_sid:
        shutil.copy(f"{DUMP}/spk2sid", exp)
        voice["speakers"] = [speaker for speaker, n in read_kaldi(f"{DUMP}/spk2sid").items() if n != "0"]
    write_config(voice, f"{exp}/voice.yaml")  # what 'imlspike synthesize' has to know besides ESPnet's files
    shutil.copy(f"{TOKENS}/tokens.txt", exp)
    given = {"fold_length": [240000, 150]}
    for kind, head in zip(FEATURES, ("", "pitch_", "energy_"), strict=True):
        shutil.copy(f"{STATS}/train/{kind}_stats.npz", exp)
        norm = {"stats_file": f"{Path.cwd()}/{exp}/{kind}_stats.npz"}
        given |= {f"{head}normalize": "global_mvn", f"{head}normalize_conf": norm}
    shapes = shapes_of(STATS, "speech_shape", "text_shape.phn")
    launch(o, exp, "tts", o.config_of(name) | o.data_config(feats=True) | given | shapes)


def syntheses(o: Tts) -> list[tuple]:
    """Each model free and with the teacher forced; and the natural mels of the first model, which bound what a
    voice can reach with this vocoder."""
    return [(o.first, "natural"), *((name, mode) for name in o.configs for mode in ("free", "forced"))]


def spoken_in(o: Tts, name: str, mode: str) -> str:
    """The folder of a synthesis, under vocoder and model file where they aren't the default."""
    tag = f"_{Path(o.model_file(name)).stem}" if o.inference_model else ""
    tag += f"_{Path(o.vocoder).name}" if o.vocoder != "griffin_lim" else ""
    return f"exp/natural{tag}" if mode == "natural" else f"exp/{name}/{mode}{tag}"


@stage(6, "synthesis", each=syntheses, jobs=lambda o: o.nj)
def synthesize(o: Tts, name: str, mode: str):
    out, source = spoken_in(o, name, mode), f"{DUMP}/{o.test_set}"
    vocoder = Path(o.vocoder, "generator.pth") if os.path.isdir(o.vocoder) else Path(o.vocoder)
    given = o.durations(o.test_set) if mode == "forced" else []
    inputs = [
        *o.model(name),
        *([str(vocoder)] if o.vocoder != "griffin_lim" else []),
        *data.tables(source),
        *given,
    ]
    progress = Log(f"{name} {mode}", f"{out}/log")
    yield Needs(inputs, [f"{out}/synthesis.yaml"], o.pick("vocoder"), follow=progress)
    shutil.rmtree(f"{out}/wav", ignore_errors=True)
    for file in ("durations", "synthesis.yaml"):
        Path(out, file).unlink(missing_ok=True)
    words = ["--data-dir", source, "--output-dir", out, "--model", f"exp/{name}", "--mode", mode]
    words += ["--model-file", Path(o.model_file(name)).name, "--vocoder", o.vocoder, "--device", o.device]
    words += ["--threads", o.threads, *(word for file in given for word in ("--durations", file))]
    program(o, "synthesize", *words, log=f"{out}/log")


@stage(7, "scores", jobs=lambda o: 1)
def score(o: Tts):
    systems = {"natural_mel": spoken_in(o, o.first, "natural")}
    for name in o.configs:
        systems |= {name: spoken_in(o, name, "free"), f"{name}_forced": spoken_in(o, name, "forced")}
    inputs = [*(f"{folder}/synthesis.yaml" for folder in systems.values()), *data.tables(TESTED)]
    settings, progress = (
        {"systems": systems} | o.pick("score_args asr_model hop ann"),
        Log("scores", "exp/scores/log"),
    )
    yield Needs(inputs, ["exp/scores/scores.json"], settings, follow=progress)
    words = ["--data-dir", TESTED, "--systems", *(f"{name}={folder}" for name, folder in systems.items())]
    words += ["--output-dir", "exp/scores", "--nj", o.nj, *o.score_args, "--ceiling", "natural_mel"]
    words += ["--asr-model", o.asr_model] if o.asr_model else []
    words += ["--twin", "ann"] if o.ann else []
    words += ["--natural-durations", f"{systems[f'{o.first}_forced']}/durations", "--hop-length", o.hop]
    program(o, "score_voice", *words, log="exp/scores/log")
    log("  exp/scores/scores.md")


def no_alignment(o: Tts) -> str:
    if o.durations_from == "labels":
        return "none are learned, the durations are those of labels"
    return "" if o.find_labels() else "not asked for (--labels FOLDER)"


@stage(7, "alignments against labels", each=data.names, jobs=lambda o: o.nj, when=no_alignment)
def score_alignment(o: Tts, name: str):
    out, source, labels = f"exp/{name}/alignment", f"{DUMP}/{o.test_set}", o.find_labels()
    yield Needs([*o.model(name), labels, *data.tables(source)], [f"{out}/alignment.json"])
    words = ["--model", f"exp/{name}", "--data-dir", source, "--labels", labels, "--output-dir", out]
    program(o, "score_alignment", *words, log=f"{out}/log")
    log(f"  {out}/alignment.md")


@stage(8, "spikes and energy", each=data.names, jobs=lambda o: o.nj)
def profile(o: Tts, name: str):
    yield from data.count_spikes(
        o, f"exp/{name}", f"{DUMP}/{o.test_set}", o.model(name), ["--exp", f"exp/{name}"]
    )


@stage(9, "report")
def report(o: Tts):
    yield Needs(["exp/scores/scores.json"], always=True)
    words = [*(f"exp/{name}" for name in o.configs), "--scores", "exp/scores", "--command", o.command]
    program(o, "report_voice", *words, "--output", "exp/RESULTS.md")
