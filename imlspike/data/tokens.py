"""Moved to `imlspike.text.tokens`."""

from imlspike.text.tokens import *  # noqa: F403
