// Sound in: files and the microphone; sound out: WAV. What a user can mend is told in plain words.

/** An error whose message is for the user. */
export const plain = (message) => Object.assign(new Error(message), { plain: message });

/** Samples (mono, at this rate) of a file's bytes. */
export async function decode(bytes, name, rate) {
  let buffer;
  try {
    buffer = await new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes); // resamples
  } catch {
    throw plain(`${name} is no sound that this browser can read. Try WAV, MP3, M4A, OGG or FLAC.`);
  }
  const samples = new Float32Array(buffer.length);
  for (let c = 0; c < buffer.numberOfChannels; c++) {
    buffer.getChannelData(c).forEach((x, i) => (samples[i] += x / buffer.numberOfChannels));
  }
  return samples;
}

/** The microphone's stream, without what the browser would do to it. */
export async function microphone() {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw plain("Browsers give a page the microphone only at localhost or over https. Open a file instead.");
  }
  const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  return navigator.mediaDevices.getUserMedia({ audio }).catch((error) => {
    const none = error.name === "NotFoundError";
    throw plain(none ? "No microphone was found. Connect one, or open a file instead." :
      "The microphone can't be used. Allow it in the browser's settings for this page, or open a file instead.");
  });
}

/** A WAV file of mono samples, 16 bit. */
export function wav(samples, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF"), text(8, "WAVEfmt "), text(36, "data");
  for (const [at, value] of [[4, 36 + 2 * samples.length], [16, 16], [24, rate], [28, 2 * rate], [40, 2 * samples.length]]) {
    view.setUint32(at, value, true);
  }
  for (const [at, value] of [[20, 1], [22, 1], [32, 2], [34, 16]]) view.setUint16(at, value, true);
  samples.forEach((x, i) => view.setInt16(44 + 2 * i, 32767 * Math.max(-1, Math.min(1, x)), true));
  return new Blob([view], { type: "audio/wav" });
}
