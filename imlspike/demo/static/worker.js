// Runs the ONNX models by onnxruntime-web, off the page's own thread.
import * as ort from "./ort/ort.wasm.min.mjs";

ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;

const sessions = new Map();
let last = Promise.resolve(); // one run at a time

function open(model) {
  if (!sessions.has(model)) {
    const opening = ort.InferenceSession.create(new URL(model, import.meta.url).href);
    opening.catch(() => sessions.delete(model)); // so that a next try loads it anew
    sessions.set(model, opening);
  }
  return sessions.get(model);
}

async function run({ model, feeds }) {
  const session = await open(model);
  const inputs = {};
  for (const [name, [type, data, dims]] of Object.entries(feeds)) inputs[name] = new ort.Tensor(type, data, dims);
  const outputs = {};
  for (const [name, tensor] of Object.entries(await session.run(inputs))) {
    outputs[name] = { data: tensor.data.slice(), dims: tensor.dims };
  }
  return outputs;
}

self.onmessage = ({ data }) => {
  last = last.then(() => (data.feeds ? run(data) : open(data.model).then(() => ({})))).then(
    (outputs) => self.postMessage({ id: data.id, outputs }),
    (error) => self.postMessage({ id: data.id, error: String(error.message || error) }),
  );
};
