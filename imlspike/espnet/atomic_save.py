"""Checkpoints that survive a full disk and a killed training.

ESPnet's trainer writes `checkpoint.pth` in place, then `<epoch>epoch.pth`, then moves its links. A disk that
fills up, or a kill, in between leaves half a file or files that don't agree.
"""

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from imlspike.data.files import atomic_write

# `logging.warning`, called before ESPnet sets up the log, would set it up itself, for warnings only.
_log = logging.getLogger(__name__)


@contextmanager
def atomic_torch_save() -> Iterator[None]:
    """Within the block, `torch.save` to a path leaves the old file or the new one, never a part.

    Targets that aren't paths (open files, buffers) are written as ever.

    Raises:
        OSError: from `torch.save` when the file can't be written whole; names the file and the space left.
            The file that was there before is unchanged.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "checkpoint.pth"
    >>> with atomic_torch_save():
    ...     torch.save({"epoch": 3}, path)
    >>> torch.load(path)
    {'epoch': 3}
    """
    original = torch.save

    def save(obj, f, *args, **kwargs):
        if not isinstance(f, str | os.PathLike):
            return original(obj, f, *args, **kwargs)
        try:
            with atomic_write(f, "wb") as out:
                original(obj, out, *args, **kwargs)
        except (OSError, RuntimeError) as error:
            raise OSError(
                f"couldn't write {os.fspath(f)} ({_free_space(Path(f).parent)}): {error}. The file that was "
                "there before is unchanged. Make room and run the same command again: training goes on from "
                "the last checkpoint.pth"
            ) from error

    torch.save = save
    try:
        yield
    finally:
        torch.save = original


def repair_experiment(folder: Path, best_model_criterion: Sequence[Sequence[str]]) -> None:
    """Complete what a kill between two writes left open in an ESPnet experiment, before training resumes.

    `checkpoint.pth` is the truth. Temporary files of interrupted writes are removed; a missing
    `<epoch>epoch.pth` of the checkpoint's epoch is written again (without it ESPnet's averaging at the end
    fails); `latest.pth` and the links to the best epoch are set again.

    Args:
        folder: the experiment; without a `checkpoint.pth` only temporary files are removed.
        best_model_criterion: ESPnet's option, as [["valid", "acc", "max"], ...].

    >>> import tempfile
    >>> repair_experiment(Path(tempfile.mkdtemp()), [["valid", "acc", "max"]])
    """
    from espnet2.train.reporter import Reporter

    for stale in folder.glob(".*.pth.*.tmp"):
        stale.unlink()
    checkpoint = folder / "checkpoint.pth"
    if not checkpoint.exists():
        return
    states = torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=False)
    reporter = Reporter()
    reporter.load_state_dict(states["reporter"])
    epoch = reporter.get_epoch()
    if not (folder / f"{epoch}epoch.pth").exists():
        _log.warning(f"{folder / f'{epoch}epoch.pth'} is missing; written again from checkpoint.pth")
        torch.save(states["model"], folder / f"{epoch}epoch.pth")
    _link(folder / "latest.pth", f"{epoch}epoch.pth")
    for phase, key, mode in best_model_criterion:
        if reporter.has(phase, key) and reporter.get_best_epoch(phase, key, mode) == epoch:
            _link(folder / f"{phase}.{key}.best.pth", f"{epoch}epoch.pth")


def _free_space(folder: Path) -> str:
    return f"{shutil.disk_usage(folder).free / 1e6:.0f} MB free" if folder.is_dir() else "no such folder"


def _link(path: Path, target: str) -> None:
    """Make `path` a symbolic link to `target`, in one step."""
    temporary = path.with_name(f".{path.name}.link.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    os.replace(temporary, path)
