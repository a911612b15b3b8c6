// The page: microphone and files to words, spikes and energy; symbols to sound.
import { amounts, cut, energy, join, words } from "./recognize.js";
import { blocksOf, drawRaster, drawWave, number, pixelsPerSecond, showEnergy, showWords } from "./plots.js";
import { decode, microphone, plain, wav } from "./sound.js";
import { listenTo } from "./stream.js";

const MOST_SECONDS = 300, MOST_BYTES = 200e6, LONGEST_RECORDING = 60;
const NO_RUNTIME = "onnxruntime-web can't be loaded";
const $ = (id) => document.getElementById(id);
const settings = await fetch("demo.json").then((answer) => answer.json()).catch(() => ({}));

// ---------------------------------------------------------------- models

const worker = new Worker("worker.js", { type: "module" });
const waiting = new Map();
let asked = 0, broken = false;
worker.onmessage = ({ data: { id, outputs, error } }) => {
  const { resolve, reject } = waiting.get(id);
  waiting.delete(id);
  if (error) reject(new Error(error));
  else resolve(outputs);
};
worker.onerror = (event) => {
  event.preventDefault();
  broken = true;
  for (const { reject } of waiting.values()) reject(new Error(NO_RUNTIME));
  waiting.clear();
};

/** Outputs by name of a model; without `feeds` it is only loaded. */
function run(model, feeds) {
  return new Promise((resolve, reject) => {
    if (broken) return reject(new Error(NO_RUNTIME));
    waiting.set(++asked, { resolve, reject });
    worker.postMessage({ id: asked, model, feeds });
  });
}

function say(id, message, isError = false) {
  $(id).textContent = message;
  $(id).classList.toggle("error", isError);
}

/** Run what a user asked for; what goes wrong is told in `status`. */
async function attempt(status, what) {
  try {
    await what();
  } catch (error) {
    if (!error.plain) console.error(error);
    say(status, error.plain || `This did not work: ${error.message}. Reload the page to try again.`, true);
  }
}

// ---------------------------------------------------------------- sound

let playing = null;

function play(samples, rate, from, to, onEnd) {
  stop();
  const context = new AudioContext();
  const buffer = context.createBuffer(1, samples.length, rate);
  buffer.copyToChannel(samples, 0);
  const source = context.createBufferSource();
  source.buffer = buffer;
  source.connect(context.destination);
  source.onended = stop;
  source.start(0, from, to - from);
  playing = { context, source, from, to, onEnd };
  follow();
}

function stop() {
  if (!playing) return;
  const { context, source, onEnd } = playing;
  playing = null;
  source.onended = null;
  source.stop();
  context.close();
  $("playhead").hidden = true;
  onEnd?.();
}

function follow() {
  if (!playing || !heard) return;
  const at = Math.min(playing.to, playing.from + playing.context.currentTime);
  $("playhead").hidden = false;
  $("playhead").style.transform = `translateX(${(at / heard.seconds) * heard.width}px)`;
  requestAnimationFrame(follow);
}

// ---------------------------------------------------------------- listen

let heard = null; // samples, seconds, words, pieces, width of what was recognized last
let newest = 0;

/** Nothing is heard or played any more. */
function clear() {
  stop();
  heard = null;
  for (const id of ["transcript", "finals", "partial"]) $(id).textContent = "";
  $("heard").hidden = $("play").disabled = true;
}

