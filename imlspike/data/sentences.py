"""Moved to `imlspike.text.sentences`."""

from imlspike.text.sentences import *  # noqa: F403
