from imlspike.text.sentences import *  # noqa: D100, F403 - moved
