// Runs the encoder and the decoder, off the page's own thread, with one thread and no request of its own.

import * as ort from "./ort/ort.js";

let sessions = {};
let before = Promise.resolve();

ort.env.logLevel = "error";
ort.env.wasm.numThreads = 1;
ort.env.wasm.proxy = false;

async function bytes(address) {
  const response = await fetch(new URL(address, import.meta.url));
  if (!response.ok) {
    throw new Error(`${address}: the server answered ${response.status}`);
  }
  return new Uint8Array(await response.arrayBuffer());
}

async function open({ runtime, encoder, decoder }) {
  const [wasm, ...models] = await Promise.all([runtime, encoder.file, decoder.file].map(bytes));
  ort.env.wasm.wasmBinary = wasm;
  const [encode, decode] = [
    await ort.InferenceSession.create(models[0], { executionProviders: ["wasm"] }),
    await ort.InferenceSession.create(models[1], { executionProviders: ["wasm"] }),
  ];
  sessions = { encode, decode };
  return {};
}

async function run({ what, input, wanted, beta, values, shape }) {
  const rows = shape[0];
  const feeds = {
    [input]: new ort.Tensor("float32", values, shape),
    beta: new ort.Tensor("float32", new Float32Array(rows).fill(beta), [rows]),
  };
  const started = performance.now();
  const outputs = await sessions[what].run(feeds, wanted);
  const milliseconds = performance.now() - started;
  const read = Object.entries(outputs).map(([name, tensor]) => [name, Float32Array.from(tensor.data)]);
  return { outputs: Object.fromEntries(read), milliseconds };
}

async function answer({ id, ...request }) {
  try {
    const result = request.what === "open" ? await open(request) : await run(request);
    self.postMessage({ id, ...result });
  } catch (error) {
    self.postMessage({ id, error: String(error.message ?? error) });
  }
}

self.addEventListener("message", ({ data }) => {
  before = before.then(() => answer(data));
});
