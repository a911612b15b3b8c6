"""The recurrent language model of a recognizer, as a scorer of the beam search."""

from torch import Tensor, nn

from imlspike.inference.beam_search import rows_of


class RNNLanguageModel(nn.Module):
    """ESPnet's `SequentialRNNLM` (`lm: seq_rnn`) for decoding; its weights load by the same names.

    Args:
        vocab_size: tokens V.
        unit: channels of the embedding; nhid: of the recurrent layers; None: the same.
        nlayers: recurrent layers.
        rnn_type: "lstm", "gru", "rnn_tanh" or "rnn_relu".
        dropout_rate, tie_weights, ignore_id: of training only.

    Forward: tokens (B, N), and the state before them, None at the beginning -> log probabilities (B, N, V) of
    what follows each, and the state after them: tensors (layers, B, nhid).
    """

    def __init__(
        self,
        vocab_size: int,
        unit: int = 650,
        nhid: int | None = None,
        nlayers: int = 2,
        dropout_rate: float = 0.0,
        tie_weights: bool = False,
        rnn_type: str = "lstm",
        ignore_id: int = 0,
    ):
        super().__init__()
        self.encoder = nn.Embedding(vocab_size, unit)
        cell, _, nonlinearity = rnn_type.partition("_")
        more = {"nonlinearity": nonlinearity} if nonlinearity else {}
        self.rnn = getattr(nn, cell.upper())(unit, nhid or unit, nlayers, batch_first=True, **more)
        self.decoder = nn.Linear(nhid or unit, vocab_size)

    def forward(self, tokens: Tensor, state=None):
        """Log probabilities and state, see the class."""
        hidden, state = self.rnn(self.encoder(tokens), state)
        return self.decoder(hidden).log_softmax(-1), state

    def scorer(self, memory: Tensor, lengths: Tensor, beam: int) -> "RNNScorer":
        """The scorer of new hypotheses (`imlspike.inference.beam_search.MakeScorer`)."""
        return RNNScorer(self)


class RNNScorer:
    """An `RNNLanguageModel` that reads one token of each hypothesis at a time (a `Scorer` of beam_search)."""

    def __init__(self, lm: RNNLanguageModel):
        self.lm, self.state = lm, None

    def score(self, prefixes: Tensor) -> Tensor:
        """Log probabilities (U, W, V) of what follows `prefixes` (U, W, N)."""
        scores, self.state = self.lm(prefixes[..., -1].reshape(-1, 1), self.state)
        return scores[:, 0].unflatten(0, prefixes.shape[:2])

    def advance(self, parents: Tensor, utterances: Tensor | None = None) -> None:
        """Go on with these slots (U', W) of these utterances (U',)."""
        rows, state = rows_of(parents, utterances), self.state
        # An LSTM's is a pair: hidden and cell.
        self.state = tuple(part[:, rows] for part in state) if isinstance(state, tuple) else state[:, rows]
