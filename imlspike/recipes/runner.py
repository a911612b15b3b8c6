"""The stage runner: which step of a recipe has to be done, why, and doing it.

A recipe is a list of steps, each a function of the options with a decorator that names its stage, its inputs
and its outputs:

    @recipe.stage(5, "tokens", inputs=lambda o: ["data/train/text"], outputs=lambda o: ["dump/tokens.txt"],
                  settings="nbpe")
    def make_tokens(o): ...

A step that has ended well leaves `.done/<function>.json` beside its first output, with checksums of its
inputs' contents and its settings. It is done again when one of these differs or an output is missing, and
says which. With `each` a step is done for several items (models, sets), `jobs` of them side by side.
"""

import fcntl
import fnmatch
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from imlspike.data.files import atomic_write
from imlspike.recipes.options import OptionError, Options
from imlspike.recipes.processes import RecipeError
from imlspike.recipes.progress import follow, log

Paths = Callable[..., Iterable[str]]


@dataclass(frozen=True)
class Step:
    """A function of a recipe and what it depends on; callables get the options, then the item's parts.

    Attributes:
        number, title: of its stage.
        run: does the work, in the recipe's folder.
        each: the items, tuples; one empty one where the step is done once.
        inputs, outputs: files (of inputs also folders, of which the listing counts). Outputs may be patterns:
            those are not looked for after the work.
        settings: names of options, or a function that gives a dict; nested dicts are compared key by key.
        when: why the step is left out; empty where it isn't.
        jobs: how many items are done side by side; None: one after the other, in this process.
        follow: gives what tells of progress, from the options and the list of items.
        checkpoint: a file from which an interrupted item goes on, and patterns of what to remove to begin
            again: a step with it heeds --resume.
        always: done each time, quick work such as a report.
    """

    number: int
    title: str
    run: Callable
    each: Callable[[Any], Iterable[tuple]]
    inputs: Paths
    outputs: Paths
    settings: str | Callable[..., dict]
    when: Callable[[Any], str]
    jobs: Callable[[Any], int] | None
    follow: Callable | None
    checkpoint: Callable | None
    always: bool


class Recipe:
    """The steps of a task, in their order, and the class of its options."""

    def __init__(self, name: str, options: type[Options]):
        self.name, self.options, self.steps = name, options, []

    def stage(
        self, number: int, title: str, *, each=lambda o: [()], inputs: Paths = lambda o, *item: [],
        outputs: Paths = lambda o, *item: [], settings="", when=lambda o: "", jobs=None, follow=None,
        checkpoint=None, always: bool = False,
    ) -> Callable[[Callable], Callable]:  # fmt: skip
        """Declare a step; see `Step`."""

        def add(run: Callable) -> Callable:
            given = (each, inputs, outputs, settings, when, jobs, follow, checkpoint, always)
            self.steps.append(Step(number, title, run, *given))
            return run

        return add

    def step(self, name: str) -> Step:
        """The step whose function has this name."""
        return next(step for step in self.steps if step.run.__name__ == name)


