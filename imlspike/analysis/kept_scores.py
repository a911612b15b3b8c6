"""Scores of vocoders that were taken before: another system in the table doesn't score the others again."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from imlspike.analysis.vocoder_scores import NATURAL, Scored, Settings, Task, score_utterance
from imlspike.data.files import atomic_write


def score_or_recall(folder: Path, versions: Mapping[str, str], settings: Settings, task: Task) -> Scored:
    """What `score_utterance` gives, of which only that is computed that isn't in `folder` yet.

    Scores are kept as <utterance>.json, with a checksum of all that they depend on: the settings, the
    libraries' versions, the natural and the synthetic file's bytes. Where one has changed they count no more,
    nor where a measure failed. A file that can't be read as such is written anew.

    Args:
        folder: where they are kept; made if need be.
        versions: of the libraries that measure.
        settings, task: of `score_utterance`.

    Raises:
        AudioError: as `score_utterance`.
    """
    path = folder / f"{task.utterance}.json"
    about, natural = repr((settings, sorted(versions.items()))), _read(task.natural)
    keys = {name: _checksum(about, natural, _read(file)) for name, file in task.synthetic.items()}
    keys[NATURAL] = _checksum(about, natural, b"")
    kept = _kept(path)
    recalled = {name: kept[name]["values"] for name in keys if kept.get(name, {}).get("key") == keys[name]}
    if len(recalled) == len(keys):
        return Scored(task.utterance, kept[NATURAL]["seconds"], {n: recalled[n] for n in _order(task)}, {})
    new = {name: file for name, file in task.synthetic.items() if name not in recalled}
    scored = score_utterance(settings, replace(task, synthetic=new))
    failed = {name for name, _ in scored.failed}
    for name, values in scored.values.items():
        if name not in failed:
            kept[name] = {"key": keys[name], "seconds": scored.seconds, "values": values}
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as out:
        json.dump(kept, out, indent=1)
    values = recalled | scored.values
    return replace(scored, values={name: values[name] for name in _order(task)})


def _order(task: Task) -> list[str]:
    return [NATURAL, *task.synthetic]


def _read(file: str) -> bytes:
    return Path(file).read_bytes()


def _checksum(about: str, *contents: bytes) -> str:
    digest = hashlib.sha256(about.encode())
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def _kept(path: Path) -> dict:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) and all(isinstance(one, dict) for one in kept.values()) else {}
