"""The stage runner: do what has to be done of a recipe, and say why.

A recipe is a list of steps, each a function of the options. Its docstring begins with the title; it yields
what it needs and makes, then does the work:

    @recipe.stage(5)
    def make_tokens(o):
        '''Tokens.'''
        yield Needs(["data/train/text"], makes=["dump/tokens.txt"], settings=o.pick("nbpe"))
        ...

A step that has ended well leaves `.done/<function>.json` beside its first output, with checksums of its
inputs' contents and its settings. It is done again when one of these differs or an output is missing, and
says which. With `each` a step is done for several items (models, sets), `jobs` of them side by side.
"""

import fcntl
import fnmatch
import glob
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from imlspike.data.files import atomic_write, make_folder
from imlspike.data.yaml_file import flat
from imlspike.recipes.options import OptionError, Options
from imlspike.recipes.processes import RecipeError
from imlspike.recipes.progress import Count, Log, follow, log

_removal = threading.Lock()


@dataclass(frozen=True)
class Needs:
    """The dependencies of a step.

    Attributes:
        inputs: files, and folders of which the listing counts.
        makes: files; may be patterns, which are not looked for after the work.
        settings: nested dicts are compared key by key.
        checkpoint: a file from which an interrupted item goes on, and patterns beside it of what to remove to
            begin again: a step with it heeds --resume.
        follow: tells of progress.
        always: done each time, quick work such as a report; or the reason to do it.
        results: of a training, patterns of what was made of its weights: removed before it changes them, so
            that nothing is told of a model that another made.
    """

    inputs: Sequence[str] = ()
    makes: Sequence[str] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    checkpoint: Sequence[str] = ()
    follow: Log | Count | None = None
    always: bool | str = False
    results: Sequence[str] = ()

    def make(self, path: str) -> bool:
        """True if `path` is among what is made."""
        return any(fnmatch.fnmatch(path, pattern) for pattern in self.makes)


@dataclass(frozen=True)
class Step:
    """A function of a recipe.

    Attributes:
        number: of its stage.
        run: yields `Needs`, then does the work, in the recipe's folder.
        each: the items, names or tuples of further arguments; an empty one where the step is done once.
        when: why the step is left out; empty where it isn't.
        jobs: how many items are done side by side; None: one after the other, in this process.
    """

    number: int
    run: Callable[..., Iterator]
    each: Callable[[Any], Iterable[str | tuple]]
    when: Callable[[Any], str]
    jobs: Callable[[Any], int] | None

    @property
    def title(self) -> str:
        first = self.run.__doc__.partition("\n")[0].rstrip(".")
        return first[0].lower() + first[1:]

    def items(self, options: Options) -> list["Item"]:
        items = self.each(options)
        return [Item(self, options, item if isinstance(item, tuple) else (item,)) for item in items]


def asked(option: str, example: str) -> Callable[[Any], str]:
    """A `when` that leaves a step out unless an option is given."""
    return lambda o: "" if getattr(o, option) else f"not asked for (--{option} {example})"


class Recipe:
    """The steps of a task, in their order, and the class of its options."""

    def __init__(self, options: type[Options]):
        self.options, self.steps = options, []

    def stage(self, number: int, each=lambda o: [()], when=lambda o: "", jobs=None) -> Callable:
        """Declare a step, see `Step`."""

        def add(run: Callable) -> Step:
            step = Step(number, run, each, when, jobs)
            self.steps = sorted([*self.steps, step], key=lambda each: each.number)
            return step

        return add


