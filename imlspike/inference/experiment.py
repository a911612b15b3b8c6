"""Experiments of ESPnet's trainer, or what espnet2.bin.pack's zip was unzipped to, as a bundle in memory.

ESPnet isn't needed for it.
"""

import inspect
import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from imlspike.data.keys import unknown_key
from imlspike.data.mel import MEL_KEYS
from imlspike.data.model_files import criterion
from imlspike.data.yaml_file import ConfigError, read_yaml
from imlspike.inference.bundle import CONFIG, EXPECTED, Bundle
from imlspike.models import IMLSpikeformerDecoder, IMLSpikeformerEncoder, SpikeVoice
from imlspike.models.record import KEY, read_record

SPIKING = "iml_spikeformer"
MEL = dict(zip(MEL_KEYS, ("fs", "n_fft", "hop_length", "n_mels", "fmin", "fmax"), strict=True))  # ESPnet's
IN_VOICE_YAML = ("front_end", "model_file", "speakers", "languages")
OF_THE_LOSS = ("loss_weights", "prior_scale")  # keys of tts_conf that the model doesn't take
# ESPnet's prefixes of a recognizer's weights, and a bundle's; "": not needed.
PREFIXES = {"encoder.": "encoder.", "decoder.": "decoder.", "ctc.ctc_lo.": "ctc.", "normalize.": "features."}
PREFIXES |= {"frontend.logmel.melmat": "features.bands"}
PREFIXES |= dict.fromkeys(("specaug.", "frontend.starts.", "joint_network.", "criterion_att."), "")


def read_experiment(folder: str | os.PathLike, model_file: str | None = None) -> Bundle:
    """The bundle of an experiment.

    Args:
        folder: with config.yaml and model files of ESPnet's ASR or TTS task; of a voice also voice.yaml: its
            front end, the names of its speakers and their languages.
        model_file: a file in it; default: the average for the first `best_model_criterion`, or its best epoch
            where only that was kept, or the only model file.

    Raises:
        ConfigError: if there is none, or it's of a kind that a bundle can't hold.
    """
    folder = Path(folder)
    if not (folder / "config.yaml").is_file():
        raise ConfigError(f"{folder}: no config.yaml; {EXPECTED}")
    config = read_yaml(folder / "config.yaml")
    if "ctc_conf" in config:
        bundle = _recognizer(folder, config, model_file)
    elif "tts" in config:
        bundle = _voice(folder, config, model_file)
    else:
        raise ConfigError(f"{folder}: model files are ESPnet's, and this is no recognizer or voice of its")
    bundle.source = os.fspath(folder)
    command = folder / "command"
    if (folder / CONFIG).is_file():  # written by the training's own end, which knows best
        bundle.origin = read_yaml(folder / CONFIG).get("origin", {})
    else:
        bundle.origin = {"command": command.read_text(encoding="utf-8").strip()} if command.is_file() else {}
        bundle.origin |= {"seed": config["seed"]} if config.get("seed") is not None else {}
    return bundle


def language_model(
    folder: Path, model_file: str | None = None
) -> tuple[dict[str, Any], dict[str, Tensor], tuple[str, ...]]:
    """`lm` and `lm_conf` of a language model's experiment, its weights and its tokens."""
    if not _is_lm(folder):
        raise ConfigError(f"{folder}: expected the experiment of a language model, as exp/lm")
    config = read_yaml(folder / "config.yaml")
    states = _load(find_model_file(folder, config, model_file))
    about = {"lm": config["lm"], "lm_conf": config.get("lm_conf") or {}}
    return about, {key.removeprefix("lm."): state for key, state in states.items()}, _tokens(folder, config)


def language_model_beside(bundle: Bundle) -> Path:
    """The folder of the only trained language model beside a recipe's experiment, `exp/lm*`.

    Raises:
        ConfigError: if there is none or several, saying which.
    """
    beside = sorted(bundle.folder.resolve().parent.glob("lm*")) if bundle.folder else []
    trained = [f for f in beside if _is_lm(f) and _average(f, read_yaml(f / "config.yaml"))[0].is_file()]
    if len(trained) == 1:
        return trained[0]
    named = bundle.folder or bundle.source
    if trained:
        several = ", ".join(map(str, trained))
        raise ConfigError(f"{named}: several language models lie beside it, name one of them: {several}")
    raise ConfigError(
        f"{named}: no language model is in its bundle or lies beside it (as exp/lm, trained to the end); "
        "decode without lm_weight, or name one"
    )


def effective(cls: type, conf: dict[str, Any]) -> dict[str, Any]:
    """All arguments of a constructor: those of `conf`, and the defaults of the others.

    >>> class Model:
    ...     def __init__(self, size, kernels=(3, 5), bias=True): ...
    >>> effective(Model, {"bias": False})
    {'kernels': [3, 5], 'bias': False}
    """
    defaults = {
        name: list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.default is not parameter.empty
    }
    return defaults | conf


