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
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor

from imlspike.data.files import atomic_write
from imlspike.data.yaml_file import ConfigError, dump_yaml
from imlspike.inference.bundle_config import FORMAT, KINDS, read_config
from imlspike.inference.common import check_device

CONFIG, WEIGHTS, TOKENS, LM_WEIGHTS = "bundle.yaml", "weights.safetensors", "tokens.txt", "lm.safetensors"
FILES = ("bpe.model", "README.md")  # others that a bundle may hold, taken as they are
MOST_MEMBERS, MOST_BYTES = 1000, 8 * 2**30  # of a zip: files, and bytes when unpacked
MOST_TEXT = 64 * 2**20  # bytes of a file that holds no weights
EXPECTED = (
    "expected a bundle (a folder or .zip with bundle.yaml, as training and `imlspike pack` write it), an "
    "experiment (exp/NAME), a folder that holds one of these, or a name OWNER/MODEL on the Hugging Face hub"
)


@dataclass
class Bundle:
    """A trained model in memory: what it is, and its weights.

    Attributes:
        kind: of `KINDS`.
        name: of the model.
        config: the other keys of bundle.yaml: `model` (all arguments of the model's constructor), `features`
            (those of its features, `sampling_rate` in Hz among them), and what else
            `imlspike.inference.bundle_config.KEYS` names.
        states: name to tensor, the model's state_dict.
        tokens: that the model's numbers stand for.
        lm_states: of the language model.
        files: name to content, of `FILES`.
        origin: where it came from: command, git, versions, seed, corpus, as far as known.
        source: the path or name that it was opened by, for messages; folder: where it lies, unless in a zip.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> parts = {"features": {"sampling_rate": 8000}, "model": {"dim": 2}}
    >>> Bundle("vocoder", "small", parts, {"w": torch.ones(2, 2)}).save(folder / "small.zip")
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

    @classmethod
    def load(
        cls,
        path: str | os.PathLike,
        kind: str | None = None,
        device: str | torch.device = "cpu",
        model_file: str | None = None,
        cache_dir: str | os.PathLike | None = None,
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

        Raises:
            ConfigError: if there is nothing of the kind, or its files are damaged or don't belong together,
                saying what was expected.

        >>> Bundle.load("no/such/folder")
        Traceback (most recent call last):
        imlspike.data.yaml_file.ConfigError: no/such/folder: no such file or folder; expected ...
        """
        check_device(device)
        place, named = Path(path), os.fspath(path)
        try:
            found = place.exists()
        except OSError as error:  # a name that no file can have
            raise ConfigError(f"{reprlib.repr(named)}: {error.strerror}; {EXPECTED}") from None
        if not found:
            place = _from_hub(named, cache_dir)
        if place.is_file():
            _refuse_model_file(named, model_file)
            bundle = _read(_zip_reader(place), named)
        else:
            place = place if kind_of(place) else _only_one(place, kind, named)
            if not (place / "config.yaml").is_file():
                _refuse_model_file(named, model_file)
            if (place / CONFIG).is_file() and model_file is None:
                bundle = _read(_folder_reader(place), named)
            else:
                from imlspike.inference.experiment import read_experiment

                bundle = read_experiment(place, model_file)
                bundle.source = named
            bundle.folder = place
        if kind is not None and bundle.kind != kind:
            _refuse_kind(named, bundle.kind, kind)
        for states in (bundle.states, bundle.lm_states):
            states |= {key: state.to(device) for key, state in states.items()}
        return bundle

    def save(self, path: str | os.PathLike, half: bool = False) -> None:
        """Write the bundle into a folder, or as a zip if `path` ends in .zip; each file whole or not at all.

        Args:
            path: a folder is made; what it holds besides stays.
            half: store weights of two dimensions or more, but for those of the features and those beyond
                fp16's range, in fp16. They come back as fp32, off by at most 0.05 %, or below 6e-5 by 3e-8.
        """
        path, files = Path(path), self._files(half)
        if path.suffix != ".zip":
            path.mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                with atomic_write(path / name, "wb") as out:
                    out.write(content)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, "wb") as out, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():  # ZipInfo has a constant date: equal files, equal zip
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)

    def _files(self, half: bool) -> dict[str, bytes]:
        """Name to content; bundle.yaml comes last: where it is, all is there."""
        files = {WEIGHTS: _to_bytes(self.states, half)}
        if self.lm_states:
            files[LM_WEIGHTS] = _to_bytes(self.lm_states, half)
        if self.tokens:
            files[TOKENS] = "".join(f"{token}\n" for token in self.tokens).encode()
        head = {"format": FORMAT, "kind": self.kind, "name": self.name}
        origin = {"origin": self.origin} if self.origin else {}
        return files | self.files | {CONFIG: dump_yaml(head | self.config | origin).encode()}

    def fill(self, model: torch.nn.Module, states: Mapping[str, Tensor] | None = None) -> torch.nn.Module:
        """`model` with the bundle's weights, or those of `states`, in evaluation mode and where they are.

        Raises:
            ConfigError: if they don't fit.
        """
        states = self.states if states is None else states
        try:
            model.load_state_dict(states)
        except RuntimeError as error:
            raise ConfigError(f"{self.source}: the weights don't fit {CONFIG}: {error}") from None
        return model.to(next(iter(states.values())).device).eval()

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The weights whose names begin so, without the beginning."""
        states = self.states.items()
        return {key.removeprefix(prefix): state for key, state in states if key.startswith(prefix)}

    def where(self, key: str) -> str:
        """What errors call a section of bundle.yaml."""
        return f"{self.source}: {CONFIG}, {key}"


def names_damage(make: Callable) -> Callable:
    """Decorate what makes a model of a bundle: values that no model can be made of become a ConfigError."""

    @functools.wraps(make)
    def run(*args, **kwargs):
        try:
            return make(*args, **kwargs)
        except ConfigError:
            raise
        except (TypeError, ValueError, KeyError, IndexError, AttributeError, ArithmeticError) as error:
            source = next(each.source for each in args if isinstance(each, Bundle))
            told = f"{type(error).__name__}: {reprlib.repr(str(error))}"
            raise ConfigError(f"{source}: no model can be made of its {CONFIG} ({told})") from error

    return run


def kind_of(folder: Path) -> str | None:
    """What a folder is: a kind of `KINDS` (a bundle, or an experiment that was trained), or None.

    >>> kind_of(Path("no/such/folder"))
    """
    if (folder / CONFIG).is_file():
        return _config(_folder_reader(folder), os.fspath(folder))["kind"]
    if (folder / "generator.pth").is_file() and (folder / "generator.yaml").is_file():
        return "vocoder"
    config = folder / "config.yaml"
    if not config.is_file() or not next(folder.glob("*.pth"), None):
        return None
    # Only the keys at the beginning of lines are looked at: a configuration may hold thousands of tokens.
    keys = set(re.findall(r"^(\w+):", config.read_text(encoding="utf-8", errors="replace"), re.MULTILINE))
    return "recognizer" if "ctc_conf" in keys else "voice" if "tts" in keys else None


def _only_one(folder: Path, kind: str | None, named: str) -> Path:
    """The one trained model of a kind below a folder: in `*/` or in `exp/*/`."""
    below = sorted(path for pattern in ("*", "exp/*") for path in folder.glob(pattern) if path.is_dir())
    kinds = {path: found for path in below if (found := kind_of(path))}
    found = [path for path, one in kinds.items() if kind in (one, None)]
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(map(str, found))
        raise ConfigError(f"{named}: holds several {kind or 'model'}s, name one of them: {several}")
    if zips := ", ".join(sorted(map(str, folder.glob("*.zip")))):
        raise ConfigError(f"{named}: holds zips and no other trained {kind or 'model'}, name one of: {zips}")
    inside = ", ".join(sorted(child.name for child in folder.iterdir())[:10]) or "nothing"
    raise ConfigError(f"{named}: no trained {kind or 'model'} here (there is {inside}); {EXPECTED}")


def _from_hub(name: str, cache_dir: str | os.PathLike | None) -> Path:
    """A model of the Hugging Face hub, in the hub's cache or in `cache_dir`."""
    owner = name.partition("/")[0]
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or not owner.strip(".") or Path(owner).exists():
        raise ConfigError(f"{name}: no such file or folder; {EXPECTED}")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ConfigError(
            f"{name}: no such file or folder; {EXPECTED} (for the last: pip install huggingface_hub)"
        ) from None
    try:
        return Path(snapshot_download(name, cache_dir=cache_dir))
    except Exception as error:  # the hub's own kinds, and those of the network below it
        message = f"{name}: no such file or folder, nor to be had from the hub ({error}); {EXPECTED}"
        raise ConfigError(message) from error


