"""Bundle: a trained recognizer, voice or vocoder as a folder or one zip file, and the only way to open one.

bundle.yaml          what it is: kind, model arguments, features, where it came from
weights.safetensors  the weights
tokens.txt           of a recognizer or a voice: one token a line
bpe.model            of a recognizer of word pieces: sentencepiece's model
lm.safetensors       of a recognizer with a language model: its weights
README.md            the model card
"""

import functools
import lzma
import os
import re
import reprlib
import stat
import textwrap
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor
from torch.overrides import TorchFunctionMode

from imlspike.data.files import atomic_write, make_folder
from imlspike.data.yaml_file import ConfigError, dump_yaml
from imlspike.inference.bundle_config import FORMAT, KINDS, check_sizes, read_config

CONFIG, WEIGHTS, TOKENS, LM_WEIGHTS = "bundle.yaml", "weights.safetensors", "tokens.txt", "lm.safetensors"
FILES = ("bpe.model", "README.md")  # others that a bundle may hold, taken as they are
MOST_MEMBERS, MOST_BYTES = 1000, 8 * 2**30  # of a zip: files, and bytes when unpacked
MOST_TEXT = 64 * 2**20  # bytes of a file that holds no weights
MOST_TABLES = 256 * 2**20  # bytes of what models compute and no file holds
LEAST_TABLE = 2**14  # bytes that any counts for
MOST_SWELLING = 100  # bytes of a member of a zip for one in it, and for each of a first MB
EXPECTED = (
    "expected a bundle (a folder or .zip with bundle.yaml, as training and `imlspike pack` write it), an "
    "experiment (exp/NAME), a folder that holds one of these, or a name OWNER/MODEL on the Hugging Face hub"
)
EXPORTED = "written by `imlspike export`: open it by --engine onnx, or name the bundle it was made of"


