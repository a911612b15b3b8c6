"""A voice from a corpus to a table of results: the ANN twin (FastSpeech 2), SpikeVoice, and further models.

Models are overrides of one configuration. No aligner and no labels are needed: durations are learned from
text and sound; or they are those of phone labels (--durations_from).
"""

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from imlspike.data.files import read_kaldi, write_kaldi
from imlspike.data.kaldi import read_data_dir, read_excluded, write_data_dir
from imlspike.data.model_files import average, suffix
from imlspike.data.yaml_file import write_yaml
from imlspike.recipes import data, training
from imlspike.recipes.options import OptionError, existing, option
from imlspike.recipes.processes import RecipeError, check_words, program, verb
from imlspike.recipes.progress import Log, log
from imlspike.recipes.runner import Needs, Recipe, asked
from imlspike.recipes.speakers import find_languages, leave_out_unknown_speakers, number_speakers
from imlspike.recipes.training import EspnetOptions, configure, launch, statistics
from imlspike.text.phonemes import front_end, languages_of

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
    hold_out_every: int = option(50, "n: every n-th utterance is test, each half-way between valid", least=3)
    front_end: str = option(
        "", "from text to symbols: english, mandarin, russian, ... ('imlspike phonemes --help')"
    )
    text_table: str = option("text", "what the front end reads: text, or pinyin where the corpus has it")
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
    models: list = option("spikevoice sequential imls", "spiking models to train", empty=True)
    ann: bool = option(True, "train the ANN twin too")
    # Results
    vocoder: str = option(
        "griffin_lim",
        "what makes sound of mels: an experiment of voc1 with the same features, or griffin_lim",
    )
    inference_model: str = option("", "file in the experiment; empty: the average of the best epochs")
    asr_model: str = option(
        "", "recognizer for the character error rate: an experiment of asr1, a zip, whisper; empty: none"
    )
    labels: str = option(
        "", "folder of phone labels (.lab, .TextGrid), for --durations_from labels or to check the learned by"
    )
    corpus_labels: str = option("", "instead of it, the name of the folder that the corpus has them in")
    score_args: list = option("", "further options of 'imlspike score'")
    profile_utts: int = option(20, "utterances of the test set to count spikes and energy on", least=1)

    in_paths = "train_set valid_set durations_from"

    def check(self) -> None:
        """See `Options.check`."""
        super().check()
        if self.hold_out_from in (self.train_set, self.valid_set, self.test_set):
            raise OptionError(f"--hold_out_from: {self.hold_out_from} is cut out of itself; name others")
        if self.test_set in (self.train_set, self.valid_set):
            told = "what is spoken is chosen of it, which would change what is trained on; name another"
            raise OptionError(f"--test_set {self.test_set}: {told}")
        for name in ("front_end", "voice_front_end"):
            front = getattr(self, name) or self.front_end
            try:
                for language in languages_of(front) or (None,):
                    front_end(front, language=language)
            except (ValueError, ImportError) as error:
                raise OptionError(f"--{name}: {error}") from None
        if languages_of(self.voice_front_end or self.front_end) != languages_of(self.front_end):
            raise OptionError(f"--voice_front_end {self.voice_front_end}: not the languages of --front_end")
        if self.durations_from == "labels" and not (self.labels or self.corpus_labels):
            raise OptionError("--durations_from labels needs --labels FOLDER, a .lab or .TextGrid each")
        check_words("score_args", "score", self.score_args, output_dir="o", data_dir="d", systems="a=b")
        self.asr_model = data.find_recognizer(self.asr_model)
        self.labels = self.labels and existing(self.labels, "--labels")
        if self.vocoder != "griffin_lim":
            self.vocoder = existing(self.vocoder, "--vocoder")
        names, changes = self.check_models(), [existing(path, "--changes") for path in self.changes]
        given = ["tts_conf.aligner=false"] if self.durations_from == "labels" else []
        self.token_type, self.tokens = "phn", TOKENS
        self.train_sets, self.dump, self.stats = [self.train_set], DUMP, STATS
        self.sets = data.unique(self.train_set, self.valid_set, self.test_set)
        files = [(name, self.config, [*changes, f"{self.overrides}/{name}.yaml"]) for name in names]
        self.configs = configure("tts", files, [*given, *self.train_args], SHARED)
        features = self.configs[names[0]].get("feats_extract_conf") or {}
        self.rate, self.hop, self.first = features.get("fs"), features.get("hop_length"), names[0]
        if not (self.rate and self.hop):
            raise OptionError(f"{self.config}: feats_extract_conf has to say fs and hop_length")

    def model_file(self, name: str) -> str:
        return f"exp/{name}/{average(self.configs[name], self.inference_model)}"

    def model(self, name: str) -> list[str]:
        return [f"exp/{name}/config.yaml", self.model_file(name)]

    @property
    def texts(self) -> list[str]:
        """The tables that the front end reads."""
        return [self.text_table, *(["utt2lang"] if languages_of(self.front_end) else [])]

    def find_labels(self) -> str:
        """The folder of phone labels, if there is one: --labels, or --corpus_labels in the corpus."""
        if not self.labels and self.corpus_labels:
            found = Path(self.corpus_dir or "downloads").glob(f"**/{self.corpus_labels}")
            self.labels = str(min(filter(Path.is_dir, found), default=""))
        return self.labels

    def timing(self) -> list[str]:
        """The folder of labels that durations come from, as a step's input."""
        if self.durations_from == "aligner":
            return []
        to_fetch = not self.corpus_dir and self.stage == 1 and not Path(f"data/{self.train_set}").exists()
        if not self.find_labels() and to_fetch:
            return []  # they come with the corpus
        return [self.labels or f"{self.corpus_labels}/ in {self.corpus_dir or 'downloads'}"]

    def durations(self, name: str) -> list[str]:
        """The frames of each symbol of a set, with --durations_from labels."""
        return [f"{DUMP}/{name}/durations"] if self.durations_from == "labels" else []

    def training_config(self, name: str, *, collected: bool) -> dict:
        """A model's configuration and its data, with what statistics `collected` or for them."""
        config, tables = self.configs[name], self.data_config
        if self.use_sid:
            speakers = {"speakers": data.count(f"{DUMP}/spk2sid")}
            config = config | {"tts_conf": (config.get("tts_conf") or {}) | speakers}
        for split, part in (("train", self.train_set), ("valid", self.valid_set)):
            more = [[f"{DUMP}/{part}/utt2sid", "sids", "text_int"]] * self.use_sid
            if collected:
                found = f"{STATS}/{split}/collect_feats"
                more += [[f"{found}/{kind}.scp", kind, "npy"] for kind in FEATURES[1:]]
                more += [[file, "durations", "text_int"] for file in self.durations(part)]
            tables[f"{split}_data_path_and_name_and_type"] += more
        return config | tables


