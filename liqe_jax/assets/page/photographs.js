"use strict";

// Makes an element; text is never parsed as HTML.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== undefined && child !== null && child !== ""));
  return made;
}

const dotted = (number) => number.toFixed(2);
const percent = (share) => `${(100 * share).toFixed(1)}%`;

// The number of an attribute with a mark on its scale.
function number(card, attribute, large = false) {
  const value = card.values[attribute];
  const [low, high] = card.ranges[attribute];
  const scale = element("div", { class: "scale" }, element("i"));
  const share = high > low ? (value - low) / (high - low) : 0.5;
  scale.firstChild.style.left = `${(100 * share).toFixed(1)}%`;
  return element("div", { class: large ? "score large" : "score" }, element("span", { class: "number" }, dotted(value)), scale);
}

function labels(card) {
  const rows = Object.entries(card.shown).flatMap(([name, label]) => [element("dt", {}, name), element("dd", {}, label)]);
  if (card.percentile !== undefined) rows.push(element("dt", {}, "percentile"), element("dd", {}, card.percentile.toFixed(1)));
  return element("dl", { class: "found" }, ...rows);
}

// The distributions of one photograph, or of two side by side.
function charts(cards) {
  const sections = Object.keys(cards[0].probabilities).map((attribute) => {
    const sides = cards.map((card) => card.probabilities[attribute]);
    const best = sides.map((side) => Object.keys(side).reduce((a, b) => (side[b] > side[a] ? b : a)));
    const rows = Object.keys(sides[0]).flatMap((label) => {
      const bars = sides.map((side, index) => {
        const bar = element("div", { class: index ? "bar b" : "bar" });
        bar.style.width = `${(100 * side[label]).toFixed(2)}%`;
        return bar;
      });
      const shares = sides.map((side, index) =>
        element("div", { class: best[index] === label ? "likeliest" : undefined }, percent(side[label])));
      return [
        element("dt", { class: best.includes(label) ? "likeliest" : undefined }, label.replaceAll("_", " ")),
        element("dd", { class: "bars" }, ...bars),
        element("dd", { class: "shares" }, ...shares),
      ];
    });
    return element("section", {}, element("h3", {}, attribute), element("dl", { class: "chart" }, ...rows));
  });
  return element("div", { class: "charts" }, ...sections);
}

// The map of a card: drawn already, or asked for when it is looked at.
function mapFigure(card, drawMap) {
  const figure = element("figure", { class: "map" });
  const show = (drawn) => {
    const [low, mean, high] = drawn.levels;
    const caption = `Quality of crops: lowest ${dotted(low)}, mean ${dotted(mean)}, highest ${dotted(high)} `;
    const legend = element("span", { class: "legend" }, "1 ", element("span", { class: "scale" }), " 5");
    figure.replaceChildren(
      element("img", { class: "map", alt: `Quality map of ${card.name}`, src: drawn.map }),
      element("figcaption", {}, caption, legend));
  };
  const say = (text) => figure.replaceChildren(element("p", { class: "quiet" }, text));
  if (card.map) show(card);
  else if (card.no_map || !drawMap) say(card.no_map || "No map.");
  else {
    say("Drawing the quality map ...");
    card.drawing ??= drawMap(card);
    card.drawing.then((drawn) => show(Object.assign(card, drawn)), (error) => {
      if (error.name !== "AbortError") say((card.no_map = error.message));
    });
  }
  return figure;
}

function picture(card) {
  const [width, height] = card.size;
  const image = element("img", { class: "picture", alt: card.name, src: card.picture });
  const caption = element("figcaption", {}, `${width} x ${height} pixels`);
  if (card.original) caption.append(" ", element("a", { href: card.original }, "original"));
  return element("div", { class: "pictures" }, element("figure", {}, image, caption));
}

function tile(card, drawMap) {
  if (card.error !== undefined) {
    return element("div", { class: "photo failed" }, element("strong", {}, card.name), element("p", {}, card.error));
  }
  const numbers = Object.keys(card.ranges).map((attribute) => number(card, attribute));
  const notes = card.warnings.length ? element("ul", { class: "notes" }, ...card.warnings.map((note) => element("li", {}, note))) : "";
  const summary = element("summary", {},
    element("img", { class: "thumb", alt: "", loading: "lazy", src: card.thumb }),
    element("div", { class: "facts" }, element("span", { class: "name" }, card.name), ...numbers, labels(card), notes));
  const made = element("details", { class: "photo" }, summary);
  made.addEventListener("toggle", () => {
    if (made.open && made.children.length === 1) {
      const pictures = picture(card);
      pictures.append(mapFigure(card, drawMap));
      made.append(element("div", { class: "body" }, pictures, charts([card])));
    }
  });
  return made;
}

