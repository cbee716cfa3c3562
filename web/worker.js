// Scores photographs away from the page, so that it stays usable. Scores come before maps.

import { decode } from "./decode.js";
import { overlay, qualityMap } from "./map.js";
import { faster, load } from "./model.js";
import { isGrey, resized } from "./pixels.js";

const PICTURE_SIDE = 1200; // longest side of what the page shows, pixels

const jobs = { score: [], map: [] };
let busy = false;

const loading = load();
loading.then(
  ({ provider, description }) => postMessage({ kind: "ready", provider, description }),
  (error) => postMessage({ kind: "broken", message: error.message }),
);

// A map has many crops, for which it is worth loading the larger runtime that knows WebGPU.
let fastest = null;

async function fastestModel() {
  fastest ??= loading.then(faster);
  const model = await fastest;
  postMessage({ kind: "provider", provider: model.provider });
  return model;
}

self.onmessage = ({ data }) => {
  jobs[data.kind].push(data);
  if (!busy) work();
};

async function work() {
  busy = true;
  for (let job; (job = jobs.score.shift() ?? jobs.map.shift()); ) {
    try {
      if (job.kind === "score") await score(job, await (fastest ?? loading));
      else await map(job, await fastestModel());
    } catch (error) {
      postMessage({ kind: `no ${job.kind}`, id: job.id, message: error.message });
    }
  }
  busy = false;
}

async function score({ id, file }, model) {
  const picture = await decode(file);
  const side = model.description.input.shape[2];
  const predicted = await model.predict(resized(picture, side, side, "bicubic"));
  const notes = isGrey(picture)
    ? ["Grey image: LIQE was trained on colour photographs and tends to score grey ones low."]
    : [];
  const shown = await shrunk(file, picture);
  postMessage({ kind: "scored", id, ...predicted, notes, size: [picture.width, picture.height], shown }, [shown]);
}

async function shrunk(file, { width, height }) {
  const factor = Math.min(PICTURE_SIDE / Math.max(width, height), 1);
  const [resizeWidth, resizeHeight] = [width, height].map((side) => Math.max(Math.round(side * factor), 1));
  return createImageBitmap(file, { resizeWidth, resizeHeight, resizeQuality: "high" });
}

async function map({ id, file }, model) {
  const side = model.description.input.shape[2];
  const progress = (done, all) => postMessage({ kind: "mapping", id, done, all });
  const found = await qualityMap(await decode(file), side, model.predict, progress);
  const { quality } = found;
  const mean = quality.reduce((sum, value) => sum + value, 0) / quality.length;
  const shown = await createImageBitmap(overlay(found));
  const message = { kind: "mapped", id, shown, lowest: Math.min(...quality), mean, highest: Math.max(...quality) };
  postMessage({ ...message, crops: quality.length }, [shown]);
}
