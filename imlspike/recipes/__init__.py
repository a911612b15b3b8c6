"""Recipes: from a corpus to a table of results, stage by stage (`python -m imlspike.recipes`)."""