async function recognize(samples) {
  const own = ++newest, { recognizer } = settings, rate = recognizer.sampling_rate;
  let note = "";
  if (samples.length > MOST_SECONDS * rate) {
    samples = samples.subarray(0, MOST_SECONDS * rate);
    note = ` Only the first ${MOST_SECONDS / 60} minutes were used; the command line takes any length.`;
  }
  if (samples.length < recognizer.least_samples) throw plain("This is too short to hold a word.");
  if (samples.every((x) => Math.abs(x) < 1e-4)) throw plain("This is silence. Is the microphone muted?");
  clear();
  const pieces = [], found = [], begin = performance.now();
  for (const [first, last] of cut(samples, rate)) {
    if (last - first < recognizer.least_samples) continue;
    say("listen-status", `Listening to ${(first / rate).toFixed(0)} to ${(last / rate).toFixed(0)} s …`);
    const piece = new Float32Array(samples.subarray(first, last));
    const feeds = { waveform: ["float32", piece, [1, piece.length]] };
    const { log_probs: probs, counts, histogram } = await run(recognizer.model, feeds);
    if (own !== newest) return; // something newer was recorded meanwhile
    const [start, seconds, frames] = [first / rate, (last - first) / rate, probs.dims[1]];
    for (const word of words(probs.data, frames, seconds, recognizer)) {
      found.push({ ...word, start: word.start + start, end: word.end + start });
    }
    const levels = histogram.dims[1];
    const rows = recognizer.layers.map((_, j) => [...histogram.data.subarray(j * levels, (j + 1) * levels)]);
    pieces.push({ start, seconds, frames, counts: counts.data, histogram: rows, blocks: blocksOf(recognizer.layers) });
  }
  const took = (performance.now() - begin) / 1000, seconds = samples.length / rate;
  heard = { samples, seconds, words: found, pieces };
  $("transcript").textContent = join(found) || "(no words heard)";
  say("listen-status", `${seconds.toFixed(1)} s of sound in ${took.toFixed(1)} s.${note}`);
  $("play").disabled = false;
  $("heard").hidden = false;
  draw();
  tellEnergy();
}

function draw() {
  if (!heard) return;
  const room = $("timeline").querySelector(".scroll").clientWidth, { seconds, samples, words: found, pieces } = heard;
  const width = Math.round(pixelsPerSecond(room, seconds, found) * seconds);
  heard.width = width;
  $("track").style.width = `${width}px`;
  drawWave($("wave"), samples, seconds, width, found);
  showWords($("words"), found, seconds, width, (from, to) => play(samples, settings.recognizer.sampling_rate, from, to));
  drawSpikes();
}

function drawSpikes() {
  const only = $("layer").value, { pieces, seconds, width } = heard, { layers } = settings.recognizer;
  drawRaster($("raster"), $("gutter"), pieces, layers, seconds, width, only);
  let spikes = 0, possible = 0;
  for (const [place, { name, channels, levels }] of layers.entries()) {
    if (!channels || (only && name !== only)) continue;
    for (const { histogram, frames } of pieces) {
      spikes += amounts(histogram[place]).spikes;
      possible += frames * channels * levels;
    }
  }
  const rows = only ? "each row a channel" : "eight channels of each layer";
  $("layer-note").textContent = `${rows}; ${((100 * spikes) / possible).toFixed(1)} % of the possible spikes`;
}

function tellEnergy() {
  const { recognizer } = settings, found = energy(heard.pieces, recognizer.layers, recognizer.energy);
  const bits = recognizer.bits;
  showEnergy($("energy"), [
    ["Arithmetic", [
      ["This spiking network", found.int8_bitwise, true],
      ["Same network with ReLU, 8 bits", found.dense_int8],
      [`Same network with ${bits}-bit activations`, found.rival],
      ["… that skips zeros", found.rival_skipping],
    ]],
    ["Memory traffic", [
      ["This spiking network, a read for each spike", found.memory, true],
      ["… a read for 16 results", found.memory_tiles, true],
      ["Same network with ReLU, 8 bits", found.dense_memory],
      [`Same network with ${bits}-bit activations`, found.rival_memory],
    ]],
  ]);
  const against = (other, name) => `${number(found.int8_bitwise / found[other])} times that of ${name}`;
  const said = [against("dense_int8", "the same network with ReLU"), against("rival", `one with ${bits}-bit activations`)];
  said.push(against("rival_skipping", "one that also skips zeros"));
  const [memory, tiles] = [found.memory, found.memory_tiles].map((uj) => number(uj / found.dense_memory));
  $("energy-said").textContent = `Arithmetic: ${said.join(", ")}. Memory traffic: ${memory} times that with ReLU where ` +
    `each spike reads its weights, ${tiles} times where spikes, too, read them once for 16 results.`;
}

async function open(file) {
  if (!file) return;
  if (file.size > MOST_BYTES) throw plain(`${file.name} has more than ${MOST_BYTES / 1e6} MB. Take a shorter one.`);
  say("listen-status", `Reading ${file.name} …`);
  await recognize(await decode(await file.arrayBuffer(), file.name, settings.recognizer.sampling_rate));
}