@dataclass
class Item:
    """A step for one item: what it depends on, and where its record is."""

    step: Step
    options: Options
    parts: tuple

    def __post_init__(self):
        self.inputs = list(map(str, self.step.inputs(self.options, *self.parts)))
        self.outputs = list(map(str, self.step.outputs(self.options, *self.parts)))
        self.name = " ".join(map(str, self.parts)) or self.step.title

    @property
    def record(self) -> Path:
        return Path(self.outputs[0]).parent / ".done" / f"{self.step.run.__name__}.json"

    def signature(self) -> dict[str, Any]:
        settings = self.step.settings
        if isinstance(settings, str):
            settings = {name: getattr(self.options, name) for name in settings.split()}
        else:
            settings = settings(self.options, *self.parts)
        return json.loads(json.dumps({"settings": settings, "inputs": {path: digest(path) for path in self.inputs}}))

    def reason(self) -> str:
        """Why it has to be done; empty where it is done."""
        if self.step.always:
            return "quick, done each time"
        if self.step.checkpoint and self.options.resume == "false":
            return "to begin again (--resume false)"
        if not self.record.is_file():
            return "not done before"
        if missing := [path for path in self.outputs if not _pattern(path) and not os.path.exists(path)]:
            return f"{missing[0]} is missing"
        return "; ".join(difference(json.loads(self.record.read_text()), self.signature()))

    def do(self) -> None:
        """Do the work, unless it is done, and leave a record.

        Raises:
            RecipeError: another call is at it, or an earlier training had other settings.
        """
        if self.step.always:
            return self.step.run(self.options, *self.parts)
        with _sole(self.record.with_suffix(".lock"), self.record.parents[1]):
            why = self.reason()
            if not why:
                made = time.strftime("%F %T", time.localtime(self.record.stat().st_mtime))
                log(f"  {self.name}: skipped because inputs and settings are those of {made} (again: rm {self.record})")
                return
            log(f"  {self.name}: {why}")
            self._settle_earlier()
            signature = self.signature()
            self.record.unlink(missing_ok=True)
            self.step.run(self.options, *self.parts)
            if missing := [path for path in self.outputs if not _pattern(path) and not os.path.exists(path)]:
                raise RecipeError(f"stage {self.step.number} ({self.name}) ended without {missing[0]}")
            self.record.parent.mkdir(exist_ok=True)  # the work may have made the folder anew
            with atomic_write(self.record) as out:
                json.dump(signature, out, indent=1, ensure_ascii=False)

    def _settle_earlier(self) -> None:
        """See to it that a checkpoint of other settings is never taken up in silence."""
        if not self.step.checkpoint:
            return
        checkpoint, *patterns = self.step.checkpoint(self.options, *self.parts)
        folder, started, signature = Path(checkpoint).parent, self.record.with_suffix(".begun"), self.signature()
        with _sole(folder / ".training", folder):  # the trainer's own lock: one that runs elsewhere holds it
            pass
        if self.options.resume == "false":
            for path in [path for pattern in patterns for path in folder.glob(pattern)]:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        elif self.options.resume == "true" and os.path.exists(checkpoint):
            before = json.loads(started.read_text()) if started.is_file() else {}
            if changed := difference(before, signature):
                raise RecipeError(
                    f"{checkpoint} is of a training with other settings or data: {'; '.join(changed)}. Begin again "
                    "with --resume false, go on from it with --resume anyway, or take another --workdir or name"
                )
        with atomic_write(started) as out:
            json.dump(signature, out)


