"""Recognizer: features, encoder and CTC head of a trained recognizer, from waveforms to log-probabilities."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from imlspike.data.keys import check_number, construct
from imlspike.inference.bundle import Bundle, names_damage
from imlspike.layers.level import normalize_level, running_gains
from imlspike.layers.log_mel import check_whole
from imlspike.layers.reproducible import FEATURE_STEP, LARGEST_FEATURE, make_reproducible
from imlspike.layers.rounding import round_weights
from imlspike.models import IMLSpikeformerEncoder
from imlspike.text.tokens import BLANK, SOS_EOS, SPACE, UNKNOWN, char_tokens

LEAST_MEL = -100.0  # dB, ESPnet's
SPIKING = "iml_spikeformer"


class TooShort(ValueError):
    """A waveform that holds no frame, or fewer frames than the encoder needs for a token."""


class SpeechFeatures(nn.Module):
    """ESPnet's `DefaultFrontend`, normalized: (log max(mel bands of power spectra, floor) - mean) / std.

    Args:
        sampling_rate: Hz; n_fft, win_length, hop_length: samples; n_mels: bands F.
        window: of torch's windows, as "hann".
        center, normalized: of `torch.stft`.
        normalize: "global": by `mean` and `std`, (F,); "utterance": by the mean of the utterance's frames;
            "none".
        peak: waveforms are scaled to this greatest magnitude before; None: not.
        level: dB, they are scaled so that the speech in them has this root mean square (see
            `imlspike.layers.level`); None: not, and then the recording's gain changes the features.
        causal_level: the level is that of the speech so far (`imlspike.layers.level.RunningLevel`), so that
            features of a stream are those of the whole.
        floor: dB, least power of a band.

    The bands, (n_fft / 2 + 1, F), and `mean` and `std` are among the weights: as the encoder was trained.

    Attributes:
        step: features are rounded to its multiples, see `imlspike.layers.reproducible`; None: not. With the
            module in fp64 they then hardly depend on how a program adds up, nor on a waveform's last bits.

    Forward: one waveform (S,), full scale 1 -> (L, F), L = S // hop_length + 1.

    Raises:
        TooShort: not more than n_fft / 2 samples, which can't be mirrored at the ends.
        ValueError: sizes that are no whole numbers, levels that are no numbers.

    >>> SpeechFeatures(16000, 512, 400, 160, n_mels=80, normalize="none")(torch.zeros(1600)).shape
    torch.Size([11, 80])
    """

    def __init__(
        self,
        sampling_rate: int,
        n_fft: int,
        win_length: int,
        hop_length: int,
        window: str = "hann",
        center: bool = True,
        normalized: bool = False,
        n_mels: int = 80,
        normalize: str = "global",
        peak: float | None = None,
        level: float | None = None,
        causal_level: bool = False,
        floor: float = LEAST_MEL,
    ):
        super().__init__()
        check_whole(sampling_rate=sampling_rate, n_fft=n_fft, win_length=win_length, hop_length=hop_length)
        check_whole(n_mels=n_mels)
        for name, value in {"peak": peak, "level": level, "floor": floor}.items():
            if value is not None or name == "floor":
                check_number(name, value, -1000, 1000)
        self.level, self.least, self.step = level, 10 ** (floor / 10), None
        if causal_level and level is None:
            raise ValueError("causal_level needs level, in dB")
        self.causal_level, self.reach = causal_level, n_fft // 2 if center else n_fft
        if normalize not in ("global", "utterance", "none"):
            raise ValueError(f"normalize must be global, utterance or none, not {normalize!r}")
        self.sampling_rate, self.n_mels, self.normalize, self.peak = sampling_rate, n_mels, normalize, peak
        self.stft = dict(n_fft=n_fft, hop_length=hop_length, win_length=win_length, center=center)
        self.stft |= dict(normalized=normalized, return_complex=True)
        self.least_samples = n_fft // 2 + 1 if center else n_fft
        self.register_buffer("bands", torch.zeros(n_fft // 2 + 1, n_mels))
        self.register_buffer("window", getattr(torch, f"{window}_window")(win_length), persistent=False)
        if normalize == "global":
            self.register_buffer("mean", torch.zeros(n_mels))
            self.register_buffer("std", torch.ones(n_mels))

    def forward(self, waveform: Tensor) -> Tensor:
        """Features of a waveform, see the class."""
        samples = waveform.shape[0]  # not len(), which an exporter takes for a constant
        if samples < self.least_samples:
            raise TooShort(f"{samples} samples; features need at least {self.least_samples}")
        if self.peak is not None and waveform.any():
            waveform = waveform * (self.peak / waveform.abs().max())
        waveform, gains = waveform.to(self.window), None
        if self.causal_level:
            frames = (samples if self.stft["center"] else samples - self.reach) // self.stft["hop_length"] + 1
            ends = self.reach + self.stft["hop_length"] * torch.arange(frames, device=waveform.device)
            gains = running_gains(waveform, self.sampling_rate, self.level, ends)
        elif self.level is not None:
            if self.step is not None:  # a constant offset would let the last bits of the gain through
                waveform = waveform - waveform.mean()
            waveform = normalize_level(waveform, self.sampling_rate, self.level)
        return self.log_mel(self.power_spectra(waveform), gains)

    def power_spectra(self, waveform: Tensor, center: bool | None = None) -> Tensor:
        """(S,) -> (L, n_fft / 2 + 1); `center`: None: as the features have it."""
        stft = self.stft if center is None else self.stft | {"center": center}
        spectrum = torch.stft(waveform[None], window=self.window, **stft)[0].T
        return spectrum.real**2 + spectrum.imag**2

    def log_mel(self, power: Tensor, gains: Tensor | None = None) -> Tensor:
        """Power spectra, and gains (L,) of their waveforms -> features (L, F)."""
        mel = power @ self.bands
        if gains is not None:
            mel = mel * gains.square()[:, None]
        mel = mel.clamp(min=self.least).log()
        if self.normalize == "global":
            mel = (mel - self.mean) / self.std
        elif self.normalize == "utterance":
            mel = mel - mel.sum(0) / mel.shape[0]
        if self.step is None:
            return mel
        steps = (mel / self.step).round() * self.step
        return steps.clamp(-LARGEST_FEATURE, LARGEST_FEATURE).float()


class Recognizer(nn.Module):
    """A CTC recognizer of waveforms.

    Args:
        encoder: called with features (B, L, F) and lengths (B,); gives (B, N, C), lengths (B,) and more.
        ctc: the linear map to logits, (B, N, C) -> (B, N, V); None: trained without CTC.
        tokens: that the V numbers stand for.
        least_frames: that the encoder needs for one token.
        batched: whether the encoder makes of an utterance in a padded batch what it makes of it alone.
            ESPnet's don't, whose subsampling lets the last token see padding.

    Attributes:
        decoder: the attention decoder, where it was opened; None.
        exact: see `from_bundle`.

    Forward: waveforms, each (S,), full scale 1 -> log-probabilities (B, N, V), padded, and lengths (B,).
    """

    def __init__(
        self,
        features: SpeechFeatures,
        encoder: nn.Module,
        ctc: nn.Linear | None,
        tokens: "Tokens",
        least_frames: int = 1,
        batched: bool = True,
    ):
        super().__init__()
        self.features, self.encoder, self.ctc, self.decoder = features, encoder, ctc, None
        self.tokens, self.least_frames, self.batched, self.exact = tokens, least_frames, batched, False
        self.sampling_rate: int = features.sampling_rate

    @classmethod
    @names_damage
    def from_bundle(cls, bundle: Bundle, exact: bool = False) -> "Recognizer":
        """The recognizer of a bundle, in evaluation mode, on the bundle's device; without its decoder.

        Args:
            exact: put out what ESPnet's own `asr_inference` does, to the last bit on a CPU. Otherwise the
                encoder's branches and batch norms are folded, utterances go through it together, and features
                and weights are rounded so that a spiking encoder fires the same spikes in every program, see
                `imlspike.layers.reproducible`. That moves single spikes, and with them letters of texts.
                Weights that are rounded (`bundle.weight_bits`) are those of the folded model.

        Raises:
            ConfigError: for unknown arguments, or weights that don't fit.
            ImportError: for an encoder of ESPnet's where ESPnet isn't installed.
        """
        conf = bundle.config["model"]
        tokens = Tokens(bundle.tokens, bundle.config["token_type"], bundle.files.get("bpe.model"))
        batched, where = conf.get("encoder") == SPIKING, bundle.where("model")

        def make() -> Recognizer:
            features = construct(SpeechFeatures, bundle.config["features"], bundle.where("features"))
            arguments = {"input_size": features.n_mels} | (conf.get("encoder_conf") or {})
            if batched:
                encoder = construct(IMLSpikeformerEncoder, arguments, where)
                least = encoder.embed.least_frames()
            else:
                from imlspike.espnet.parts import build_encoder

                encoder, least = build_encoder(conf.get("encoder"), arguments, where)
            ctc = nn.Linear(encoder.output_size(), len(tokens)) if "ctc.weight" in bundle.states else None
            if getattr(encoder, "interctc_use_conditioning", False):
                encoder.conditioning_layer = nn.Linear(len(tokens), encoder.output_size())
            return cls(features, encoder, ctc, tokens, least, batched)

        states = {k: state for k, state in bundle.states.items() if not k.startswith("decoder.")}
        model = bundle.fill(make, states)
        model.exact = exact and bundle.weight_bits is None
        if not model.exact and hasattr(model.encoder, "reparameterize"):
            model.encoder.reparameterize()
        round_weights(model, bundle.weight_bits)
        if batched and not model.exact and model.features.window.device.type != "mps":  # which has no fp64
            model.features.double().step = FEATURE_STEP
            make_reproducible(model.encoder)
        return model

    def encode(self, waveforms: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The encoder's output for waveforms (S,), full scale 1: (B, N, C), padded, and lengths (B,).

        Raises:
            TooShort: if one is too short.
            FloatingPointError: if the output isn't finite.
        """
        # The Fourier transform mirrors an utterance at its ends, which padding would hide from it: features
        # are computed of each alone, so that its transcript doesn't depend on its batch.
        device = self.features.window.device
        features = [self.features(waveform.to(device)) for waveform in waveforms]
        shortest = min(map(len, features))
        if shortest < self.least_frames:
            raise TooShort(f"{shortest} frames; the encoder needs at least {self.least_frames}")
        alone = not self.batched or (self.exact and device.type == "cpu")
        rows = []
        for batch in [[feature] for feature in features] if alone else [features]:
            lengths = torch.tensor([len(feature) for feature in batch], device=device)
            encoded, lengths = self.encode_features(pad_sequence(batch, batch_first=True), lengths)
            rows += [row[:length] for row, length in zip(encoded, lengths.tolist(), strict=True)]
        if not torch.isfinite(torch.cat(rows)).all():
            raise FloatingPointError("the encoder's output isn't finite; train with a lower learning rate")
        lengths = torch.tensor([len(row) for row in rows], device=device)
        return pad_sequence(rows, batch_first=True), lengths

    def encode_features(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """The encoder's output (B, N, C) and lengths (B,) for features (B, L, F), padded, lengths (B,)."""
        told = {"ctc": self} if getattr(self.encoder, "interctc_use_conditioning", False) else {}
        encoded, lengths, *_ = self.encoder(features, lengths, **told)
        return encoded[0] if isinstance(encoded, tuple) else encoded, lengths  # with intermediate CTC

    def softmax(self, encoded: Tensor) -> Tensor:
        """Probabilities (B, N, V), by the name that encoders with self-conditioning on CTC ask for."""
        return self.ctc(encoded).softmax(-1)

    def log_probs(self, encoded: Tensor) -> Tensor:
        """Log-probabilities (B, N, V) of the encoder's output (B, N, C)."""
        return self.ctc(encoded).log_softmax(-1)

    def forward(self, waveforms: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Log-probabilities and lengths, see the class."""
        encoded, lengths = self.encode(waveforms)
        return self.log_probs(encoded), lengths


class Tokens:
    """The token list of a recognizer: texts to numbers and back.

    Args:
        names: the token list; <blank> has the number 0.
        kind: "char" (<space> stands for a blank), "bpe" or "word".
        bpe_model: of "bpe", the content of sentencepiece's model.

    >>> tokens = Tokens(["<blank>", "<unk>", "<space>", "a", "b", "<sos/eos>"], "char")
    >>> tokens.numbers("a bc"), tokens.text([5, 4, 2, 3, 0])
    ([3, 2, 4, 1], 'b a')
    """

    def __init__(self, names: Iterable[str], kind: str, bpe_model: bytes | None = None):
        self.names, self.kind = list(names), kind
        for name in (BLANK, SOS_EOS):
            if name not in self.names:
                raise ValueError(f"the token list has no {name}")
        self.blank, self.eos = self.names.index(BLANK), self.names.index(SOS_EOS)
        if kind not in ("char", "word", "bpe"):
            raise ValueError(f"token_type must be char, word or bpe, not {kind!r}")
        self.pieces = None
        if kind == "bpe":
            import sentencepiece

            if bpe_model is None:
                raise ValueError("token_type is bpe, but there is no bpe.model")
            self.pieces = sentencepiece.SentencePieceProcessor(model_proto=bpe_model)

    def __len__(self) -> int:
        return len(self.names)

    def numbers(self, text: str) -> list[int]:
        """The tokens of a text; <unk> for what isn't in the list."""
        known = {name: number for number, name in enumerate(self.names)}
        if self.pieces is not None:
            names = self.pieces.encode_as_pieces(text)
        else:
            names = char_tokens(text) if self.kind == "char" else text.split()
        return [known.get(name, known.get(UNKNOWN, self.blank)) for name in names]

    def text(self, numbers: Iterable[int]) -> str:
        """The text of token numbers, without blanks and <sos/eos> and without white space at its ends."""
        names = [self.names[number] for number in numbers if number not in (self.blank, self.eos)]
        if self.pieces is not None:
            text = self.pieces.decode_pieces(names)
        elif self.kind == "word":
            text = " ".join(names)
        else:
            text = "".join(" " if name == SPACE else name for name in names)
        return " ".join(text.split())
