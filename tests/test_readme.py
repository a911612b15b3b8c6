"""Figures of the READMEs: those of the committed results."""

import pytest

from benchmarks.readme import BLOCK, FILES, TABLES, experiments, filled


@pytest.mark.parametrize("file", FILES, ids=str)
def test_tables_are_those_of_the_committed_results(repository, file):
    text = (repository / file).read_text(encoding="utf-8")
    assert filled(text) == text, "write them by: python -m benchmarks readme"


def test_every_table_stands_somewhere_and_another_figure_is_noticed(repository):
    texts = [(repository / file).read_text(encoding="utf-8") for file in FILES]
    assert {found[2] for text in texts for found in BLOCK.finditer(text)} == set(TABLES)
    assert filled(texts[0].replace("(20.", "(19.", 1)) == texts[0]


def test_error_rates_are_those_of_the_test_set():
    assert {score["set"] for each in experiments() for score in each["scores"]} == {"test"}
