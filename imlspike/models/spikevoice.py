"""SpikeVoice: text to mel spectrogram by a spiking network (Wang et al., arXiv 2408.00788)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from imlspike.data.controls import Controls
from imlspike.data.keys import check_choice, construct, constructor_keys
from imlspike.layers import Layout, fold_rep_linears
from imlspike.layers.over_time import blank
from imlspike.layers.token_conv import fold_normed_convs
from imlspike.models.aligner import Aligner
from imlspike.models.length_regulator import regulate
from imlspike.models.neuron_choice import NeuronChoice
from imlspike.models.spikevoice_blocks import (
    ATTENTIONS,
    PostNet,
    SpikeVoiceStack,
    default_attention,
    read_out,
)
from imlspike.models.variance_adaptor import VarianceAdaptor


@dataclass(frozen=True)
class SpikeVoiceOutput:
    """SpikeVoice's output, padding zero throughout.

    Attributes:
        mel, mel_post: (B, L, M) log-mel before and after the PostNet.
        mel_lengths: (B,) frames.
        durations: (B, N) whole frames of each token, as given or predicted.
        log_durations: (B, N) predicted log(frames + 1).
        pitch, energy: (B, N) predicted, normalised.
        alignment: (B, L, N) the aligner's log shares of tokens in frames; None where it did not run.
    """

    mel: Tensor
    mel_post: Tensor
    mel_lengths: Tensor
    durations: Tensor
    log_durations: Tensor
    pitch: Tensor
    energy: Tensor
    alignment: Tensor | None = None


class SpikeVoice(nn.Module):
    r"""Spiking encoder, variance adaptor, mel decoder and PostNet; with ``neuron="none"`` FastSpeech 2.

    Embedded phonemes are the same current at each of T steps (plus a sinusoid and a time embedding). Blocks
    of `SpikeVoiceBlock`, their residuals in membrane potentials, encode them; `VarianceAdaptor` adds pitch
    and energy and says how many frames each lasts; more blocks decode frames; a neuron and a linear map
    give the mel, `PostNet` what to add to it. Mel and predictions are means over T.

    The neuron's recurrence runs along T in every layer; T is the first axis of every tensor inside.

    Args:
        vocab_size: number of symbols. Which of them means what is the front end's matter; padding may be any.
        n_mels: M.
        dim: C.
        heads: H, divides C.
        encoder_layers, decoder_layers: blocks.
        hidden_dim, kernel: width and tokens of a block's convolution.
        steps: T.
        neuron: ``lif`` (SpikeVoice), ``plif``; ``imls``: one pass in which a neuron spikes up to T times at
            once; any other that is registered; ``none``: the ANN twin.
        neuron_conf: further arguments of the neuron. Unless told otherwise LIF and PLIF detach their reset,
            and IMLS sends whole numbers (``amplitude="unit"``).
        attention: ``stsa``; ``sequential``: without temporal mixing, the paper's ablation; ``ann``: softmax.
            None: ``ann`` for the ANN twin, ``sequential`` for neurons of one pass, which have no time axis to
                mix
            (there ``stsa`` multiplies the counts of a token, and gradients explode), else ``stsa``.
        speakers: how many; None: one voice, no embedding.
        predictor_kernel: tokens under a predictor's convolution.
        bins, pitch_range, energy_range: of `VarianceAdaptor`'s embeddings.
        postnet_dim, postnet_layers, postnet_kernel: of `PostNet`; 0 layers: no PostNet.
        dropout, predictor_dropout, postnet_dropout: rates in the blocks, the predictors and the PostNet.
        aligner: has a learned aligner, which runs wherever a mel is given. It takes no part in inference.
        aligner_dim, aligner_temperature: of `Aligner`.

    The paper gives the numbers of blocks, the attention and T = 4; sizes and places of norms are FastSpeech
    2's, and what is ours is said in the parts. At the default size and 80 symbols it has 37.2 million
    parameters, 34.6 million without temporal mixing and as the ANN twin, beside 0.5 million of the aligner.

    Raises:
        ValueError: an argument outside its choices.

    >>> model = SpikeVoice(40, dim=16, hidden_dim=32, postnet_dim=16, encoder_layers=1, decoder_layers=1)
    >>> mel = model.synthesize(torch.tensor([3, 7, 1]), speed=1.2)
    >>> mel.shape[1]
    80
    """

    def __init__(
        self,
        vocab_size: int,
        n_mels: int = 80,
        dim: int = 256,
        heads: int = 2,
        encoder_layers: int = 4,
        decoder_layers: int = 6,
        hidden_dim: int = 1024,
        kernel: int = 9,
        steps: int = 4,
        neuron: str = "lif",
        neuron_conf: dict[str, Any] | None = None,
        attention: str | None = None,
        speakers: int | None = None,
        predictor_kernel: int = 3,
        bins: int = 256,
        pitch_range: tuple[float, float] = (-4.0, 4.0),
        energy_range: tuple[float, float] = (-4.0, 4.0),
        postnet_dim: int = 512,
        postnet_layers: int = 5,
        postnet_kernel: int = 5,
        dropout: float = 0.2,
        predictor_dropout: float = 0.5,
        postnet_dropout: float = 0.5,
        aligner: bool = True,
        aligner_dim: int = 80,
        aligner_temperature: float = 0.0005,
    ):
        arguments = {key: value for key, value in locals().items() if key in constructor_keys(SpikeVoice)}
        super().__init__()
        self.config: dict[str, Any] = {**arguments, "neuron_conf": dict(neuron_conf or {})}
        neurons = NeuronChoice(neuron, steps, neuron_conf)
        attention = self.config["attention"] = attention or default_attention(neuron)
        check_choice("attention", attention, ATTENTIONS)
        if not neurons.spiking and attention != "ann":
            raise ValueError(f"attention {attention} mixes spikes; with neuron='none' it must be 'ann'")
        self.embedding = nn.Embedding(vocab_size, dim)
        self.speakers = None if speakers is None else nn.Embedding(speakers, dim)
        block = (dim, heads, hidden_dim, kernel, attention, dropout, neurons)
        self.encoder = SpikeVoiceStack(encoder_layers, *block)
        self.adaptor = VarianceAdaptor(
            dim, predictor_kernel, predictor_dropout, bins, pitch_range, energy_range, neurons
        )
        self.decoder = SpikeVoiceStack(decoder_layers, *block)
        self.mel_neuron, self.mel = neurons(), nn.Linear(dim, n_mels)
        self.postnet = None
        if postnet_layers:
            postnet = (n_mels, postnet_dim, postnet_layers, postnet_kernel, postnet_dropout, neurons)
            self.postnet = PostNet(*postnet)
        self.aligner = Aligner(dim, n_mels, aligner_dim, aligner_temperature) if aligner else None

    def forward(
        self,
        text: Tensor,
        text_lengths: Tensor | None = None,
        mel: Tensor | None = None,
        mel_lengths: Tensor | None = None,
        durations: Tensor | None = None,
        pitch: Tensor | None = None,
        energy: Tensor | None = None,
        speaker: Tensor | None = None,
        log_prior: Tensor | None = None,
        alignment: Tensor | None = None,
        controls: Controls | None = None,
    ) -> SpikeVoiceOutput:
        """Speaks a batch: in training with the durations, pitch and energy given, else as predicted.

        Args:
            text: (B, N) int64 symbols.
            text_lengths: (B,) symbols in each; None: no padding.
            mel: (B, L, M) log-mel to align with; the decoder does not see it.
            mel_lengths: (B,) frames in each, which `durations` must add up to; None: no padding.
            durations: (B, N) whole frames of each symbol; None: predicted.
            pitch, energy: (B, N) normalised, see `VarianceAdaptor`; None: predicted.
            speaker: (B,) int64, for a model with speakers.
            log_prior: (B, L, N) for the aligner, see `Aligner`.
            alignment: what `align` gave for this batch, if it ran already: the aligner then rests.
            controls: speed, pitch and energy, for predictions.

        Raises:
            ValueError: durations that don't fit the text or the mel (the utterance's place in the batch is
                named), a symbol beyond the vocabulary, a speaker missing or one too many.
        """
        text, layout = self._checked(text, text_lengths)
        if durations is not None:
            durations = durations if layout.mask is None else durations * layout.mask
            _check_durations(durations, mel_lengths)
        if alignment is None and mel is not None and self.aligner is not None:
            alignment = self.align(text, text_lengths, mel, mel_lengths, log_prior)
        x = self.encoder(blank(self.embedding(text), layout)[None], layout)
        x = x + self._voice(speaker, layout)
        x, found = self.adaptor(x, layout, durations, pitch, energy, controls)
        x, frames = regulate(x, found["durations"])
        x = self.decoder(x, frames)
        spectrum = blank(self.mel(read_out(self.mel_neuron(x))), frames)
        post = spectrum if self.postnet is None else spectrum + self.postnet(spectrum, frames)
        lengths = found["durations"].sum(1)
        return SpikeVoiceOutput(spectrum, post, lengths, alignment=alignment, **found)

    def align(
        self,
        text: Tensor,
        text_lengths: Tensor | None,
        mel: Tensor,
        mel_lengths: Tensor | None,
        log_prior: Tensor | None = None,
    ) -> Tensor:
        """Soft alignment of a batch, (B, L, N) log shares of tokens in frames; arguments as in `forward`.

        Raises:
            ValueError: the model has no aligner.
        """
        if self.aligner is None:
            raise ValueError("this model has no aligner: give durations, or build it with aligner=True")
        text, layout = self._checked(text, text_lengths)
        frames = Layout(mel_lengths, mel.shape[1], len(mel))
        return self.aligner(self.embedding(text), mel, layout, frames, log_prior)

    @torch.no_grad()
    def synthesize(
        self,
        text: Tensor,
        speaker: int | None = None,
        speed: float = 1.0,
        pitch: float = 1.0,
        energy: float = 1.0,
        durations: Tensor | None = None,
    ) -> Tensor:
        """Speaks one utterance of any length.

        Args:
            text: (N,) int64 symbols.
            speaker: for a model with speakers.
            speed, pitch, energy: 1.1 is 10 % faster, higher (in Hz), stronger. Pitch and energy need
                `VarianceAdaptor.set_statistics`.
            durations: (N,) frames of each symbol; None: predicted.

        Returns:
            (L, M) log-mel after the PostNet.

        Raises:
            ValueError: a factor that isn't positive, a symbol beyond the vocabulary, a wrong speaker.
        """
        controls = Controls(speed, pitch, energy)
        speakers = None if speaker is None else torch.tensor([speaker], device=text.device)
        training = self.training
        self.eval()
        try:
            durations = None if durations is None else durations[None]
            spoken = self(text[None], durations=durations, speaker=speakers, controls=controls)
        finally:
            self.train(training)
        return spoken.mel_post[0]

    def reparameterize(self) -> "SpikeVoice":
        """Fold batch norms into the maps and convolutions before them, in place, for inference.

        The model is put into evaluation mode; its output stays the same up to rounding. Returns the model.
        """
        return fold_normed_convs(fold_rep_linears(self.eval()))

    @classmethod
    def from_config(cls, config: dict[str, Any], source: str = "spikevoice") -> "SpikeVoice":
        """The model of these arguments; `source` is named in errors.

        Raises:
            ValueError: on an unknown argument (the nearest right one is named), or a value out of range.

        >>> SpikeVoice.from_config({"vocab_size": 40, "head": 2})
        Traceback (most recent call last):
        imlspike.data.yaml_file.ConfigError: spikevoice: unknown key 'head'; did you mean 'heads'? (known: ...
        """
        return construct(cls, config, source)

    def _checked(self, text: Tensor, lengths: Tensor | None) -> tuple[Tensor, Layout]:
        """Symbols that the model knows, zero at padding, and their layout; a compiler doesn't check them."""
        layout = Layout(lengths, text.shape[1], len(text))
        text = text if layout.mask is None else text * layout.mask
        if torch.compiler.is_compiling():
            return text, layout
        shortest, row = (text.shape[1], 0) if lengths is None else (int(lengths.min()), int(lengths.argmin()))
        if shortest < 1:
            raise ValueError(f"utterance {row} of the batch has no symbols")
        wrong = (text < 0) | (text >= self.embedding.num_embeddings)
        if wrong.any():
            row, place = wrong.nonzero()[0].tolist()
            known = self.embedding.num_embeddings
            raise ValueError(
                f"utterance {row} of the batch, symbol {place}: number {int(text[row, place])}, but the "
                f"model knows 0 to {known - 1}; was the text made with its list of symbols?"
            )
        return text, layout

    def _voice(self, speaker: Tensor | None, layout: Layout) -> Tensor | float:
        """The vector that a speaker adds to every token: (1, B, N, C), or nothing."""
        if (speaker is None) != (self.speakers is None):
            raise ValueError(
                "this model has one voice: give no speaker"
                if self.speakers is None
                else f"this model has {self.speakers.num_embeddings} speakers: say which"
            )
        if self.speakers is None:
            return 0.0
        known = self.speakers.num_embeddings
        if not torch.compiler.is_compiling() and not bool(((speaker >= 0) & (speaker < known)).all()):
            raise ValueError(f"speakers are numbered 0 to {known - 1}, got {speaker.tolist()}")
        return blank(self.speakers(speaker)[:, None].expand(-1, layout.tokens, -1), layout)[None]


def _check_durations(durations: Tensor, mel_lengths: Tensor | None) -> None:
    if torch.compiler.is_compiling():
        return
    frames = durations.sum(1)
    for row in range(len(durations)):
        if int(durations[row].min()) < 0 or not int(frames[row]):
            raise ValueError(f"utterance {row} of the batch: durations below zero, or all zero")
        if mel_lengths is not None and int(frames[row]) != int(mel_lengths[row]):
            raise ValueError(
                f"utterance {row} of the batch: its durations add up to {int(frames[row])} frames, its mel "
                f"has {int(mel_lengths[row])}"
            )
