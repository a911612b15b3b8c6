"""Fixtures of recipes."""

from collections.abc import Callable

import pytest

from imlspike.recipes import data, processes
from tests.recipes.fakes import run


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys) -> Callable[[str, str], str]:
    """What a recipe tells of options that it refuses before it makes anything."""
    monkeypatch.setattr(data, "count_gpus", lambda: 0)
    monkeypatch.setattr(processes, "call", lambda *words: pytest.fail("the recipe runs"))

    def told(recipe: str, options: str) -> str:
        assert run(recipe, tmp_path / "work", options) == 2 and not (tmp_path / "work").exists()
        return capsys.readouterr().err

    return told