Reader = Callable[[str], bytes | None]  # from a file's name to its content; None: there is no such file


def _folder_reader(folder: Path) -> Reader:
    return lambda name: (folder / name).read_bytes() if (folder / name).is_file() else None


def _zip_reader(path: Path) -> Reader:
    """What reads from a zip, into memory; nothing is ever unpacked.

    Raises:
        ConfigError: no zip, a damaged or a suspicious one, or no bundle in it.
    """
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        raise ConfigError(f"{path}: not a zip file, or a damaged one; {EXPECTED}") from None
    members = archive.infolist()
    _check_members(members, path)
    found = [member.filename for member in members if member.filename.rpartition("/")[2] == CONFIG]
    if len(found) != 1 or found[0].count("/") > 1:
        others = {member.filename.rpartition("/")[2] for member in members}
        if others & {"config.yaml", "generator.yaml"}:
            raise ConfigError(
                f"{path}: holds an experiment, not a bundle (espnet2.bin.pack writes such files, and older "
                f"versions of imlspike); unzip it, and make a bundle by: imlspike pack FOLDER --output X.zip"
            )
        raise ConfigError(f"{path}: {len(found)} {CONFIG} in it; {EXPECTED}")
    folder = found[0].removesuffix(CONFIG)

    def read(name: str) -> bytes | None:
        if folder + name not in archive.NameToInfo:
            return None
        try:
            return archive.read(folder + name)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, RuntimeError) as error:
            raise ConfigError(f"{path}: damaged ({error}); copy or pack it again") from None

    return read


