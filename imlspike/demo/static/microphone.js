// Hands the microphone's samples to the page at the model's rate, a tenth of a second at a time. They are
// resampled here, because Firefox connects a microphone to a context of its own rate only.
const ZEROS = 12; // of the kernel, a sinc in a Hann window, on each side

registerProcessor("microphone", class extends AudioWorkletProcessor {
  /** processorOptions.rate: samples a second that the page gets; those that come in are the context's. */
  constructor({ processorOptions: { rate } }) {
    super();
    let [common, rest] = [sampleRate, rate];
    while (rest) [common, rest] = [rest, common % rest];
    [this.up, this.down] = [rate / common, sampleRate / common];
    this.cutoff = Math.min(1, rate / sampleRate);
    this.half = Math.ceil(ZEROS / this.cutoff);
    this.kernels = new Map(); // of each phase: how many `up`ths of a sample the output is behind one of the input
    this.phase = 0;
    this.near = new Float32Array(this.half); // samples from `half` before the next output on
    this.held = new Float32Array(Math.round(rate / 10));
    this.count = 0;
  }

  kernel() {
    if (!this.kernels.has(this.phase)) {
      this.kernels.set(this.phase, Float32Array.from({ length: 2 * this.half + 1 }, (_, place) => {
        const x = Math.PI * this.cutoff * (place - this.half - this.phase / this.up);
        if (Math.abs(x) >= Math.PI * ZEROS) return 0;
        return this.cutoff * (x ? Math.sin(x) / x : 1) * Math.cos(x / (2 * ZEROS)) ** 2;
      }));
    }
    return this.kernels.get(this.phase);
  }

  process([[samples = []]]) {
    const all = new Float32Array(this.near.length + samples.length);
    all.set(this.near);
    all.set(samples, this.near.length);
    let first = 0;
    while (first + 2 * this.half < all.length) {
      this.give(this.kernel().reduce((sum, weight, place) => sum + weight * all[first + place], 0));
      this.phase += this.down;
      first += Math.floor(this.phase / this.up);
      this.phase %= this.up;
    }
    this.near = all.slice(first);
    return true;
  }

  give(sample) {
    this.held[this.count++] = sample;
    if (this.count < this.held.length) return;
    this.port.postMessage(this.held.slice());
    this.count = 0;
  }
});
