"""`python -m imlspike.recipes TASK RUN_SH [options of the recipe] -- [options]`: run the stages of a recipe.

TASK is asr, tts, vocoder or ablate. A recipe's run.sh calls it with its own name and its configuration.
"""

import os
import shlex
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from imlspike.recipes.options import OptionError, parse, usage
from imlspike.recipes.processes import RecipeError, children
from imlspike.recipes.progress import start_clock
from imlspike.recipes.runner import Run

TASKS = ("asr", "tts", "vocoder", "ablation")


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; returns the exit status: 2 for a wrong option, 1 for a failure."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if len(argv) < 2 or argv[0] not in TASKS:
        print(__doc__, file=sys.stderr)
        return 2
    task, script, *words = argv
    cut = words.index("--") if "--" in words else len(words)
    here, name = os.getcwd(), os.path.basename(script)
    recipe = import_module(f"imlspike.recipes.{task}").recipe
    before = {
        number: signal.signal(number, _stop) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    }
    start_clock()
    try:
        others = [] if recipe.options.passes_on else None
        own, _ = parse(recipe.options, words[:cut], others)
        given, help = parse(recipe.options, words[cut + 1 :], others)
        if help:
            print(usage(recipe.options, own))
            return 0
        options = recipe.options(**own | given)
        options.passed_on = others
        options.command = shlex.join([script, *words[cut + 1 :]])
        options.python = options.python or sys.executable
        options.workdir = os.path.abspath(options.workdir or os.path.dirname(script))
        options.check()
        run = Run(recipe, options)
        if options.dry_run:
            if os.path.isdir(options.workdir):
                os.chdir(options.workdir)
            run.tell()
            return 0
        Path(options.workdir).mkdir(parents=True, exist_ok=True)
        os.chdir(options.workdir)
        run.go()
    except OptionError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except (RecipeError, OSError, ValueError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    finally:
        children.end()
        children.ending = False
        os.chdir(here)
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _stop(number: int, frame) -> None:
    children.end()
    print(f"\nstopped by {signal.Signals(number).name}; the same command goes on from there", file=sys.stderr)
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
