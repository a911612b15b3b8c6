"""The configuration of a vocoder's training: YAML files and `key=value` settings, every key checked."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from jsonargparse import ArgumentError, ArgumentParser
from jsonargparse.typing import NonNegativeInt, PositiveInt

from imlspike.data.keys import constructor_keys, unknown_key
from imlspike.data.yaml_file import ConfigError, flat, merge, nested, parse_setting, read_yaml
from imlspike.models.discriminators import MultiPeriodDiscriminator, MultiResolutionDiscriminator
from imlspike.models.spiking_vocos import SpikingVocos

SETTING = re.compile(r"(--)?[a-z_]+(\.\w+)+=")  # section.key=value


@dataclass(frozen=True)
class LossConfig:
    """Section `losses`: weights in the generator's loss (the defaults are those of Vocos and of KD's code).

    Args:
        mel, adversarial, feature_matching: of the mel, the hinge and the feature matching loss.
        mrd: of the multi-resolution discriminator in all losses; the multi-period one counts 1.
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
        clip_norm: largest norm of the generator's gradients, and of the discriminators'; None: no limit.
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

    crop_samples: PositiveInt = 16384
    batch_size: PositiveInt = 16
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
        pretrain_steps: steps before the discriminators start, with the mel loss and the distillation only.
        validate_every: steps between validations; each writes a checkpoint and the bundle.
        checkpoint_every: steps between further checkpoints; None: none.
        log_every: steps between lines of the log.
        max_time_minutes: end after so many minutes; the same command goes on from there. None: no limit.
        seed: of the weights and of the pieces of audio.
        pictures: validation utterances that TensorBoard gets as sound and spectrogram.
        precision: "32-true", or "bf16-mixed" on GPUs.
        compile: the generator's blocks run through `torch.compile`, for training on a GPU.
        accelerator, devices, num_nodes: as of Lightning's Trainer; several devices train with DDP.
    """

    steps: PositiveInt = 1_000_000
    pretrain_steps: NonNegativeInt = 0
    validate_every: PositiveInt = 5000
    checkpoint_every: PositiveInt | None = None
    log_every: PositiveInt = 50
    max_time_minutes: float | None = None
    seed: int = 0
    pictures: int = 4
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    compile: bool = False
    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1


OPTIONS = ("train_dirs", "valid_dirs", "teacher")  # options of the command line that a file may hold too
SECTIONS = {"losses": LossConfig, "optimizer": OptimizerConfig, "data": DataConfig, "trainer": TrainerConfig}
MPD, MRD = MultiPeriodDiscriminator, MultiResolutionDiscriminator
MODELS = {"generator": SpikingVocos, "discriminators.mpd": MPD, "discriminators.mrd": MRD}
# What may change between the parts of one training: it doesn't change what is learned.
FREE = {f"data.{key}" for key in ("cache_gb", "num_workers", "valid_utterances")}
FREE |= {f"trainer.{key}" for key in ("accelerator", "checkpoint_every", "compile", "log_every")}
FREE |= {f"trainer.{key}" for key in ("max_time_minutes", "pictures", "validate_every")}


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

    def as_dict(self) -> dict[str, Any]:
        """Mappings, lists, numbers and text, ready for YAML."""
        return json.loads(json.dumps(asdict(self)))  # tuples become lists


def read_config(argv: Sequence[str]) -> tuple[VocoderConfig, dict[str, Any]]:
    """Read the configuration of a command line, and its options that are no part of the configuration.

    Args:
        argv: `--config A.yaml [--config B.yaml ...] --train-dir D ... [section.key=value ...]`. Later files
            win over earlier ones, settings over files; what names a neuron starts `neuron_conf` afresh. A
            file may hold the sections only in part.

    Returns:
        the configuration, and {"exp_dir": ..., "resume": ...}.

    Raises:
        ConfigError: for a key that doesn't exist, naming the nearest that does; a value of the wrong type; an
            option that is missing.
        SystemExit: after `--help`.

    >>> argv = "--exp-dir exp --train-dir a b --valid-dir c generator.dim=32 optimizer.lr=1e-3".split()
    >>> config, options = read_config(argv)
    >>> config.generator["dim"], config.optimizer.lr, config.train_dirs
    (32, 0.001, ['a', 'b'])
    >>> read_config([*argv, "generator.dimm=32"])
    Traceback (most recent call last):
    imlspike.data.yaml_file.ConfigError: generator.dimm=32: generator: unknown key 'dimm'; did you mean ...
    """
    settings = [word for word in argv if SETTING.match(word)]
    parser, known, values = _parser(), _known_keys(), {}
    try:
        given = parser.parse_args([word for word in argv if word not in settings])
        layers = [(path, read_yaml(path)) for path in given.config]
        layers += [(word, parse_setting(word.removeprefix("--"))) for word in settings]
        layers.append(("options", {key: given[key] for key in OPTIONS if given[key]}))
        for source, layer in layers:
            _check_keys(source, layer, known)
            if "neuron" in layer.get("generator", {}):
                values.get("generator", {}).pop("neuron_conf", None)
            merge(values, layer)
        values.pop("run", None)  # of an experiment's config.yaml
        values |= {"exp_dir": given.exp_dir or "", "resume": given.resume}
        values = parser.parse_object(values).as_dict()
    except ArgumentError as error:
        raise ConfigError(str(error)) from None
    for name in ("exp_dir", "train_dirs", "valid_dirs"):
        if not values[name]:
            raise ConfigError(f"--{name.replace('_', '-').removesuffix('s')} is missing; --help tells more")
    values |= {name: section(**values[name]) for name, section in SECTIONS.items()}
    options = {name: values.pop(name) for name in ("exp_dir", "resume")}
    return VocoderConfig(**{one.name: values[one.name] for one in fields(VocoderConfig)}), options


def check_same(before: dict[str, Any], now: VocoderConfig, source: str) -> None:
    """Refuse to go on with a training whose configuration has changed in what matters.

    Args:
        before: what config.yaml holds.
        now: the configuration of this run.
        source: where config.yaml is.

    Raises:
        ConfigError: naming each key that differs, with both values.
    """
    old, new = dict(flat(before)), dict(flat(now.as_dict()))
    keys = [key for key in sorted({*old, *new} - FREE) if not key.startswith("run.")]
    if told := [f"{k}={old.get(k)}, not {new.get(k)}" for k in keys if old.get(k) != new.get(k)]:
        way_out = "Give it the same again, take another --exp-dir, or go on with --resume anyway"
        raise ConfigError(f"{source}: this training began with {'; '.join(told)}. {way_out}")


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="imlspike train-vocoder",
        usage="imlspike train-vocoder --config YAML --exp-dir DIR --train-dir DIR --valid-dir DIR [options]",
        exit_on_error=False,
        description="Train a vocoder: a spiking one, or with generator.neuron=none Vocos itself. Settings "
        "section.key=value stand anywhere, with or without -- in front, and win over the files.",
    )
    add = parser.add_argument
    add("--config", action="append", default=[], help="YAML with sections; may be given several times")
    add("--exp-dir", type=str, help="the experiment's folder; an interrupted training goes on")
    add("--train-dir", dest="train_dirs", nargs="+", type=str, help="Kaldi data directories")
    add("--valid-dir", dest="valid_dirs", nargs="+", type=str, help="likewise, for validation")
    add("--teacher", type=str | None, help="experiment whose generator is distilled")
    told = "auto: go on from exp-dir's last checkpoint if there is one; anyway: even if the configuration "
    told += "has changed; never: refuse to; or a checkpoint to start from (default: auto)"
    add("--resume", type=str, default="auto", help=told)
    for name, cls in (MODELS | SECTIONS).items():
        parser.add_class_arguments(cls, name)
    return parser


def _known_keys() -> dict[str, Any]:
    """Every key that a file may hold, nested; None where a value stands."""
    known: dict[str, Any] = dict.fromkeys((*OPTIONS, "run"))
    for name, cls in (MODELS | SECTIONS).items():
        merge(known, nested(name, dict.fromkeys(constructor_keys(cls))))
    return known


def _check_keys(source: str, content: dict[str, Any], known: dict[str, Any], where: str = "") -> None:
    for key, value in content.items():
        if key not in known:
            raise ConfigError(f"{source}: {where and f'{where}: '}{unknown_key(str(key), known)}")
        if known[key] is None:
            continue
        if not isinstance(value, dict):
            raise ConfigError(f"{source}: {key} is {value!r}; expected a mapping of its keys")
        _check_keys(source, value, known[key], f"{where}.{key}" if where else key)
