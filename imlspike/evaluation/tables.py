"""Tables in Markdown, and files that are written whole."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from imlspike.data.files import atomic_write, make_folder

EMPTY = "–"


def markdown_table(rows: Sequence[Mapping]) -> str:
    """A Markdown table of rows (head to cell), cells under each other; empty without rows.

    The columns are those of all rows, in the order of their first use; a cell that a row lacks is empty.

    >>> print(markdown_table([{"a": "long"}, {"a": 1, "b": 2}]))
    | a    | b |
    | ---- | - |
    | long |   |
    | 1    | 2 |
    """
    heads = list(dict.fromkeys(head for row in rows for head in row))
    if not heads:
        return ""
    lines = [heads, *([str(row.get(head, "")).replace("|", "\\|") for head in heads] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines)


def write_table(stem: Path, rows: Sequence[Mapping]) -> list[Path]:
    """Write rows as a Markdown table, floats with four digits, and as JSON: `stem` with .txt and .json."""
    shown = [{k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    return write_files(
        {stem.with_suffix(".txt"): markdown_table(shown) + "\n", stem.with_suffix(".json"): rows}
    )


def write_files(contents: Mapping[Path, object]) -> list[Path]:
    """Write texts as they are and all else as JSON, each file whole or not at all; folders are made.

    Returns the files.
    """
    for path, content in contents.items():
        make_folder(path.parent)
        if not isinstance(content, str):
            content = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        with atomic_write(path) as out:
            out.write(content)
    return list(contents)


def number(value, form: str, missing: str = "") -> str:
    """A value in a format, or what stands for a missing one (None)."""
    return missing if value is None else format(value, form)


def percent(share: float | None) -> str:
    """A share as a table shows it."""
    return EMPTY if share is None else f"{100 * share:.1f} %"


def interval_cell(found: Mapping, form: str, scale: float = 1, key: str = "rate", more: str = "") -> str:
    """A value with its interval: `found[key]` with "ci95", of "over" with "over_ci95"; a missing one is None.

    >>> interval_cell({"rate": 0.1, "ci95": [0.05, 0.2]}, ".1f", 100)
    '10.0 (5.0 to 20.0)'
    """
    if found.get(key) is None:
        return EMPTY
    low, high = (format(scale * end, form) for end in found["over_ci95" if key == "over" else "ci95"])
    return f"{format(scale * found[key], form)} ({low} to {high}{more})"
