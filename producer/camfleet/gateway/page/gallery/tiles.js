// Tiles of a gallery, of which only those in sight exist. As browsers allow no element as tall as
// a million of them, they lie in a window of the whole, which moves along.

import { h } from "../dom.js";
import { tile } from "./tile.js";

const GAP = 8;
const CAPTION = 40;
const WINDOW = 2_000_000; // pixels
const AT_ONCE = 5; // tiles whose pictures are loaded
const SETTLED = 90; // milliseconds without scrolling
export const SIZES = { small: 128, medium: 192, large: 288 };

export class Tiles {
  // `view` has the rows, the look {size, opacity, colormap}, the chosen rows, `link(index, row)`,
  // and `moved()`, which is told when another tile has, or would have, the focus.
  constructor(view) {
    this.view = view;
    this.at = 0; // that tile
    this.base = 0; // where the window begins, in pixels of the whole
    this.tiles = new Map();
    this.waiting = [];
    this.busy = 0;
    this.inner = h("div", { class: "tiles", role: "list", "aria-label": "Images" });
    this.instead = h("div", {});
    this.element = h("div", { class: "tile-scroll", tabindex: -1, on: { scroll: () => this.#scrolled() } }, this.instead, this.inner);
    this.rail = h("input", { id: "rail", type: "range", min: 0, value: 0, "aria-label": "Position", on: { input: () => this.go(Number(this.rail.value), false) } });
    this.watch = new ResizeObserver(() => this.layout());
    this.watch.observe(this.element);
  }

  get count() {
    return this.view.rows.count;
  }

  end() {
    clearTimeout(this.settle);
    this.watch.disconnect();
  }

  clear() {
    for (const one of this.tiles.values()) one.remove();
    this.tiles.clear();
  }

  layout() {
    const wide = this.element.clientWidth;
    if (!wide || this.count === undefined) return;
    this.columns = Math.max(wide > 260 ? 2 : 1, Math.floor((wide + GAP) / (SIZES[this.view.look.size] + GAP)));
    this.side = (wide - GAP * (this.columns - 1)) / this.columns;
    this.line = this.side + CAPTION + GAP;
    this.tall = Math.ceil(this.count / this.columns) * this.line;
    this.inner.style.height = this.count ? `${Math.min(this.tall, WINDOW)}px` : "auto";
    this.inner.hidden = !this.count;
    this.base = Math.min(this.base, Math.max(0, this.tall - WINDOW));
    const far = this.tall > WINDOW;
    this.rail.parentElement.hidden = !far;
    this.rail.max = Math.max(0, this.count - 1);
    this.element.classList.toggle("endless", far);
    this.#placeAll();
    this.draw();
  }

  #placeAll() {
    for (const [index, one] of this.tiles) this.#place(one, index);
  }

  #place(one, index) {
    const [line, column] = [Math.floor(index / this.columns), index % this.columns];
    const where = { top: line * this.line - this.base, left: column * (this.side + GAP), width: this.side, height: this.side + CAPTION };
    for (const [property, value] of Object.entries(where)) one.style[property] = `${value}px`;
  }

  #scrolled() {
    const { scrollTop } = this.element;
    const end = Math.max(0, this.tall - WINDOW);
    if ((scrollTop < WINDOW / 8 && this.base > 0) || (scrollTop > WINDOW * 0.75 && this.base < end)) this.#move(this.base + scrollTop);
    this.draw();
    clearTimeout(this.settle);
    this.settle = setTimeout(() => this.#settled(true), SETTLED);
  }

  // Show the whole from a pixel on: the window is laid around it.
  #move(top) {
    const base = Math.min(Math.max(0, top - WINDOW / 2), Math.max(0, this.tall - WINDOW));
    if (base !== this.base) {
      this.base = base;
      this.#placeAll();
    }
    this.element.scrollTop = top - this.base;
  }

  // Return the first and the last tile in sight, with spare lines on both sides.
  #visible(spare) {
    const top = this.base + this.element.scrollTop;
    const first = Math.max(0, Math.floor(top / this.line) - spare) * this.columns;
    const last = Math.min(this.count, Math.ceil((top + this.element.clientHeight) / this.line + spare) * this.columns) - 1;
    return [first, last];
  }

  draw() {
    if (!this.columns || !this.count) return;
    const [first, last] = this.#visible(1);
    for (const [index, one] of this.tiles) {
      if (index >= first && index <= last && one.isConnected) continue;
      if (one.contains(document.activeElement)) this.element.focus({ preventScroll: true });
      one.remove();
      this.tiles.delete(index);
    }
    for (let index = first; index <= last; index++) this.#drawOne(index);
    if (!this.tiles.has(this.at)) this.tiles.get(first)?.firstChild.setAttribute("tabindex", 0);
    if (!this.settle) this.#settled();
  }

  #drawOne(index) {
    const row = this.view.rows.at(index);
    let one = this.tiles.get(index);
    if (!one || (!one.row && row)) {
      const made = tile(this.view, index, row, this.side, () => { this.at = index; });
      const focused = one?.contains(document.activeElement);
      if (one) one.replaceWith(made);
      else this.inner.append(made);
      if (focused) made.firstChild.focus({ preventScroll: true });
      this.tiles.set(index, made);
      this.#place(made, index);
      one = made;
    }
    one.firstChild.tabIndex = index === this.at ? 0 : -1;
  }

  // Once nobody scrolls any more, ask for what is in sight; by `hand`: the focus's place moves along.
  #settled(hand = false) {
    this.settle = null;
    const [first, last] = this.#visible(0);
    const end = this.base + this.element.scrollTop + 2 * this.element.clientHeight > this.tall;
    this.view.rows.want(first, last, end);
    this.rail.value = first;
    if (hand && (this.at < first || this.at > last)) {
      this.at = first;
      this.draw();
    }
    if (hand) this.view.moved();
    this.waiting = [...this.tiles].filter(([index]) => index >= first && index <= last).sort(([a], [b]) => a - b).map(([, one]) => one);
    for (let free = AT_ONCE - this.busy; free > 0; free--) this.#work();
  }

  // Load the waiting tiles, a few at a time: each with its photograph and its map.
  async #work() {
    this.busy++;
    for (let one = this.waiting.shift(); one; one = this.waiting.shift()) if (one.isConnected) await one.load();
    this.busy--;
  }

  go(index, focus = true) {
    if (!this.count || !this.columns) return;
    this.at = Math.min(Math.max(0, index), this.count - 1);
    const top = Math.floor(this.at / this.columns) * this.line;
    const seen = this.base + this.element.scrollTop;
    const high = this.element.clientHeight;
    if (top < seen || top + this.line > seen + high || !focus) this.#move(top < seen || !focus ? top : top + this.line - high);
    this.draw();
    this.#settled();
    this.view.moved();
    if (focus) this.tiles.get(this.at)?.firstChild.focus({ preventScroll: true });
  }

  // Return how far a key moves the focus, undefined for no such key.
  step(key) {
    const page = this.columns * Math.max(1, Math.floor(this.element.clientHeight / this.line));
    return { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns, PageUp: -page, PageDown: page, Home: -this.at, End: this.count - 1 - this.at }[key];
  }
}
