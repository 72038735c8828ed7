// A photograph with heat on it: the map at its place, a ring at its hottest cell, hatching where
// the model didn't look, and the values under the pointer (or under a cross that arrow keys move).

import { h, short } from "./dom.js";
import { draw } from "./heat.js";

export class Photo {
  // `probed(found, where)` is told what lies under the pointer (see HeatMap.at), null for nothing.
  constructor({ alt = "", probed = () => {}, opacityKey = () => {} } = {}) {
    this.look = { colormap: "turbo", opacity: 0.5, threshold: 0 };
    this.map = null;
    this.image = h("img", { alt, decoding: "async", draggable: "false" });
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.marks = h("div", { class: "marks" });
    this.cross = h("div", { class: "cross", hidden: true });
    this.element = h("div", {
      class: "photo", tabindex: 0, role: "group", "aria-label": `${alt}. Arrow keys move a probe, digits set the opacity.`,
      on: {
        pointermove: (event) => this.#pointed(event),
        pointerdown: (event) => this.#pointed(event),
        pointerleave: () => this.#left(),
        keydown: (event) => this.#pressed(event),
        blur: () => this.#left(),
      },
    }, this.image, this.canvas, this.marks, this.cross);
    this.probed = probed;
    this.opacityKey = opacityKey;
    this.probe = null; // where the cross stands, as shares of the picture
  }

  // Show a photograph; throw where the browser can't decode it.
  async show(src, alt) {
    this.image.alt = alt ?? this.image.alt;
    if (this.image.getAttribute("src") !== src) this.image.src = src;
    await this.image.decode();
    const { naturalWidth: width, naturalHeight: height } = this.image;
    this.element.style.setProperty("--aspect", String(width / height));
    this.element.classList.toggle("tiny", Math.max(width, height) <= 160);
    this.#draw();
  }

  // Lay a map on it, or none (null).
  lay(map) {
    this.map = map;
    this.#draw();
  }

  // Change what it looks like: {colormap, opacity, threshold}, any of them.
  set(look) {
    const before = this.look;
    this.look = { ...before, ...look };
    this.canvas.style.opacity = String(this.look.opacity);
    if (before.colormap !== this.look.colormap || before.threshold !== this.look.threshold) this.#draw();
  }

  get size() {
    const geometry = this.map?.geometry;
    if (geometry) return { width: geometry.image_width, height: geometry.image_height };
    return { width: this.image.naturalWidth, height: this.image.naturalHeight };
  }

  #draw() {
    this.marks.replaceChildren();
    this.canvas.hidden = !this.map || !this.size.width;
    if (this.canvas.hidden) return;
    draw(this.canvas, this.map, { ...this.size, ...this.look });
    this.canvas.style.opacity = String(this.look.opacity);
    this.marks.append(...hatching(this.map.place));
    if (this.map.peak > 0) {
      const { x, y } = this.map.hottest;
      this.marks.append(h("div", { class: "ring", title: "The hottest place", style: at(x, y) }));
    }
  }

  #pointed(event) {
    const box = this.image.getBoundingClientRect();
    this.#tell((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
  }

  #left() {
    this.cross.hidden = true;
    this.probed(null);
  }

  #tell(x, y) {
    if (this.map) this.probed(this.map.at(x, y), { x, y });
  }

  #pressed(event) {
    if (/^\d$/.test(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey) {
      this.opacityKey(event.key === "0" ? 0 : event.key === "9" ? 1 : Number(event.key) / 10);
      return;
    }
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!move || !this.map) return;
    event.preventDefault();
    const { left, top, right, bottom } = this.map.place;
    const cell = [(right - left) / this.map.width, (bottom - top) / this.map.height];
    const from = this.probe ?? this.map.hottest;
    const inside = (value, step) => Math.min(Math.max(value + step, 0), 0.9999);
    this.probe = { x: inside(from.x, move[0] * cell[0]), y: inside(from.y, move[1] * cell[1]) };
    for (const [name, value] of Object.entries(at(this.probe.x, this.probe.y))) this.cross.style.setProperty(name, value);
    this.cross.hidden = false;
    this.#tell(this.probe.x, this.probe.y);
  }
}

// What HeatMap.at found, in words.
export function reading(found, map) {
  if (!found) return map ? "Outside of what the model saw" : "";
  return `Row ${found.row + 1} of ${map.height}, column ${found.column + 1} of ${map.width} · heat ${found.heat.toFixed(2)} · raw ${short(found.raw)}`;
}

const at = (x, y) => ({ left: `${x * 100}%`, top: `${y * 100}%` });

// The four strips around a rectangle, those that have a size.
function hatching({ left, top, right, bottom }) {
  const clamp = (value) => Math.min(Math.max(value, 0), 1);
  const [l, t, r, b] = [left, top, right, bottom].map(clamp);
  return [[0, 0, 1, t], [0, b, 1, 1], [0, t, l, b], [r, t, 1, b]]
    .filter(([x0, y0, x1, y1]) => x1 - x0 > 0.002 && y1 - y0 > 0.002)
    .map(([x0, y0, x1, y1]) => h("div", {
      class: "not-seen",
      title: "The model didn't see this part of the photograph",
      style: { ...at(x0, y0), width: `${(x1 - x0) * 100}%`, height: `${(y1 - y0) * 100}%` },
    }));
}
