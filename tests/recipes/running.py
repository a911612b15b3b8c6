"""Starting a recipe as a person does, and reading what it leaves behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
EGS = HERE.parents[1] / "egs"


def start(recipe: str, work: Path, *options: object) -> subprocess.Popen:
    """Start `egs/<recipe>/run.sh` as a process group of its own, as a terminal does."""
    command = ["bash", EGS / recipe / "run.sh", "--workdir", work, "--python", sys.executable, *options]
    return subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen) -> str:
    """What a run printed, which must have succeeded."""
    try:
        printed, _ = process.communicate(timeout=2800)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, printed
    return printed


def table(path: Path) -> dict[str, str]:
    """A Kaldi table, or excluded.tsv, as a dictionary."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {line.split()[0]: line.replace("\t", " ").partition(" ")[2] for line in lines}


def rows(results: str) -> list[dict[str, str]]:
    """The rows of the first Markdown table in a text, as dictionaries from its heads."""
    lines = [line for line in results.splitlines() if line.startswith("|")]
    head, _, *body = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return [dict(zip(head, row, strict=True)) for row in body if len(row) == len(head)]