def _check_members(members: Iterable[zipfile.ZipInfo], path: Path) -> None:
    """Refuse what no honest archive holds; zipfile never reads more of a member than its size here says."""
    members = list(members)
    if len(members) > MOST_MEMBERS or sum(member.file_size for member in members) > MOST_BYTES:
        raise ConfigError(
            f"{path}: more than {MOST_MEMBERS} files or {MOST_BYTES >> 30} GiB; no bundle is so"
        )
    for member in members:
        parts = member.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0].endswith(":") or not parts[0]:
            raise ConfigError(f"{path}: {member.filename!r} lies outside its folder; don't trust this file")
        if member.file_size > MOST_TEXT and not member.filename.endswith(".safetensors"):
            raise ConfigError(f"{path}: {member.filename!r} has {member.file_size} bytes; no bundle is so")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise ConfigError(f"{path}: {member.filename!r} is a link; don't trust this file")


def _config(read: Reader, named: str) -> dict[str, Any]:
    return read_config(read(CONFIG) or b"", f"{named}: {CONFIG}")


def _read(read: Reader, named: str) -> Bundle:
    config = _config(read, named)
    kind, name, _ = config.pop("kind"), str(config.pop("name")), config.pop("format")
    origin = config.pop("origin", {})
    try:
        tokens = (read(TOKENS) or b"").decode().replace("\r\n", "\n").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{named}: {TOKENS} isn't UTF-8 ({error}); copy or pack the bundle again") from None
    files = {file: content for file in FILES if (content := read(file)) is not None}
    return Bundle(
        kind,
        name,
        config,
        _from_bytes(read(WEIGHTS), f"{named}: {WEIGHTS}"),
        tuple(tokens.split("\n")) if tokens else (),
        _from_bytes(read(LM_WEIGHTS), f"{named}: {LM_WEIGHTS}") if "lm" in config else {},
        files,
        origin,
        named,
    )


def _to_bytes(states: Mapping[str, Tensor], half: bool) -> bytes:
    def stored(key: str, state: Tensor) -> Tensor:
        state = state.detach().cpu()
        if half and state.is_floating_point() and state.dim() > 1 and not key.startswith("features."):
            state = state if state.abs().max() > torch.finfo(torch.float16).max else state.half()
        return state.clone(memory_format=torch.contiguous_format)  # tied weights don't share memory in a file

    return safetensors.save({key: stored(key, state) for key, state in states.items()})


def _from_bytes(content: bytes | None, source: str) -> dict[str, Tensor]:
    if content is None:
        raise ConfigError(f"{source}: no such file; copy or pack the bundle again")
    try:
        states = safetensors.load(content)
    except SafetensorError as error:
        raise ConfigError(f"{source}: damaged ({error}); copy or pack the bundle again") from None
    return {key: state.float() if state.dtype == torch.float16 else state for key, state in states.items()}


def _refuse_model_file(named: str, model_file: str | None) -> None:
    if model_file is not None:
        raise ConfigError(
            f"{named}: model_file is {model_file!r}, but only an experiment (exp/NAME) has several models to "
            "choose from; leave it out, or name the experiment"
        )


def _refuse_kind(named: str, found: str, wanted: str) -> NoReturn:
    raise ConfigError(f"{named} is a {found}, which `{KINDS[found]}` opens; a {wanted} is needed here")
