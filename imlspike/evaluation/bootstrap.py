"""Bootstrap intervals over utterances by scipy; whole utterances are drawn, so that the errors of one stay
together (Bisani and Ney 2004). Two systems on the same utterances are drawn together (paired). Over seeds and
utterances: `crossed_interval`."""

import warnings
from collections.abc import Callable

import numpy as np

CONFIDENCE = 0.95


def interval(statistic: Callable, *columns, resamples: int = 10000, seed: int = 0) -> list[float]:
    """Percentile bootstrap interval of 95 % of `statistic`: its lower and upper end.

    Args:
        statistic: of as many arrays as `columns`, with a keyword `axis` over which it works.
        columns: (U,) a number an utterance each; the same utterances are drawn of all. One utterance alone
            gives an interval of no width.

    Raises:
        ValueError: fewer than one resample. ImportError: scipy is missing.
    """
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; a bootstrap draws at least once (--resamples)")
    try:
        from scipy.stats import bootstrap
    except ImportError as error:
        raise ImportError("intervals need scipy; install it by: pip install 'imlspike[scores]'") from error

    data = [np.asarray(column, dtype=np.float64) for column in columns]
    options = dict(n_resamples=resamples, batch=max(1, 10**6 // len(data[0])), vectorized=True, paired=True)
    # A twin without errors gives an infinite ratio, and equal utterances no spread.
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if len(data[0]) == 1:
            return [float(statistic(*data, axis=0))] * 2
        random = np.random.default_rng(seed)
        drawn = bootstrap(data, statistic, method="percentile", rng=random, **options).bootstrap_distribution
    ends = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    return [float(end) for end in np.nanquantile(drawn, ends, method="nearest")]


def crossed_interval(above, below, resamples: int = 10000, seed: int = 0) -> list[float]:
    """Percentile bootstrap interval of 95 % of sum(above) / sum(below) over seeds and utterances, both drawn.

    A seed that is drawn brings all its utterances, an utterance all its seeds. Fewer than some eight seeds
    give too narrow an interval, one seed that of its utterances alone: it shows, and calls nothing.

    Args:
        above, below: (S, U) a number a seed and utterance, drawn alike in both (paired).

    >>> crossed_interval([[1, 1], [3, 3]], [[10, 10], [10, 10]])
    [0.1, 0.3]
    """
    above, below = (np.asarray(each, dtype=np.float64) for each in (above, below))
    random, (seeds, utterances) = np.random.default_rng(seed), above.shape
    shares = (np.full(n, 1 / n) for n in (seeds, utterances))
    by_seed, by_utterance = (random.multinomial(len(p), p, resamples) for p in shares)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = np.divide(*(((by_seed @ each) * by_utterance).sum(1) for each in (above, below)))
    ends = np.nanquantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="nearest")
    return [float(end) for end in ends]


def ratio(above: np.ndarray, below: np.ndarray, axis: int = -1) -> np.ndarray:
    """Ratio of sums, which is a corpus's error rate: errors over reference lengths."""
    return np.sum(above, axis) / np.sum(below, axis)