class Item:
    """A step for one item: what it depends on, and where its record is."""

    def __init__(self, step: Step, options: Options, names: tuple):
        self.step, self.options, self.work = step, options, step.run(options, *names)
        self.needs: Needs = next(self.work)
        if not (self.needs.makes or self.needs.always):
            raise ValueError(f"stage {step.number}, {step.title}: its Needs name no file that it makes")
        self.name = " ".join(map(str, names)) or step.title

    @property
    def record(self) -> Path:
        return Path(self.needs.makes[0]).parent / ".done" / f"{self.step.run.__name__}.json"

    def missing(self) -> list[str]:
        """Outputs that aren't there."""
        return [path for path in self.needs.makes if "*" not in path and not os.path.exists(path)]

    def signature(self) -> dict[str, Any]:
        """Settings and checksums of the inputs, as the record holds them."""
        inputs = {path: digest(path) for path in self.needs.inputs}
        found = {"settings": self.needs.settings, "inputs": inputs}
        return json.loads(json.dumps(found | {"options": self.options.pick(self.options.in_paths)}))

    def reason(self) -> str:
        """Why it has to be done; empty where it is done."""
        if self.needs.always:
            return "quick, done each time" if self.needs.always is True else self.needs.always
        if self.needs.checkpoint and self.options.resume == "false":
            return "to begin again (--resume false)"
        if not self.record.is_file():
            begun = self.needs.checkpoint and os.path.exists(self.needs.checkpoint[0])
            return f"goes on from {self.needs.checkpoint[0]}" if begun else "not done before"
        if missing := self.missing():
            return f"{missing[0]} is missing"
        return "; ".join(difference(read_record(self.record), self.signature()))

    def refusal(self, pending: bool = False) -> str:
        """Why a training isn't taken up: its checkpoint is of other settings or data; empty where it is.

        Where inputs are `pending`, not made yet, their contents are taken to be the same.
        """
        checkpoint, *_ = self.needs.checkpoint or [""]
        if not checkpoint or self.options.resume != "true" or not os.path.exists(checkpoint):
            return ""
        begun, now = read_record(self.record.with_suffix(".begun")), self.signature()
        if pending:
            now["inputs"] = {path: begun["inputs"].get(path) for path in now["inputs"]}
        changed = difference(begun, now)
        return changed and (
            f"{checkpoint} is of a training with other settings or data: {'; '.join(changed)}. Begin again "
            "with --resume false, go on from it with --resume anyway, or take another name or --workdir"
        )

    def do(self) -> None:
        """Do the work, unless it is done, and leave a record.

        Raises:
            RecipeError: another call is at it, or an earlier training had other settings.
        """
        if self.needs.always:
            return next(self.work, None)
        with _sole(self.record.with_suffix(".lock"), self.record.parents[1]):
            if absent := [path for path in self.needs.inputs if not os.path.exists(path)]:
                raise RecipeError(f"{self.name} needs {absent[0]}, {not_there(absent[0])}")
            if not (why := self.reason()):
                made = time.strftime("%F %T", time.localtime(self.record.stat().st_mtime))
                told = f"inputs and settings are those of {made} (again: rm {self.record})"
                return log(f"  {self.name}: skipped because {told}")
            log(f"  {self.name}: {why}")
            signature = self.signature()
            if self.needs.checkpoint:
                self._settle_earlier(signature)
            self.record.unlink(missing_ok=True)
            next(self.work, None)
            if missing := self.missing():
                raise RecipeError(f"stage {self.step.number} ({self.name}) ended without {missing[0]}")
            write_record(self.record, signature)

    def _settle_earlier(self, signature: dict[str, Any]) -> None:
        """See to it that a checkpoint of other settings is never taken up in silence."""
        checkpoint, *patterns = self.needs.checkpoint
        folder = Path(checkpoint).parent
        with _sole(folder / ".training", folder):  # the trainer's own lock: one that runs elsewhere holds it
            pass
        if self.options.resume == "false":
            _remove([path for pattern in patterns for path in folder.glob(pattern)])
        elif refusal := self.refusal():
            raise RecipeError(refusal)
        with _removal:  # items side by side have scores and report in common
            if found := sorted({path for pattern in self.needs.results for path in glob.glob(pattern)}):
                log(f"  {self.name}: removed what was made of earlier weights: {' '.join(found)}")
                _remove(map(Path, found))
        write_record(self.record.with_suffix(".begun"), signature)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def read_record(path: Path) -> dict[str, Any]:
    """The signature in a record; an empty one where there is none or it can't be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"settings": {}, "inputs": {}}


def write_record(path: Path, signature: dict[str, Any]) -> None:
    """Write a signature; its folder is made, for the work may have made the one around it anew."""
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path) as out:
        json.dump(signature, out, indent=1, ensure_ascii=False)


@contextmanager
def _sole(path: Path, folder: Path) -> Iterator[None]:
    make_folder(path.parent)
    with open(path, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RecipeError(f"another process is at work in {folder}; wait for it or end it") from None
        yield


def difference(before: dict, now: dict) -> list[str]:
    """The differences between two signatures, a sentence each, three at most.

    >>> difference({"settings": {"a": {"b": 1}}, "inputs": {}}, {"settings": {"a": {"b": 2}}, "inputs": {}})
    ['a.b was 1 and is 2']

    Of other inputs the options are told by which their names came about, where these are known.
    """
    old, new = (dict(flat(one["settings"])) for one in (before, now))
    changed = [k for k in sorted(old | new) if (k in old, old.get(k)) != (k in new, new.get(k))]
    told = [f"{key} was {old.get(key)} and is {new.get(key)}" for key in changed]
    old, new = before["inputs"], now["inputs"]
    told += [f"{path} has changed" for path in new if path in old and old[path] != new[path]]
    if others := sorted(old.keys() ^ new.keys()):
        old, new = (one.get("options", {}) for one in (before, now))
        changed = [key for key in new if key in old and old[key] != new[key]]
        named = [f"--{key} was {_words(old[key])} and is {_words(new[key])}" for key in changed]
        told += named or [f"{path} is another input" for path in others]
    return told[:3] + ([f"and {len(told) - 3} more"] if len(told) > 3 else [])


def _words(value: object) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)


def siblings(path: str) -> list[str]:
    """Names of the files of the same ending in the folder of a file."""
    end = Path(path).suffix
    return sorted(file.name for file in Path(path).parent.glob(f"*{end}")) if end else []


def not_there(path: str) -> str:
    """A clause on a file that is missing."""
    there = siblings(path)
    return "which isn't there" + (f"; there are: {' '.join(there)}" if there else "")


def digest(path: str) -> str | None:
    """A checksum of a file's content, or of a folder's names, sizes and times; None if there is nothing."""
    if not os.path.exists(path):
        return None
    if not os.path.isdir(path):
        return _content(os.path.realpath(path), os.stat(path).st_size, os.stat(path).st_mtime_ns)
    files = sorted(os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
    states = [(os.path.relpath(file, path), os.stat(file)) for file in files if os.path.exists(file)]
    listing = [(name, state.st_size, state.st_mtime_ns) for name, state in states]
    return hashlib.blake2b(repr(listing).encode(), digest_size=16).hexdigest()


@cache
def _content(path: str, size: int, time_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


class Run:
    """The stages of a recipe that the options ask for."""

    def __init__(self, recipe: Recipe, options: Options):
        self.recipe, self.options = recipe, options
        numbers = sorted({step.number for step in recipe.steps})
        options.stop_stage = options.stop_stage or numbers[-1]
        for name in ("stage", "stop_stage"):
            if getattr(options, name) not in numbers:
                told = f"there are stages {numbers[0]} to {numbers[-1]}"
                raise OptionError(f"--{name} is {getattr(options, name)}; {told}")
        if wrong := set(options.skip_stages) - set(map(str, numbers)):
            raise OptionError(f"--skip_stages: there is no stage {min(wrong)}")
        asked = {*map(str, range(options.stage, options.stop_stage + 1))} - {*options.skip_stages}
        self.steps = [step for step in recipe.steps if str(step.number) in asked]
        if not self.steps:
            raise OptionError("no stage is left: see --stage, --stop_stage and --skip_stages")

    def plan(self) -> tuple[list[tuple[Step, str]], list[str]]:
        """The steps, each with a line on what would be done and why, and why trainings would be refused.

        Raises:
            RecipeError: a step's input is neither there nor made by an earlier step.
        """
        rows, refused, earlier, anew = [], [], [], {}
        for step in self.steps:
            if why_not := step.when(self.options):
                rows.append((step, f"left out: {why_not}"))
                continue
            for item in step.items(self.options):
                for path in item.needs.inputs:
                    if not (os.path.exists(path) or any(needs.make(path) for needs in earlier)):
                        needing = f"stage {step.number} ({step.title}) needs {path}"
                        raise RecipeError(f"{needing}, {self._maker(path)}")
                why, made = item.reason(), [path for path in item.needs.inputs if path in anew]
                if not why and made:
                    why = f"if stage {anew[made[0]]} changes {made[0]}"
                told = f"would run: {why}" if why else "done before, would be skipped"
                if why and (refusal := item.refusal(pending=bool(made))):
                    refused.append(refusal)
                    told = f"would be refused: {refusal}"
                rows.append((step, f"{item.name}: {told}"))
                # What is done makes no more files; which of its patterns' there are can be seen.
                makes = [path for path in item.needs.makes if why or "*" not in path]
                earlier.append(replace(item.needs, makes=makes))
                anew |= dict.fromkeys(makes, step.number) if why else {}
        return rows, refused

    def _maker(self, path: str) -> str:
        for step in (step for step in self.recipe.steps if not step.when(self.options)):
            for item in step.items(self.options):
                if path in item.needs.makes or item.needs.make(path) and not siblings(path):
                    return f"which stage {step.number} ({step.title}) makes: begin with --stage {step.number}"
        return not_there(path)

    def tell(self) -> None:
        """Print the plan, for --dry_run; RecipeError if the run itself would refuse a training."""
        last, (rows, refused) = None, self.plan()
        for step, told in rows:
            print(*([] if step is last else [f"stage {step.number}: {step.title}"]), f"  {told}", sep="\n")
            last = step
        if refused:
            raise RecipeError(refused[0])

    def go(self) -> None:
        """Run the stages.

        Raises:
            RecipeError: what stopped it; items side by side have all ended then.
        """
        if refused := self.plan()[1]:
            raise RecipeError(refused[0])
        for step in self.steps:
            log(f"stage {step.number}: {step.title}")
            if why_not := step.when(self.options):
                log(f"  {why_not}")
                continue
            try:
                self._do(step)
            except RecipeError as error:
                where = f"stopped in stage {step.number} ({step.title})"
                raise RecipeError(f"{error}\n{where}; {self.options.going_on}") from error

    def _do(self, step: Step) -> None:
        items = step.items(self.options)
        with follow([item.needs.follow for item in items if item.needs.follow]):
            if step.jobs is None:
                for item in items:
                    item.do()
                return
            with ThreadPoolExecutor(step.jobs(self.options)) as pool:
                pending = [pool.submit(item.do) for item in items]
                failed = [error for error in (one.exception() for one in pending) if error]
        for error in failed[1:]:
            log(f"  {error}")
        if failed:
            raise failed[0]
