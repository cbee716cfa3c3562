// The ONNX model: in WebAssembly, and on WebGPU where that is there and serves better.

import { resized } from "./pixels.js";

const RUNTIME = new URL("./ort/", import.meta.url).href;
const TOLERANCE = 0.02; // of the score that WebGPU has to find

/** The model in WebAssembly, ready to run; `description` is that of the export. */
export async function load() {
  const [description, bytes] = await Promise.all([
    get("model.json").then((answer) => answer.json()),
    get("model.onnx").then((answer) => answer.arrayBuffer()),
  ]);
  return start("wasm", description, bytes);
}

async function get(name) {
  const answer = await fetch(new URL(name, import.meta.url));
  if (!answer.ok) throw new Error(`${name} cannot be loaded (${answer.status}).`);
  return answer;
}

/** The model on WebGPU if the browser has it, it finds the right score and it is faster; otherwise `model` itself. */
export async function faster(model) {
  try {
    const adapter = await navigator.gpu?.requestAdapter();
    if (!adapter || adapter.info.isFallbackAdapter) return model; // that one is a processor too
    const bytes = await (await get("model.onnx")).arrayBuffer();
    const other = await start("webgpu", model.description, bytes);
    const picture = testPicture(model.description.input.shape[2]);
    const { quality } = await other.predict(picture); // compiles; only the next is timed
    if (!(Math.abs(quality - model.description.test_quality) < TOLERANCE)) return model;
    return (await seconds(other, picture)) < (await seconds(model, picture)) ? other : model;
  } catch (error) {
    console.info(`WebGPU is not used: ${error.message}`);
    return model;
  }
}

async function seconds(model, picture) {
  const began = performance.now();
  await model.predict(picture);
  return (performance.now() - began) / 1000;
}

async function start(provider, description, bytes) {
  const ort = await import(`${RUNTIME}ort.${provider}.min.mjs`);
  ort.env.wasm.wasmPaths = RUNTIME;
  // Threads need a page that is isolated from others, which the service worker sees to from the second visit on.
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency ?? 1, 4) : 1;
  const session = await ort.InferenceSession.create(new Uint8Array(bytes), { executionProviders: [provider] });
  const { attributes } = description.tasks;
  return {
    provider,
    description,
    /** {quality, probabilities: {attribute: [...]}} of one crop. */
    async predict(crop) {
      const shape = [1, 1, crop.height, crop.width, 3];
      const outputs = await session.run({ crops: new ort.Tensor("uint8", crop.data, shape) });
      const probabilities = Object.fromEntries(
        attributes.map(({ name }) => [name, Array.from(outputs[`${name}_probs`].data)]),
      );
      return { quality: outputs.quality.data[0], probabilities };
    },
  };
}

/** The picture whose score the build recorded (tools/web.py). */
export function testPicture(side) {
  const data = Uint8Array.from({ length: 8 * 8 * 3 }, (_, i) => (i * 37 + (i >> 3) * 91) % 256);
  return resized({ data, width: 8, height: 8 }, side, side, "bicubic");
}
