// From CTC's log-probabilities to words with times, and from spikes to energy; the formulas are those of
// imlspike/inference/word_times.py (on the best path's own frames) and imlspike/demo/spikes.py.

const BLANK = "\u2581"; // in a token: a blank in the text
const ALONE = /^[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]/; // written without blanks

/** Pieces [first, last) of samples, of at most `longest` seconds, cut where it is quietest in their last third. */
export function cut(samples, rate, longest = 25) {
  const pieces = [];
  const step = Math.round(rate / 20);
  let first = 0;
  while (samples.length - first > longest * rate) {
    let best = first + longest * rate, least = Infinity;
    for (let at = first + Math.round((longest * rate * 2) / 3); at + step <= first + longest * rate; at += step) {
      let power = 0;
      for (let i = at; i < at + step; i++) power += samples[i] ** 2;
      if (power <= least) [least, best] = [power, at + step / 2];
    }
    pieces.push([first, Math.round(best)]);
    first = Math.round(best);
  }
  pieces.push([first, samples.length]);
  return pieces;
}

/** Words {text, start, end, confidence} of log-probabilities (frames, V) over so many seconds. */
export function words(logProbs, frames, seconds, { tokens, blank, eos, word_times: times }) {
  const size = tokens.length, spans = [];
  let before = -1;
  for (let frame = 0; frame < frames; frame++) {
    const row = frame * size;
    let best = 0;
    for (let v = 1; v < size; v++) if (logProbs[row + v] > logProbs[row + best]) best = v;
    if (best !== blank && best !== eos) {
      if (best !== before) spans.push({ token: tokens[best], start: frame, end: frame, score: 0 });
      const span = spans[spans.length - 1];
      span.end = frame + 1;
      span.score += logProbs[row + best];
    }
    before = best;
  }
  for (const span of spans) span.score /= span.end - span.start;
  const found = [];
  let begins = true;
  spans.forEach((span, place) => {
    const written = span.token.replaceAll(BLANK, "");
    if (!written) begins = true; // a blank alone
    else {
      const alone = ALONE.test(written);
      if (begins || alone || span.token !== written) found.push([]);
      found[found.length - 1].push(place);
      begins = alone;
    }
  });
  const blanks = new Set(spans.flatMap((span, place) => (span.token === BLANK ? [place] : [])));
  const result = found.map((places) => {
    const around = [places[0] - 1, places[places.length - 1] + 1].filter((place) => blanks.has(place));
    const score = [...places, ...around].reduce((sum, place) => sum + spans[place].score, 0);
    const [first, last] = [spans[places[0]].start, spans[places[places.length - 1]].end];
    return {
      text: places.map((place) => spans[place].token.replaceAll(BLANK, "")).join(""),
      spikes: [(first * seconds) / frames, (last * seconds) / frames],
      start: Math.max(0, (first * seconds) / frames + times.start),
      end: Math.min(seconds, (last * seconds) / frames + times.end),
      confidence: Math.min(1, Math.exp(score * times.confidence)),
    };
  });
  result.slice(1).forEach((after, place) => {
    const one = result[place];
    if (one.end <= after.start) return;
    one.end = after.start = Math.min(Math.max((one.end + after.start) / 2, one.spikes[1]), after.spikes[0]);
  });
  return result;
}

/** The text that words make: blanks between them, but not within a script that has none. */
export function join(found) {
  return found.reduce((text, { text: word }) => {
    const close = !text || (ALONE.test(word) && ALONE.test([...text].pop()));
    return text + (close ? "" : " ") + word;
  }, "");
}

/** Spikes, their ones in binary, values that fire: of a row of the histogram (values with 1, 2, ... spikes). */
export function amounts(histogram) {
  const total = { spikes: 0, ones: 0, fired: 0 };
  histogram.forEach((number, place) => {
    const count = place + 1;
    total.spikes += count * number;
    total.ones += count.toString(2).replaceAll("0", "").length * number;
    total.fired += number;
  });
  return total;
}

/** Microjoules of each figure, of pieces {seconds, histogram: rows of layers}. */
export function energy(pieces, layers, table) {
  const total = {};
  for (const [figure, base] of Object.entries(table.base)) {
    total[figure] = 0;
    for (const { seconds, histogram } of pieces) {
      total[figure] += seconds * between(seconds, table.seconds, base.map((uj, i) => uj / table.seconds[i]));
      layers.forEach(({ name }, place) => {
        const prices = (table.prices[name] || {})[figure] || {};
        const found = amounts(histogram[place]);
        for (const [amount, price] of Object.entries(prices)) total[figure] += price * found[amount];
      });
    }
  }
  return total;
}

function between(x, xs, ys) {
  if (x <= xs[0]) return ys[0];
  for (let i = 1; i < xs.length; i++) {
    if (x <= xs[i]) return ys[i - 1] + ((ys[i] - ys[i - 1]) * (x - xs[i - 1])) / (xs[i] - xs[i - 1]);
  }
  return ys[ys.length - 1];
}
