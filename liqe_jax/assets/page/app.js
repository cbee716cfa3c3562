const { megabytes } = JSON.parse(document.getElementById("data").textContent);

// One request: the server answers with lines of JSON, {"waiting": true} while another photograph is in work.
async function ask(path, file, signal, waiting) {
  if (file.size > megabytes * 2 ** 20) throw new Error(`The file has ${(file.size / 2 ** 20).toFixed(1)} MB; at most ${megabytes} MB are taken.`);
  let response;
  try {
    response = await fetch(`${path}?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file, signal });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error("The server does not answer. Is it still running?");
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    text += value || "";
    const lines = text.split("\n");
    text = lines.pop();
    for (const answer of lines.map((line) => JSON.parse(line))) {
      if (answer.waiting) waiting?.();
      else if (answer.error !== undefined) throw new Error(answer.error);
      else return answer;
    }
    if (done) throw new Error("The server ended the connection. Try again.");
  }
}

function dropZone(zone, dropped) {
  const input = zone.querySelector("input");
  input.addEventListener("change", () => {
    dropped([...input.files]);
    input.value = "";
  });
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    dropped([...event.dataTransfer.files]);
  });
}

const status = document.getElementById("status");
const cancel = document.getElementById("cancel");
const photographs = new Photographs(document.getElementById("photographs"), (card) => ask("map", card.file));
let queue = [];
let working = null;
let counts = null;

async function work() {
  working = new AbortController();
  cancel.hidden = false;
  counts = { done: 0, failed: 0 };
  while (queue.length) {
    const file = queue[0];
    const place = counts.done + counts.failed + 1;
    const progress = (extra = "") => { status.textContent = `Scoring ${place} of ${counts.done + counts.failed + queue.length}: ${file.name}${extra}`; };
    report = progress;
    progress();
    try {
      const card = await ask("score", file, working.signal, () => progress(" (waiting: another photograph is in work)"));
      counts.done += 1;
      photographs.add(Object.assign(card, { file }));
    } catch (error) {
      if (error.name === "AbortError") break;
      counts.failed += 1;
      photographs.add({ name: file.name, error: error.message });
    }
    queue.shift();
  }
  const left = queue.length ? `, ${queue.length} cancelled` : "";
  queue = [];
  working = null;
  cancel.hidden = true;
  status.textContent = `${counts.done} scored, ${counts.failed} failed${left}`;
}

let report = () => {};
cancel.addEventListener("click", () => working?.abort());
dropZone(document.getElementById("drop"), (files) => {
  queue.push(...files);
  if (working) report();
  else if (files.length) work();
});

const sides = [null, null];
["A", "B"].forEach((letter, side) => {
  const result = document.getElementById(`card-${letter}`);
  dropZone(document.getElementById(`drop-${letter}`), async ([file]) => {
    if (!file) return;
    sides[side] = file;
    result.replaceChildren(element("p", { class: "quiet", role: "status" }, "Scoring ..."));
    compare();
    try {
      const card = await ask("score", file, null, () => { result.firstChild.textContent = "Waiting: another photograph is in work ..."; });
      if (sides[side] !== file) return; // another one was dropped meanwhile
      sides[side] = card;
      const key = element("i", { class: side ? "key b" : "key" });
      result.replaceChildren(
        element("h3", {}, key, `${letter} · ${card.name}`),
        ...Object.keys(card.ranges).map((attribute) => number(card, attribute, true)),
        labels(card), ...card.warnings.map((note) => element("p", { class: "quiet" }, note)),
        picture(Object.assign(card, { file })));
    } catch (error) {
      if (sides[side] !== file) return;
      sides[side] = null;
      result.replaceChildren(element("div", { class: "failed" }, element("strong", {}, file.name), element("p", {}, error.message)));
    }
    compare();
  });
});

function compare() {
  const place = document.getElementById("difference");
  if (!sides.every((side) => side?.values)) {
    place.replaceChildren();
    return;
  }
  const sentences = Object.keys(sides[0].ranges).map((attribute) => {
    // Of the rounded values, so that it matches the values shown.
    const [a, b] = sides.map((side) => Number(dotted(side.values[attribute])));
    const name = attribute[0].toUpperCase() + attribute.slice(1);
    if (a === b) return element("p", {}, `The same ${attribute}, ${dotted(a)}.`);
    return element("p", {}, `${name}: ${b > a ? "B" : "A"} is higher by `, element("b", {}, dotted(Math.abs(a - b))), ".");
  });
  const keys = sides.map((side, index) => element("span", {}, element("i", { class: index ? "key b" : "key" }), `${"AB"[index]} · ${side.name}`));
  place.replaceChildren(...sentences, element("p", { class: "quiet keys" }, ...keys), charts(sides));
  // The server works on one photograph at a time, so a map would delay the second score.
  sides.forEach((side, index) => {
    const pictures = document.querySelector(`#card-${"AB"[index]} .pictures`);
    if (!pictures.querySelector(".map")) pictures.append(mapFigure(side, () => ask("map", side.file)));
  });
}

document.querySelectorAll("[role=tab]").forEach((tab) => tab.addEventListener("click", () => {
  document.querySelectorAll("[role=tab]").forEach((other) => {
    other.setAttribute("aria-selected", other === tab);
    document.getElementById(other.getAttribute("aria-controls")).hidden = other !== tab;
  });
}));
