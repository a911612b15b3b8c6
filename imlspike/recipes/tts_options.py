"""Options of a voice's recipe, and what follows from them: models, files, folders."""

from dataclasses import dataclass
from pathlib import Path

from imlspike.recipes.data import count, unique
from imlspike.recipes.options import OptionError, existing, option
from imlspike.recipes.training import EspnetOptions, average, configure

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
            told = "needs --labels FOLDER, with a .lab or .TextGrid an utterance"
            raise OptionError(f"--durations_from labels {told}")
        self.asr_model = self.asr_model and existing(self.asr_model, "--asr_model")
        self.labels = self.labels and existing(self.labels, "--labels")
        if self.vocoder != "griffin_lim":
            self.vocoder = existing(self.vocoder, "--vocoder")
        names, changes = self.check_models(), [existing(path, "--changes") for path in self.changes]
        given = ["tts_conf.aligner=false"] if self.durations_from == "labels" else []
        self.token_type, self.tokens = "phn", TOKENS
        self.train_sets, self.dump, self.stats = [self.train_set], DUMP, STATS
        self.sets = unique(self.train_set, self.valid_set, self.test_set)
        files = [(name, self.config, [*changes, f"{self.overrides}/{name}.yaml"]) for name in names]
        self.configs = configure("tts", files, [*given, *self.train_args], SHARED)
        features = self.configs[names[0]].get("feats_extract_conf") or {}
        self.rate, self.hop, self.first = features.get("fs"), features.get("hop_length"), names[0]
        if not (self.rate and self.hop):
            told = "feats_extract_conf has to say fs (the sampling rate) and hop_length"
            raise OptionError(f"{self.config}: {told}")

    def model_file(self, name: str) -> str:
        return f"exp/{name}/{average(self.configs[name], self.inference_model)}"

    def model(self, name: str) -> list[str]:
        return [f"exp/{name}/config.yaml", self.model_file(name)]

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
        return [self.find_labels() or f"{self.corpus_labels}/ in {self.corpus_dir or 'downloads'}"]

    def durations(self, name: str) -> list[str]:
        """The frames of each symbol of a set, with --durations_from labels."""
        return [f"{DUMP}/{name}/durations"] if self.durations_from == "labels" else []

    def training_config(self, name: str, *, collected: bool) -> dict:
        """A model's configuration and its data, with what statistics `collected` or for them."""
        config, data = self.configs[name], self.data_config
        if self.use_sid:
            speakers = {"speakers": count(f"{DUMP}/spk2sid")}
            config = config | {"tts_conf": (config.get("tts_conf") or {}) | speakers}
        for split, part in (("train", self.train_set), ("valid", self.valid_set)):
            more = [[f"{DUMP}/{part}/utt2sid", "sids", "text_int"]] * self.use_sid
            if collected:
                found = f"{STATS}/{split}/collect_feats"
                more += [[f"{found}/{kind}.scp", kind, "npy"] for kind in FEATURES[1:]]
                more += [[file, "durations", "text_int"] for file in self.durations(part)]
            data[f"{split}_data_path_and_name_and_type"] += more
        return config | data
