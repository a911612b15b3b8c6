// Hands the microphone's samples to the page, a tenth of a second at a time.
registerProcessor("microphone", class extends AudioWorkletProcessor {
  held = new Float32Array(Math.round(sampleRate / 10));
  count = 0;

  process([[samples]]) {
    for (const sample of samples || []) {
      this.held[this.count++] = sample;
      if (this.count === this.held.length) {
        this.port.postMessage(this.held.slice());
        this.count = 0;
      }
    }
    return true;
  }
});
