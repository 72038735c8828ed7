// Heat: a map at its own grid, spread over pixels exactly as workers do it (camfleet_worker's
// pictures/heat.py and draw.py): bilinear, cell centres at half integers, constant beyond the
// outermost ones, 256 levels.

import { colours, SIGNED } from "./colormaps.js";

const LONGEST = 1024; // pixels of a canvas, unless asked for more

// Return float16 numbers, little-endian, as a Float32Array.
export function halves(buffer) {
  const view = new DataView(buffer);
  const found = new Float32Array(buffer.byteLength >> 1);
  for (let i = 0; i < found.length; i++) {
    const bits = view.getUint16(2 * i, true);
    const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
    let value = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24;
    if (exponent === 31) value = fraction ? NaN : Infinity;
    found[i] = bits & 0x8000 ? -value : value;
  }
  return found;
}

// Return the {values, height, width} of a NumPy file of a two-dimensional float32 or float16 array.
export function npy(buffer) {
  const view = new DataView(buffer);
  const long = view.getUint8(6) > 1;
  const start = long ? 12 + view.getUint32(8, true) : 10 + view.getUint16(8, true);
  const head = new TextDecoder().decode(new Uint8Array(buffer, 0, start));
  const shape = /'shape': \((\d+), (\d+)\)/.exec(head);
  const type = /'descr': '<f(2|4)'/.exec(head);
  if (!shape || !type || head.includes("'fortran_order': True")) throw new Error("no raw map");
  const [height, width] = [Number(shape[1]), Number(shape[2])];
  const bytes = buffer.slice(start, start + height * width * Number(type[1]));
  return { height, width, values: type[1] === "2" ? halves(bytes) : new Float32Array(bytes) };
}

// One class activation map. `values` is its grid row by row, signed, `scale` what they are to be
// multiplied with; `geometry` is the row's, or null where the map covers all of a picture of
// unknown size. `rawMax` is the maximum in the method's own units, where it's known exactly.
export class HeatMap {
  constructor({ values, height, width, geometry = null, scale = 1, rawMax = null }) {
    Object.assign(this, { values, height, width, geometry, scale });
    let [peak, least] = [-Infinity, Infinity];
    this.peakCell = 0;
    for (let i = 0; i < values.length; i++) {
      if (values[i] > peak) [peak, this.peakCell] = [values[i], i];
      least = Math.min(least, values[i]);
    }
    this.peak = peak;
    this.extreme = Math.max(Math.abs(peak), Math.abs(least)); // of a signed map
    this.rawMax = rawMax ?? peak * scale;
  }

  // The rectangle that the model saw, as shares of the picture: it may reach beyond it.
  get place() {
    const g = this.geometry;
    if (!g) return { left: 0, top: 0, right: 1, bottom: 1 };
    return { left: g.left / g.image_width, top: g.top / g.image_height, right: g.right / g.image_width, bottom: g.bottom / g.image_height };
  }

  // Where the hottest cell's centre lies, as shares of the picture.
  get hottest() {
    const { left, top, right, bottom } = this.place;
    const [row, column] = [Math.floor(this.peakCell / this.width), this.peakCell % this.width];
    return { x: left + ((column + 0.5) / this.width) * (right - left), y: top + ((row + 0.5) / this.height) * (bottom - top) };
  }

  // What lies at shares x, y of the picture: {row, column, raw, heat}, interpolated as drawn, or
  // null where the model didn't look.
  at(x, y) {
    const { left, top, right, bottom } = this.place;
    const [u, v] = [(x - left) / (right - left), (y - top) / (bottom - top)];
    if (!(u >= 0 && u < 1 && v >= 0 && v < 1)) return null;
    const [across, down] = [between(u * this.width - 0.5, this.width), between(v * this.height - 0.5, this.height)];
    const mixed = (clip) => {
      const cell = (row, column) => clip(this.values[row * this.width + column]);
      const over = cell(down.low, across.low) * (1 - across.share) + cell(down.low, across.high) * across.share;
      const under = cell(down.high, across.low) * (1 - across.share) + cell(down.high, across.high) * across.share;
      return over * (1 - down.share) + under * down.share;
    };
    const raw = mixed((value) => value) * this.scale;
    const heat = this.peak > 0 ? mixed((value) => Math.max(value, 0)) / this.peak : 0;
    return { row: Math.floor(v * this.height), column: Math.floor(u * this.width), raw, heat };
  }