recipe = Recipe(Tts)
stage = recipe.stage


@stage(1)
def prepare(o: Tts):
    """Data preparation."""
    yield from data.prepare_corpus(o, [o.hold_out_from] if o.hold_out_from else o.sets, *o.texts)


@stage(1, when=asked("hold_out_from", "SET"))
def hold_out(o: Tts):
    """Sets cut out of one.

    Of each speaker's utterances, in the order of their names, every n-th is test, each half-way between
    two of these valid; a speaker with few of them is in train alone.
    """
    source, n = f"data/{o.hold_out_from}", o.hold_out_every
    made = data.tables(*(f"data/{name}" for name in o.sets))
    more = {table: f"{source}/{table}" for table in o.texts if table != "text"}
    made += [f"data/{name}/{table}" for name in o.sets for table in more]
    yield Needs([*data.tables(source), *more.values()], made, o.pick("hold_out_every"))
    sets, seen, places = {name: [] for name in o.sets}, Counter(), {0: o.test_set, n // 2: o.valid_set}
    for utterance in read_data_dir(source):
        seen[utterance.speaker] += 1
        sets[places.get(seen[utterance.speaker] % n, o.train_set)].append(utterance)
    for name, utterances in sets.items():
        if not utterances:
            raise RecipeError(f"{source}: nothing is left for {name}; --hold_out_every {n} is too much")
        write_data_dir(f"data/{name}", utterances, read_excluded(source) if name == o.train_set else {})
        for table, file in more.items():
            told = read_kaldi(file)
            write_kaldi(f"data/{name}/{table}", {u.id: told[u.id] for u in utterances})
        log(f"  data/{name}: {len(utterances)} utterances, {sum(u.seconds for u in utterances) / 3600:.2f} h")


@stage(2)
def make_symbols(o: Tts):
    """Text to symbols.

    The training set first, which makes the list of symbols where the front end has none. Durations from
    labels are of the labels' phones, so these are the symbols then.
    """
    tables = [f"data/{name}/{table}" for name in o.sets for table in ("wav.scp", "utt2spk", *o.texts)]
    made = [f"{TOKENS}/tokens.txt", *data.tables(*(f"{TOKENS}/{name}" for name in o.sets))]
    settings = o.pick("front_end text_table use_sid durations_from max_left_out")
    yield Needs([*tables, *o.timing()], made, settings)
    tokens = "write_tokens"
    for name in o.sets:
        out = f"{TOKENS}/{name}"
        how = {"table": o.text_table, tokens: f"{TOKENS}/tokens.txt"} | o.pick("front_end max_left_out")
        verb("phonemes", data_dir=f"data/{name}", output_dir=out, **how)
        if o.durations_from == "labels":
            how = {"labels": o.find_labels(), "punctuate": True, "tokens": f"{TOKENS}/tokens.txt"}
            program(o, "durations", data_dir=out, symbols_dir=out, **how)
        if o.use_sid:
            leave_out_unknown_speakers(f"{TOKENS}/{o.train_set}", out)
        tokens = "tokens"


@stage(3, each=lambda o: o.sets)
def format_set(o: Tts, name: str):
    """Audio of one rate."""
    yield from data.format_audio(o, f"{TOKENS}/{name}", f"{SOUND}/{name}", "wav", o.rate)


@stage(3, each=lambda o: o.trained)
def limit_durations(o: Tts, name: str):
    """Removal of what is too long, too short, or has more symbols than frames."""
    yield from data.limit(o, f"{SOUND}/{name}", f"{DUMP}/{name}", "voice", hop=o.hop, sampling_rate=o.rate)


@stage(3)
def choose_test(o: Tts):
    """Choice of what is spoken and scored.

    dump/phn/<test set> in symbols, dump/test in words, with the recordings under the utterances' names.
    """
    source, spoken, texts = f"{SOUND}/{o.test_set}", f"{DUMP}/{o.test_set}", f"data/{o.test_set}/text"
    yield Needs([*data.tables(source), texts], data.tables(TESTED, spoken), o.pick("test_utts"))
    for folder in (TESTED, spoken):
        shutil.rmtree(folder, ignore_errors=True)
    data.spread(source, o.test_utts, spoken)
    data.link_audio(spoken, f"{TESTED}/wav")
    for table in ("wav.scp", "utt2spk", "utt2dur"):
        shutil.copy(f"{spoken}/{table}", TESTED)
    data.copy_tables(f"data/{o.test_set}", TESTED, "text", "utt2lang")


@stage(3, each=lambda o: o.sets, when=lambda o: "" if o.durations_from == "labels" else "they are learned")
def time_symbols(o: Tts, name: str):
    """Durations by labels."""
    (made,) = o.durations(name)
    yield Needs([*data.tables(f"{DUMP}/{name}"), *o.timing()], [made], o.pick("hop"))
    how = {"labels": o.find_labels(), "hop_length": o.hop}
    program(o, "durations", data_dir=f"{DUMP}/{name}", output_file=made, **how)


def _stats_files() -> list[str]:
    files = ("speech_shape", "text_shape.phn", "collect_feats/pitch.scp", "collect_feats/energy.scp")
    made = [f"{STATS}/{split}/{file}" for split in training.SPLITS for file in files]
    return made + [f"{STATS}/train/{kind}_stats.npz" for kind in FEATURES]


@stage(4, jobs=lambda o: 1)
def collect_statistics(o: Tts):
    """Statistics of mel, pitch and energy.

    Sums, for norms; and pitch and energy themselves: finding pitch takes longer than a training step.
    """
    settings = training.select(o.configs[o.first], SHARED) | o.pick("use_sid")
    yield Needs(o.data_files, _stats_files(), settings, follow=o.utterances_read())
    if o.use_sid:
        number_speakers(DUMP, o.train_set, o.sets)
        if languages_of(o.front_end):
            find_languages(DUMP, o.train_set, f"data/{o.train_set}/utt2lang")
    none = dict.fromkeys(("normalize", "pitch_normalize", "energy_normalize"))
    config = o.training_config(o.first, collected=False) | none | {"write_collected_feats": True}
    statistics(o, STATS, "tts", config, o.wavs, least=200)  # pitch takes time
    for path in [*Path(STATS).glob("*/*/*/collect_feats/data_feats"), *Path(STATS).glob("**/feats.scp")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@stage(5, each=lambda o: o.configs, jobs=lambda o: o.at_once)
def train(o: Tts, name: str):
    """Training."""
    exp, config = f"exp/{name}", o.configs[name]
    inputs = [*o.data_files, *_stats_files(), *o.durations(o.train_set), *o.durations(o.valid_set)]
    results = data.made_of(name, "free", "free_*", "forced", "forced_*", "alignment", "alignment_*")
    settings = config | o.pick("seed use_sid")
    settings |= o.pick("voice_front_end") if o.voice_front_end else {}
    yield training.needs(exp, config, inputs, settings, results)
    training.describe(o, exp, config)
    voice = {"front_end": o.voice_front_end or o.front_end, "model_file": average(config)}
    if o.use_sid:
        shutil.copy(f"{DUMP}/spk2sid", exp)
        voice["speakers"] = [speaker for speaker, n in read_kaldi(f"{DUMP}/spk2sid").items() if n != "0"]
        if languages_of(o.front_end):
            voice["languages"] = read_kaldi(f"{DUMP}/spk2lang")
    write_yaml(f"{exp}/voice.yaml", voice)  # what 'imlspike synthesize' has to know besides ESPnet's files
    shutil.copy(f"{TOKENS}/tokens.txt", exp)
    given = {"fold_length": [240000, 150]}
    for kind, head in zip(FEATURES, ("", "pitch_", "energy_"), strict=True):
        shutil.copy(f"{STATS}/train/{kind}_stats.npz", exp)
        norm = {"stats_file": f"{Path.cwd()}/{exp}/{kind}_stats.npz"}
        given |= {f"{head}normalize": "global_mvn", f"{head}normalize_conf": norm}
    launch(o, exp, "tts", o.training_config(name, collected=True) | given | o.shapes)


def syntheses(o: Tts) -> list[tuple]:
    """Each model free and with the teacher forced; and the natural mels of the first model, which bound what
    a voice can reach with this vocoder."""
    return [(o.first, "natural"), *((name, mode) for name in o.configs for mode in ("free", "forced"))]


def spoken_in(o: Tts, name: str, mode: str) -> str:
    """The folder of a synthesis."""
    return f"exp/natural{_tag(o)}" if mode == "natural" else f"exp/{name}/{mode}{_tag(o)}"


def _tag(o: Tts) -> str:
    """The end of the names of folders: model file and vocoder, where they aren't the default."""
    tag = f"_{Path(o.inference_model).stem}" if o.inference_model else ""
    return tag + (f"_{Path(o.vocoder).name}" if o.vocoder != "griffin_lim" else "")


def _scores(o: Tts) -> str:
    """The folder of the scores."""
    return f"exp/scores{_tag(o)}"


@stage(6, each=syntheses, jobs=lambda o: o.nj)
def synthesize(o: Tts, name: str, mode: str):
    """Synthesis."""
    out, source = spoken_in(o, name, mode), f"{DUMP}/{o.test_set}"
    given = o.durations(o.test_set) if mode == "forced" else []
    vocoder = [] if o.vocoder == "griffin_lim" else [data.weights(o.vocoder)]
    inputs = [*o.model(name), *data.tables(source), *given, *vocoder]
    progress = Log(f"{name} {mode}", f"{out}/log")
    yield Needs(inputs, [f"{out}/synthesis.yaml"], o.pick("vocoder"), follow=progress)
    shutil.rmtree(f"{out}/wav", ignore_errors=True)
    for file in ("durations", "synthesis.yaml"):
        Path(out, file).unlink(missing_ok=True)
    how = {"model": f"exp/{name}", "model_file": Path(o.model_file(name)).name, "mode": mode}
    how |= {"durations": given} | o.pick("vocoder device threads") | {"loudness": "none"}
    program(o, "synthesize", data_dir=source, output_dir=out, **how, log=f"{out}/log")


@stage(7, jobs=lambda o: 1)
def score(o: Tts):
    """Scores."""
    systems, out = {"natural_mel": spoken_in(o, o.first, "natural")}, _scores(o)
    which = f"_{Path(o.inference_model).stem}" if o.inference_model else ""
    for name in o.configs:
        free, forced = spoken_in(o, name, "free"), spoken_in(o, name, "forced")
        systems |= {f"{name}{which}": free, f"{name}{which}_forced": forced}
    inputs = [*(f"{folder}/synthesis.yaml" for folder in systems.values()), *data.tables(TESTED)]
    inputs += data.recognizer_files(o.asr_model)
    settings = {"systems": systems} | o.pick("score_args asr_model hop ann")
    yield Needs(inputs, [f"{out}/scores.json"], settings, follow=Log("scores", f"{out}/log"))
    how = {"systems": [f"{name}={folder}" for name, folder in systems.items()], "ceiling": "natural_mel"}
    how |= {"natural_durations": f"{spoken_in(o, o.first, 'forced')}/durations", "hop_length": o.hop}
    how |= {"data_dir": TESTED, "output_dir": out, "twin": o.ann and f"ann{which}"}
    program(o, "score", *o.score_args, **how, **o.pick("nj asr_model"), log=f"{out}/log")
    log(f"  {out}/scores.md")


def _no_alignment(o: Tts) -> str:
    if o.durations_from == "labels":
        return "none are learned, the durations are those of labels"
    return "" if o.find_labels() else "not asked for (--labels FOLDER)"


@stage(7, each=lambda o: o.configs, jobs=lambda o: o.nj, when=_no_alignment)
def score_alignment(o: Tts, name: str):
    """Alignments against labels."""
    out = f"exp/{name}/alignment{suffix(o.configs[name], o.inference_model)}"
    source, labels = f"{DUMP}/{o.test_set}", o.find_labels()
    yield Needs([*o.model(name), labels, *data.tables(source)], [f"{out}/alignment.json"])
    how = {"model": f"exp/{name}", "model_file": Path(o.model_file(name)).name}
    how |= {"data_dir": source, "labels": labels, "output_dir": out}
    program(o, "score", **how, log=f"{out}/log")
    log(f"  {out}/alignment.md")


@stage(8, each=lambda o: o.configs, jobs=lambda o: o.nj)
def profile(o: Tts, name: str):
    """Spikes and energy."""
    source = f"{DUMP}/{o.test_set}"
    files = {"exp": f"exp/{name}", "model": o.model_file(name)}
    end = suffix(o.configs[name], o.inference_model)
    yield from data.count_spikes(o, name, source, o.model(name), files, end)


@stage(9)
def report(o: Tts):
    """Report."""
    yield Needs([f"{_scores(o)}/scores.json"], always=True)
    exps, given = [f"exp/{name}" for name in o.configs], {"scores": _scores(o), "model": o.inference_model}
    program(o, "report", *exps, **given, command=o.command, output="exp/RESULTS.md")
