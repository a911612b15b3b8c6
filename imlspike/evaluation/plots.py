"""Pictures: firing rates, spikes of one utterance, spectrograms, learning curves, alignments.

matplotlib is imported when a picture is drawn; files are PNGs of some tens of kilobytes.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from imlspike.data.files import atomic_write
from imlspike.data.labels import Phone
from imlspike.evaluation.sound import mel_powers, power_spectrum
from imlspike.evaluation.spikes import LayerSpikes

INK, PALE = "#1f2937", "#d1d5db"
STYLE = {
    **dict.fromkeys(("axes.labelcolor", "axes.titlecolor", "text.color", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.edgecolor", "grid.color"), PALE),
    **dict.fromkeys(("axes.labelsize", "axes.titlesize", "xtick.labelsize", "ytick.labelsize"), 8),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size", "axes.titlepad"), 2),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **{"axes.titlelocation": "left", "figure.titlesize": 9, "legend.fontsize": 7, "grid.linewidth": 0.5},
    **{"lines.linewidth": 1.4, "lines.markersize": 4},
}
LAYERS, NEURONS = 8, 48  # of a raster; picked evenly, the first and the last are among them
SHIFTS = 200  # columns of a spectrogram in a second
SHOWN_SECONDS = 4.0  # of an alignment, at most
WIDEST = 150.0  # ms; boundary errors beyond are counted there
CURVES = {
    "loss": "loss",
    "mel_post_loss": "mel loss",
    "duration_loss": "duration loss",
    "cer_ctc": "CER by CTC, %",
    "cer": "CER, %",
}


@contextmanager
def drawing(path, rows: int, height: float, label: str, width: float = 7.5, **options) -> Iterator[tuple]:
    """(figure, axes as a list) to draw on; saved to `path` at the end. `label`: of the lowest x axis."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE), atomic_write(path, "wb") as out:
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = list(figure.subplots(rows, 1, squeeze=False, **options)[:, 0])
        axes[-1].set_xlabel(label)
        yield figure, axes
        figure.savefig(out, format="png", dpi=120, metadata={"Software": None})


