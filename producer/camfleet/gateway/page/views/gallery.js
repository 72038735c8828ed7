// A job's images as tiles: any of a million at once, filtered and sorted by the gallery's index.

import { NAMES, SIGNED } from "../colormaps.js";
import { empty, failed, field, h, head, jobLink, number, replace, select } from "../dom.js";
import { Chosen } from "../gallery/chosen.js";
import { Filters } from "../gallery/filters.js";
import { filtersOf, pairs } from "../gallery/query.js";
import { Rows } from "../gallery/rows.js";
import { SIZES, Tiles } from "../gallery/tiles.js";

const SORTS = [["", "as submitted"], ["-probability", "most probable first"], ["probability", "least probable first"],
  ["-border_share", "most at the border first"], ["border_share", "least at the border first"]];
const LOOK = { size: "medium", opacity: 0.5, colormap: "turbo" };
const STATES = {
  none: () => "The job runs: these are its images so far.",
  failed: (note) => `There's no index: ${note}.`,
};

export async function show(root, route, app) {
  const { job } = route.params;
  app.title(`Gallery of ${job}`);
  const view = new Gallery(job, route, app);
  view.draw(root);
  await view.load();
  return () => view.end();
}

class Gallery {
  constructor(job, route, app) {
    Object.assign(this, { job, route, app });
    const given = Object.fromEntries(route.query);
    this.asked = filtersOf(route.query);
    this.look = Object.fromEntries(Object.entries(LOOK).map(([field_, otherwise]) => [field_, given[field_] ?? otherwise]));
    this.look.opacity = Number(this.look.opacity);
    if (!Object.hasOwn(SIZES, this.look.size)) this.look.size = LOOK.size;
    this.rows = new Rows(job, route.signal, { came: () => this.#came(), indexed: () => this.load() });
    this.filters = new Filters(this.rows, (asked) => this.#filter(asked));
    this.chosen = new Chosen(job, app);
    this.chosen.cleared = () => this.#marks();
    this.tiles = new Tiles(this);
    this.tiles.at = Math.min(Math.max(0, Math.trunc(given.at) || 0), 2 ** 30);
  }

  draw(root) {
    this.note = h("div", { class: "notes", role: "status" });
    this.exports = h("a", { class: "button" }, "Export these");
    this.told = h("p", { class: "dim" });
    const narrow = matchMedia("(max-width: 760px)").matches;
    this.stage = h("section", { class: "panel stage-of-tiles", "aria-label": "Images" }, this.#bar(), this.chosen.element, this.tiles.element);
    this.tiles.element.addEventListener("keydown", (event) => this.#pressed(event));
    replace(root,
      head(["Gallery of ", jobLink(this.job)], this.told,
        h("div", { class: "actions" }, h("a", { class: "button", href: this.app.address("/jobs/:job/report", { job: this.job }) }, "Report"), this.exports)),
      this.note,
      h("div", { class: "gallery" }, h("details", { class: "panel", open: !narrow }, h("summary", {}, "Filters"), this.filters.element), this.stage));
    this.#change({});
  }

  end() {
    this.rows.stop();
    this.tiles.end();
  }

  #bar() {
    const chooser = (id, label, options, value, changed) => field(select({ id }, options, value, changed), label);
    this.opacity = h("input", { id: "opacity", type: "range", min: 0, max: 1, step: 0.1, title: "Keys 0 to 9", "aria-label": "Opacity of the heat", on: { input: () => this.#change({ opacity: Number(this.opacity.value) }) } });
    this.jump = h("input", { id: "jump", type: "number", min: 1, "aria-label": "Jump to image number", title: "Key g", placeholder: "number", on: { change: () => this.jump.value && this.tiles.go(Number(this.jump.value) - 1) } });
    const sort = (value) => {
      const { sort: _, ...others } = this.asked;
      this.#filter(value ? { ...others, sort: [value] } : others);
    };
    const order = chooser("sort", "Order", SORTS, this.asked.sort?.[0] ?? "", sort);
    this.sort = order.lastChild;
    return h("div", { class: "tile-bar" }, order,
      chooser("size", "Size", Object.keys(SIZES), this.look.size, (size) => this.#change({ size })),
      chooser("colormap", "Colours", [...NAMES, SIGNED], this.look.colormap, (colormap) => this.#change({ colormap })),
      field(this.opacity, "Opacity"), field(this.jump, "Jump to image"), field(this.tiles.rail, "Position"),
      h("button", { class: "quiet", title: "Key f", on: { click: () => this.#fullScreen() } }, "Full screen"));
  }

  async load() {
    this.tiles.clear();
    try {
      if (!(await this.rows.load(this.asked, this.tiles.at))) return;
      this.sort.disabled = !this.rows.indexed;
      this.#came();
      replace(this.tiles.instead, !this.rows.count && empty(this.rows.indexed ? "No image passes these filters" : "No image so far", this.rows.indexed && "Take one of them away."));
      this.tiles.go(Math.min(this.tiles.at, Math.max(0, this.rows.count - 1)), false);
      await this.filters.show(this.asked);
    } catch (error) {
      if (error.name !== "AbortError") replace(this.tiles.instead, failed(error, () => this.load()));
    }
  }

  // There are rows that weren't there.
  #came() {
    const { indexed, index, note, count, total } = this.rows;
    const why = STATES[index] ?? (() => "A worker writes the gallery's index. Until then images come in order, so far:");
    replace(this.told, !indexed ? `${number(count)} rows so far` : count === total ? `${number(total)} rows` : `${number(count)} of ${number(total)} rows`);
    replace(this.note, !indexed && h("p", { class: "note" }, why(note)));
    if (count) replace(this.tiles.instead);
    this.jump.max = count;
    this.tiles.layout();
  }

  #filter(asked) {
    this.asked = asked;
    this.tiles.at = 0;
    this.moved();
    this.load();
  }

  #change(look) {
    Object.assign(this.look, look);
    this.opacity.value = this.look.opacity;
    this.tiles.inner.style.setProperty("--heat", this.look.opacity);
    if (look.size) {
      this.tiles.layout();
      this.tiles.go(this.tiles.at, false);
    }
    if (look.colormap) for (const one of this.tiles.tiles.values()) one.heat?.();
    if (Object.keys(look).length) this.moved();
  }

  // Keep the address up to date.
  moved() {
    const given = pairs(this.asked);
    this.exports.href = `${this.app.address("/jobs/:job/exports", { job: this.job })}?${new URLSearchParams(given)}`;
    if (this.tiles.at) given.push(["at", this.tiles.at]);
    this.app.replace([...given, ...Object.entries(this.look).filter(([one, value]) => value !== LOOK[one])]);
  }

  link(index, row) {
    const { colormap, opacity } = this.look;
    const query = [...pairs(this.asked), ...(this.rows.indexed ? [["n", index]] : []), ["colormap", colormap], ["opacity", opacity]];
    return `${this.app.address("/jobs/:job/images/:item", { job: this.job, item: row.row })}?${new URLSearchParams(query)}`;
  }

  // Choose an image or not, with `all` also those from the one before; of those that are there.
  choose(index, on, all = false) {
    const from = all ? this.latest ?? index : index;
    const found = [];
    for (let i = Math.min(from, index); i <= Math.max(from, index); i++) {
      const row = this.rows.at(i);
      if (row) found.push(row);
    }
    this.latest = index;
    this.chosen.set(found, on);
    this.#marks();
  }

  #marks() {
    for (const one of this.tiles.tiles.values()) if (one.row) one.lastChild.checked = this.chosen.has(one.row);
    this.tiles.layout();
  }

  #pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const row = this.rows.at(this.tiles.at);
    const step = this.tiles.step(event.key);
    if (step !== undefined) this.tiles.go(this.tiles.at + step);
    else if (/^\d$/.test(event.key)) this.#change({ opacity: event.key === "9" ? 1 : Number(event.key) / 10 });
    else if (event.key === "f") this.#fullScreen();
    else if (event.key === "g") this.jump.focus();
    else if (event.key.toLowerCase() === "x" && row) this.choose(this.tiles.at, !this.chosen.has(row), event.shiftKey);
    else return;
    event.preventDefault();
  }

  #fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.stage.requestFullscreen?.();
  }
}
