"""Tables as Markdown, text, CSV and JSON, and files that are written whole."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from imlspike.data.files import atomic_write

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
    """Write rows of the same keys as an aligned text, CSV and JSON: `stem` with .txt, .csv and .json."""
    cells = [[f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    lines = [list(rows[0]), *cells]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sides = [str.ljust if isinstance(value, str) else str.rjust for value in rows[0].values()]
    aligned = [
        "  ".join(side(cell, width) for side, cell, width in zip(sides, line, widths, strict=True)).rstrip()
        for line in lines
    ]
    contents = {".txt": "\n".join(aligned) + "\n", ".csv": to_csv(rows), ".json": rows}
    return write_files({stem.with_name(stem.name + ending): text for ending, text in contents.items()})


def to_csv(rows: Sequence[Mapping], columns: Sequence[str] = ()) -> str:
    """Rows as CSV; `columns` are those of the first row if none are named."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns or list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_files(contents: Mapping[Path, object]) -> list[Path]:
    """Write texts as they are and all else as JSON, each file whole or not at all; folders are made.

    Returns the files.
    """
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, str):
            content = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        with atomic_write(path) as out:
            out.write(content)
    return list(contents)


def number(value, form: str, missing: str = "") -> str:
    """A value in a format, or what stands for a missing one (None)."""
    return missing if value is None else format(value, form)


def percent(share: float | None) -> str:
    """A share as a table shows it.

    >>> percent(0.1234), percent(None)
    ('12.3 %', '–')
    """
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
