"""Factors on the speed, the pitch and the energy of speech."""

from dataclasses import dataclass

from imlspike.data.keys import check_number

LEAST_FACTOR, MOST_FACTOR = 0.1, 10.0


@dataclass(frozen=True)
class Controls:
    """Factors on speech: `speed` 2 is twice as fast, `pitch` and `energy` multiply F0 and the energy.

    Raises:
        ValueError: a factor that isn't a number from 0.1 to 10.

    >>> Controls(speed=1.2)
    Controls(speed=1.2, pitch=1.0, energy=1.0)
    """

    speed: float = 1.0
    pitch: float = 1.0
    energy: float = 1.0

    def __post_init__(self):
        for name, value in vars(self).items():
            check_number(name, value, LEAST_FACTOR, MOST_FACTOR)
