"""The compiled forms of the operators give what their definitions give."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from imlspike.ops import COMPILED
from tests.ops import agreement


@pytest.mark.skipif(not COMPILED, reason="the CPU kernels were not compiled")
@pytest.mark.parametrize("dtype", agreement.DTYPES)
@pytest.mark.parametrize("check", [agreement.imls, agreement.lif])
def test_on_a_cpu(check, dtype):
    check(torch.ops.imlspike, dtype)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", agreement.DTYPES)
@pytest.mark.parametrize("check", [agreement.imls, agreement.lif])
def test_on_a_gpu(check, dtype):
    check(torch.ops.imlspike, dtype, "cuda")


@pytest.mark.skipif(not find_spec("triton"), reason="triton is not installed")
def test_triton_in_its_interpreter(repository):
    """In a process of its own: the interpreter is chosen when the kernels are imported."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(repository)}
    command = [sys.executable, "-m", "tests.ops.agreement"]
    ended = subprocess.run(command, env=environment, cwd=repository, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
