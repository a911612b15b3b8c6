"""Pictures of a trained network: firing rates, spikes of one utterance, spectrograms, learning curves.

matplotlib is imported when a picture is drawn; files are PNGs of some tens of kilobytes.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from imlspike.analysis.spikes import LayerSpikes
from imlspike.data.files import atomic_write

INK, PALE = "#1f2937", "#d1d5db"


@contextmanager
def drawing(path, rows: int, height: float, width: float = 7.5, **options) -> Iterator[tuple]:
    """(figure, axes as a list) to draw on; saved to `path` at the end."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, 1, squeeze=False, **options)[:, 0])
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        for spine in axis.spines.values():
            spine.set_color(PALE)
        axis.tick_params(colors=INK, labelsize=8, length=2)
    yield figure, axes
    with atomic_write(path, "wb") as out:
        figure.savefig(out, format="png", dpi=120, metadata={"Software": None})


def split_name(name: str) -> tuple[str, int | None]:
    """A layer's role and the number of its block, from its place in the network.

    >>> split_name("blocks.3.attention.k_neuron"), split_name("embed.stages.0.neuron"), split_name("neuron")
    (('attention.k_neuron', 3), ('embed.stages neuron', 0), ('neuron', None))
    """
    found = re.match(r"(?:encoder\.)?(.*?)\.?(\d+)\.(.*)", name)
    if not found:
        return name, None
    group, number, role = found.groups()
    return (role if "block" in group or "encoders" in group else f"{group} {role}"), int(number)


def plot_firing_rates(layers: Mapping[str, LayerSpikes], path) -> None:
    """Firing rate and share of saturated neurons of every layer by depth; a line for each role in a block."""
    roles: dict[str, list] = {}
    for name, layer in layers.items():
        role, depth = split_name(name)
        roles.setdefault(role, []).append((depth or 0, layer))
    with drawing(path, 2, 5.2, sharex=True, height_ratios=(3, 2)) as (_, (top, bottom)):
        for number, (role, points) in enumerate(roles.items()):
            depths = [depth for depth, _ in points]
            style = _style(number)
            if role.startswith("embed"):
                depths, style = (
                    [depth - len(points) for depth in depths],
                    style | dict(linestyle=":", marker="x"),
                )
            top.plot(depths, [100 * layer.rate for _, layer in points], label=role, **style)
            bottom.plot(depths, [100 * layer.saturated / layer.neurons for _, layer in points], **style)
        top.set_ylabel("firing rate, % of T", color=INK, fontsize=9)
        bottom.set_ylabel("saturated, %", color=INK, fontsize=9)
        label = "block (left of 0: subsampling)" if any(r.startswith("embed") for r in roles) else "block"
        bottom.set_xlabel(label, color=INK, fontsize=9)
        bottom.xaxis.get_major_locator().set_params(integer=True)
        for axis in (top, bottom):
            axis.set_ylim(bottom=0)
            axis.grid(axis="y", color=PALE, linewidth=0.5)
        top.legend(fontsize=7, frameon=False, ncols=2)


