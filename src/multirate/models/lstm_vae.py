"""The sentence VAE: an LSTM reads the words into one Gaussian latent vector, an LSTM writes them again."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from multirate.errors import UsageError
from multirate.models.decoding import END, START, UNKNOWN, State
from multirate.models.gaussian import positive_integers
from multirate.models.packing import PackedWords, like, pack
from multirate.terms import GaussianPosterior, Terms, at_least_float32, diagonal_gaussian, gaussian_kl

# Words are scored in pieces of at most so many logits, which bounds the memory of a large batch without gradients.
_LOGITS_AT_ONCE = 2**22
_DECODER_EMBEDDING = 0.1


class SentenceEncoder(nn.Module):
    """Embedding and LSTM; the features of a sentence are the hidden state after its end token.

    Args:
        vocabulary_size: number of words, special ones included.
        embedding: width of the word embedding.
        hidden: width of the LSTM.
    """

    def __init__(self, vocabulary_size: int, embedding: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, embedding)
        self.lstm = _lstm(embedding, hidden)

    def forward(self, words: PackedSequence) -> Tensor:
        """Return features ``[B, H]``."""
        _, (last, _) = self.lstm(like(words, self.embedding(words.data)))
        features: Tensor = last[0]
        return features


class SentenceDecoder(nn.Module):
    """Embedding, LSTM and dropout at both its ends; every input is a word's embedding beside the latents' part.

    Args:
        vocabulary_size: number of words, special ones included.
        embedding: width of the word embedding.
        latents: width of the latents' part.
        hidden: width of the LSTM.
        dropout: of the word embeddings and of the outputs, in training.
    """

    def __init__(self, vocabulary_size: int, embedding: int, latents: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, embedding)
        nn.init.uniform_(self.embedding.weight, -_DECODER_EMBEDDING, _DECODER_EMBEDDING)
        self.dropout = nn.Dropout(dropout)
        self.lstm = _lstm(embedding + latents, hidden)

    def forward(self, inputs: PackedSequence, rows: Tensor, state: State) -> Tensor:
        """Return the features of the N next words, ``[N, H]``.

        Args:
            inputs: the words before them, N in all.
            rows: the sentence that each belongs to, ``[N]``.
            state: before the first word: hidden ``[B, H]``, cell ``[B, H]`` and the latents' part ``[B, Z]``.
        """
        hidden, cell, latents = state
        words = self.dropout(self.embedding(inputs.data))
        packed, _ = self.lstm(like(inputs, torch.cat([words, latents[rows]], -1)), (hidden[None], cell[None]))
        features: Tensor = self.dropout(packed.data)
        return features

    def step(self, word: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the features of the next word, ``[N, H]``, and the state after one word, ``[N]``."""
        hidden, cell, latents = state
        words = self.dropout(self.embedding(word))
        output, (hidden, cell) = self.lstm(torch.cat([words, latents], -1)[:, None], (hidden[None], cell[None]))
        return self.dropout(output[:, 0]), (hidden[0], cell[0], latents)


