"""Moved to `imlspike.text.phonemes`."""

from imlspike.text.phonemes import *  # noqa: F403