@dataclass
class Bundle:
    """A trained model in memory: what it is, and its weights.

    Attributes:
        kind: of `KINDS`.
        name: of the model.
        config: the other keys of bundle.yaml (`imlspike.inference.bundle_config.KEYS`): `model` (all
            arguments of the model's constructor), `features` (`sampling_rate` in Hz, n_fft ...), and others.
        states: the model's state_dict; lm_states: that of the language model.
        tokens: that the model's numbers stand for.
        files: name to content, of `FILES`.
        origin: where it came from: command, git, versions, seed, corpus, as far as known.
        source: the path or name that it was opened by, for messages; folder: where it lies, unless in a zip.
        weight_bits: to which models made of it are rounded (`imlspike.layers.rounding`), but for the language
            model; None: not at all.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> sections = {"features": {"sampling_rate": 8000}, "model": {"dim": 2}}
    >>> Bundle("vocoder", "small", sections, {"w": torch.ones(2, 2)}).save(folder / "small.zip")
    >>> opened = Bundle.load(folder / "small.zip", "vocoder")
    >>> opened.name, opened.config["model"], opened.states["w"].dtype
    ('small', {'dim': 2}, torch.float32)
    """

    kind: str
    name: str
    config: dict[str, Any]
    states: dict[str, Tensor]
    tokens: tuple[str, ...] = ()
    lm_states: dict[str, Tensor] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    origin: dict[str, Any] = field(default_factory=dict)
    source: str = "bundle"
    folder: Path | None = None
    weight_bits: int | None = None

    @classmethod
    def load(
        cls,
        path: str | os.PathLike,
        kind: str | None = None,
        device: str | torch.device = "cpu",
        model_file: str | None = None,
        cache_dir: str | os.PathLike | None = None,
        weight_bits: int | None = None,
    ) -> "Bundle":
        """Open what a recipe trained.

        Args:
            path: a bundle's folder or zip; an experiment's folder (`exp/NAME`); a recipe's folder with one
                trained model of this kind in it or in its `exp/`; or, where there is neither and the package
                huggingface_hub is installed, a model's name on the hub.
            kind: that is wanted; None: any.
            device: where the weights go, as torch names it.
            model_file: of an experiment, another model than the average of its best epochs.
            cache_dir: where models of the hub are kept; default: the hub's own cache.
            weight_bits: see the class.

        Raises:
            ConfigError: if there is nothing of the kind, or its files are damaged or don't belong together.
            ValueError: for a GPU where there is none.
        """
        if torch.device(device).type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"device is {str(device)!r}, but torch finds no GPU here; use 'cpu'")
        named = os.fspath(path)
        place = _find(named, kind, cache_dir)
        if model_file is not None and not (place / "config.yaml").is_file():
            raise ConfigError(
                f"{named}: model_file is {model_file!r}, but only experiments (exp/NAME) have several models "
                "to choose from; leave it out, or name the experiment"
            )
        if model_file is None and (place.is_file() or (place / CONFIG).is_file()):
            bundle = _read(place, named)
        else:
            from imlspike.inference.experiment import read_experiment

            bundle = read_experiment(place, model_file)
            bundle.source = named
        bundle.folder, bundle.weight_bits = None if place.is_file() else place, weight_bits
        if kind not in (None, bundle.kind):
            own = bundle.kind
            raise ConfigError(f"{named} is a {own}, which `{KINDS[own]}` opens; a {kind} is needed here")
        for states in (bundle.states, bundle.lm_states):
            states |= {key: state.to(device) for key, state in states.items()}
        return bundle

    def save(self, path: str | os.PathLike, half: bool = False) -> None:
        """Write the bundle into a folder, or as a zip if `path` ends in .zip; each file whole or not at all.

        With `half`, weights of two dimensions or more, but for those of the features and those beyond fp16's
        range, are stored in fp16: they come back as fp32, off by at most 0.05 %, or below 6e-5 by 3e-8.
        """
        path, files = Path(path), {WEIGHTS: _to_bytes(self.states, half)}
        if self.lm_states:
            files[LM_WEIGHTS] = _to_bytes(self.lm_states, half)
        if self.tokens:
            files[TOKENS] = "".join(f"{token}\n" for token in self.tokens).encode()
        config = {"format": FORMAT, "kind": self.kind, "name": self.name} | self.config
        config |= {"origin": self.origin} if self.origin else {}
        files |= self.files | {CONFIG: dump_yaml(config).encode()}  # last: where it is, all is there
        if path.suffix != ".zip":
            make_folder(path)
            for name, content in files.items():
                with atomic_write(path / name, "wb") as out:
                    out.write(content)
            return
        make_folder(path.parent)
        with atomic_write(path, "wb") as out, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():  # ZipInfo has a constant date: equal files, equal zip
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)

    def fill(
        self, make: Callable[[], torch.nn.Module], states: Mapping[str, Tensor] | None = None
    ) -> torch.nn.Module:
        """Make a model with the bundle's weights, or `states`, in evaluation mode and where they are.

        Raises:
            ConfigError: if they don't fit, or the configuration asks for far more memory than they take.
        """
        states = self.states if states is None else states
        try:
            with _Ration(f"{self.source}: {CONFIG}", states):
                model = make()
            model.load_state_dict(states)
        except ConfigError:
            raise
        except (RuntimeError, ValueError) as error:
            told = textwrap.shorten(str(error), 300, placeholder=" ...")
            raise ConfigError(f"{self.source}: the weights don't fit {CONFIG}: {told}") from error
        return model.to(next(iter(states.values())).device).eval()

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The weights whose names begin so, without the beginning."""
        states = self.states.items()
        return {key.removeprefix(prefix): state for key, state in states if key.startswith(prefix)}

    def where(self, key: str) -> str:
        """The name of a section of bundle.yaml in errors."""
        return f"{self.source}: {CONFIG}, {key}"


class _Ration(TorchFunctionMode):
    """Memory for new tensors: some for tables, of which weights don't tell, and twice that of the weights."""

    def __init__(self, source: str, states: Mapping[str, Tensor]):
        super().__init__()
        self.source, self.left = source, MOST_TABLES + 2 * sum(state.numel() * 4 for state in states.values())

    def __torch_function__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and not any(isinstance(each, Tensor) for each in args):
            self.left -= max(made.nbytes, LEAST_TABLE)  # endless layers of nothing take for ever
            if self.left < 0:
                raise ConfigError(f"{self.source} asks for more memory than its weights can be of")
        return made


