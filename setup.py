"""The compiled part of imlspike: the operators of imlspike/ops/csrc. All else is in setup.cfg.

They are compiled against the PyTorch that is installed, hence outside pip's isolated build, which has none:
`pip install --no-build-isolation --no-deps -e .` after an installation (./run.sh does both). Where that fails
the installation goes on without them: PyTorch's own operations do the same, more slowly.
"""

import shutil
import sys
from glob import glob
from pathlib import Path

from setuptools import setup

MODULE = "imlspike.ops._C"
FLAGS = ["-O3", "-g0", "-std=c++17", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
OPENMP = ["-fopenmp"] if sys.platform == "linux" else []  # elsewhere at::parallel_for takes one thread


def absent(why: object) -> None:
    """Tell in one line, which ./run.sh looks for, that the operators were not compiled."""
    reason = str(why).strip().partition("\n")[0]
    print(f"imlspike: no compiled operators ({reason}); PyTorch's operations do the same, more slowly")


def operators() -> dict:
    """The arguments of `setup` that compile the operators; none where there is no PyTorch."""
    try:
        from torch.utils.cpp_extension import BuildExtension, CppExtension, get_cxx_compiler
    except ImportError as error:
        absent(error)
        return {}

    class OptionalBuild(BuildExtension):
        def build_extensions(self):
            Path(self.get_ext_filename(MODULE)).unlink(missing_ok=True)  # of earlier sources
            try:
                if not shutil.which(get_cxx_compiler()):
                    raise FileNotFoundError("there is no C++ compiler")
                super().build_extensions()
            except Exception as error:  # an unfit compiler, no headers: of many types
                absent(error)

    extension = CppExtension(
        MODULE,
        sorted(glob("imlspike/ops/csrc/*.cpp")),
        depends=glob("imlspike/ops/csrc/*.h"),
        extra_compile_args=FLAGS + OPENMP,
        extra_link_args=OPENMP,
        optional=True,
    )
    return {"ext_modules": [extension], "cmdclass": {"build_ext": OptionalBuild}} if extension.sources else {}


setup(**operators())
