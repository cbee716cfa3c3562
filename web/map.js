// The quality map: every crop of a grid by itself, spread over the pixels that it covers (liqe_jax/scoring/heatmap.py).

import { cropOf, forMap } from "./pixels.js";

// ColorBrewer's RdYlBu, five classes (Cynthia Brewer, Apache-2.0).
export const COLOURS = [
  [215, 25, 28],
  [253, 174, 97],
  [255, 255, 191],
  [171, 217, 233],
  [44, 123, 182],
];

const MOST_CROPS = 120;

/** Scores the grid, crop by crop; `progress(done, all)` is told after each. */
export async function qualityMap(picture, side, predict, progress) {
  const base = forMap(picture, side);
  const stride = side / 4;
  const rows = Math.floor((base.height - side) / stride) + 1;
  const cols = Math.floor((base.width - side) / stride) + 1;
  if (rows * cols > MOST_CROPS) {
    throw new Error(`There is no map: it has ${rows * cols} crops, more than ${MOST_CROPS}.`);
  }
  const quality = [];
  for (let index = 0; index < rows * cols; index++) {
    const [row, col] = [Math.floor(index / cols), index % cols];
    quality.push((await predict(cropOf(base, col * stride, row * stride, side))).quality);
    progress(index + 1, rows * cols);
  }
  return { base, rows, cols, stride, side, quality };
}

/** How much each crop of a row or column counts at each pixel: most at its centre. */
function shares(length, count, stride, side) {
  const covered = (count - 1) * stride + side;
  const table = Array.from({ length: count }, () => new Float64Array(length));
  for (let pixel = 0; pixel < length; pixel++) {
    const place = Math.min(pixel, covered - 1); // beyond the last crop as at its edge
    let total = 0;
    for (let number = 0; number < count; number++) {
      const inside = place - number * stride;
      const weight = inside >= 0 && inside < side ? Math.min(inside + 1, side - inside) : 0;
      table[number][pixel] = weight;
      total += weight;
    }
    for (let number = 0; number < count; number++) table[number][pixel] /= total;
  }
  return table;
}

function colourOf(quality) {
  const place = Math.min(Math.max(quality - 1, 0), 4);
  const low = Math.min(Math.floor(place), 3);
  return COLOURS[low].map((value, channel) => value + (COLOURS[low + 1][channel] - value) * (place - low));
}

/** The picture in grey under the colours of its map. */
export function overlay({ base, rows, cols, stride, side, quality }) {
  const { width, height, data } = base;
  const [down, across] = [shares(height, rows, stride, side), shares(width, cols, stride, side)];
  const image = new ImageData(width, height);
  for (let x = 0; x < width; x++) {
    const column = Array.from({ length: rows }, (_, row) => {
      let sum = 0;
      for (let col = 0; col < cols; col++) sum += quality[row * cols + col] * across[col][x];
      return sum;
    });
    for (let y = 0; y < height; y++) {
      let value = 0;
      for (let row = 0; row < rows; row++) value += column[row] * down[row][y];
      const from = (y * width + x) * 3;
      const grey = (data[from] * 19595 + data[from + 1] * 38470 + data[from + 2] * 7471 + 32768) >> 16;
      const colour = colourOf(value);
      const to = (y * width + x) * 4;
      for (let channel = 0; channel < 3; channel++) image.data[to + channel] = Math.round((grey + colour[channel]) / 2);
      image.data[to + 3] = 255;
    }
  }
  return image;
}