function csvOf(cards) {
  const first = cards.find((card) => card.values);
  const names = first ? Object.keys(first.values) : [];
  const labelled = names.flatMap((name) => Object.keys(first.probabilities[name]).map((label) => [name, label]));
  const ranked = cards.some((card) => card.percentile !== undefined);
  const header = ["image", ...(ranked ? ["percentile"] : []), ...names, ...labelled.map(([name, label]) => `${name}_probs.${label}`),
    "width", "height", "warnings", "error"];
  const quote = (cell) => (/[",\n\r]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  const text = (value) => quote(typeof value === "number" ? String(Math.round(value * 1e4) / 1e4) : String(value ?? ""));
  const rows = cards.map((card) => card.values
    ? [card.name, ...(ranked ? [card.percentile] : []), ...names.map((name) => card.values[name]),
      ...labelled.map(([name, label]) => card.probabilities[name][label]), ...card.size, card.warnings.join("; "), ""]
    : [card.name, ...Array(header.length - 2).fill(""), card.error]);
  return [header, ...rows].map((row) => row.map(text).join(",")).join("\n") + "\n";
}

// A list of photographs that can be sorted and filtered. `add` takes more cards.
class Photographs {
  constructor(root, drawMap) {
    this.root = root;
    this.drawMap = drawMap;
    this.entries = [];
    this.list = element("div", { class: "list" });
    this.tools = element("form", { class: "tools" });
    this.tools.addEventListener("submit", (event) => event.preventDefault());
    this.tools.addEventListener("input", () => this.arrange());
    this.shown = element("span", { class: "quiet", role: "status" });
    root.append(this.tools, this.list);
  }

  add(...cards) {
    for (const card of cards) this.entries.push({ card, tile: tile(card, this.drawMap), order: this.entries.length });
    this.build();
    this.arrange();
  }

  clear() {
    this.entries = [];
    this.tools.replaceChildren();
    this.list.replaceChildren();
  }

  // Made once there is a scored photograph; the choices of labels grow.
  build() {
    const scored = this.entries.map((entry) => entry.card).filter((card) => card.values);
    if (!scored.length) return;
    const [card] = scored;
    if (!this.tools.children.length) {
      const sorts = [["order", "as scored"], ["name", "name"]];
      for (const name of Object.keys(card.ranges)) sorts.unshift([`${name} up`, `${name}, lowest first`], [`${name} down`, `${name}, highest first`]);
      const options = sorts.map(([value, text]) => element("option", { value, selected: value === "order" }, text));
      this.tools.append(
        element("label", {}, "Sort ", element("select", { name: "sort" }, ...options)),
        element("label", {}, "Name ", element("input", { name: "find", type: "search", size: 12 })));
      for (const [name, [low, high]] of Object.entries(card.ranges)) {
        const bound = (which, value) => element("input", { name: `${which} ${name}`, type: "number", step: 0.1, min: low, max: high, value, "aria-label": `${which} ${name}` });
        this.tools.append(element("span", { class: "range" }, `${name} `, bound("least", low), " to ", bound("most", high)));
      }
      for (const name of Object.keys(card.shown)) {
        this.tools.append(element("label", {}, `${name} `, element("select", { name }, element("option", { value: "" }, "all"))));
      }
      const csv = element("button", { type: "button", class: "csv" }, "Download CSV");
      csv.addEventListener("click", () => this.download());
      this.tools.append(csv, this.shown);
    }
    for (const name of Object.keys(card.shown)) {
      const select = this.tools.elements[name];
      const known = new Set([...select.options].map((option) => option.value));
      const found = new Set(scored.map((other) => other.shown[name]));
      select.append(...[...found].filter((label) => !known.has(label)).sort().map((label) => element("option", { value: label }, label)));
    }
  }

  arrange() {
    const fields = this.tools.elements;
    const sort = fields.sort?.value || "order";
    const find = (fields.find?.value || "").toLowerCase();
    const wanted = ({ card }) => {
      if (!card.name.toLowerCase().includes(find)) return false;
      if (!card.values) return true;
      return Object.entries(card.ranges).every(([name]) => {
        const [least, most] = ["least", "most"].map((which) => fields[`${which} ${name}`].valueAsNumber);
        return !(card.values[name] < least) && !(card.values[name] > most);
      }) && Object.entries(card.shown).every(([name, label]) => !fields[name].value || fields[name].value === label);
    };
    const [name, way] = sort.split(" ");
    const key = ({ card, order }) => (sort === "order" ? order : sort === "name" ? card.name : card.values?.[name]);
    this.visible = this.entries.filter(wanted).sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === undefined || y === undefined) return (x === undefined) - (y === undefined); // failures last
      const order = typeof x === "string" ? x.localeCompare(y) : x - y;
      return way === "down" ? -order : order;
    });
    const tiles = this.visible.map((entry) => entry.tile);
    // Moving an element that stays where it is would close nothing, but lose the focus.
    if (tiles.length !== this.list.children.length || tiles.some((one, index) => one !== this.list.children[index])) this.list.replaceChildren(...tiles);
    this.shown.textContent = `${tiles.length} of ${this.entries.length} shown`;
  }

  download() {
    const link = element("a", { download: "scores.csv", href: URL.createObjectURL(new Blob([csvOf(this.visible.map((entry) => entry.card))], { type: "text/csv" })) });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }
}

addEventListener("beforeprint", () => document.querySelectorAll("img[loading=lazy]").forEach((image) => { image.loading = "eager"; }));
