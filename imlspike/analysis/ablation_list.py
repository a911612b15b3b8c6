"""Which runs an ablation list asks for.

A run is the experiment folder ``NAME_sSEED``. NAME is ``base``, the model as it is, or an override YAML that
turns one factor.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

BASE = "base"


@dataclass(frozen=True)
class Run:
    """One training of a list: an ablation (`override` is None for ``base``) with one seed."""

    ablation: str
    override: Path | None
    seed: int

    @property
    def name(self) -> str:
        """That of its experiment folder.

        >>> Run("decay_none", Path("conf/ablations/decay_none.yaml"), 1).name
        'decay_none_s1'
        """
        return f"{self.ablation}_s{self.seed}"


def read_list(
    text: str, seeds: Iterable[int] = (0,), folder="conf/ablations", places: Iterable = (".",)
) -> list[Run]:
    """The runs that a list asks for, in its order, each once.

    A line is ``NAME ... [: SEED ...]``; what follows a ``#`` is a remark. A line goes seed by seed, all its
    names with the first seed before any with the second, so that a list which is stopped leaves pairs to
    compare.

    Args:
        text: the list, or the path of a file that holds it (it ends in ``.txt``). NAME is ``base``, a file of
            `folder` without its ``.yaml``, or the path of another YAML.
        seeds: of lines that name none.
        folder: where the overrides are.
        places: the folders from which the paths may start.

    Raises:
        ValueError: for a name without a file (the nearest is named), a seed that is no whole number, or an
            empty list.

    >>> [run.name for run in read_list("base : 0 1")]
    ['base_s0', 'base_s1']
    """
    where = "list"
    if text.endswith(".txt"):
        if (file := _existing(text, places)) is None:
            raise ValueError(f"there is no list {text}")
        text, where = file.read_text(encoding="utf-8"), text
    runs = {}
    for number, line in enumerate(text.splitlines(), start=1):
        names, colon, own_seeds = line.partition("#")[0].partition(":")
        try:
            used = [int(seed) for seed in own_seeds.split()] if colon else list(seeds)
            overrides = {name: _override(name, folder, places) for name in names.split()}
        except ValueError as error:
            raise ValueError(f"{where}, line {number}: {error}") from None
        for seed in used:
            for name, path in overrides.items():
                run = Run(path.stem if path else name, path, seed)
                runs.setdefault(run.name, run)
    if not runs:
        raise ValueError(f"{where}: no runs; expected lines such as 'base decay_none : 0 1 2'")
    return list(runs.values())


def _existing(path, places):
    found = (Path(place) / path for place in places)
    return next((file for file in found if file.is_file()), None)


def _override(name, folder, places):
    """The YAML of a name of the list; None for the base."""
    if name == BASE:
        return None
    file = name if name.endswith(".yaml") else f"{folder}/{name}.yaml"
    if (path := _existing(file, places)) is not None:
        return path
    known = [path.stem for place in places for path in (Path(place) / folder).glob("*.yaml")]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"there are: {BASE} {' '.join(sorted(set(known)))}"
    raise ValueError(f"there is no {file}; {hint}")


def turns(override: Path | None) -> str:
    """What an override turns: the comment in its first line."""
    if override is None:
        return ""
    first = override.read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ") if first.startswith("#") else override.name
