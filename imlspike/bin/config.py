"""Resolve training YAMLs.

imlspike config BASE --override YAML --set KEY=VALUE --output FILE [--then BASE ...]
"""

import argparse
import sys

from imlspike.bin._command import command
from imlspike.bin._files import output_file
from imlspike.data.files import make_folder
from imlspike.data.yaml_file import dump_yaml, write_yaml


def split(words: list[str]) -> list[list[str]]:
    """The arguments of each configuration.

    >>> split(["a.yaml", "--then", "b.yaml", "--set", "x=1"])
    [['a.yaml'], ['b.yaml', '--set', 'x=1']]
    """
    if "--then" not in words:
        return [words]
    first = words.index("--then")
    return [words[:first], *split(words[first + 1 :])]


def parse(words: list[str]) -> argparse.Namespace:
    """The options of one configuration."""
    parser = argparse.ArgumentParser(
        prog="imlspike config",
        description=main.__doc__,
        epilog="An override that names a class (encoder: transformer) replaces its encoder_conf as a whole; "
        "all other mappings are merged key by key. After --then comes another configuration with options of "
        "its own; the first that is wrong ends the work.",
    )
    add = parser.add_argument
    add("base", help="training YAML of an ESPnet task")
    add("--task", default="asr", choices=["asr", "tts"], help="which task's (default: asr)")
    add("--override", action="append", default=[], metavar="YAML", help="a file that says only what differs")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="such as encoder_conf.kappa=0.5")
    add("--output", type=output_file, help="the resolved YAML (default: print it)")
    return parser.parse_args(words)


@command
def main(argv: list[str] | None = None) -> None:
    """Check every key, then write or print the YAML that drives each training. Returns the exit status."""
    jobs = [parse(words) for words in split(sys.argv[1:] if argv is None else list(argv))]
    from imlspike.espnet.config import resolve

    for args in jobs:
        config = resolve(args.base, args.override, args.set, args.task)
        if args.output:
            make_folder(args.output.parent)
            write_yaml(args.output, config)
        else:
            print(dump_yaml(config), end="")
