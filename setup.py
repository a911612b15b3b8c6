"""The compiled part of imlspike: its loops in C. All else about the package is in setup.cfg.

Optional: without a C compiler the installation goes on, and torch's operations do the same more slowly.
"""

import platform
import sys
from glob import glob
from hashlib import sha256
from pathlib import Path

from setuptools import Extension, setup

flags = ["-O3", "-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd"]
threads = ["-fopenmp"] if sys.platform == "linux" else []  # elsewhere loops run in one thread
if platform.machine() == "x86_64":
    flags.append("-march=native")  # built where it is used: an editable installation
    flags.append("-mprefer-vector-width=512")

sources = sorted(glob("imlspike/*/*.[ch]"))
checksum = sha256(b"".join(Path(file).read_bytes() for file in sources)).hexdigest()  # library.py looks at it


def processor() -> str:
    """What this machine's processor can do, in Linux' words; the loops use it all (-march=native)."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("flags")), "")


setup(
    ext_modules=[
        Extension(
            "imlspike.neurons._kernels",
            [file for file in sources if file.endswith(".c")],
            depends=[file for file in sources if file.endswith(".h")],
            define_macros=[("SOURCES", f'"{checksum}"'), ("PROCESSOR", f'"{processor()}"')],
            extra_compile_args=flags + threads,
            extra_link_args=threads,
            libraries=["m"],
            optional=True,
        )
    ]
)
