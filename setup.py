"""The compiled part of imlspike: the neuron's loops. All else about the package is in setup.cfg.

Optional: without a C compiler the installation goes on, and torch's operations do the same more slowly.
"""

import platform

from setuptools import Extension, setup

flags = ["-O3", "-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
if platform.machine() == "x86_64":
    flags.append("-march=native")  # built where it is used: an editable installation

setup(
    ext_modules=[
        Extension(
            "imlspike.neurons._kernels",
            ["imlspike/neurons/kernels.c"],
            extra_compile_args=flags,
            libraries=["m"],
            optional=True,
        )
    ]
)
