"""Mixed precision on the CPU: `use_amp: true` without a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch


@contextmanager
def bf16_on_cpu(enabled: bool = True) -> Iterator[None]:
    """Within the block `use_amp: true` makes ESPnet's trainer run models under bf16 autocast on the CPU.

    On a GPU `use_amp` is ESPnet's own affair: autocast in bf16 where the GPU has it, otherwise in fp16, with
    scaled gradients. On the CPU ESPnet enters the autocast of CUDA, which has no effect there, and trains in
    fp32 without a word. Here that autocast becomes the CPU's, in training and validation; feature extraction
    stays in fp32 as it does on the GPU. Gradients are not scaled: bf16 has the range of fp32.

    Args:
        enabled: False changes nothing.

    >>> from espnet2.train import trainer
    >>> with bf16_on_cpu(), trainer.autocast(True):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.bfloat16
    """
    if not enabled:
        yield
        return
    from espnet2.asr import espnet_model
    from espnet2.train import trainer

    with (
        mock.patch.object(trainer, "autocast", _autocast),
        mock.patch.object(espnet_model, "autocast", _autocast),
    ):
        yield


def _autocast(enabled: bool = True, dtype: torch.dtype | None = None) -> torch.autocast:
    """The autocast of CUDA that ESPnet asks for, as one of the CPU."""
    return torch.autocast("cpu", torch.bfloat16, enabled=enabled)
