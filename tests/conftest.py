"""What all tests share: real audio where there is some, fixed seeds, hypothesis without deadlines."""

import os
import random
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch

# A busy machine makes no example wrong, and the same examples every time make a failure repeatable.
hypothesis.settings.register_profile("imlspike", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("imlspike")

# numba dies where this changes after its first use, as between a test that sets it and one that does not.
os.environ.setdefault("NUMBA_NUM_THREADS", "1")


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True)
def fixed_seeds():
    """Every test starts from the same random state, whichever tests ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The project's top folder."""
    return Path(__file__).parent.parent


@pytest.fixture(scope="session")
def real_audio() -> Path:
    """Folder with real recordings, named by IMLSPIKE_TEST_DATA; without one, who asks for it is skipped."""
    folder = os.environ.get("IMLSPIKE_TEST_DATA")
    if not folder:
        pytest.skip("IMLSPIKE_TEST_DATA names no folder of real audio")
    if not Path(folder).is_dir():
        pytest.fail(f"IMLSPIKE_TEST_DATA={folder} is not a folder; correct it or unset it")
    return Path(folder).resolve()