  // Return the levels of a picture of that size: {left, top, width, height, levels}, the part of
  // it that the map covers. Signed ones have 128 for nothing.
  levels(width, height, signed = false) {
    const { left, top, right, bottom } = this.place;
    const across = stretch(this.width, left * width, right * width, width);
    const down = stretch(this.height, top * height, bottom * height, height);
    const levels = new Uint8ClampedArray(across.places.length * down.places.length); // rounds to even
    const grid = this.#normalised(signed);
    const line = new Float32Array(this.width);
    let at = 0;
    for (const { low, high, share } of down.places) {
      for (let x = 0; x < this.width; x++) {
        line[x] = grid[low * this.width + x] * (1 - share) + grid[high * this.width + x] * share;
      }
      for (const place of across.places) {
        const value = line[place.low] * (1 - place.share) + line[place.high] * place.share;
        levels[at++] = signed ? 128 + value * 127 : value * 255;
      }
    }
    return { left: across.first, top: down.first, width: across.places.length, height: down.places.length, levels };
  }

  #normalised(signed) {
    const by = signed ? this.extreme : this.peak;
    if (!(by > 0)) return new Float32Array(this.values.length);
    return Float32Array.from(this.values, (value) => (signed ? value : Math.max(value, 0)) / by);
  }
}

// Draw a map on a canvas that covers the whole picture. `width` and `height` are the picture's; the
// canvas gets at most `longest` pixels a side. What is below `threshold` (0 to 1 of the maximum)
// stays clear, and where it begins runs a line. Opacity is the canvas' own, by style.
export function draw(canvas, map, { width, height, colormap = "turbo", threshold = 0, longest = LONGEST }) {
  const scale = Math.min(1, longest / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const signed = colormap === SIGNED;
  const part = map.levels(canvas.width, canvas.height, signed);
  const image = new ImageData(part.width, part.height);
  const table = palette(colormap);
  const pixels = new Uint32Array(image.data.buffer);
  const bound = threshold * 255;
  const warm = signed ? (level) => Math.abs(level - 128) * 2 >= bound : (level) => level >= bound;
  if (threshold > 0) {
    for (let i = 0; i < pixels.length; i++) if (warm(part.levels[i])) pixels[i] = table[part.levels[i]];
    outline(pixels, part, warm);
  } else {
    for (let i = 0; i < pixels.length; i++) pixels[i] = table[part.levels[i]];
  }
  canvas.getContext("2d").putImageData(image, part.left, part.top);
}

const palettes = new Map();

function palette(name) {
  if (!palettes.has(name)) {
    const bytes = colours(name);
    const four = new Uint8Array(1024).map((_, i) => (i % 4 === 3 ? 255 : bytes[(i >> 2) * 3 + (i % 4)]));
    palettes.set(name, new Uint32Array(four.buffer));
  }
  return palettes.get(name);
}

// A line two pixels wide: dark outside, light inside, so that it shows on everything.
function outline(pixels, { width, height, levels }, warm) {
  const [dark, light] = [0xff000000, 0xffffffff];
  const edge = (one, other) => {
    const [inside, outside] = warm(levels[one]) ? [one, other] : [other, one];
    if (warm(levels[inside]) && !warm(levels[outside])) {
      pixels[inside] = light;
      pixels[outside] = dark;
    }
  };
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const here = y * width + x;
      if (x + 1 < width) edge(here, here + 1);
      if (y + 1 < height) edge(here, here + width);
    }
  }
}

function between(place, cells) {
  const inside = Math.min(Math.max(place, 0), cells - 1);
  const low = Math.floor(inside);
  return { low, high: Math.min(low + 1, cells - 1), share: inside - low };
}

// Spread cells evenly from start to stop over a line of pixels: the first pixel whose centre lies
// between, and of each one its two cells and the second one's share.
function stretch(cells, start, stop, pixels) {
  let [first, last] = [Math.max(0, Math.ceil(start - 0.5)), Math.min(pixels, Math.ceil(stop - 0.5))];
  if (first >= last) { // thinner than a pixel
    first = Math.min(Math.max(0, Math.floor((start + stop) / 2)), pixels - 1);
    last = first + 1;
  }
  const places = [];
  for (let pixel = first; pixel < last; pixel++) {
    places.push(between(((pixel + 0.5 - start) / (stop - start)) * cells - 0.5, cells));
  }
  return { first, places };
}
