"""A record of what outputs were made of, so that "done before" means the same source, model and options."""

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imlspike.data.files import OutputError, check_output, make_folder

NAME = "manifest.jsonl"
OF_MODELS = {".yaml", ".safetensors", ".pth", ".model", ".onnx"}
BESIDE_ONNX = "tokens.txt"


class Manifest:
    """`manifest.jsonl` in an output folder: a JSON object a line, the last of an output counts.

    Its keys are `output` (a path in the folder), `source` (the path it had), `source_sha256`, `model`,
    `model_sha256` (of an experiment's folder: of its files' names, sizes and times), `options` and `done`.
    """

    def __init__(self, folder: Path, model: str, options: Mapping[str, Any]):
        self.folder, self.path = folder, folder / NAME
        check_output(folder)  # known before all is computed
        if self.path.exists() and not os.access(self.path, os.W_OK):
            raise OutputError(errno.EACCES, "no right to change it", str(self.path))
        about = {"model": model, "model_sha256": sha256_of_model(Path(model)), "options": dict(options)}
        self.made_by = json.loads(json.dumps(about))
        self.entries: dict[str, dict] = {}
        written = self.path.read_bytes() if self.path.is_file() else b""
        lines = written.decode("utf-8", "replace").split("\n")  # of damaged ones, the others count
        for line in lines:
            try:
                entry = json.loads(line)
                self.entries[entry["output"]] = entry if entry["source"] else {}
            except (ValueError, KeyError, TypeError):  # the end of a line that a full disk cut off, or damage
                continue

    def is_done(self, source: Path, outputs: Iterable[Path]) -> bool:
        """Return True if all outputs were made of this source's content by this model with these options.

        One made of this source before it, the model or an option changed is to be made anew.

        Raises:
            ValueError: if one was made of another source, or nobody knows of what.
        """
        done, sha256 = True, None
        for output in outputs:
            if not output.exists():
                done = False
                continue
            entry = self.entries.get(str(output.relative_to(self.folder)))
            if entry is None:
                raise ValueError(f"{output} is there, but not in {self.path}; {WAY_OUT}")
            sha256 = sha256 or _sha256(source)
            same = entry.get("source_sha256") == sha256 and entry.get("done") is True
            same = same and all(entry.get(key) == self.made_by[key] for key in ("model_sha256", "options"))
            if not same and entry.get("source") != str(source.absolute()):
                raise ValueError(f"{output} was made of {entry.get('source')}; {WAY_OUT}")
            done = done and same
        return done

    @contextmanager
    def making(self, source: Path, outputs: Iterable[Path]) -> Iterator[None]:
        """Note that outputs are on the way, and after the block that they are there; make their folders."""
        about = {"source": str(source.absolute()), "source_sha256": _sha256(source)} | self.made_by
        for done in (False, True):
            for output in outputs:
                make_folder(output.parent)
                entry = {"output": str(output.relative_to(self.folder))} | about | {"done": done}
                with open(self.path, "a", encoding="utf-8") as manifest:
                    manifest.write(json.dumps(entry) + "\n")
            if not done:
                yield


WAY_OUT = "name another folder for outputs, or replace it with --overwrite"


def _sha256(path: Path) -> str:
    if not path.is_file():  # missing, or a pipe that nobody writes to: told when it's read
        return ""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_model(path: Path) -> str:
    """Of a file, a bundle or exported files their content, of a folder of experiments its listing, of another
    name the name."""
    if path.is_file() and path.suffix != ".onnx":
        return _sha256(path)
    told = [] if path.is_dir() else [str(path)]
    path = path.parent if path.is_file() else path  # what an exported file takes lies beside it
    exported = any(path.glob("*.onnx"))
    whole = (path / "bundle.yaml").is_file() or exported
    patterns = ("*",) if exported else ("*", "*/*", "exp/*/*")
    for file in sorted(file for pattern in patterns for file in path.glob(pattern)):
        if file.is_file() and (file.suffix in OF_MODELS or file.name == BESIDE_ONNX):
            stat = file.stat()
            content = _sha256(file) if whole else f"{stat.st_size} {stat.st_mtime_ns}"
            told.append(f"{file.relative_to(path)} {content}")
    return hashlib.sha256("\n".join(told).encode(errors="surrogateescape")).hexdigest()
