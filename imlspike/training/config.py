"""What a training of a vocoder is told: YAML files and `key=value` settings, every key checked."""

import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from imlspike.data.keys import constructor_keys, unknown_key
from imlspike.data.yaml_file import ConfigError, read_yaml, write_yaml
from imlspike.models.discriminators import MultiPeriodDiscriminator, MultiResolutionDiscriminator
from imlspike.models.spiking_vocos import SpikingVocos

SETTING = re.compile(r"[a-z_]+(\.\w+)+=")  # key=value, its key in a section


@dataclass(frozen=True)
class LossConfig:
    """Section `losses`: weights in the generator's loss (the defaults are those of Vocos and of KD's code).

    Args:
        mel: weight of the mel loss.
        adversarial, feature_matching: weights of the hinge and the feature matching loss.
        mrd: what the multi-resolution discriminator counts in both (and in the discriminators' own loss);
            the multi-period one counts 1.
        feature_weight, output_weight, phase_weight: of the distillation from a teacher, if there is one.
    """

    mel: float = 45.0
    adversarial: float = 1.0
    feature_matching: float = 1.0
    mrd: float = 0.1
    feature_weight: float = 40.0
    output_weight: float = 10.0
    phase_weight: float = 0.05


@dataclass(frozen=True)
class OptimizerConfig:
    """Section `optimizer`: AdamW for the generator and for the discriminators, on a cosine to 0.

    Args:
        lr: of the generator and the adapters of a distillation.
        discriminator_lr: of the discriminators; None: the same.
        betas: the paper's are (0.9, 0.999), those of Vocos and the paper's code (0.8, 0.9).
        weight_decay: as torch's AdamW.
        clip_norm: gradients of a larger norm are scaled down to it, the generator's and the discriminators'
            each for themselves; None: never.
        warmup_steps: the rate rises linearly over so many steps first.
    """

    lr: float = 5e-4
    discriminator_lr: float | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01
    clip_norm: float | None = 500.0
    warmup_steps: int = 0


@dataclass(frozen=True)
class DataConfig:
    """Section `data`; see `imlspike.data.vocoder_dataset`.

    Args:
        crop_samples: samples of a piece of audio; a multiple of the hop.
        batch_size: pieces in a step, for each process.
        resample: whether files of another rate, or with several channels, are converted instead of refused.
        short: "pad" or "drop" recordings that are shorter than a piece.
        gain_db: (lowest, highest) random peak level in dB; None: as recorded. Vocos uses (-6, -1).
        cache_gb: hold the waveforms in RAM if they fit in so many GB (each process for itself).
        num_workers: processes that read ahead; 0 reads in the training's own, which is best on a CPU.
        valid_utterances: whole utterances for validation, spread over the validation set; None: all.
    """

    crop_samples: int = 16384
    batch_size: int = 16
    resample: bool = False
    short: Literal["pad", "drop"] = "pad"
    gain_db: tuple[float, float] | None = None
    cache_gb: float = 4.0
    num_workers: int = 0
    valid_utterances: int | None = 16


@dataclass(frozen=True)
class TrainerConfig:
    """Section `trainer`.

    Args:
        steps: of the generator; they rule the schedule. The discriminators take steps - pretrain_steps.
        pretrain_steps: so many steps with the mel loss (and the distillation) only, before the discriminators
            start.
        validate_every: steps between validations; each writes a checkpoint and the bundle.
        checkpoint_every: steps between further checkpoints; None: none.
        log_every: steps between lines of the log.
        max_time_minutes: end after so many minutes, with a validation and a checkpoint; the same command goes
            on from there. None: no limit.
        seed: of the weights and of the pieces of audio.
        pictures: validation utterances that TensorBoard gets as sound and spectrogram.
        precision: "32-true", or "bf16-mixed" on GPUs.
        compile: the generator's blocks run through `torch.compile`, for training on a GPU.
        accelerator, devices, num_nodes: as of Lightning's Trainer; several devices train with DDP.
    """

    steps: int = 1_000_000
    pretrain_steps: int = 0
    validate_every: int = 5000
    checkpoint_every: int | None = None
    log_every: int = 50
    max_time_minutes: float | None = None
    seed: int = 0
    pictures: int = 4
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    compile: bool = False
    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1


# What may change between the parts of one training: it doesn't change what is learned.
FREE = {
    "data": {"cache_gb", "num_workers", "valid_utterances"},
    "trainer": {
        "validate_every",
        "checkpoint_every",
        "log_every",
        "max_time_minutes",
        "pictures",
        "accelerator",
        "compile",
    },
}


