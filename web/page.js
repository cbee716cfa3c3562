// What people see: a place to drop photographs, and a row for each. The worker computes.

import { COLOURS } from "./map.js";

const status = document.getElementById("status");
const list = document.getElementById("photographs");
const drop = document.getElementById("drop");
const input = document.getElementById("files");

const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
const photographs = new Map(); // id -> {file, row, mapped}
let attributes = [];
const count = { scored: 0, failed: 0 };

if ("serviceWorker" in navigator) navigator.serviceWorker.register("sw.js").catch(() => {}); // the page works without

input.addEventListener("change", () => {
  add([...input.files]);
  input.value = ""; // so that the same file can be chosen again
});
for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, () => drop.classList.add("over"));
for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));

function add(files) {
  for (const file of files) {
    const id = `photograph-${photographs.size}`;
    const row = emptyRow(id, file.name);
    photographs.set(id, { file, row, mapped: false });
    row.addEventListener("toggle", () => wantMap(id));
    list.append(row);
    worker.postMessage({ kind: "score", id, file });
  }
  tell();
}

worker.onmessage = ({ data }) => {
  const photograph = photographs.get(data.id);
  if (data.kind === "ready") ready(data);
  else if (data.kind === "provider") computedOn(data.provider);
  else if (data.kind === "broken") status.textContent = `The model cannot be loaded: ${data.message}`;
  else if (data.kind === "scored") scored(photograph, data);
  else if (data.kind === "no score") failed(photograph, data.message);
  else if (data.kind === "mapping") mapping(photograph, data);
  else if (data.kind === "mapped") mapped(photograph, data);
  else if (data.kind === "no map") figureOf(photograph.row, "map").replaceChildren(element("p", "quiet", data.message));
};
worker.onerror = (event) => {
  status.textContent = `The page has an error: ${event.message}`;
};

function ready({ provider, description }) {
  attributes = description.tasks.attributes;
  document.getElementById("model").textContent = `Model: ${description.name}, ${description.licence}.`;
  computedOn(provider);
  tell();
}

function computedOn(provider) {
  document.getElementById("provider").textContent = provider === "webgpu" ? "WebGPU" : "WebAssembly";
}

function tell() {
  const waiting = photographs.size - count.scored - count.failed;
  if (!attributes.length) status.textContent = "Loading the model ...";
  else if (waiting) status.textContent = `Scoring ${waiting} of ${photographs.size} ...`;
  else if (photographs.size) status.textContent = `${count.scored} scored, ${count.failed} failed.`;
  else status.textContent = "Ready.";
}

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function emptyRow(id, name) {
  const row = element("details", "photo");
  row.id = id;
  const summary = element("summary");
  summary.append(element("canvas", "thumb"), element("span", "name", name), element("span", "quiet", "waiting ..."));
  row.append(summary);
  return row;
}

function scored(photograph, { quality, probabilities, notes, size, shown }) {
  const { row, file } = photograph;
  count.scored += 1;
  photograph.scored = true;
  const summary = row.querySelector("summary");
  const thumb = draw(shown, "thumb");
  const notesLine = element("span", "notes", notes.join(" "));
  const parts = [element("span", "name", file.name), numberOf(quality)];
  for (const { name, labels, values } of attributes) {
    if (values) continue;
    const part = element("span", name);
    part.append(element("small", "", name), shownLabel(name, labels, probabilities[name], quality));
    parts.push(part);
  }
  summary.replaceChildren(thumb, ...parts, notesLine);
  const pictures = element("div", "pictures");
  pictures.append(
    figure("picture", draw(shown, "", `The photograph ${file.name}`), `${size[0]} x ${size[1]} pixels`),
    figure("map", element("p", "quiet", "The quality map is drawn when all photographs are scored.")),
  );
  const charts = element("div", "charts");
  charts.append(...attributes.map((attribute) => chart(attribute, probabilities[attribute.name])));
  row.append(pictures, charts);
  if (count.scored === 1) row.open = true;
  else wantMap(row.id);
  tell();
}

function failed({ row }, message) {
  count.failed += 1;
  row.querySelector("summary").lastChild.replaceWith(element("span", "failed", message));
  tell();
}

function wantMap(id) {
  const photograph = photographs.get(id);
  if (!photograph.scored || !photograph.row.open || photograph.mapped) return;
  photograph.mapped = true;
  worker.postMessage({ kind: "map", id, file: photograph.file });
}

function mapping({ row }, { done, all }) {
  const progress = element("progress");
  progress.max = all;
  progress.value = done;
  progress.setAttribute("aria-label", "Quality map");
  figureOf(row, "map").replaceChildren(progress, element("figcaption", "", `Quality map: ${done} of ${all} crops`));
}

function mapped({ row, file }, { shown, lowest, mean, highest, crops }) {
  const values = [lowest, mean, highest].map((value) => value.toFixed(2));
  const text = `Quality of ${crops} crops: lowest ${values[0]}, mean ${values[1]}, highest ${values[2]}. Red is 1, blue 5.`;
  const made = figure("map", draw(shown, "", `Quality map of ${file.name}`), text);
  figureOf(row, "map").replaceWith(made);
}

function figureOf(row, name) {
  return row.querySelector(`figure.${name}`);
}

function figure(name, content, caption = "") {
  const made = element("figure", name);
  made.append(content);
  if (caption) made.append(element("figcaption", "", caption));
  return made;
}

/** A picture; without a description it is decoration. */
function draw(bitmap, className, description = "") {
  const canvas = element("canvas", className);
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  if (description) {
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", description);
  } else canvas.setAttribute("aria-hidden", "true");
  return canvas;
}

function numberOf(quality) {
  const part = element("span", "quality");
  const scale = element("span", "scale");
  scale.setAttribute("aria-hidden", "true");
  scale.style.background = `linear-gradient(90deg, ${COLOURS.map((colour) => `rgb(${colour})`).join(", ")})`;
  const mark = element("i");
  mark.style.left = `${25 * (quality - 1)}%`;
  scale.append(mark);
  part.append(element("small", "", "quality, 1 to 5"), element("span", "number", quality.toFixed(2)), scale);
  part.dataset.quality = quality;
  return part;
}

function chart({ name, labels }, shares) {
  const section = element("section");
  const rows = element("dl");
  const best = likeliest(shares);
  labels.forEach((label, index) => {
    const strong = index === best ? "likeliest" : "";
    const bar = element("dd");
    bar.setAttribute("aria-hidden", "true");
    bar.append(element("div", "bar"));
    bar.firstChild.style.width = `${100 * shares[index]}%`;
    rows.append(element("dt", strong, labelOf(label)), bar, element("dd", strong, `${(100 * shares[index]).toFixed(1)}%`));
  });
  section.append(element("h2", "", name), rows);
  return section;
}

function likeliest(shares) {
  return shares.indexOf(Math.max(...shares));
}

// As liqe_jax/scoring/shown.py: a distortion only where the quality says that there is one.
function shownLabel(name, labels, shares, quality) {
  const index = likeliest(shares);
  const scale = attributes.find((attribute) => attribute.name === "quality").values;
  const [low, high] = [Math.min(...scale), Math.max(...scale)];
  const none = name === "distortion" && (quality >= low + 0.625 * (high - low) || shares[index] < 0.5);
  return none ? "none stands out" : labelOf(labels[index]);
}

function labelOf(label) {
  return label.replaceAll("_", " "); // still_life
}
