// The images that a person has chosen in a gallery, and what they are chosen for: a new job, or
// their rows as a file.

import * as api from "../api.js";
import { h, number, replace } from "../dom.js";

export const MOST = 500;
const ADDRESS = 3000; // characters of names in one request: proxies take no longer addresses

export class Chosen {
  constructor(job, app) {
    Object.assign(this, { job, app, rows: new Map() }); // by the names of rows
    this.element = h("div", { class: "picked", role: "status", hidden: true });
  }

  has({ row }) {
    return this.rows.has(row);
  }

  // Return whether there was place for all of them.
  set(rows, on) {
    for (const one of rows) {
      if (!on) this.rows.delete(one.row);
      else if (this.rows.size < MOST) this.rows.set(one.row, one);
    }
    this.draw();
    return !on || rows.every((one) => this.has(one));
  }

  draw(note = this.rows.size === MOST ? `No more than ${number(MOST)} can be chosen.` : "") {
    const { size } = this.rows;
    this.element.hidden = !size;
    const file = (format, text) => h("button", { on: { click: () => this.#save(format) } }, text);
    const clear = () => {
      this.rows.clear();
      this.draw();
      this.cleared();
    };
    const places = [...this.rows.keys()].join(",");
    replace(this.element, h("b", {}, `${number(size)} chosen`),
      this.app.may("jobs:write") && h("a", { class: "button main", href: this.app.address("/submit", {}, { from: this.job, rows: places }) }, "New job of them"),
      file("csv", "Rows as CSV"), file("json", "Rows as JSON lines"),
      h("button", { class: "quiet", on: { click: clear } }, "Choose none"), note && h("span", { class: "dim" }, note));
  }

  // All rows of these images, as the gateway writes them, piece by piece.
  async #save(format) {
    const texts = [];
    try {
      for (const item of pieces([...this.rows.values()].map((one) => one.item_id))) {
        this.draw("Reading rows …");
        const answer = await api.request("GET", api.url(api.path("v1/jobs", this.job, "results"), { item, format }));
        const text = await answer.text();
        texts.push(format === "csv" && texts.length ? text.slice(text.indexOf("\n") + 1) : text);
      }
    } catch (error) {
      this.draw(error.message);
      return;
    }
    this.draw();
    const link = h("a", { href: URL.createObjectURL(new Blob(texts)), download: `${this.job}-chosen.${format === "csv" ? "csv" : "jsonl"}` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }
}

function pieces(items) {
  const found = [];
  let left = 0;
  for (const item of new Set(items)) {
    const length = encodeURIComponent(item).length + 6;
    if (length > left) {
      found.push([]);
      left = Math.max(ADDRESS, length);
    }
    found.at(-1).push(item);
    left -= length;
  }
  return found;
}