def names_damage(make: Callable) -> Callable:
    """Decorate what makes a model of a bundle: values that no model can be made of become a ConfigError."""

    @functools.wraps(make)
    def run(*args, **kwargs):
        try:
            return make(*args, **kwargs)
        except ConfigError:
            raise
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError) as error:
            source = next(each.source for each in args if isinstance(each, Bundle))
            told = f"{type(error).__name__}: {reprlib.repr(str(error))}"
            raise ConfigError(f"{source}: no model can be made of its {CONFIG} ({told})") from error

    return run


def kind_of(folder: Path) -> str | None:
    """The kind of a bundle's folder or of a trained experiment's, or None."""
    if (folder / CONFIG).is_file():
        return read_config((folder / CONFIG).read_bytes(), f"{folder}: {CONFIG}")["kind"]
    config = folder / "config.yaml"
    if not config.is_file() or not next(folder.glob("*.pth"), None):
        return None
    # Only the keys at the beginning of lines are looked at: a configuration may hold thousands of tokens.
    keys = set(re.findall(r"^(\w+):", config.read_text(encoding="utf-8", errors="replace"), re.MULTILINE))
    return "recognizer" if "ctc_conf" in keys else "voice" if "tts" in keys else None


def _find(named: str, kind: str | None, cache_dir: str | os.PathLike | None) -> Path:
    """A zip, or the folder of a bundle or an experiment."""
    place = Path(named)
    if not named:  # Path("") is the working directory, which nobody means by it
        raise ConfigError(f"no model is named; {EXPECTED}")
    try:
        if not place.exists():
            place = _from_hub(named, cache_dir)
    except OSError as error:  # a name that no file can have
        raise ConfigError(f"{reprlib.repr(named)}: {error.strerror}; {EXPECTED}") from None
    if place.suffix == ".onnx" and place.is_file():
        raise ConfigError(f"{named}: {EXPORTED}")
    return place if place.is_file() or kind_of(place) else _only_one(place, kind, named)


def _only_one(folder: Path, kind: str | None, named: str) -> Path:
    """The one trained model of a kind below a folder: in `*/` or in `exp/*/`."""
    below = sorted(path for pattern in ("*", "exp/*") for path in folder.glob(pattern) if path.is_dir())
    found = [path for path in below if (own := kind_of(path)) and kind in (own, None)]
    if len(found) == 1:
        return found[0]
    what = f"trained {kind or 'model'}"
    if found:
        several = ", ".join(map(str, found))
        raise ConfigError(f"{named}: holds several {kind or 'model'}s, name one of them: {several}")
    if zips := ", ".join(sorted(map(str, folder.glob("*.zip")))):
        raise ConfigError(f"{named}: holds zips and no other {what}, name one of: {zips}")
    if next(folder.glob("*.onnx"), None):
        raise ConfigError(f"{named}: {EXPORTED}")
    inside = ", ".join(sorted(child.name for child in folder.iterdir())[:10]) or "nothing"
    raise ConfigError(f"{named}: no {what} here (there is {inside}); {EXPECTED}")


def _from_hub(name: str, cache_dir: str | os.PathLike | None) -> Path:
    """A model of the Hugging Face hub, in the hub's cache or in `cache_dir`."""
    owner, told = name.partition("/")[0], f"{name}: no such file or folder"
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or not owner.strip(".") or Path(owner).exists():
        raise ConfigError(f"{told}; {EXPECTED}")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ConfigError(f"{told}; {EXPECTED} (for the last: pip install huggingface_hub)") from None
    try:
        return Path(snapshot_download(name, cache_dir=cache_dir))
    except Exception as error:  # the hub's own kinds, and those of the network below it
        raise ConfigError(f"{told}, nor to be had from the hub ({error}); {EXPECTED}") from error


