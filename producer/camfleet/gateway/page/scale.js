// How far the look of a model moved, as a drawing.

import { h, short, term } from "./dom.js";

export const MOVEMENT = "0 is what noise does to maps, 1 as unlike as maps of different images of one class.";

// Movement as people read it: less than noise is none.
export const moved = (value) => short(Math.max(0, value));

// Movement with its interval on a line from 0 to 1, or further, and the limit.
export function scale({ value, low, high, limit }) {
  const end = Math.max(1, high, limit) * 1.05;
  const at = (number_) => `${(Math.max(0, number_) / end) * 100}%`;
  const words = `Movement ${moved(value)}, from ${moved(low)} to ${moved(high)}; the limit is ${short(limit)}`;
  return h("div", {}, h("p", {}, term(words, MOVEMENT)), h("div", { class: "scale", role: "img", "aria-label": words },
    h("span", { class: "axis" }), h("span", { class: "interval", style: { left: at(low), width: `${((Math.max(0, high) - Math.max(0, low)) / end) * 100}%` } }),
    h("span", { class: "value", style: { left: at(value) } }), h("span", { class: "limit", style: { left: at(limit) } }, "limit"),
    h("span", { class: "end", style: { left: 0 } }, "0 noise"), h("span", { class: "end", style: { left: at(1), transform: "translateX(-100%)" } }, "1 unlike")));
}
