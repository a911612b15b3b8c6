"""Pictures for TensorBoard."""

from torch import Tensor


def spectrogram_figure(natural: Tensor, generated: Tensor, seconds_per_frame: float):
    """Two log-mel spectrograms, one above the other, on one scale.

    Args:
        natural, generated: (n_mels, L), natural logarithm.
        seconds_per_frame: the hop in seconds.

    Returns:
        a matplotlib Figure that no window manager knows of.

    >>> import torch
    >>> figure = spectrogram_figure(torch.randn(40, 100), torch.randn(40, 100), 0.01)
    >>> [axes.get_title() for axes in figure.axes[:2]]
    ['natural', 'generated']
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    low, high = float(natural.min()), float(natural.max())
    panels = figure.subplots(2, 1, sharex=True)
    for axes, mel, title in zip(panels, (natural, generated), ("natural", "generated"), strict=True):
        extent = (0, mel.shape[1] * seconds_per_frame, 0, mel.shape[0])
        image = axes.imshow(
            mel.numpy(),
            aspect="auto",
            origin="lower",
            extent=extent,
            vmin=low,
            vmax=high,
            interpolation="nearest",
        )
        axes.set_title(title)
        axes.set_ylabel("mel band")
    panels[-1].set_xlabel("time (s)")
    figure.colorbar(image, ax=panels, label="log magnitude")
    return figure