@contextmanager
def _sole(path: Path, folder: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RecipeError(f"another process is at work in {folder}; wait for it or end it") from None
        yield


def difference(before: dict, now: dict) -> list[str]:
    """What differs between two signatures, a sentence each, three at most.

    >>> difference({"settings": {"a": {"b": 1}}, "inputs": {}}, {"settings": {"a": {"b": 2}}, "inputs": {}})
    ['a.b was 1 and is 2']
    """
    old, new = (_flat(one.get("settings", {})) for one in (before, now))
    told = [f"{key} was {old.get(key)} and is {new.get(key)}" for key in sorted(old.keys() | new.keys())
            if old.get(key) != new.get(key)]  # fmt: skip
    old, new = (one.get("inputs", {}) for one in (before, now))
    told += [f"{path} has changed" for path in new if path in old and old[path] != new[path]]
    told += [f"{path} is another input" for path in sorted(old.keys() ^ new.keys())]
    return told[:3] + ([f"and {len(told) - 3} more"] if len(told) > 3 else [])


def _flat(settings: dict, head: str = "") -> dict[str, Any]:
    found = {}
    for key, value in settings.items():
        found |= _flat(value, f"{head}{key}.") if isinstance(value, dict) else {f"{head}{key}": value}
    return found


def digest(path: str) -> str | None:
    """A checksum of a file's content, or of a folder's names, sizes and times; None where there is nothing."""
    if os.path.isdir(path):
        listing = sorted((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in Path(path).rglob("*") if p.is_file())
        return hashlib.blake2b(repr(listing).encode(), digest_size=16).hexdigest()
    if not os.path.exists(path):
        return None
    state = os.stat(path)
    return _content(os.path.realpath(path), state.st_size, state.st_mtime_ns)


@cache
def _content(path: str, size: int, time_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _pattern(path: str) -> bool:
    return "*" in path


class Run:
    """The stages of a recipe that the options ask for."""

    def __init__(self, recipe: Recipe, options: Options):
        self.recipe, self.options = recipe, options
        numbers = sorted({step.number for step in recipe.steps})
        options.stop_stage = options.stop_stage or numbers[-1]
        skipped = {int(word) for word in options.skip_stages if word.isdigit()}
        for name in ("stage", "stop_stage"):
            if getattr(options, name) not in numbers:
                told = f"there are stages {numbers[0]} to {numbers[-1]}"
                raise OptionError(f"--{name} is {getattr(options, name)}; {told}")
        if wrong := [word for word in options.skip_stages if not word.isdigit() or int(word) not in numbers]:
            raise OptionError(f"--skip_stages: there is no stage {wrong[0]}")
        self.steps = [
            step for step in recipe.steps
            if options.stage <= step.number <= options.stop_stage and step.number not in skipped
        ]  # fmt: skip
        if not self.steps:
            raise OptionError("no stage is left: see --stage, --stop_stage and --skip_stages")

    def plan(self) -> list[tuple[Step, Item | None, str]]:
        """What would be done: step, item, and why or why not.

        Raises:
            RecipeError: a step's input is neither there nor made by an earlier step.
        """
        rows, outputs, anew = [], [], {}
        for step in self.steps:
            if why_not := step.when(self.options):
                rows.append((step, None, why_not))
                continue
            for item in (Item(step, self.options, parts) for parts in step.each(self.options)):
                for path in item.inputs:
                    if not os.path.exists(path) and not any(fnmatch.fnmatch(path, one) for one in outputs):
                        raise RecipeError(f"stage {step.number} ({step.title}) needs {path}{self._maker(path)}")
                why = item.reason()
                if not why and (made := [path for path in item.inputs if path in anew]):
                    why = f"if stage {anew[made[0]]} changes {made[0]}"
                rows.append((step, item, why))
                outputs += item.outputs
                anew |= dict.fromkeys(item.outputs, step.number) if why else {}
        return rows

    def _maker(self, path: str) -> str:
        for step in self.recipe.steps:
            if not step.when(self.options):
                for parts in step.each(self.options):
                    if any(fnmatch.fnmatch(path, str(one)) for one in step.outputs(self.options, *parts)):
                        return f", which stage {step.number} ({step.title}) makes: begin with --stage {step.number}"
        return ", which isn't there"

    def tell(self) -> None:
        """Print the plan, for --dry_run."""
        last = None
        for step, item, why in self.plan():
            if step is not last:
                print(f"stage {step.number}: {step.title}")
            last = step
            if item is None:
                print(f"  left out: {why}")
            else:
                print(f"  {item.name}: {f'would run: {why}' if why else 'done before, would be skipped'}")

    def go(self) -> None:
        """Run the stages.

        Raises:
            RecipeError: what stopped it; items side by side have all ended then.
        """
        self.plan()
        for step in self.steps:
            log(f"stage {step.number}: {step.title}")
            if why_not := step.when(self.options):
                log(f"  {why_not}")
                continue
            try:
                self._do(step)
            except RecipeError as error:
                where = f"stopped in stage {step.number} ({step.title}). The same command goes on from there and does"
                raise RecipeError(f"{error}\n{where} nothing twice.") from error

    def _do(self, step: Step) -> None:
        items = [Item(step, self.options, parts) for parts in step.each(self.options)]
        with ExitStack() as during:
            if step.follow:
                during.enter_context(follow(step.follow(self.options, [item.parts for item in items])))
            if step.jobs is None:
                for item in items:
                    item.do()
                return
            pool = during.enter_context(ThreadPoolExecutor(step.jobs(self.options)))
            pending = [pool.submit(item.do) for item in items]
            failed = [error for error in (one.exception() for one in pending) if error]
        for error in failed[1:]:
            log(f"  {error}")
        if failed:
            raise failed[0]
