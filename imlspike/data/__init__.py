"""Corpora to Kaldi data directories: audio checks, text, token lists, and what fits a CTC encoder."""
