"""Pictures of an alignment: boundaries on a spectrogram, and how far off they are."""

from collections.abc import Mapping, Sequence

import numpy as np

from imlspike.analysis.cepstrum import mel_powers, power_spectrum
from imlspike.analysis.plots import INK, PALE, drawing
from imlspike.data.labels import Phone

SHIFTS = 200  # columns of the spectrogram in a second


def plot_boundaries(
    systems: Mapping[str, Sequence[Phone]],
    samples: np.ndarray,
    sampling_rate: int,
    path,
    title: str = "",
    seconds: float = 4.0,
) -> None:
    """The mel spectrogram of one utterance's beginning, with the symbols and boundaries of each system.

    Args:
        systems: name to symbols with their times.
        samples: (S,) of the utterance.
        sampling_rate: Hz.
        path: of the PNG.
        seconds: how much is shown at most.
    """
    seconds = min(seconds, len(samples) / sampling_rate)
    part = samples[: round(seconds * sampling_rate)]
    powers = mel_powers(power_spectrum(part, sampling_rate, sampling_rate // SHIFTS), sampling_rate)
    level = 10 * np.log10(powers + 1e-12)
    loudest = level.max()
    with drawing(path, len(systems), 1.9 * len(systems) + 0.5, 11.0, sharex=True) as (figure, axes):
        for axis, (name, symbols) in zip(axes, systems.items(), strict=True):
            options = dict(extent=(0, seconds, 0, len(level)), origin="lower", cmap="magma")
            axis.imshow(level, aspect="auto", vmin=loudest - 70, vmax=loudest, **options)
            for symbol in symbols:
                if symbol.start >= seconds:
                    break
                axis.axvline(symbol.start, color="white", linewidth=0.8)
                middle = (symbol.start + min(symbol.end, seconds)) / 2
                axis.text(middle, len(level) + 0.5, symbol.name, fontsize=7, ha="center", color=INK)
            axis.set_ylabel(f"{name}\nmel band", fontsize=8, color=INK)
            axis.set_xlim(0, seconds)
        axes[-1].set_xlabel("time, s", fontsize=9, color=INK)
        figure.suptitle(title, fontsize=9, color=INK)


def plot_errors(errors: Sequence[float], path, widest: float = 150.0) -> None:
    """Histogram of boundary errors in ms; those beyond `widest` are counted at its ends."""
    far = np.abs(errors)
    with drawing(path, 1, 2.6) as (_, (axis,)):
        axis.hist(np.clip(errors, -widest, widest), bins=np.arange(-widest, widest + 1, 10), color="C0")
        for end in (-40, 40):
            axis.axvline(end, color=PALE, linewidth=1)
        axis.set_xlabel("boundary of the aligner less that of the labels, ms", fontsize=9, color=INK)
        axis.set_ylabel("boundaries", fontsize=9, color=INK)
        within = f"median {np.median(far):.1f} ms, {np.mean(far <= 40):.0%} within 40 ms"
        axis.set_title(f"{len(far)} boundaries: {within}", fontsize=8, color=INK, loc="left", pad=2)