/** Show that a button is at work, while the other one that takes the microphone can't be. */
function working(id, other, text, on) {
  $(id).textContent = text;
  $(id).setAttribute("aria-pressed", on);
  $(other).disabled = on;
}

let endLive = null;

async function live() {
  if (endLive) return endLive();
  const { stream } = settings;
  endLive = async () => {}; // until the microphone is open
  const tell = ({ text, final }) => {
    $("partial").textContent = final ? "" : text;
    if (final) $("finals").append(Object.assign(document.createElement("p"), { textContent: text }));
  };
  const close = () => {
    endLive = null;
    working("live", "record", "Live", false);
  };
  try {
    const sound = await microphone();
    newest++; // what is being recognized isn't shown any more
    clear();
    const step = (feeds) => run(stream.model, feeds);
    const end = await listenTo(sound, stream, step, tell, (error) => attempt("listen-status", () => {
      close();
      throw error;
    }));
    working("live", "record", "Stop", true);
    say("listen-status", "Listening. What you say appears as you speak; press Stop when you are done.");
    endLive = async () => {
      close();
      await end();
      say("listen-status", $("finals").textContent ? "Done." : "No words were heard.");
    };
  } catch (error) {
    close();
    throw error;
  }
}

let recorder = null, asking = false;

async function record() {
  if (recorder) return recorder.stop();
  if (asking) return; // the browser is still asking for the microphone
  asking = true;
  const stream = await microphone().finally(() => { asking = false; });
  stop();
  const parts = [], begin = Date.now();
  recorder = new MediaRecorder(stream);
  const clock = setInterval(() => {
    const seconds = Math.round((Date.now() - begin) / 1000);
    say("listen-status", `Recording, ${seconds} s. Press Stop when you are done.`);
    if (seconds >= LONGEST_RECORDING) recorder?.stop();
  }, 250);
  recorder.ondataavailable = ({ data }) => parts.push(data);
  recorder.onstop = () => {
    clearInterval(clock);
    stream.getTracks().forEach((track) => track.stop());
    const { mimeType } = recorder;
    recorder = null;
    working("record", "live", "Record", false);
    attempt("listen-status", async () => {
      const bytes = await new Blob(parts, { type: mimeType }).arrayBuffer();
      await recognize(await decode(bytes, "The recording", settings.recognizer.sampling_rate));
    });
  };
  recorder.start();
  working("record", "live", "Stop", true);
}

const ROLES = {
  "conv.neuron": "convolution", "attention.neuron": "attention's input", "attention.q_neuron": "queries",
  "attention.k_neuron": "keys", "attention.v_neuron": "values", "attention.o_neuron": "attention's output",
  "feed_forward.neuron": "feed-forward's input", "feed_forward.hidden_neuron": "feed-forward's hidden layer",
};

function nameOf(layer) {
  const [, block, rest] = layer.name.match(/blocks\.(\d+)\.(.*)/);
  return `block ${Number(block) + 1}, ${ROLES[rest] || rest}`;
}

function startListening() {
  const { recognizer, stream } = settings;
  $("listen").hidden = false;
  $("listen-about").textContent = [recognizer, stream].map((one) => one?.about).filter(Boolean).join(" ");
  $("live").hidden = !stream;
  $("whole").hidden = !recognizer;
  $("live").addEventListener("click", () => attempt("listen-status", live));
  if (recognizer) startRecognizing();
  attempt("listen-status", async () => {
    say("listen-status", "Loading the recognizer …");
    for (const one of [recognizer, stream]) if (one) await run(one.model);
    if ($("listen-status").textContent.startsWith("Loading")) say("listen-status", "Ready.");
  });
}

