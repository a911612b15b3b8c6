"""Origin of a trained model: command, state of the source, versions."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import imlspike


def origin(command: str, *packages: str) -> dict[str, Any]:
    """The command line, the state of the source, and versions: imlspike's, Python's, torch's, of `packages`.

    >>> list(origin("imlspike pack", "no-such-package")["versions"])
    ['imlspike', 'python', 'torch']
    """
    versions = {"imlspike": imlspike.__version__, "python": platform.python_version()}
    versions["torch"] = str(torch.__version__)  # with the platform that it was built for
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"command": command, "git": git_state(Path(imlspike.__file__).parent), "versions": versions}


def git_state(folder: str | os.PathLike) -> str:
    """The commit of the source in `folder`, "(dirty)" if tracked files changed; "unknown" outside git."""
    run = dict(cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], **run).stdout.strip()
        changes = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], **run).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return commit + (" (dirty)" if changes.strip() else "")