def find_model_file(folder: Path, config: dict[str, Any], wanted: str | None = None) -> Path:
    """The model file `wanted` of an experiment, or the average of its best epochs, or what stands for it.

    `wanted` is a path as seen from the folder, or from that of its recipe (exp/NAME/1epoch.pth).

    Raises:
        ConfigError: if it isn't there, naming those that are.
    """
    names = [folder / wanted] if wanted else _average(folder, config)
    if wanted and Path(wanted).parent.name == folder.name:
        names.append(folder / Path(wanted).name)
    there = sorted(folder.glob("*.pth"))
    if found := [file for file in names if file.is_file()]:
        return found[0]
    if len(there) == 1 and not wanted:  # unzipped from a pack
        return there[0]
    others = ", ".join(file.name for file in there) or "no .pth file"
    raise ConfigError(f"{names[0]}: no such model; there is {others}. Train to the end, or name one of these")


def _recognizer(folder: Path, config: dict[str, Any], model_file: str | None) -> Bundle:
    source = f"{folder}/config.yaml"
    for key in ("preencoder", "postencoder"):
        if config.get(key):
            raise ConfigError(f"{source}: {key} is {config[key]!r}; a bundle's recognizer has none")
    loaded, model = _load(find_model_file(folder, config, model_file)), {}
    for part, cls in (("encoder", IMLSpikeformerEncoder), ("decoder", IMLSpikeformerDecoder)):
        name, conf = config.get(part), config.get(f"{part}_conf") or {}
        if name == SPIKING:
            # What the YAML doesn't say is as it was in the training, whatever the defaults are today. Keys of
            # ESPnet's encoders without meaning here went into the log then.
            recorded = loaded.get(f"{part}.{KEY}")
            defaults = effective(cls, {} if recorded is None else read_record(recorded))
            conf = defaults | {key: value for key, value in conf.items() if key in defaults}
        if name is not None and name != "transducer":  # CTC is decoded without a transducer's decoder
            model |= {part: name, f"{part}_conf": conf}
    if config.get("use_adapter"):
        raise ConfigError(f"{source}: use_adapter is true; a bundle's recognizer has no adapters")
    states = {}
    for key, state in loaded.items():
        prefix = next((prefix for prefix in PREFIXES if key.startswith(prefix)), None)
        if prefix is None:
            raise ConfigError(f"{source}: the model has {key!r}, which a bundle's recognizer hasn't")
        if PREFIXES[prefix] and (prefix != "decoder." or "decoder" in model):
            states[PREFIXES[prefix] + key.removeprefix(prefix)] = state
    features = _recognizer_features(config, source)
    if features["normalize"] == "global":
        states |= _statistics(config, states, "features", features["n_mels"])
    sections = {"features": features, "model": model, "token_type": config.get("token_type", "bpe")}
    files = {"bpe.model": _beside(folder, config, "bpemodel").read_bytes()} if config.get("bpemodel") else {}
    return Bundle("recognizer", folder.name, sections, states, _tokens(folder, config), files=files)


def _recognizer_features(config: dict[str, Any], source: str) -> dict[str, Any]:
    """The arguments of `imlspike.inference.recognizer.SpeechFeatures`."""
    frontend = config.get("frontend", "default")
    if config.get("input_size") is not None or frontend not in ("default", "level_log_mel"):
        what = "features" if config.get("input_size") else f"the frontend {frontend!r}"
        told = "expected one of waveforms, frontend: default or level_log_mel"
        raise ConfigError(f"{source}: a recognizer of {what}; {told}")
    conf = dict(config.get("frontend_conf") or {})
    if frontend == "level_log_mel":
        conf = {"level": -20.0, "floor": -60.0} | conf
        conf = {key: value for key, value in conf.items() if key not in ("augment", "augment_after")}
    special = conf.pop("frontend_conf", None) or {}
    if special.get("use_wpe") or special.get("use_beamformer") or not conf.pop("onesided", True):
        raise ConfigError(f"{source}: frontend_conf has parts for several microphones, or onesided: false")
    rate = conf.pop("fs", 16000)
    if isinstance(rate, str):  # as in "16k"
        rate = round(float(rate.lower().removesuffix("k")) * (1000 if rate.lower().endswith("k") else 1))
    for key in ("fmin", "fmax", "htk"):  # said by the bands, which are among the weights
        conf.pop(key, None)
    features = {"sampling_rate": rate, "n_fft": 512, "win_length": None, "hop_length": 128, "window": "hann"}
    features |= {"center": True, "normalized": False, "n_mels": 80} | conf
    features["win_length"] = features["win_length"] or features["n_fft"]
    kinds = {None: "none", "global_mvn": "global", "utterance_mvn": "utterance"}
    kind, flags = config.get("normalize"), config.get("normalize_conf") or {}
    usual = {"norm_means": True, "norm_vars": False, "eps": flags.get("eps")}  # the last is of the variance
    if kind not in kinds or (kind == "utterance_mvn" and usual | flags != usual):
        raise ConfigError(f"{source}: normalize is {kind!r} {flags}, which a bundle can't say")
    return features | {"normalize": kinds[kind], "peak": config.get("speech_volume_normalize")}


