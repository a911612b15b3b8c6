"""Wrong keys in a configuration: see :mod:`imlspike.data.keys`, where these functions are."""

from imlspike.data.keys import constructor_keys, unknown_key

__all__ = ["constructor_keys", "unknown_key"]
