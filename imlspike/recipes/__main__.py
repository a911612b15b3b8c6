"""`python -m imlspike.recipes TASK RUN_SH [options of the recipe] -- [options]`: run the stages of a recipe.

TASK is asr, tts, vocoder or ablation. A recipe's run.sh calls it with its own name and its configuration.
"""

import errno
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from imlspike.bin._command import pipe_closed
from imlspike.data.files import OutputError, make_folder
from imlspike.recipes.options import OptionError, parse, usage
from imlspike.recipes.processes import RecipeError, children
from imlspike.recipes.progress import start_clock
from imlspike.recipes.runner import Recipe, Run

TASKS = ("asr", "tts", "vocoder", "ablation")


class Stopped(BaseException):
    """A signal asks the recipe to end; its number is the argument."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; returns the exit status: 2 for a wrong option, 1 for a failure,
    128 more than the number of the signal that stopped it."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if len(argv) < 2 or argv[0] not in TASKS:
        print(__doc__, file=sys.stderr)
        return 2
    here, before = os.getcwd(), {}
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        before[number] = signal.signal(number, _stop)
    start_clock()
    try:
        _run(import_module(f"imlspike.recipes.{argv[0]}"), argv[1], argv[2:])
        sys.stdout.flush()
    except BrokenPipeError:
        return pipe_closed()
    except (RecipeError, OSError, ValueError) as error:
        told = _told(error)
        if isinstance(error, OptionError):  # one line, whatever was given
            told = re.sub(r"(\S{200})\S{100,}", r"\1...", told)
            told = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in told)
        print(f"{os.path.basename(argv[1])}: {told}", file=sys.stderr)
        return 2 if isinstance(error, OptionError) else 1
    except Stopped as stopped:
        number, *told = stopped.args
        print(f"\nstopped by {signal.Signals(number).name}", *told, sep="; ", file=sys.stderr)
        return 128 + number
    finally:
        children.end()
        children.ending = False
        os.chdir(here)
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _run(module: ModuleType, script: str, words: list[str]) -> None:
    """Do what the words ask for: those of the recipe, --, those of its user."""
    recipe: Recipe = module.recipe
    cut = words.index("--") if "--" in words else len(words)
    others = [] if recipe.options.passes_on else None
    own, _ = parse(recipe.options, words[:cut], others)
    given, help = parse(recipe.options, words[cut + 1 :], others)
    if help:
        return print(module.__doc__, usage(recipe.options, own), sep="\n")
    options = recipe.options(**own | given)
    options.passed_on = others
    options.command = shlex.join([script, *words[cut + 1 :]])
    options.python = shutil.which(os.path.expanduser(options.python or sys.executable))
    if not options.python:
        raise OptionError(f"--python: there is no program {given['python']}")
    options.python = os.path.abspath(options.python)
    options.workdir = os.path.abspath(options.workdir or os.path.dirname(script))
    options.check()
    run = Run(recipe, options)
    if not os.path.isdir(options.workdir):
        with tempfile.TemporaryDirectory() as nothing:  # so that what is refused leaves nothing
            os.chdir(nothing)
            run.tell() if options.dry_run else run.plan()
            os.chdir("/")
        if options.dry_run:
            return
    make_folder(options.workdir)
    os.chdir(options.workdir)
    try:
        run.tell() if options.dry_run else run.go()
    except Stopped as stopped:
        raise Stopped(*stopped.args, options.going_on) from None


def _told(error: Exception) -> str:
    """The message of an error; of a file its whole path, and where nothing may be written the way out."""
    if isinstance(error, OutputError) or not (isinstance(error, OSError) and isinstance(error.filename, str)):
        return str(error)
    refused = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
    hint = "; free it, or name a folder that can be written with --workdir" if refused else ""
    return f"{os.path.abspath(error.filename)}: {error.strerror}{hint}"


def _stop(number: int, frame) -> None:
    children.end()
    raise Stopped(number)


if __name__ == "__main__":
    sys.exit(main())