@dataclass(frozen=True)
class VocoderConfig:
    """A whole training.

    Attributes:
        train_dirs, valid_dirs: Kaldi data directories.
        teacher: experiment whose generator is distilled; None: no distillation.
        generator: arguments of `SpikingVocos`.
        discriminators: arguments of the multi-period ("mpd") and the multi-resolution ("mrd") discriminator.
        losses, optimizer, data, trainer: the sections.
    """

    train_dirs: Sequence[str]
    valid_dirs: Sequence[str]
    teacher: str | None = None
    generator: dict[str, Any] = field(default_factory=dict)
    discriminators: dict[str, dict[str, Any]] = field(default_factory=dict)
    losses: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    data: DataConfig = DataConfig()
    trainer: TrainerConfig = TrainerConfig()

    def __post_init__(self):
        for section, name, least in (
            ("trainer", "steps", 1), ("trainer", "pretrain_steps", 0), ("trainer", "validate_every", 1),
            ("trainer", "log_every", 1), ("data", "batch_size", 1), ("data", "crop_samples", 1),
        ):  # fmt: skip
            value = getattr(getattr(self, section), name)
            if value < least:
                raise ConfigError(f"{section}.{name} is {value}; expected at least {least}")

    def as_dict(self) -> dict[str, Any]:
        """Plain mappings, lists, numbers and text, ready for YAML.

        >>> VocoderConfig(["data/train"], ["data/valid"]).as_dict()["optimizer"]["betas"]
        [0.9, 0.999]
        """
        return _plain(asdict(self))


def read_config(argv: Sequence[str]) -> tuple[VocoderConfig, dict[str, Any]]:
    """The configuration of a command line, and its options that are no part of the configuration.

    Args:
        argv: `--config A.yaml [--config B.yaml ...] --train-dir D ... [section.key=value ...]`. Later files
            win over earlier ones, settings over files. A file may hold the sections only in part.

    Returns:
        the configuration, and {"exp_dir": ..., "resume": ...}.

    Raises:
        ConfigError: for a key that doesn't exist, naming the nearest that does; a value of the wrong type; an
            option that is missing.
        SystemExit: after `--help`.

    >>> import tempfile
    >>> path = tempfile.mktemp()
    >>> with open(path, "w") as out:
    ...     _ = out.write("generator: {dim: 64, num_layers: 2}\\noptimizer: {lr: 1e-3}\\n")
    >>> argv = f"--config {path} --exp-dir exp --train-dir a b --valid-dir c generator.dim=32".split()
    >>> config, options = read_config(argv)
    >>> config.generator["dim"], config.generator["num_layers"], config.optimizer.lr, config.train_dirs
    (32, 2, 0.001, ['a', 'b'])
    >>> read_config([*argv, "generator.dimm=32"])
    Traceback (most recent call last):
    imlspike.data.yaml_file.ConfigError: generator.dimm=32: unknown key 'dimm'; did you mean 'dim'? ...
    """
    files, rest = _files_first(argv)
    known = _known_keys()
    for file in files:
        _check_keys(file, read_yaml(file), known)
    for setting in rest:
        if match := SETTING.match(setting.removeprefix("--")):
            path = match.group()[:-1].split(".")
            _check_path(setting, path, known)
    rest = [f"--{setting}" if SETTING.match(setting) else setting for setting in rest]
    values = _parse([f"--config={file}" for file in files] + rest)
    for name in ("exp_dir", "train_dirs", "valid_dirs"):
        if not values[name]:
            raise ConfigError(f"--{name.replace('_', '-').removesuffix('s')} is missing; --help tells more")
    config = VocoderConfig(
        train_dirs=values["train_dirs"],
        valid_dirs=values["valid_dirs"],
        teacher=values["teacher"],
        generator=values["generator"],
        discriminators=values["discriminators"],
        **{name: cls(**values[name]) for name, cls in _sections().items()},
    )
    return config, {"exp_dir": values["exp_dir"], "resume": values["resume"]}


def write_config(path: str | os.PathLike, config: VocoderConfig, run: dict[str, Any]) -> None:
    """Write config.yaml: the whole configuration, and under `run` how it came about; `--config` reads it."""
    write_yaml(path, config.as_dict() | {"run": run})