def _voice(folder: Path, config: dict[str, Any], model_file: str | None) -> Bundle:
    source, about = f"{folder}/config.yaml", {}
    if config.get("tts") != "spikevoice":
        raise ConfigError(f"{source}: tts is {config.get('tts')!r}; expected spikevoice")
    if (folder / "voice.yaml").is_file():
        about = read_yaml(folder / "voice.yaml")
    for key in about:
        if key not in IN_VOICE_YAML:
            raise ConfigError(f"{folder}/voice.yaml: {unknown_key(key, IN_VOICE_YAML)}")
    features, conf = _voice_features(config, source), config.get("tts_conf") or {}
    model = effective(SpikeVoice, {key: value for key, value in conf.items() if key not in OF_THE_LOSS})
    model.pop("n_mels")  # it stands among the features
    loaded = _load(find_model_file(folder, config, model_file or about.get("model_file")))
    prefix = "tts.spikevoice."
    states = {f"model.{k.removeprefix(prefix)}": v for k, v in loaded.items() if k.startswith(prefix)}
    states |= _statistics(config, loaded, "normalize", features["n_mels"])
    sections = {"features": features, "model": model, "token_type": config.get("token_type", "phn")}
    sections |= {key: about[key] for key in ("front_end", "speakers", "languages") if about.get(key)}
    extractors = [f"{name}_extract{end}" for name in ("pitch", "energy") for end in ("", "_conf")]
    sections["recording"] = {key: config[key] for key in extractors if config.get(key)}
    sections["recording"]["prior_scale"] = conf.get("prior_scale", 1.0)
    return Bundle("voice", folder.name, sections, states, _tokens(folder, config))


def _voice_features(config: dict[str, Any], source: str) -> dict[str, Any]:
    """The arguments of `imlspike.layers.log_mel.LogMel`."""
    kind = config.get("feats_extract")
    if kind != "log_mel":
        raise ConfigError(
            f"{source}: feats_extract is {kind!r}, a mel that no vocoder of this project reads; train with "
            "feats_extract: log_mel"
        )
    if config.get("normalize") not in ("global_mvn", None):
        raise ConfigError(f"{source}: normalize is {config['normalize']!r}; expected global_mvn or null")
    conf = {"fmin": 0.0, "fmax": None} | (config.get("feats_extract_conf") or {})
    if missing := [name for name in MEL.values() if name not in conf]:
        raise ConfigError(f"{source}: feats_extract_conf doesn't say {', '.join(missing)}")
    return {name: conf[key] for name, key in MEL.items()}


def _statistics(config: dict, states: dict[str, Tensor], prefix: str, size: int) -> dict[str, Tensor]:
    """Mean and standard deviation (size,) of ESPnet's `global_mvn`; 0 and 1 where it doesn't apply them."""
    flags, found = config.get("normalize_conf") or {}, {}
    for name, flag, neutral in (("mean", "norm_means", 0.0), ("std", "norm_vars", 1.0)):
        applied = config.get("normalize") == "global_mvn" and flags.get(flag, True)
        key = f"{prefix}.{name}"
        found[key] = states[key].float() if applied else torch.full((size,), neutral)
    return found


def _average(folder: Path, config: dict[str, Any]) -> list[Path]:
    """The average of the best epochs for the first criterion that a configuration names, and the best."""
    phase, key, _ = criterion(config)
    return [folder / f"{phase}.{key}.{which}.pth" for which in ("ave", "best")]


def _load(file: Path) -> dict[str, Tensor]:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, whatever the unpickler stumbles over
        raise ConfigError(f"{file}: not readable as a model ({error}); copy it again") from None


def _beside(folder: Path, config: dict[str, Any], key: str) -> Path:
    """A file that config.yaml names; the one of that name beside it, where it was moved."""
    for place in (Path(config[key]), folder / Path(config[key]).name):
        if place.is_file():
            return place
    raise ConfigError(f"{folder}/config.yaml: {key} is {config[key]}, which isn't there; copy it beside it")


def _tokens(folder: Path, config: dict[str, Any]) -> tuple[str, ...]:
    """The token list, which config.yaml holds or names."""
    tokens = config.get("token_list")
    if isinstance(tokens, str):
        tokens = _beside(folder, config, "token_list").read_text(encoding="utf-8").split("\n")
        tokens = [token.rstrip() for token in tokens if token]
    if not tokens:
        raise ConfigError(f"{folder}/config.yaml: no token_list")
    return tuple(tokens)


def _is_lm(folder: Path) -> bool:
    """Tell an experiment of ESPnet's LM task."""
    config = folder / "config.yaml"
    return config.is_file() and re.search("^lm:", config.read_text(encoding="utf-8"), re.M) is not None
