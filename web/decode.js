// From a file to RGB pixels, upright, on white, without colour management: as the preset `whole` of liqe_jax.

const MOST_PIXELS = 100e6;
const STRIP = 256; // rows that go through a canvas at a time: browsers limit its size

/** The pixels of an image file; an Error whose message is for people if it cannot be read. */
export async function decode(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    throw new Error("This browser cannot read the file as an image. Use a JPEG, PNG, WebP or AVIF file.");
  }
  try {
    return pixelsOf(bitmap);
  } finally {
    bitmap.close();
  }
}

function pixelsOf(bitmap) {
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) {
    const millions = Math.round((width * height) / 1e6);
    throw new Error(`The image has ${millions} megapixels; at most ${MOST_PIXELS / 1e6} are read. Make it smaller.`);
  }
  const canvas = new OffscreenCanvas(width, Math.min(STRIP, height));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const data = new Uint8Array(width * height * 3);
  for (let top = 0; top < height; top += STRIP) {
    const rows = Math.min(STRIP, height - top);
    context.fillStyle = "white";
    context.fillRect(0, 0, width, rows);
    context.drawImage(bitmap, 0, top, width, rows, 0, 0, width, rows);
    const rgba = context.getImageData(0, 0, width, rows).data;
    let at = top * width * 3;
    for (let from = 0; from < rgba.length; from += 4) {
      data[at++] = rgba[from];
      data[at++] = rgba[from + 1];
      data[at++] = rgba[from + 2];
    }
  }
  return { data, width, height };
}
