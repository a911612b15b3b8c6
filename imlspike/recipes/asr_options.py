"""Options of a recognizer's recipe, and what follows from them: models, files, a folder for each decoding."""

import re
from dataclasses import dataclass
from math import prod
from pathlib import Path

from imlspike.data.filter_lengths import EACH_FRAME, SUBSAMPLING
from imlspike.data.model_files import average
from imlspike.data.yaml_file import read_yaml
from imlspike.recipes.data import unique
from imlspike.recipes.options import OptionError, existing, filled, option
from imlspike.recipes.processes import check_words
from imlspike.recipes.training import EspnetOptions, configure

_SKIPS = {"skip_data_prep": range(1, 6), "skip_train": range(6, 12), "skip_eval": range(12, 15)}
_SKIPS["skip_packing"] = range(15, 16)
LM_TEXT = "data/lm/text"  # what --lm_text_program writes


@dataclass
class Asr(EspnetOptions):
    """Options of a recognizer's recipe."""

    # What to run
    skip_data_prep: bool = option(False, "leave out stages 1 to 5")
    skip_train: bool = option(False, "leave out stages 6 to 11")
    skip_eval: bool = option(False, "leave out stages 12 to 14")
    skip_packing: bool = option(False, "leave out stage 15")
    inference_nj: int = option(0, "processes that decode side by side; 0: as many as --nj")
    # Data
    test_sets: list = option(
        "test", "sets to decode and score, separated by blanks; --valid_set may be among them"
    )
    speed_perturb_factors: list = option("", "for example '0.9 1.0 1.1'; empty: none")
    audio_format: str = option("", "flac; empty: the files as preparation left them")
    token_type: str = option("char", "tokens", "char bpe")
    nbpe: int = option(300, "size of the bpe vocabulary", least=1)
    tokens_args: list = option("--on-unknown keep", "further options of 'imlspike tokens'", empty=True)
    # Language model for the beam search
    use_lm: bool = option(False, "train a language model and decode with it")
    lm_config: str = option("", "YAML of the language model: lm: ngram, or one of ESPnet's LM task")
    lm_tag: str = option("", "the language model stands in exp/lm_<tag>; empty: exp/lm")
    lm_args: list = option("", "further options of ESPnet's lm_train, as '--max_epoch 5'")
    lm_text_program: str = option(
        "", "Python program that writes additional text, as egs/msu_ru_nsh/asr1/local/lm_text.py; empty: none"
    )
    lm_train_text: list = option(
        "",
        "Kaldi texts to train on, seen from --workdir; empty: the training set's and the additional one",
    )
    lm_dev_text: list = option("", "and to validate on; empty: that of the validation set")
    lm_test_text: list = option("", "and to measure perplexity on; empty: that of the first test set")
    # Models: one and its peers, or several that are trained side by side
    model: str = option("", "what {model} stands for in the names of YAML files, where the recipe has such")
    asr_config: str = option("", "training YAML")
    asr_override: list = option("", "YAML files that say what differs from it, separated by blanks")
    asr_tag: str = option("", "name of the experiment; empty: that of the last YAML")
    peers: list = option("", "what is trained beside the model, as 'relu conformer'; empty: nothing")
    peer_override: list = option(
        "", "YAML files that make {peer} of the model; its name is the model's with _{peer}"
    )
    experiments: list = option("", "instead of all these, several: 'NAME:CONFIG[:OVERRIDE...] ...'")
    pretrained_model: str = option(
        "",
        "trained weights to begin with, as ESPnet's --init_param names them: FILE:encoder:encoder takes the "
        "encoder alone; {name} is the model's",
    )
    feats_normalize: str = option("global_mvn", "of the features", "global_mvn utterance_mvn")
    # Decoding
    decode_modes: list = option(
        "greedy greedy_8bit joint",
        "greedy: CTC; greedy_8bit: the same with weights of 8 bits; joint: CTC/attention beam search",
        "greedy greedy_8bit joint",
    )
    inference_config: str = option("conf/decode_joint.yaml", "YAML of the beam search")
    inference_args: list = option("", "further options of 'imlspike decode', as '--batch-seconds 60'")
    inference_asr_model: str = option("", "file in the experiment; empty: the average of the best epochs")
    inference_lm: str = option("", "file of the language model; empty: the average of the best epochs")
    # Results
    score_primary: str = option("cer", "the error rate that counts", "cer wer")
    score_spaces: bool = option(True, "false: characters are counted without the spaces between words")
    corpus_note: str = option("", "the corpus and its licence in a sentence, for the model card")
    license: str = option("apache-2.0", "of the packed model")
    profile_set: str = option(
        "", "set on which spikes and energy are counted; empty: first of --test_sets but for --valid_set"
    )
    profile_utts: int = option(200, "utterances of it to count on, spread over the set", least=1)

    in_paths = "train_set valid_set token_type nbpe speed_perturb_factors"

    def check(self) -> None:
        """See `Options.check`."""
        super().check()
        self.skip_stages += [str(n) for name, stages in _SKIPS.items() if getattr(self, name) for n in stages]
        self.inference_nj = self.inference_nj or self.nj
        self.test_sets, self.decode_modes = unique(*self.test_sets), unique(*self.decode_modes)
        tests = [name for name in self.test_sets if name != self.valid_set] or self.test_sets
        self.profile_set = self.profile_set or tests[0]
        if self.audio_format not in ("", "flac"):
            raise OptionError(f"--audio_format is {self.audio_format!r}; expected flac, or nothing")
        if self.use_lm and not self.lm_config:
            raise OptionError("--use_lm true needs --lm_config, the YAML of ESPnet's LM task")
        check_words("tokens_args", "tokens", self.tokens_args, train="t", output_dir="o")
        check_words("inference_args", "decode", self.inference_args, config="c", data_dir="d", output="o")
        if wrong := [word for word in self.speed_perturb_factors if not re.fullmatch(r"\d+(\.\d+)?", word)]:
            raise OptionError(f"--speed_perturb_factors: {wrong[0]!r}; expected speeds, as '0.9 1.0 1.1'")
        speeds = [float(word) for word in self.speed_perturb_factors]
        if len(set(speeds)) < len(speeds) or 0 in speeds:
            raise OptionError(f"--speed_perturb_factors: {speeds}; expected each once, and none 0")
        self.lm_config = self.use_lm and existing(self.lm_config, "--lm_config")
        self.inference_config = existing(self.inference_config, "--inference_config")
        if self.use_lm and self.lm_text_program:
            self.lm_text_program = existing(self.lm_text_program, "--lm_text_program")
            if not self.lm_text_program.endswith(".py"):
                raise OptionError(f"--lm_text_program {self.lm_text_program}: expected a Python file")
        sets = {"train": self.train_set, "dev": self.valid_set, "test": self.test_sets[0]}
        self.lm_texts = {split: [f"data/{name}/text"] for split, name in sets.items()}
        self.lm_texts["train"] += [LM_TEXT] if self.lm_text_program else []
        for split in sets:
            self.lm_texts[split] = getattr(self, f"lm_{split}_text") or self.lm_texts[split]
        self.lm = "_".join(["exp/lm", *filter(None, [filled(self.lm_tag, "--lm_tag", model=self.model)])])
        sp = "_sp" if self.speed_perturb_factors else ""
        self.train_sets = [self.train_set + sp]
        self.sets = unique(*self.train_sets, self.valid_set, *self.test_sets)
        self.sound = f"dump/{self.audio_format}" if self.audio_format else "data"
        bpe = self.token_type == "bpe"
        self.dump = f"dump/bpe{self.nbpe}{sp}" if bpe else f"dump/char{sp}"
        self.tokens, self.stats = f"{self.dump}/tokens", f"{self.dump}/stats"
        self.bpe_model = f"{self.tokens}/bpe.model" if bpe else ""
        self.configs = configure("asr", self.models(), self.train_args, "frontend")
        for name, config in self.configs.items() if self.pretrained_model else ():
            file, *parts = filled(self.pretrained_model, "--pretrained_model", name=name).split(":")
            config["init_param"] = [":".join([existing(file, "--pretrained_model"), *parts])]
        known = (*SUBSAMPLING, *EACH_FRAME)
        for name, config in self.configs.items():
            if (layer := _input_layer(config)) not in known:
                told = f"is {layer}; what utterances it can take is known of {' '.join(map(str, known))}"
                raise OptionError(f"{name}: encoder_conf.input_layer {told}")

    def models(self) -> list[tuple[str, str, list[str]]]:
        """Name, configuration and overrides of each model."""
        if self.experiments:
            specs = [spec.split(":") for spec in self.experiments]
            if short := [spec[0] for spec in specs if len(spec) < 2]:
                told = "has no configuration; write NAME:CONFIG[:OVERRIDE...]"
                raise OptionError(f"--experiments: {short[0]!r} {told}")
            names = [name for name, *_ in specs]
            if twice := [name for name in names if names.count(name) > 1]:
                raise OptionError(f"--experiments: the name {twice[0]} stands twice")
            return [(name, base, overrides) for name, base, *overrides in specs]
        if not self.asr_config:
            told = "give --asr_config YAML, or --experiments 'NAME:CONFIG[:OVERRIDE...]'"
            raise OptionError(f"no model: {told}")
        if self.peers and not self.peer_override:
            raise OptionError("--peers needs --peer_override, the YAML that makes a peer of the model")
        base = filled(self.asr_config, "--asr_config", model=self.model)
        override = [filled(path, "--asr_override", model=self.model) for path in self.asr_override]
        name = self.asr_tag or Path([base, *override][-1]).stem
        found = [(name, base, override)]
        for peer in unique(*self.peers):
            words = {"model": self.model, "peer": peer}
            own = [filled(path, "--peer_override", **words) for path in self.peer_override]
            found.append((f"{name}_{peer}", base, override + own))
        return found

    @property
    def hop(self) -> int:
        """Samples from one frame of the features to the next; 128 is ESPnet's default."""
        return (next(iter(self.configs.values())).get("frontend_conf") or {}).get("hop_length", 128)

    @property
    def input_layer(self) -> str:
        """The encoders' strongest subsampling: all can train on what is left."""
        layers = [_input_layer(config) for config in self.configs.values()]
        # Of those of one stride that which needs more frames.
        stages = {layer: SUBSAMPLING.get(layer, ()) for layer in layers}
        strongest = max(layers, key=lambda layer: (prod(s for _, s in stages[layer]), stages[layer]))
        return strongest if strongest in SUBSAMPLING else EACH_FRAME[0]

    def asr_model(self, name: str) -> str:
        """The model file that decodes."""
        return f"exp/{name}/{average(self.configs[name], self.inference_asr_model)}"

    @property
    def lm_settings(self) -> dict:
        return read_yaml(self.lm_config)

    @property
    def ngram(self) -> bool:
        """True if the language model is an n-gram, and not one that ESPnet trains."""
        return bool(self.use_lm) and self.lm_settings.get("lm") == "ngram"

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
            own = {"joint", *([] if self.use_lm else ["lm"])}  # decode_lm.yaml serves both
            tag = "_".join([tag, *(word for word in stem.split("_") if word not in own)])
            tag += f"_lm_{Path(self.lm).name}_{Path(self.lm_model).stem}" if self.use_lm else ""
        tag += "".join(self.inference_args).replace("--", "_").replace("/", "_")
        return f"exp/{name}/decode_{tag}_asr_model_{Path(self.asr_model(name)).stem}/{test_set}"

    @property
    def stats_files(self) -> list[str]:
        return [*sum(self.shapes.values(), []), f"{self.stats}/train/feats_stats.npz"]


def _input_layer(config: dict) -> str | None:
    return (config.get("encoder_conf") or {}).get("input_layer", "conv2d")
