"""Options of a recipe: one dataclass gives names, types, defaults and help; a wrong one names the nearest."""

import difflib
import math
import os
import re
from collections.abc import Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import imlspike

LONGEST = 200  # characters of a word, which may become part of a file's name
ROOT = Path(imlspike.__file__).resolve().parents[1]


class OptionError(ValueError):
    """A wrong command line; nothing has been done yet."""


def option(
    default: Any, help: str, choices: str = "", least: float = 0, most: float = math.inf, empty: bool = False
) -> Any:
    """Declare an option: its `choices` separated by blanks, the `least` and the `most` of a number.

    Of an option of type `list` the default is given as on the command line: words separated by blanks. One
    with a default may be empty only where `empty` says so.
    """
    empty = empty or default == ""
    rules = {"help": help, "choices": choices.split(), "least": least, "most": most, "empty": empty}
    return field(default=default, metadata=rules)


@dataclass
class Options:
    """Options that every recipe takes; a recipe's own dataclass adds to it and overrides `check`."""

    stage: int = option(1, "first stage to run")
    stop_stage: int = option(0, "last stage to run; 0: to the end")
    skip_stages: list = option("", "stages to leave out, as '14 15'")
    dry_run: bool = option(False, "say what each stage would do and why, and do nothing")
    workdir: str = option("", "folder for data/ dump/ exp/ downloads/; empty: the recipe's")
    python: str = option("", "Python that runs the programs; empty: the one that runs this")
    nj: int = option(2, "processes that run side by side, one model or piece of work each", least=1)
    threads: int = option(1, "threads of each process", least=1)
    ngpu: str = option(
        "0", "GPUs of each training on each machine; all: those of this one; any: one, if it has any"
    )

    # No options: whose options are kept in `passed_on`; the options that names of files depend on.
    passes_on: ClassVar[type["Options"] | None] = None
    in_paths = ""

    def __post_init__(self):
        for one in fields(self):
            if one.type is list and isinstance(getattr(self, one.name), str):
                setattr(self, one.name, getattr(self, one.name).split())

    def check(self) -> None:
        """Complete the options, and raise OptionError, naming option and way out, for what can't work."""

    def pick(self, names: str) -> dict[str, Any]:
        """The options of these names, for the settings of a step."""
        return {name: getattr(self, name) for name in names.split()}

    @property
    def going_on(self) -> str:
        """Advice for after the recipe was stopped."""
        again = ", which begin again: leave --resume false away once they run"
        told = f", but for trainings{again}" if getattr(self, "resume", "") == "false" else ""
        return f"the same command goes on from there{told}"

    @property
    def environment(self) -> dict[str, str]:
        """For programs: this project's source, the user's neurons, threads, and a memory allocator that keeps
        what it has: glibc would give each large block back and fault it in again, 15 to 20 % of a step."""
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(self.threads))
        sizes = {"MMAP_THRESHOLD_": 2**32, "TRIM_THRESHOLD_": 2**33, "TOP_PAD_": 2**28}
        memory = {f"MALLOC_{name}": str(size) for name, size in sizes.items()}
        own = {name: os.environ[name] for name in ("IMLSPIKE_NEURONS",) if name in os.environ}
        return {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"} | threads | memory | own


def parse(
    kind: type[Options], words: Sequence[str], others: list[str] | None = None
) -> tuple[dict[str, Any], bool]:
    """Values of the options on a command line, and whether it asks for help.

    `--stage 3` and `--stage=3` are the same, and so are `-` and `_` in names; a switch alone means true.
    Unknown options go to `others`, where there is such a list; of `kind.passes_on` switches are known.

    Raises:
        OptionError: for an unknown option (the nearest is named) or a value of another type.
    """
    known, words = {one.name: one for one in fields(kind)}, list(words)
    switches = {
        one.name for each in (kind, kind.passes_on) if each for one in fields(each) if one.type is bool
    }
    values, help = {}, False
    while words:
        word = words.pop(0)
        if word in ("-h", "--help"):
            help = True
            continue
        if word[:2] != "--" or word == "--":
            told = "options look like '--stage 3' (--help lists all)"
            raise OptionError(f"unexpected argument {word!r}; {told}")
        name, equals, value = word[2:].partition("=")
        name = name.replace("-", "_")
        if name not in known and others is None:
            near = difflib.get_close_matches(name, known, 1, 0.5)
            hint = f"; did you mean --{near[0]}?" if near else ""
            raise OptionError(f"unknown option --{name}{hint} (--help lists all)")
        if not equals and name in switches and (not words or words[0].startswith("--")):
            value = "true"
        elif not equals:
            if not words:
                raise OptionError(f"option --{name} needs a value")
            value = words.pop(0)
        if name in known:
            values[name] = _convert(known[name], value)
        else:
            others += [f"--{name}", value]
    return values, help


def _convert(one: Field, text: str) -> Any:
    choices, least, most = (one.metadata[key] for key in ("choices", "least", "most"))
    choices = ["true", "false"] if one.type is bool else choices
    if not text.strip() and not one.metadata["empty"]:
        raise OptionError(f"--{one.name} is empty; expected {one.metadata['help']}")
    if longest := next((part for part in re.split(r"[\s/]+", text) if len(part) > LONGEST), ""):
        told = f"holds {longest[:40]}..., {len(longest)} characters; the name of a file has at most {LONGEST}"
        raise OptionError(f"--{one.name} {told}")
    words = text.split() if one.type is list else [text]
    if wrong := [word for word in words if choices and word not in choices]:
        raise OptionError(f"--{one.name} is {wrong[0]!r}; expected one of: {' '.join(choices)}")
    if one.type not in (int, float):
        return {list: words, bool: text == "true"}.get(one.type, text)
    try:
        number = one.type(text)
    except ValueError:
        number = math.nan
    if not (least <= number <= most and number < math.inf):
        kind = "a whole number" if one.type is int else "a number"
        wanted = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
        raise OptionError(f"--{one.name} is {text!r}; expected {kind} {wanted}")
    return number


def usage(kind: type, defaults: dict[str, Any]) -> str:
    """The text of --help: each option with its default, that of the recipe where it has one of its own."""
    lines = ["Options (default in brackets):"]
    for one in fields(kind):
        value = defaults.get(one.name, one.default)
        shown = " ".join(value) if isinstance(value, list) else value
        shown = str(shown).lower() if isinstance(shown, bool) else shown
        choices = ", ".join(one.metadata["choices"])
        told = one.metadata["help"] + (f" ({choices})" if choices else "")
        lines.append(f"  --{one.name:<22} {told} [{shown}]")
    return "\n".join(lines)


def filled(text: str, what: str, **words: str) -> str:
    """`text` with a word for each {name} in it; OptionError for another name."""
    try:
        return text.format(**words)
    except (LookupError, ValueError, AttributeError):
        known = " and ".join(f"{{{name}}}" for name in words)
        raise OptionError(f"{what} is {text!r}; of braces it may hold {known}") from None


def existing(path: str, what: str) -> str:
    """The absolute path of what is here or in the project's folder; OptionError, naming the nearest, if it is
    in neither."""
    for folder in (Path.cwd(), ROOT):
        if os.path.exists(folder / path):  # False, too, for a name that no file can have
            return str((folder / path).resolve())
    parent, name = os.path.split(path)
    folders = [top / parent for top in (Path.cwd(), ROOT) if os.path.isdir(top / parent)]
    there = [entry for folder in folders if os.access(folder, os.R_OK) for entry in os.listdir(folder)]
    near = difflib.get_close_matches(name, there, 1, 0.5)
    hint = f"; did you mean {os.path.join(parent, near[0])}?" if near else ""
    raise OptionError(f"{what}: there is no {path}, neither here ({Path.cwd()}) nor in {ROOT}{hint}")
