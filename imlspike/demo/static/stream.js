// A stream of speech and what is heard in it: imlspike/inference/listening.py and `OnnxStream` of
// imlspike/export/engine.py, whose numbers and names these are.

import { plain } from "./sound.js";

const FRAME = 0.025, GATE = 0.1, MEMORY = 1 - FRAME / 4, RELEASE = 10 ** (-FRAME / 10), MOST_RUNNING_GAIN = 10 ** 1.5;
const SILENT_SECONDS = 5, ENDLESS_PAUSE = 0.2, OVERLAP = 0.2, MAX_SECONDS = 20;
const BLANK = "\u2581"; // in a token: a blank in the text

export class Stream {
  /** `about`: metadata of stream.onnx, `frames` of a step, `state`'s shape; `run`: feeds to a promise of outputs. */
  constructor(about, run, pause = 0.8) {
    const read = (key) => Number(about[key]);
    Object.assign(this, { run, pause, frames: about.frames, shape: about.state, names: about.tokens.split(" ") });
    this.blank = this.names.indexOf("<blank>");
    this.unwritten = new Set([this.blank, this.names.indexOf("<sos/eos>")]);
    this.silent = new Set([this.blank, about.token_type === "char" ? this.names.indexOf(BLANK) : -1]);
    [this.size, this.hop, this.token, this.rate] = ["n_fft", "hop_length", "frames_per_token", "sample_rate"].map(read);
    this.mirrored = read("center") ? this.size / 2 : 0;
    this.group = read("look_ahead") + 1;
    this.least = this.frames - this.token * (this.group - 1);
    this.seconds = (this.token * this.hop) / this.rate;
    this.overlap = Math.round(OVERLAP / this.seconds);
    this.wanted = about.level === "" ? null : 10 ** (read("level") / 20);
    this.block = Math.round(FRAME * this.rate);
    // Samples from the begin of a frame on, gains of the frames known, samples whose level isn't known yet.
    this.wave = this.gains = this.unheard = new Float32Array(0);
    this.given = this.first = this.behind = 0; // frames that have gains; levels gone; tokens of `wave` gone through
    this.levels = [];
    this.sum = this.count = 0;
    this.begin();
  }

  begin() {
    this.state = new Float32Array(this.shape.reduce((a, b) => a * b));
    [this.numbers, this.best, this.shown, this.words] = [[], this.blank, "", false];
    this.past = this.quiet = 0;
  }

  /** What is new with the next samples: {text, final}. */
  async accept(samples, last = false) {
    this.frame(samples, last);
    const results = [];
    for (;;) {
      const there = Math.max(0, Math.floor((this.gains.length - this.behind * this.token - this.least) / this.token) + 1);
      const count = there >= this.group ? this.group : last ? there : 0;
      if (!count) break;
      this.hear(await this.step(count));
      if (this.ended()) {
        results.push(...this.heard(true));
        const again = Math.min(this.overlap, this.quiet - 1);
        this.behind -= again;
        this.begin();
      }
      const gone = Math.max(0, this.behind - this.overlap);
      this.behind -= gone;
      this.gains = this.gains.slice(gone * this.token);
      this.wave = this.wave.slice(gone * this.token * this.hop);
    }
    const heard = this.heard(last), text = heard.length ? heard[0].text : "";
    if (last || (text && text !== this.shown)) results.push(...heard);
    this.shown = text;
    return results;
  }

  frame(samples, last) {
    if (this.wanted !== null) this.level(samples, last);
    this.wave = join(this.wave, samples);
    if (!this.given) {
      if ((this.wanted !== null && !this.levels.length) || this.wave.length <= this.mirrored) return;
      this.wave = join(this.wave.slice(1, this.mirrored + 1).reverse(), this.wave);
    }
    const { length } = this.wave;
    if (last && this.mirrored) this.wave = join(this.wave, this.wave.slice(length - this.mirrored - 1, -1).reverse());
    const known = this.gains.length, all = Math.max(known, Math.floor((this.wave.length - this.size) / this.hop) + 1);
    let place = 0;
    const fresh = Float32Array.from({ length: all - known }, () => {
      const end = (this.mirrored || this.size) + this.hop * this.given++;
      if (this.wanted === null) return 1;
      place = Math.min(Math.max(Math.floor(end / this.block) - 1 - this.first, 0), this.levels.length - 1);
      return Math.min(this.wanted / Math.sqrt(this.levels[place]), MOST_RUNNING_GAIN);
    });
    this.levels.splice(0, place);
    this.first += place;
    this.gains = join(this.gains, fresh);
  }