function startRecognizing() {
  const { recognizer } = settings, section = $("listen");
  $("layer").append(new Option("all layers", ""));
  for (const layer of recognizer.layers.filter(({ channels }) => channels)) {
    $("layer").append(new Option(nameOf(layer), layer.name));
  }
  $("layer").addEventListener("change", drawSpikes);
  $("record").addEventListener("click", () => attempt("listen-status", record));
  $("file").addEventListener("change", ({ target }) => attempt("listen-status", () => open(target.files[0])));
  $("file").addEventListener("click", ({ target }) => (target.value = "")); // the same file again is a change, too
  $("play").addEventListener("click", () => {
    if (playing) return stop();
    $("play").textContent = "Stop playing";
    play(heard.samples, recognizer.sampling_rate, 0, heard.seconds, () => ($("play").textContent = "Play"));
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    section.addEventListener(kind, (event) => {
      event.preventDefault();
      section.classList.toggle("over", kind === "dragover");
      if (kind === "drop") attempt("listen-status", () => open(event.dataTransfer.files[0]));
    });
  }
  let room = window.innerWidth;
  window.addEventListener("resize", () => room !== window.innerWidth && ((room = window.innerWidth), draw()));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

// ---------------------------------------------------------------- speak

/** Sentences of symbols of the text field, by the server's rules; without a server, those of the symbols' field. */
async function sentences() {
  const typed = $("text").value.trim();
  if (!settings.text || !typed) return [$("symbols").value.trim().split(/\s+/).filter(Boolean)];
  const answer = await fetch(settings.text, { method: "POST", body: typed }).catch(() => {
    throw plain("The server that turns text into symbols doesn't answer. Start imlspike demo again.");
  });
  if (!answer.ok) throw plain(await answer.text());
  const found = await answer.json();
  $("symbols").value = found.map((symbols) => symbols.join(" ")).join("\n");
  return found;
}

async function speak() {
  const { voice } = settings, parts = [], begin = performance.now();
  say("speak-status", "Speaking …");
  for (const symbols of await sentences()) {
    if (!symbols.length) throw plain("There is nothing to speak. Write a text, or choose a sentence.");
    const unknown = symbols.filter((symbol) => !voice.symbols.includes(symbol));
    if (unknown.length) throw plain(`The voice doesn't know ${unknown.join(" ")}. It knows ${voice.symbols.join(" ")}`);
    const numbers = BigInt64Array.from(symbols, (symbol) => BigInt(voice.symbols.indexOf(symbol)));
    const feeds = { symbols: ["int64", numbers, [1, numbers.length]], controls: ["float32", Float32Array.of(1, 1, 1), [3]] };
    const { mel } = await run(voice.model, feeds);
    const { audio } = await run(voice.vocoder, { mel: ["float32", mel.data, mel.dims] });
    parts.push(audio.data, new Float32Array(parts.length ? 0 : 0.1 * voice.sampling_rate));
  }
  const samples = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (samples.set(part, at), at + part.length), 0);
  const seconds = samples.length / voice.sampling_rate, took = (performance.now() - begin) / 1000;
  $("audio").src = URL.createObjectURL(wav(samples, voice.sampling_rate));
  $("audio").hidden = false;
  $("recognize").disabled = !settings.recognizer;
  say("speak-status", `${seconds.toFixed(1)} s of speech in ${took.toFixed(1)} s.`);
  await $("audio").play().catch(() => {}); // where the browser wants a click on the player itself
}

function startSpeaking() {
  const { voice } = settings;
  $("speak").hidden = false;
  $("speak-about").textContent = voice.about;
  $("text-field").hidden = !settings.text;
  $("symbols").closest("details").open = !settings.text;
  $("text-label").textContent = voice.hint;
  const choose = () => {
    const chosen = voice.sentences[$("sentence").selectedIndex];
    $("text").value = chosen.text;
    $("symbols").value = chosen.symbols.join(" ");
  };
  voice.sentences.forEach(({ text }) => $("sentence").append(new Option(text)));
  $("sentence").addEventListener("change", choose);
  $("symbols").addEventListener("input", () => ($("text").value = "")); // what was written last is spoken
  if (voice.sentences.length) choose();
  $("speak-form").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt("speak-status", speak);
  });
  $("recognize").addEventListener("click", () => attempt("listen-status", async () => {
    $("listen").scrollIntoView({ behavior: "smooth" });
    const bytes = await fetch($("audio").src).then((answer) => answer.arrayBuffer());
    await recognize(await decode(bytes, "The spoken text", settings.recognizer.sampling_rate));
  }));
}

$("about").textContent = settings.about || "demo.json can't be read. Make the folder again by imlspike demo --static.";
if (settings.recognizer || settings.stream) startListening();
if (settings.voice) startSpeaking();
