from imlspike.text.tokens import *  # noqa: D100, F403 - moved
