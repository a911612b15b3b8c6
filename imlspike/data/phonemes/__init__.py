from imlspike.text.phonemes import *  # noqa: D104, F403 - moved
