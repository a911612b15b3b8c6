"""Resolve training YAMLs.

python -m imlspike.bin.config BASE --override YAML --set KEY=VALUE --output FILE [--then BASE ...]
"""

import argparse
import sys

from imlspike.data.yaml_file import ConfigError, dump_yaml, write_yaml


def main(argv: list[str] | None = None) -> int:
    """Check every key, then write or print the YAML that drives each training. Returns the exit status."""
    jobs = [_parse(words) for words in _split(sys.argv[1:] if argv is None else argv)]
    from imlspike.espnet.config import resolve

    for args in jobs:
        try:
            config = resolve(args.base, args.override, args.set, args.task)
            if args.output:
                write_yaml(args.output, config)
        except (ConfigError, OSError) as error:
            print(f"config: {error}", file=sys.stderr)
            return 1
        if not args.output:
            print(dump_yaml(config), end="")
    return 0


def _split(words: list[str]) -> list[list[str]]:
    """The arguments of each configuration.

    >>> _split(["a.yaml", "--then", "b.yaml", "--set", "x=1"])
    [['a.yaml'], ['b.yaml', '--set', 'x=1']]
    """
    jobs: list[list[str]] = [[]]
    for word in words:
        if word == "--then":
            jobs.append([])
        else:
            jobs[-1].append(word)
    return jobs


def _parse(words: list[str]) -> argparse.Namespace:
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
    add("--output", help="the resolved YAML (default: print it)")
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