def _open_zip(path: Path) -> zipfile.Path:
    """The folder of a bundle in a zip; its files are read into memory, nothing is ever unpacked."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError):
        raise ConfigError(f"{path}: not a zip file, or a damaged one; {EXPECTED}") from None
    _check_members(archive.infolist(), path)
    files = {name: name.rpartition("/")[2] for name in archive.namelist()}
    found = [name for name, file in files.items() if file == CONFIG]
    if len(found) == 1 and found[0].count("/") <= 1:
        return zipfile.Path(archive, found[0].removesuffix(CONFIG))
    if "config.yaml" in files.values():
        raise ConfigError(
            f"{path}: holds an experiment, not a bundle (espnet2.bin.pack writes such files, and older "
            f"versions of imlspike); unzip it, and make a bundle by: imlspike pack FOLDER --output X.zip"
        )
    raise ConfigError(f"{path}: {len(found)} {CONFIG} in it; {EXPECTED}")


def _check_members(members: list[zipfile.ZipInfo], path: Path) -> None:
    """Refuse what no honest archive holds; zipfile never reads more of a member than its size here says."""
    if len(members) > MOST_MEMBERS or sum(member.file_size for member in members) > MOST_BYTES:
        most = f"{MOST_MEMBERS} files or {MOST_BYTES >> 30} GiB"
        raise ConfigError(f"{path}: more than {most}; no bundle is so")
    for member in members:
        parts = member.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0].endswith(":") or not parts[0]:
            raise ConfigError(f"{path}: {member.filename!r} lies outside its folder; don't trust this file")
        if member.file_size > MOST_TEXT and not member.filename.endswith(".safetensors"):
            raise ConfigError(f"{path}: {member.filename!r} has {member.file_size} bytes; no bundle is so")
        if member.file_size > MOST_SWELLING * (member.compress_size + 2**20):
            raise ConfigError(f"{path}: {member.filename!r} swells too much; no bundle is so")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise ConfigError(f"{path}: {member.filename!r} is a link; don't trust this file")


def _read(place: Path, named: str) -> Bundle:
    folder = _open_zip(place) if place.is_file() else place

    def read(name: str) -> bytes | None:
        try:
            return (folder / name).read_bytes() if (folder / name).is_file() else None
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError) as error:
            raise ConfigError(f"{named}: damaged ({error}); copy or pack it again") from None

    def weights(name: str) -> dict[str, Tensor]:
        try:
            states = safetensors.load(read(name) or b"")
        except SafetensorError as error:
            what = "no such file" if read(name) is None else f"damaged ({error})"
            raise ConfigError(f"{named}: {name}: {what}; copy or pack the bundle again") from None
        half = torch.float16
        return {key: state.float() if state.dtype == half else state for key, state in states.items()}

    config = read_config(read(CONFIG) or b"", f"{named}: {CONFIG}")
    kind, name, origin = config.pop("kind"), str(config.pop("name")), config.pop("origin", {})
    del config["format"]
    try:
        tokens = (read(TOKENS) or b"").decode().replace("\r\n", "\n").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{named}: {TOKENS} isn't UTF-8 ({error}); copy or pack the bundle again") from None
    files = {file: content for file in FILES if (content := read(file)) is not None}
    lm_states = weights(LM_WEIGHTS) if "lm" in config else {}
    tokens = tuple(tokens.split("\n")) if tokens else ()
    if kind == "recognizer" and not tokens:
        raise ConfigError(f"{named}: {TOKENS}: no such file, or an empty one; copy or pack the bundle again")
    states = weights(WEIGHTS)
    check_sizes(config, states, f"{named}: {CONFIG}")
    return Bundle(kind, name, config, states, tokens, lm_states, files, origin, named)


def _to_bytes(states: Mapping[str, Tensor], half: bool) -> bytes:
    def stored(key: str, state: Tensor) -> Tensor:
        state = state.detach().cpu()
        if half and state.is_floating_point() and state.dim() > 1 and not key.startswith("features."):
            state = state if state.abs().max() > torch.finfo(torch.float16).max else state.half()
        return state.clone(memory_format=torch.contiguous_format)  # tied weights don't share memory in a file

    return safetensors.save({key: stored(key, state) for key, state in states.items()})
