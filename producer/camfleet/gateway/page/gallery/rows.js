// The rows of a gallery: pages of its index, as they're needed; before there's an index, the rows
// in order, as far as they're there.

import * as api from "../api.js";
import { plain } from "./query.js";

const PAGE = 100; // rows of a request
const KEPT = 60; // pages
const SOON_MS = 1200; // until we look whether there's an index
const LATER_MS = 4000;

export class Rows {
  // `told.came()`: there are rows that weren't there. `told.indexed()`: there's an index by now.
  constructor(job, signal, told) {
    Object.assign(this, { path: api.path("v1/jobs", job, "gallery"), signal, told });
  }

  // Ask for the rows that pass, those around number `at` first; false if asked for others since.
  async load(asked, at) {
    this.stop();
    Object.assign(this, { asked, pages: new Map(), soFar: [], cursor: null });
    const token = (this.token = {});
    const first = Math.floor(at / PAGE) * PAGE;
    const some = plain(asked);
    let page = await this.#ask({ limit: first ? 1 : PAGE }, some);
    const other = first || Object.keys(some).length < Object.keys(asked).length;
    if (page.index === "done" && other) page = await this.#ask({ limit: PAGE, first });
    if (this.token !== token) return false;
    Object.assign(this, { index: page.index, note: page.note, total: page.total });
    if (this.indexed) {
      this.pages.set(first / PAGE, page.rows);
      this.count = page.matching;
    } else {
      this.#more(page);
      if (page.index !== "failed") this.#lookAgain(page.index === "none" ? LATER_MS : SOON_MS);
    }
    return true;
  }

  stop() {
    clearTimeout(this.timer);
  }

  get indexed() {
    return this.index === "done";
  }

  // Return a row, null if it isn't there yet.
  at(index) {
    if (!this.indexed) return this.soFar[index] ?? null;
    return this.pages.get(Math.floor(index / PAGE))?.[index % PAGE] ?? null;
  }

  // Ask for what is missing of these; `end`: the last ones that are there are nearly in sight.
  async want(first, last, end) {
    this.end = end;
    if (!this.indexed) {
      if (this.cursor && end) await this.#on();
      return;
    }
    const { token } = this;
    for (let page = Math.floor(first / PAGE); page <= Math.floor(last / PAGE); page++) {
      if (this.pages.has(page)) continue;
      this.pages.set(page, null);
      this.#ask({ first: page * PAGE, limit: PAGE }).then((found) => {
        if (this.token !== token) return;
        this.pages.set(page, found.rows);
        if (this.pages.size > KEPT) this.pages.delete(this.pages.keys().next().value);
        this.told.came();
      }, () => this.pages.delete(page));
    }
  }

  facets(query) {
    return api.get(`${this.path}/facets`, query, { signal: this.signal });
  }

  #ask(query, filters = this.asked) {
    return api.get(this.path, { ...filters, ...query }, { signal: this.signal });
  }

  #more(page) {
    this.soFar.push(...page.rows);
    this.cursor = page.next;
    this.count = this.soFar.length;
  }

  // Go on in order; return the page that came, null for none.
  async #on() {
    if (this.busy) return null;
    this.busy = true;
    const { token } = this;
    const page = await this.#ask({ limit: PAGE, cursor: this.cursor }, plain(this.asked)).catch(() => null);
    this.busy = false;
    if (this.token !== token) return null;
    if (page && page.index !== "done" && this.cursor && this.end && page.rows.length) {
      this.#more(page);
      this.told.came();
    }
    return page;
  }

  #lookAgain(after) {
    this.timer = setTimeout(async () => {
      const page = await this.#on();
      if (this.signal.aborted) return;
      if (page?.index === "done") this.told.indexed();
      else this.#lookAgain(LATER_MS);
    }, after);
  }
}
