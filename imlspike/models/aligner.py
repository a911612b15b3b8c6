"""The learned aligner: which token is spoken in which frame, found from text and mel alone."""

from torch import Tensor, nn

from imlspike.layers import Layout, MaskedBatchNorm
from imlspike.layers.over_time import blank
from imlspike.layers.token_conv import TokenConv


class Aligner(nn.Module):
    r"""Soft alignment by distance (One TTS Alignment to Rule Them All, arXiv 2108.10447, section 3.1).

    Two small convolutional encoders bring tokens and frames into one space;

    .. math::
        a_{ln} = \log \mathrm{softmax}_n(-\tau\, \|f_l - t_n\|^2) \;(+ \log \mathrm{prior}_{ln})

    A training aid: no part of inference, nor of its energy. The mel is normalised first (ours), so that
    its level and scale do not matter.

    Args:
        text_channels: C of the token embeddings.
        n_mels: M.
        channels: of the common space.
        temperature: tau.

    Forward:
        text (B, N, C), mel (B, L, M), their `Layout`s; log_prior (B, L, N), added to the logits, or None.

    Returns:
        (B, L, N): log of the share of each token in each frame, its sum over tokens 1; -inf at the padding of
        the tokens, no meaning at the padding of the frames.

    >>> import torch
    >>> aligner = Aligner(8, 20)
    >>> text, mel = Layout(torch.tensor([3, 2]), 3), Layout(torch.tensor([7, 6]), 7)
    >>> soft = aligner(torch.randn(2, 3, 8), torch.randn(2, 7, 20), text, mel)
    >>> torch.allclose(soft.exp().sum(-1), torch.ones(2, 7))
    True
    """

    def __init__(self, text_channels: int, n_mels: int, channels: int = 80, temperature: float = 0.0005):
        super().__init__()
        self.temperature = temperature
        self.text = nn.ModuleList(
            [TokenConv(text_channels, 2 * text_channels, 3), TokenConv(2 * text_channels, channels)]
        )
        self.norm = MaskedBatchNorm(n_mels)
        self.mel = nn.ModuleList(
            [TokenConv(n_mels, 2 * n_mels, 3), TokenConv(2 * n_mels, n_mels), TokenConv(n_mels, channels)]
        )

    def forward(
        self,
        text: Tensor,
        mel: Tensor,
        text_layout: Layout,
        mel_layout: Layout,
        log_prior: Tensor | None = None,
    ) -> Tensor:
        tokens = _encode(self.text, text, text_layout)
        frames = _encode(self.mel, self.norm(mel, mel_layout), mel_layout)
        squares = frames.square().sum(-1, keepdim=True) + tokens.square().sum(-1)[:, None]
        logits = -self.temperature * (squares - 2 * frames @ tokens.transpose(1, 2))
        if log_prior is not None:
            logits = logits.log_softmax(-1) + log_prior
        if text_layout.mask is not None:
            logits = logits.masked_fill(~text_layout.mask[:, None], float("-inf"))
        return logits.log_softmax(-1)


def _encode(convs: nn.ModuleList, x: Tensor, layout: Layout) -> Tensor:
    x = blank(x, layout)
    for i, conv in enumerate(convs):
        x = conv(x) if i == 0 else conv(x.relu())
    return x