class LSTMVAE(nn.Module):
    r"""VAE of sentences (Bowman et al. 2016; He et al. 2019).

    .. math:: -\log p(x|z) = -\sum_{t=1}^{T} \log p(x_t | x_{<t}, z)

    over the words and the end token of a sentence. The posterior is Gaussian with heads ``mean`` and ``log_variance``
    on the encoder's last state. One linear map of the latents, ``stem``, gives both places where the decoder meets
    them: the LSTM's first cell ``c`` (its first hidden state is ``tanh(c)``), and the part beside the word embedding
    at every step, which starts as the latents themselves. All that the decoder knows of the latents comes through it.

    A batch is int64 ``[B, T]``: words, one end token (3), then padding (0). The start token (2) is the decoder's first
    input and not in the data. T may differ between batches, and padding changes nothing.

    Args:
        shape: ``(T,)``, the longest sentence with its end token; the default limit in decoding.
        latents: number of latents, Z.
        vocabulary_size: number of words with the four special ones, V.
        embedding: width of both word embeddings.
        hidden: width of both LSTMs.
        dropout: of the decoder's word embeddings and outputs, in training.
        word_dropout: chance that a word of the decoder's input is replaced by the unknown word, in training.

    Raises:
        UsageError: if an option cannot be right.
    """

    likelihood = "categorical"
    name = "lstm"

    def __init__(
        self,
        shape: Sequence[int],
        latents: int,
        *,
        vocabulary_size: int,
        embedding: int = 256,
        hidden: int = 256,
        dropout: float = 0.5,
        word_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _check_options(shape, latents, vocabulary_size, embedding, hidden, dropout, word_dropout)
        self.shape = tuple(shape)
        self.latents = latents
        self.vocabulary_size = vocabulary_size
        self.word_dropout = word_dropout
        self.options: dict[str, Any] = {
            "shape": list(shape),
            "latents": latents,
            "vocabulary_size": vocabulary_size,
            "embedding": embedding,
            "hidden": hidden,
            "dropout": dropout,
            "word_dropout": word_dropout,
            "likelihood": self.likelihood,
        }
        self.encoder = SentenceEncoder(vocabulary_size, embedding, hidden)
        self.mean = nn.Linear(hidden, latents)
        self.log_variance = nn.Linear(hidden, latents)
        self.stem = nn.Linear(latents, hidden + latents)
        self.decoder = SentenceDecoder(vocabulary_size, embedding, latents, hidden, dropout)
        self.output = nn.Linear(hidden, vocabulary_size)
        nn.init.orthogonal_(self.mean.weight)
        with torch.no_grad():
            nn.init.eye_(self.stem.weight[hidden:])
            self.stem.bias[hidden:] = 0.0

    def encode(self, x: Tensor) -> Distribution:
        """Return the posterior q(z|x).

        Args:
            x: sentences, int64, ``[B, T]``.

        Returns:
            A distribution with batch shape ``[B]`` and event shape ``[Z]``.

        Raises:
            UsageError: if ``x`` is not int64 ``[B, T]``, or holds a word that the vocabulary has not.
            DataError: if a row is not words, one end token and padding.
        """
        return diagonal_gaussian(*self._posterior(pack(x, self.vocabulary_size)))

    def decode(self, z: Tensor, x: Tensor) -> Tensor:
        """Return the logits of every word given the words before it, in training mode with dropout.

        Args:
            z: latents, ``[B, Z]``.
            x: sentences, int64, ``[B, T]``.

        Returns:
            Unnormalised, ``[B, T, V]``; 0 after the end of a sentence.

        Raises:
            MultirateError: as :meth:`encode`.
        """
        packed = pack(x, self.vocabulary_size)
        return packed.padded(at_least_float32(self.output(self._features(z, packed))), x.shape[1])

    def distortion(self, z: Tensor, x: Tensor) -> Tensor:
        """Return -log p(x|z), summed over the words and the end token.

        Args:
            z: latents, ``[B, Z]``.
            x: sentences, int64, ``[B, T]``.

        Returns:
            Nats, ``[B]``.

        Raises:
            MultirateError: as :meth:`encode`.
        """
        return self._distortion(z, pack(x, self.vocabulary_size))

    def prior(self) -> Distribution:
        """Return p(z), standard normal, with batch shape ``[]`` and event shape ``[Z]``, on the parameters' device."""
        zeros = self.mean.weight.new_zeros(self.latents)
        return diagonal_gaussian(zeros, zeros)

    def terms(self, x: Tensor) -> Terms:
        """Return rate and distortion of each sentence, with one posterior sample drawn from the global generator.

        Args:
            x: sentences, int64, ``[B, T]``.

        Returns:
            Nats; ``latent_rate`` and ``posterior`` are filled, and ``dimensions`` counts words and end token.

        Raises:
            MultirateError: as :meth:`encode`.
        """
        packed = pack(x, self.vocabulary_size)
        mean, log_variance = self._posterior(packed)
        latent_rate = gaussian_kl(mean, log_variance)
        z = diagonal_gaussian(mean, log_variance).rsample()
        return Terms(
            latent_rate.sum(-1),
            self._distortion(z, packed),
            latent_rate,
            posterior=GaussianPosterior(mean, log_variance, z),
            dimensions=packed.lengths,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of every word at the posterior's mean, ``[B, T, V]``, as :meth:`decode` does."""
        packed = pack(x, self.vocabulary_size)
        features = self._features(self._posterior(packed)[0], packed)
        return packed.padded(at_least_float32(self.output(features)), x.shape[1])

    def initial_state(self, z: Tensor) -> State:
        """Return the decoder's state before the first word, for latents ``[B, Z]``; see :mod:`.decoding`."""
        cell, latents = self.stem(z.to(self.stem.weight.dtype)).split([self.decoder.lstm.hidden_size, self.latents], -1)
        return cell.tanh(), cell, latents

    def step(self, word: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the logits of the next word, ``[N, V]``, and the state after ``word``.

        Args:
            word: the word before it, int64, ``[N]``.
            state: of :meth:`initial_state` or of the step before, each part ``[N, ...]``.
        """
        features, state = self.decoder.step(word, state)
        return at_least_float32(self.output(features)), state

    def _posterior(self, packed: PackedWords) -> tuple[Tensor, Tensor]:
        features = self.encoder(packed.words)
        return at_least_float32(self.mean(features)), at_least_float32(self.log_variance(features))

    def _features(self, z: Tensor, packed: PackedWords) -> Tensor:
        if z.shape != (packed.lengths.shape[0], self.latents):
            raise UsageError(f"latents must be [{packed.lengths.shape[0]}, {self.latents}]; got {list(z.shape)}")
        features: Tensor = self.decoder(self._drop_words(packed.inputs), packed.rows, self.initial_state(z))
        return features

    def _distortion(self, z: Tensor, packed: PackedWords) -> Tensor:
        rows = max(_LOGITS_AT_ONCE // self.vocabulary_size, 1)
        pieces = zip(self._features(z, packed).split(rows), packed.words.data.split(rows), strict=True)
        nats = [F.cross_entropy(at_least_float32(self.output(h)), word, reduction="none") for h, word in pieces]
        return packed.padded(torch.cat(nats)).sum(-1)

    def _drop_words(self, inputs: PackedSequence) -> PackedSequence:
        if not (self.training and self.word_dropout):
            return inputs
        dropped = torch.rand(inputs.data.shape, device=inputs.data.device) < self.word_dropout
        return like(inputs, inputs.data.masked_fill(dropped & (inputs.data != START), UNKNOWN))


def lstm(
    shape: Sequence[int] = (128,),
    latents: int = 32,
    vocabulary_size: int = 10_000,
    embedding: int = 256,
    hidden: int = 256,
    dropout: float = 0.5,
    word_dropout: float = 0.0,
    likelihood: str = "categorical",
) -> LSTMVAE:
    """Build the sentence VAE of Bae et al. 2023 (Yahoo Answers): embedding and hidden width 256, 32 latents.

    It starts where the latents already tell sentences apart, else the decoder learns to write without them first:
    forget gates open, encoder embeddings standard normal, the mean's head orthogonal. Posterior means then differ by a
    tenth of the posterior's width before any training; with small embeddings in the encoder and PyTorch's own start of
    the rest, forty times less. The decoder's embeddings are uniform in [-0.1, 0.1]. Call ``torch.manual_seed`` before
    for a reproducible model. With the defaults it has 8,801,392 parameters.

    Args:
        shape: ``(T,)``, the longest sentence with its end token.
        latents: number of latents.
        vocabulary_size: number of words with the four special ones.
        embedding: width of both word embeddings.
        hidden: width of both LSTMs.
        dropout: of the decoder's word embeddings and outputs, in training.
        word_dropout: chance that a word of the decoder's input is replaced by the unknown word, in training.
        likelihood: ``"categorical"``, the only one.

    Returns:
        The model.

    Raises:
        UsageError: if an option cannot be right.
    """
    if likelihood != LSTMVAE.likelihood:
        raise UsageError(f"the lstm's likelihood is categorical; got {likelihood!r}: use it with text")
    return LSTMVAE(
        shape,
        latents,
        vocabulary_size=vocabulary_size,
        embedding=embedding,
        hidden=hidden,
        dropout=dropout,
        word_dropout=word_dropout,
    )


def _check_options(
    shape: Sequence[int],
    latents: int,
    vocabulary_size: int,
    embedding: int,
    hidden: int,
    dropout: float,
    word_dropout: float,
) -> None:
    if not positive_integers(shape) or len(shape) != 1:
        raise UsageError(f"shape must be positive integers such as (82,), the longest sentence; got {shape!r}")
    for option, width in (("latents", latents), ("embedding", embedding), ("hidden", hidden)):
        if not positive_integers([width]):
            raise UsageError(f"{option} must be an integer of at least 1; got {width!r}")
    if not positive_integers([vocabulary_size]) or vocabulary_size <= END + 1:
        raise UsageError(f"vocabulary_size must count the four special words and more; got {vocabulary_size!r}")
    for option, chance in (("dropout", dropout), ("word_dropout", word_dropout)):
        if isinstance(chance, bool) or not isinstance(chance, int | float) or not 0 <= chance < 1:
            raise UsageError(f"{option} must be a number of at least 0 and below 1; got {chance!r}")


def _lstm(inputs: int, hidden: int) -> nn.LSTM:
    """Return an LSTM whose forget gates start open, at a bias of 1 (Jozefowicz et al. 2015)."""
    layer = nn.LSTM(inputs, hidden, batch_first=True)
    with torch.no_grad():
        for name, value in (("bias_ih_l0", 1.0), ("bias_hh_l0", 0.0)):
            layer.get_parameter(name)[hidden : 2 * hidden] = value
    return layer
