// Resizing and crops as liqe_jax.images does them, to the last bit: Pillow's antialiased filters in fixed point.
//
// A picture is {data, width, height}; data is a Uint8Array of RGB, row by row.

const PRECISION = 22; // bits of a weight behind the point (Pillow, src/libImaging/Resample.c, PRECISION_BITS)

const FILTERS = {
  bilinear: { reach: 1, at: (x) => Math.max(1 - Math.abs(x), 0) },
  bicubic: {
    reach: 2,
    at: (x) => {
      const d = Math.abs(x);
      if (d < 1) return (1.5 * d - 2.5) * d * d + 1;
      return d < 2 ? (((d - 5) * d + 8) * d - 4) * -0.5 : 0;
    },
  },
};

// Sides of the images that LIQE was tested with (liqe_jax/images/preprocess.py).
const SHORT_SIDE = 768;
const LONGEST_ENLARGED = 4096;

/** For every output position: the first input position, how many there are, and their weights. */
function weightsOf(before, after, filter) {
  const scale = Math.max(before / after, 1);
  const reach = filter.reach * scale;
  const most = Math.ceil(reach) * 2 + 1;
  const firsts = new Int32Array(after);
  const counts = new Int32Array(after);
  const weights = new Int32Array(after * most);
  for (let i = 0; i < after; i++) {
    const centre = (i + 0.5) * (before / after);
    const first = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const count = Math.min(Math.trunc(centre + reach + 0.5), before) - first;
    const exact = Array.from({ length: count }, (_, k) => filter.at((k + first - centre + 0.5) * (1 / scale)));
    const total = exact.reduce((sum, weight) => sum + weight, 0);
    exact.forEach((weight, k) => {
      const share = total === 0 ? weight : weight / total;
      weights[i * most + k] = Math.trunc(share * 2 ** PRECISION + (share < 0 ? -0.5 : 0.5));
    });
    firsts[i] = first;
    counts[i] = count;
  }
  return { firsts, counts, weights, most };
}

function rounded(sum) {
  const level = sum >> PRECISION;
  return level < 0 ? 0 : level > 255 ? 255 : level;
}

/** One pass: lines of `before` pixels become lines of `after` pixels; `step` and `lineStep` are in bytes. */
function pass(from, to, { firsts, counts, weights, most }, lines, after, inside, across) {
  for (let line = 0; line < lines; line++) {
    for (let i = 0; i < after; i++) {
      let [r, g, b] = [1 << (PRECISION - 1), 1 << (PRECISION - 1), 1 << (PRECISION - 1)];
      let at = line * across.from + firsts[i] * inside.from;
      const start = i * most;
      const end = start + counts[i];
      for (let k = start; k < end; k++) {
        const weight = weights[k];
        r = (r + from[at] * weight) | 0;
        g = (g + from[at + 1] * weight) | 0;
        b = (b + from[at + 2] * weight) | 0;
        at += inside.from;
      }
      const out = line * across.to + i * inside.to;
      to[out] = rounded(r);
      to[out + 1] = rounded(g);
      to[out + 2] = rounded(b);
    }
  }
}

/** A picture of another size, with the filter "bilinear" or "bicubic". */
export function resized(picture, width, height, filter) {
  let { data } = picture;
  if (width !== picture.width) {
    const to = new Uint8Array(width * picture.height * 3);
    const [inside, across] = [{ from: 3, to: 3 }, { from: picture.width * 3, to: width * 3 }];
    pass(data, to, weightsOf(picture.width, width, FILTERS[filter]), picture.height, width, inside, across);
    data = to;
  }
  if (height !== picture.height) {
    const to = new Uint8Array(width * height * 3);
    const [inside, across] = [{ from: width * 3, to: width * 3 }, { from: 3, to: 3 }];
    pass(data, to, weightsOf(picture.height, height, FILTERS[filter]), width, height, inside, across);
    data = to;
  }
  return { data, width, height };
}

/** Rounds halves to even, as Python does. */
function pythonRound(x) {
  const floor = Math.floor(x);
  if (x - floor !== 0.5) return Math.round(x);
  return floor % 2 ? floor + 1 : floor;
}

/** The picture that the grid of a quality map lies on: large ones shrunk, small ones enlarged. */
export function forMap(picture, side) {
  let { width, height } = picture;
  const sides = (short, long) => (width <= height ? [short, long] : [long, short]);
  if (Math.min(width, height) > SHORT_SIDE) {
    const long = Math.floor((SHORT_SIDE * Math.max(width, height)) / Math.min(width, height));
    picture = resized(picture, ...sides(SHORT_SIDE, long), "bilinear");
    ({ width, height } = picture);
  }
  const [short, long] = [Math.min(width, height), Math.max(width, height)];
  if (short >= side) return picture;
  const wanted = Math.min(pythonRound((long * side) / short), Math.max(long, LONGEST_ENLARGED));
  return resized(picture, ...sides(side, Math.max(side, wanted)), "bicubic");
}

/** The square whose upper left corner is at (left, top). */
export function cropOf(picture, left, top, side) {
  const data = new Uint8Array(side * side * 3);
  for (let row = 0; row < side; row++) {
    const start = ((top + row) * picture.width + left) * 3;
    data.set(picture.data.subarray(start, start + side * 3), row * side * 3);
  }
  return { data, width: side, height: side };
}

/** Whether all pixels are grey. */
export function isGrey({ data }) {
  for (let at = 0; at < data.length; at += 3) {
    if (data[at] !== data[at + 1] || data[at] !== data[at + 2]) return false;
  }
  return true;
}