def check_same(before: dict[str, Any], now: VocoderConfig, source: str) -> None:
    """Refuse to go on with a training whose configuration has changed in what matters.

    Args:
        before: what config.yaml holds.
        now: the configuration of this run.
        source: where config.yaml is.

    Raises:
        ConfigError: naming each key that differs, with both values.

    >>> config = VocoderConfig(["data/train"], ["data/valid"], generator={"dim": 64})
    >>> check_same(config.as_dict() | {"generator": {"dim": 32}}, config, "exp/config.yaml")
    Traceback (most recent call last):
    imlspike.data.yaml_file.ConfigError: exp/config.yaml: this training began with generator.dim=32, not ...
    """
    differences = list(_differences(before, now.as_dict()))
    if differences:
        told = "; ".join(f"{key}={old}, not {new}" for key, old, new in differences)
        raise ConfigError(
            f"{source}: this training began with {told}. Give it the same again, take another --exp-dir, or "
            "go on with --resume anyway"
        )


def _differences(before: dict[str, Any], now: dict[str, Any], path: str = ""):
    for key in sorted((before.keys() | now.keys()) - {"run"} - FREE.get(path, set())):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{path}.{key}" if path else key)
        elif old != new:
            yield f"{path}.{key}" if path else key, old, new


def _sections() -> dict[str, type]:
    return {"losses": LossConfig, "optimizer": OptimizerConfig, "data": DataConfig, "trainer": TrainerConfig}


def _parse(argv: list[str]) -> dict[str, Any]:
    from jsonargparse import SUPPRESS, ArgumentError, ArgumentParser

    parser = ArgumentParser(
        prog="imlspike train-vocoder",
        usage="imlspike train-vocoder --config YAML --exp-dir DIR --train-dir DIR --valid-dir DIR [options]",
        exit_on_error=False,
        description="Train a vocoder: a spiking one, or with generator.neuron=none Vocos itself. Settings "
        "section.key=value stand anywhere, with or without -- in front, and win over the files.",
    )
    add = parser.add_argument
    add("--config", action="config", help="YAML with sections; may be given several times, later ones win")
    add("--exp-dir", type=str, help="the experiment's folder; an interrupted training goes on")
    add("--train-dir", dest="train_dirs", nargs="+", type=str, help="Kaldi data directories")
    add("--valid-dir", dest="valid_dirs", nargs="+", type=str, help="likewise, for validation")
    add("--teacher", type=str | None, help="experiment whose generator is distilled")
    add(
        "--resume",
        type=str,
        default="auto",
        help="auto: go on from exp-dir's last checkpoint if there is one; anyway: even if the configuration "
        "has changed; never: refuse to; or a checkpoint to start from (default: auto)",
    )
    add("--run", type=dict | None, default=None, help=SUPPRESS)  # of a config.yaml that is given as --config
    parser.add_class_arguments(SpikingVocos, "generator")
    parser.add_class_arguments(MultiPeriodDiscriminator, "discriminators.mpd")
    parser.add_class_arguments(MultiResolutionDiscriminator, "discriminators.mrd")
    for name, cls in _sections().items():
        parser.add_class_arguments(cls, name)
    try:
        return parser.parse_args(argv).as_dict()
    except ArgumentError as error:
        raise ConfigError(str(error)) from None


def _known_keys() -> dict[str, Any]:
    """Every key that a file may hold, nested; None where a value stands."""

    def keys(cls):
        return dict.fromkeys(constructor_keys(cls))

    discriminators = {"mpd": keys(MultiPeriodDiscriminator), "mrd": keys(MultiResolutionDiscriminator)}
    sections = {name: keys(cls) for name, cls in _sections().items()}
    top = dict.fromkeys(("train_dirs", "valid_dirs", "teacher", "run"))
    return top | {"generator": keys(SpikingVocos), "discriminators": discriminators} | sections


def _check_keys(source: str, content: dict[str, Any], known: dict[str, Any], where: str = "") -> None:
    for key, value in content.items():
        if key not in known:
            raise ConfigError(f"{source}: {where and f'{where}: '}{unknown_key(str(key), known)}")
        if known[key] is None:
            continue
        if not isinstance(value, dict):
            raise ConfigError(f"{source}: {key} is {value!r}; expected a mapping of its keys")
        _check_keys(source, value, known[key], f"{where}.{key}" if where else key)


def _check_path(setting: str, path: list[str], known: dict[str, Any]) -> None:
    for key in path:
        if key not in known:
            raise ConfigError(f"{setting}: {unknown_key(key, known)}")
        if known[key] is None:
            return
        known = known[key]


def _files_first(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The files of --config, and all other words: so settings win wherever they stand."""
    files, rest = [], []
    words = iter(argv)
    for word in words:
        if word == "--config":
            files.append(next(words, ""))
        elif word.startswith("--config="):
            files.append(word.partition("=")[2])
        else:
            rest.append(word)
    return files, rest


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