def plot_firing_rates(modules: Mapping[str, Mapping[str, Sequence[tuple[int, LayerSpikes]]]], path) -> None:
    """Firing rate of every layer, a panel for each module of a network, on one scale; a line for each role.

    `modules` is title of a panel to role to layers with their depth in the module.
    """
    highest = max(layer.rate for roles in modules.values() for role in roles.values() for _, layer in role)
    sizes = [max(2.0, 1 + 0.5 * len(roles)) for roles in modules.values()]
    label = "depth in the module: block, or layer where it has no blocks"
    with drawing(path, len(modules), 0.55 * sum(sizes) + 0.6, label, height_ratios=sizes) as (_, axes):
        for axis, (title, roles) in zip(axes, modules.items(), strict=True):
            for number, (role, points) in enumerate(roles.items()):
                depths, rates = zip(*((depth, 100 * layer.rate) for depth, layer in points), strict=True)
                style = dict(marker="osD^v"[number // 10 % 5], color=f"C{number % 10}")
                axis.plot(depths, rates, label=role, **style)
            axis.set_title(title)
            axis.set_ylim(0, 105 * highest or 1)
            axis.set_xlim(-0.3, max(depth for role in roles.values() for depth, _ in role) + 0.3)
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.grid(axis="y")
            axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        axes[len(axes) // 2].set_ylabel("firing rate, % of T")


def plot_raster(rasters: Mapping, seconds: float, path, title: str = "") -> None:
    """The spikes of one utterance: seconds to the right, channels upward, darker for more spikes at once.

    Args:
        rasters: name to counts (..., N, C) of one utterance, as `SpikeRecorder` keeps them.
        seconds: length of the utterance.
    """
    shown = [list(rasters)[i] for i in _evenly(len(rasters), LAYERS)]
    prefix = "encoder." if all(name.startswith("encoder.") for name in rasters) else ""
    label, height = "time, s (darker: more spikes at once)", 0.95 * len(shown) + 0.8
    with drawing(path, len(shown), height, label, sharex=True) as (figure, axes):
        for axis, name in zip(axes, shown, strict=True):
            counts = rasters[name]
            counts = counts.reshape(-1, *counts.shape[-2:])[0] if counts.dim() < 4 else counts[0].flatten(1)
            mean, channels = counts.float().mean(), counts.shape[1]
            counts = counts[:, _evenly(channels, NEURONS)].T.numpy()
            # The axis counts channels of the layer, whichever of them are drawn.
            options = dict(extent=(0, seconds, -0.5, channels - 0.5), origin="lower", vmin=0)
            axis.imshow(counts, aspect="auto", cmap="Blues", interpolation="nearest", **options)
            axis.set_title(f"{name.removeprefix(prefix)}: {mean:.2f} spikes a neuron and token")
            axis.set_yticks([0, channels - 1])
            axis.set_ylabel("channel")
        figure.suptitle(title)


def plot_spectrograms(sounds: Mapping[str, Sequence], sampling_rate: int, path, title: str = "") -> None:
    """Spectrograms of the same utterance from several systems (name to samples (S,)) at one rate in Hz, under
    each other, on the same axes and scale."""
    loudest = None
    with drawing(path, len(sounds), 1.15 * len(sounds) + 0.7, "time, s", sharex=True) as (figure, axes):
        for axis, (name, samples) in zip(axes, sounds.items(), strict=True):
            level = 10 * np.log10(power_spectrum(samples, sampling_rate, sampling_rate // SHIFTS) + 1e-12)
            loudest = level.max() if loudest is None else loudest
            extent = (0, len(samples) / sampling_rate, 0, sampling_rate / 2000)
            options = dict(extent=extent, origin="lower", vmin=loudest - 80, vmax=loudest)
            axis.imshow(level, aspect="auto", cmap="magma", interpolation="bilinear", **options)
            axis.set_title(name)
            axis.set_ylabel("kHz")
        figure.suptitle(title)


def plot_boundaries(
    systems: Mapping[str, Sequence[Phone]], samples: np.ndarray, sampling_rate: int, path, title: str = ""
) -> None:
    """The mel spectrogram of one utterance's beginning, samples (S,), with each system's symbols and their
    boundaries."""
    seconds = min(SHOWN_SECONDS, len(samples) / sampling_rate)
    part = samples[: round(seconds * sampling_rate)]
    powers = mel_powers(power_spectrum(part, sampling_rate, sampling_rate // SHIFTS), sampling_rate)
    level = 10 * np.log10(powers + 1e-12)
    options = dict(extent=(0, seconds, 0, len(level)), vmin=level.max() - 70, vmax=level.max())
    height = 1.9 * len(systems) + 0.5
    with drawing(path, len(systems), height, "time, s", 11.0, sharex=True) as (figure, axes):
        for axis, (name, symbols) in zip(axes, systems.items(), strict=True):
            axis.imshow(level, aspect="auto", origin="lower", cmap="magma", **options)
            for symbol in symbols:
                if symbol.start < seconds:
                    axis.axvline(symbol.start, color="white", linewidth=0.8)
                    middle = (symbol.start + min(symbol.end, seconds)) / 2
                    axis.text(middle, len(level) + 0.5, symbol.name, fontsize=7, ha="center")
            axis.set_ylabel(f"{name}\nmel band")
            axis.set_xlim(0, seconds)
        figure.suptitle(title)


def plot_boundary_errors(errors: Sequence[float], path) -> None:
    """Histogram of boundary errors in ms."""
    far = np.abs(errors)
    with drawing(path, 1, 2.6, "boundary of the aligner less that of the labels, ms") as (_, (axis,)):
        axis.hist(np.clip(errors, -WIDEST, WIDEST), bins=np.arange(-WIDEST, WIDEST + 1, 10), color="C0")
        for end in (-40, 40):
            axis.axvline(end, color=PALE, linewidth=1)
        axis.set_ylabel("boundaries")
        within = f"median {np.median(far):.1f} ms, {np.mean(far <= 40):.0%} within 40 ms"
        axis.set_title(f"{len(far)} boundaries: {within}")


def plot_front(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float, float, str]]]], measure: str, path
) -> None:
    """Error rate against energy, down and left is better: a panel an energy, a line a kind of network, whose
    points are (energy, rate, standard deviation, name)."""
    with drawing(path, len(panels), 2.6 * len(panels) + 0.3, "µJ a second of audio, encoder") as (_, axes):
        for axis, (title, kinds) in zip(axes, panels.items(), strict=True):
            for number, (kind, points) in enumerate(kinds.items()):
                energies, rates, deviations, names = zip(*sorted(points), strict=True)
                style = dict(color=f"C{number % 10}", marker="osD^v"[number % 5], capsize=2)
                axis.errorbar(energies, rates, deviations, label=kind, **style)
                for energy, rate, name in zip(energies, rates, names, strict=True):
                    axis.annotate(name, (energy, rate), xytext=(4, 4), textcoords="offset points", fontsize=6)
            axis.set_title(title)
            axis.set_ylabel(measure)
            axis.grid()
            axis.legend()


def _evenly(total: int, wanted: int) -> list[int]:
    """Up to `wanted` whole numbers below `total`, evenly spread."""
    wanted = min(wanted, total)
    return [round(i * (total - 1) / max(wanted - 1, 1)) for i in range(wanted)]


def plot_learning_curves(trainings: Mapping[str, list[dict]], path) -> bool:
    """Losses and error rates on training (dashed) and validation data by epoch, those that the logs have.

    `trainings` is name to what `read_epochs` gives. Returns whether there was anything to draw.
    """
    validated = {key for epochs in trainings.values() for epoch in epochs for key in epoch.get("valid", {})}
    shown = [key for key in CURVES if key in validated]
    if not shown:
        return False
    label = "epoch (dashed: training)"
    with drawing(path, len(shown), 2.2 * len(shown), label, sharex=True) as (_, axes):
        for axis, key in zip(axes, shown, strict=True):
            scale = 100 if key.startswith("cer") else 1
            for number, (name, epochs) in enumerate(trainings.items()):
                dashed, labelled = dict(alpha=0.45, linestyle="--"), dict(label=name)
                for phase, style in (("train", dashed), ("valid", labelled)):
                    known = [epoch for epoch in epochs if key in epoch.get(phase, {})]
                    values = [scale * epoch[phase][key] for epoch in known]
                    numbers = [epoch["epoch"] for epoch in known]
                    axis.plot(numbers, values, color=f"C{number % 10}", **style)
            axis.set_ylabel(CURVES[key])
            axis.grid()
            axis.legend()
    return True
