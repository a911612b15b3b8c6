"""Show versions, the device, and which optional extras are installed.

``imlspike info`` is what to paste into a report of a problem.
"""

import argparse
import importlib.metadata
import os
import platform
import re
from collections.abc import Iterable, Sequence

import imlspike


def installed_version(package: str) -> str | None:
    """Version of an installed distribution, or None where it is absent.

    >>> installed_version("no-such-package") is None
    True
    """
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def requirements_by_extra(requirements: Iterable[str]) -> dict[str, list[str]]:
    """Sort requirement lines, as in a distribution's metadata, by the extra that asks for them (or "core").

    >>> requirements_by_extra(["torch>=2.6", 'espnet; extra == "asr"', 'lhotse>=1.33; extra == "asr"'])
    {'core': ['torch'], 'asr': ['espnet', 'lhotse']}
    """
    sorted_out: dict[str, list[str]] = {}
    for requirement in requirements:
        name = re.match(r"[\w.-]+", requirement).group()
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)", requirement)
        sorted_out.setdefault(extra.group(1) if extra else "core", []).append(name)
    return sorted_out


def device() -> str:
    """One line about what torch computes on: the GPU's name, or the number of CPU threads."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a broken CUDA library
        return f"unknown, torch does not load: {error}"
    if torch.cuda.is_available():
        return f"cuda, {torch.cuda.get_device_name()}"
    return f"cpu, {torch.get_num_threads()} threads on {os.cpu_count()} cores"


def report() -> str:
    """The whole text of ``imlspike info``."""
    lines = [
        f"imlspike {imlspike.__version__}",
        f"python   {platform.python_version()} on {platform.platform()}",
        f"device   {device()}",
    ]
    try:
        requirements = importlib.metadata.requires("imlspike") or []
    except importlib.metadata.PackageNotFoundError:
        return "\n".join([*lines, "run from source without being installed: no list of extras"])
    for extra, packages in requirements_by_extra(requirements).items():
        packages = [package for package in packages if package != "imlspike"]  # "all" names the other extras
        if not packages:
            continue
        versions = {package: installed_version(package) for package in packages}
        missing = [package for package, version in versions.items() if version is None]
        state = f"missing {', '.join(missing)}: pip install 'imlspike[{extra}]'" if missing else "installed"
        lines += ["", f"{extra}: {state}"]
        lines += [f"  {package:<16} {version}" for package, version in versions.items() if version]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of ``imlspike info``; prints the report."""
    argparse.ArgumentParser(prog="imlspike info", description=__doc__.partition("\n")[0]).parse_args(argv)
    print(report())
    return 0