def plot_rates_by_module(
    modules: Mapping[str, Mapping[str, Sequence[tuple[int, LayerSpikes]]]], path
) -> None:
    """Firing rate of every layer, a panel for each module of a network, on one scale; a line for each role.

    Args:
        modules: title of a panel to role to layers with their depth in the module.
        path: of the PNG.
    """
    highest = max(layer.rate for roles in modules.values() for role in roles.values() for _, layer in role)
    sizes = [max(2.0, 1 + 0.5 * len(roles)) for roles in modules.values()]
    with drawing(path, len(modules), 0.55 * sum(sizes) + 0.6, height_ratios=sizes) as (_, axes):
        for axis, (title, roles) in zip(axes, modules.items(), strict=True):
            for number, (role, points) in enumerate(roles.items()):
                depths, rates = zip(*((depth, 100 * layer.rate) for depth, layer in points), strict=True)
                axis.plot(depths, rates, label=role, **_style(number))
            axis.set_title(title, fontsize=8, color=INK, loc="left", pad=2)
            axis.set_ylim(0, 105 * highest or 1)
            axis.set_xlim(-0.3, max(depth for role in roles.values() for depth, _ in role) + 0.3)
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.grid(axis="y", color=PALE, linewidth=0.5)
            axis.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        axes[len(axes) // 2].set_ylabel("firing rate, % of T", color=INK, fontsize=9)
        axes[-1].set_xlabel("depth in the module: block, or layer where it has no blocks", fontsize=9)


def _style(number):
    return dict(marker="osD^v"[number // 10 % 5], markersize=4, linewidth=1.4, color=f"C{number % 10}")


def plot_raster(
    rasters: Mapping, seconds: float, path, title: str = "", layers: int = 8, neurons: int = 48
) -> None:
    """The spikes of one utterance: seconds to the right, channels upward, darker for more spikes at once.

    Args:
        rasters: name to counts (..., N, C) of one utterance, as `SpikeRecorder` keeps them.
        seconds: length of the utterance.
        layers, neurons: how many to show; both are picked evenly, the first and the last are among them.
    """
    shown = [list(rasters)[i] for i in _evenly(len(rasters), layers)]
    prefix = "encoder." if all(name.startswith("encoder.") for name in rasters) else ""
    with drawing(path, len(shown), 0.95 * len(shown) + 0.8, sharex=True) as (figure, axes):
        for axis, name in zip(axes, shown, strict=True):
            counts = rasters[name]
            counts = counts.reshape(-1, *counts.shape[-2:])[0] if counts.dim() < 4 else counts[0].flatten(1)
            mean, channels = counts.float().mean(), counts.shape[1]
            counts = counts[:, _evenly(channels, neurons)].T.numpy()
            # The axis counts channels of the layer, whichever of them are drawn.
            options = dict(extent=(0, seconds, -0.5, channels - 0.5), origin="lower", vmin=0)
            axis.imshow(counts, aspect="auto", cmap="Blues", interpolation="nearest", **options)
            label = f"{name.removeprefix(prefix)}: {mean:.2f} spikes a neuron and token"
            axis.set_title(label, fontsize=8, color=INK, loc="left", pad=2)
            axis.set_yticks([0, channels - 1])
            axis.set_ylabel("channel", fontsize=8, color=INK)
        axes[-1].set_xlabel("time, s (darker: more spikes at once)", fontsize=9, color=INK)
        figure.suptitle(title, fontsize=9, color=INK)


def plot_spectrograms(sounds: Mapping[str, Sequence], sampling_rate: int, path, title: str = "") -> None:
    """Spectrograms of the same utterance from several systems under each other, on the same axes and scale.

    Args:
        sounds: name to samples (S,).
        sampling_rate: Hz.
        path: of the PNG.
    """
    import numpy as np

    window = 1 << (sampling_rate // 40 - 1).bit_length()
    with drawing(path, len(sounds), 1.15 * len(sounds) + 0.7, sharex=True) as (figure, axes):
        loudest = None
        for axis, (name, samples) in zip(axes, sounds.items(), strict=True):
            padded = np.pad(np.asarray(samples, dtype=np.float64), window // 2)
            frames = np.lib.stride_tricks.sliding_window_view(padded, window)[:: sampling_rate // 200]
            level = 20 * np.log10(np.abs(np.fft.rfft(frames * np.hanning(window))).T + 1e-6)
            loudest = level.max() if loudest is None else loudest
            extent = (0, len(samples) / sampling_rate, 0, sampling_rate / 2000)
            options = dict(extent=extent, origin="lower", vmin=loudest - 80, vmax=loudest)
            axis.imshow(level, aspect="auto", cmap="magma", interpolation="bilinear", **options)
            axis.set_title(name, fontsize=8, color=INK, loc="left", pad=2)
            axis.set_ylabel("kHz", fontsize=8, color=INK)
        axes[-1].set_xlabel("time, s", fontsize=9, color=INK)
        figure.suptitle(title, fontsize=9, color=INK)


def _evenly(total: int, wanted: int) -> list[int]:
    """Up to `wanted` whole numbers below `total`, evenly spread."""
    wanted = min(wanted, total)
    return [round(i * (total - 1) / max(wanted - 1, 1)) for i in range(wanted)]


def plot_learning_curves(
    trainings: Mapping[str, list[dict]], path, panels: Sequence[tuple[str, str]] | None = None
) -> None:
    """Loss on training and validation data by epoch, and below it what else the log has.

    Args:
        trainings: name to what `imlspike.analysis.training_log.read_epochs` gives.
        path: of the PNG.
        panels: further numbers of the log and what they are called, on training and validation data; those
            that no log has are left out. None: a recogniser's error on validation data.
    """
    errors = [key for key in ("cer_ctc", "cer") if _has(trainings, key)][:1] if panels is None else []
    shown = [("loss", "loss"), *((key, what) for key, what in panels or () if _has(trainings, key))]
    rows = len(shown) + len(errors)
    with drawing(path, rows, (3.0 if panels is None else 2.0) * rows, sharex=True) as (_, axes):
        for number, (name, epochs) in enumerate(trainings.items()):
            style = dict(color=f"C{number % 10}", linewidth=1.4)
            for axis, (key, _what) in zip(axes, shown, strict=False):
                axis.plot(*_curve(epochs, "train", key), alpha=0.45, linestyle="--", **style)
                axis.plot(*_curve(epochs, "valid", key), label=name, **style)
            for axis, key in zip(axes[len(shown) :], errors, strict=True):
                axis.plot(*_curve(epochs, "valid", key, scale=100), label=name, **style)
        for axis, (_key, what) in zip(axes, shown, strict=False):
            dashed = " (dashed: training)" if axis is axes[0] else ""
            axis.set_ylabel(what + dashed, color=INK, fontsize=9)
        for axis in axes:
            axis.grid(color=PALE, linewidth=0.5)
            axis.legend(fontsize=8, frameon=False)
        for axis in axes[len(shown) :]:
            axis.set_ylabel(
                "validation CER by CTC, %" if errors == ["cer_ctc"] else "validation CER, %", fontsize=9
            )
            axis.set_ylim(0, 105)
        axes[-1].set_xlabel("epoch", color=INK, fontsize=9)


def _has(trainings, key):
    return any(key in epoch.get("valid", {}) for epochs in trainings.values() for epoch in epochs)


def _curve(epochs, phase, key, scale=1):
    points = [(epoch["epoch"], scale * epoch[phase][key]) for epoch in epochs if key in epoch.get(phase, {})]
    return [x for x, _ in points], [y for _, y in points]
