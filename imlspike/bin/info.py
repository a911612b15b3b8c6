"""Show versions, the device, and which optional extras are installed.

``imlspike info`` is what to paste into a report of a problem.
"""

import argparse
import importlib.metadata
import os
import platform
import re
from collections.abc import Sequence

import imlspike
from imlspike.bin._command import EPILOG, command


def device() -> str:
    """The GPU's name, or the number of CPU threads."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a broken CUDA library
        return f"unknown, torch does not load: {error}"
    if torch.cuda.is_available():
        return f"cuda, {torch.cuda.get_device_name()}"
    return f"cpu, {torch.get_num_threads()} threads on {os.cpu_count()} cores"


def extras() -> list[str]:
    """Lines about the packages that the core and each extra require."""
    try:
        requirements = importlib.metadata.requires("imlspike") or []
    except importlib.metadata.PackageNotFoundError:
        return ["run from source without being installed: no list of extras"]
    versions: dict[str, dict[str, str | None]] = {}
    for requirement in requirements:  # as 'lhotse>=1.33; extra == "asr"'
        package = re.match(r"[\w.-]+", requirement).group()
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)", requirement)
        if package == "imlspike":  # "all" names the other extras
            continue
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            version = None
        versions.setdefault(extra.group(1) if extra else "core", {})[package] = version
    lines = []
    for extra, found in versions.items():
        missing = ", ".join(package for package, version in found.items() if version is None)
        state = f"missing {missing}: pip install 'imlspike[{extra}]'" if missing else "installed"
        lines += ["", f"{extra}: {state}"]
        lines += [f"  {package:<16} {version}" for package, version in found.items() if version]
    return lines


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Command line of ``imlspike info``; prints the report."""
    about = {"description": __doc__.partition("\n")[0], "epilog": EPILOG}
    argparse.ArgumentParser(prog="imlspike info", **about).parse_args(argv)
    print(f"imlspike {imlspike.__version__}")
    print(f"python   {platform.python_version()} on {platform.platform()}")
    print(f"device   {device()}", *extras(), sep="\n")
    return 0