  level(samples, last) {
    this.unheard = join(this.unheard, samples);
    const short = last && !this.levels.length && this.unheard.length < this.block ? this.unheard.length : this.block;
    let at = 0;
    for (; short && at + short <= this.unheard.length; at += short) {
      const block = this.unheard.subarray(at, at + short), mean = block.reduce((a, b) => a + b, 0) / short;
      const power = block.reduce((a, b) => a + (b - mean) ** 2, 0) / short, before = this.count ? this.sum / this.count : 0;
      if (GATE * power > before) [this.sum, this.count] = [power, 1];
      else if (power > GATE * before) [this.sum, this.count] = [MEMORY * this.sum + power, MEMORY * this.count + 1];
      else this.sum *= RELEASE;
      this.levels.push(this.count ? this.sum / this.count : 0);
    }
    this.unheard = this.unheard.slice(at);
  }

  /** The most probable tokens of the next group; of the last one those that are there. */
  async step(real) {
    const from = this.behind * this.token, samples = new Float32Array(this.size + (this.frames - 1) * this.hop);
    samples.set(this.wave.subarray(from * this.hop, from * this.hop + samples.length));
    const gains = new Float32Array(this.frames).fill(this.gains.at(-1));
    gains.set(this.gains.subarray(from, from + this.frames));
    const { log_probs: probs, next_state: state } = await this.run({
      samples: ["float32", samples, [1, samples.length]],
      gains: ["float32", gains, [1, gains.length]],
      past: ["int64", BigInt64Array.of(BigInt(this.past)), [1]],
      real: ["int64", BigInt64Array.of(BigInt(real)), [1]],
      state: ["float32", this.state, this.shape],
    });
    this.state = state.data;
    const size = this.names.length;
    return Array.from({ length: real }, (_, token) => {
      const row = probs.data.subarray(token * size, (token + 1) * size);
      return row.indexOf(Math.max(...row));
    });
  }

  hear(numbers) {
    for (const number of numbers) {
      if (this.silent.has(number)) this.quiet++;
      else [this.quiet, this.words] = [0, true];
      if (number !== this.best && number !== this.blank) this.numbers.push(number);
      this.best = number;
      this.past++;
      this.behind++;
    }
  }

  ended() {
    let pause = this.words ? this.pause : SILENT_SECONDS;
    if (this.words && this.past * this.seconds > MAX_SECONDS) pause = Math.min(pause, ENDLESS_PAUSE);
    return this.quiet * this.seconds >= pause;
  }

  heard(final) {
    const said = this.numbers.filter((number) => !this.unwritten.has(number)).map((number) => this.names[number]);
    const text = said.join("").replaceAll(BLANK, " ").trim().replace(/ +/g, " ");
    return text ? [{ text, final }] : [];
  }
}

/**
 * Hear a microphone's stream until the function that this gives is called, and stop the microphone.
 * `about`, `run`: of `Stream`; `tell` gets each result, `fail` an error that ended it.
 */
export async function listenTo(sound, about, run, tell, fail) {
  const stream = new Stream(about, run), context = new AudioContext();
  let last = Promise.resolve(), open = true;
  const hear = (samples, end) => (last = last.then(async () => (await stream.accept(samples, end)).forEach(tell)));
  const close = () => {
    open = false;
    sound.getTracks().forEach((track) => track.stop());
    context.close();
  };
  const failed = (error) => open && (close(), fail(error));
  try {
    await context.audioWorklet.addModule("microphone.js");
    const options = { channelCount: 1, channelCountMode: "explicit", processorOptions: { rate: stream.rate } };
    const node = new AudioWorkletNode(context, "microphone", options);
    node.port.onmessage = ({ data }) => open && hear(data).catch(failed);
    context.createMediaStreamSource(sound).connect(node).connect(context.destination); // which gets silence
  } catch (error) {
    close();
    throw error.name === "NotSupportedError" ? plain("This browser can't hear live. Take another one, or record.") : error;
  }
  return () => (close(), hear(new Float32Array(0), true));
}

function join(one, other) {
  const both = new Float32Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
}
