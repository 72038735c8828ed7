// A job's images as tiles: any of a million at once, filtered and sorted by the gallery's index.
// Only the tiles in sight exist. As browsers allow no element as tall as that, they lie in a
// window of the whole, which moves along.

import * as api from "../api.js";
import { NAMES, SIGNED } from "../colormaps.js";
import { append, empty, failed, h, name, number, percent, replace, svg, term } from "../dom.js";
import { draw } from "../heat.js";
import { load, mapOf, sources } from "../maps.js";

const PAGE = 100; // rows of a request
const GAP = 8;
const CAPTION = 40;
const WINDOW = 2_000_000; // pixels
const AT_ONCE = 5; // tiles whose pictures are loaded
const SETTLED = 90; // milliseconds without scrolling
const SIZES = { small: 128, medium: 192, large: 288 };
const SORTS = [["", "as submitted"], ["-probability", "most probable first"], ["probability", "least probable first"],
  ["-border_share", "most at the border first"], ["border_share", "least at the border first"]];
const LISTS = ["status", "class", "label", "code", "model"];
const RANGES = ["probability", "border_share"];
const FILTERS = [...LISTS, "rank", ...RANGES.flatMap((one) => [`min_${one}`, `max_${one}`])];
const BORDER = "The share of the heat in the outer tenth of the photograph, on each side: high where a model looks at the frame, a tag, a scale bar.";

export async function show(root, route, app) {
  const { job } = route.params;
  app.title(`Gallery of ${job}`);
  const view = new Gallery(root, job, route, app);
  await view.begin();
  return () => view.end();
}

// Return the filters and the order that an address holds, as parameters of a request.
export function filtersOf(query) {
  return Object.fromEntries([...FILTERS, "sort"].map((field) => [field, query.getAll(field)]).filter(([, values]) => values.length));
}

class Gallery {
  constructor(root, job, route, app) {
    Object.assign(this, { root, job, route, app, path: api.path("v1/jobs", job, "gallery") });
    this.asked = filtersOf(route.query);
    const given = (field, otherwise) => route.query.get(field) ?? otherwise;
    this.look = { size: given("size", "medium"), opacity: Number(given("opacity", 0.5)), colormap: given("colormap", "turbo") };
    this.at = Number(given("at", 0)) || 0; // the tile that has, or would have, the focus
    this.base = 0; // where the window begins, in pixels of the whole
    this.tiles = new Map();
    this.waiting = [];
    this.busyTiles = 0;
  }

  async begin() {
    this.note = h("div", { class: "notes", role: "status" });
    this.told = h("p", { class: "dim" });
    this.filters = h("div", { class: "filters" });
    this.inner = h("div", { class: "tiles", role: "list", "aria-label": "Images" });
    this.instead = h("div", {});
    this.scroller = h("div", { class: "tile-scroll", tabindex: -1, on: { scroll: () => this.#scrolled() } }, this.instead, this.inner);
    this.rail = h("input", { type: "range", min: 0, value: 0, "aria-label": "Position", on: { input: () => this.#go(Number(this.rail.value), false) } });
    const narrow = matchMedia("(max-width: 760px)").matches;
    this.stage = h("section", { class: "panel stage-of-tiles", "aria-label": "Images" }, this.#bar(), this.scroller);
    replace(this.root,
      h("div", { class: "head" }, h("h1", {}, "Gallery of ", h("a", { href: this.app.address("/jobs/:job", { job: this.job }) }, name(this.job))), this.told,
        h("div", { class: "actions" }, h("a", { class: "button", href: this.app.address("/jobs/:job/report", { job: this.job }) }, "Report"))),
      this.note,
      h("div", { class: "gallery" }, h("details", { class: "panel", open: !narrow }, h("summary", {}, "Filters"), this.filters), this.stage));
    this.scroller.addEventListener("keydown", (event) => this.#pressed(event));
    this.watch = new ResizeObserver(() => this.#layout());
    this.watch.observe(this.scroller);
    this.#styles();
    await this.#load();
  }

  end() {
    clearTimeout(this.timer);
    clearTimeout(this.settle);
    this.watch.disconnect();
  }

  #bar() {
    const select = (label, options, value, changed) => {
      const element = h("select", { "aria-label": label, title: label, on: { change: () => changed(element.value) } },
        options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)));
      return element;
    };
    this.sort = select("Order", SORTS, this.asked.sort?.[0] ?? "", (value) => this.#filter("sort", value ? [value] : []));
    this.opacity = h("input", { type: "range", min: 0, max: 1, step: 0.1, value: this.look.opacity, title: "Opacity of the heat: keys 0 to 9", "aria-label": "Opacity of the heat", on: { input: () => this.#change({ opacity: Number(this.opacity.value) }) } });
    this.jump = h("input", { type: "number", min: 1, "aria-label": "Jump to image number", placeholder: "Image no.", on: { change: () => this.jump.value && this.#go(Number(this.jump.value) - 1) } });
    return h("div", { class: "tile-bar" }, this.sort,
      select("Size", Object.keys(SIZES).map((key) => [key, key]), this.look.size, (size) => this.#change({ size })),
      select("Colours", [...NAMES, SIGNED].map((text) => [text, text]), this.look.colormap, (colormap) => this.#change({ colormap })),
      this.opacity, this.jump, this.rail,
      h("button", { class: "quiet", title: "Key f", on: { click: () => this.#fullScreen() } }, "Full screen"));
  }

  // Data -----------------------------------------------------------------------------------------

  async #load() {
    clearTimeout(this.timer);
    this.pages = new Map(); // by number: rows, or null while they're asked for
    this.soFar = [];
    this.cursor = null;
    for (const tile of this.tiles.values()) tile.remove();
    this.tiles.clear();
    const token = (this.token = {});
    try {
      const first = Math.floor(this.at / PAGE) * PAGE;
      let page = await this.#ask({ limit: first ? 1 : PAGE }, this.#plain());
      this.indexed = page.index === "done";
      const facets = this.#facets();
      if (this.indexed && (first || Object.keys(this.#plain()).length < Object.keys(this.asked).length)) page = await this.#ask({ limit: PAGE, first });
      if (this.token !== token) return;
      this.#took(page, first / PAGE);
      await facets;
    } catch (error) {
      if (error.name !== "AbortError") replace(this.instead, failed(error, () => this.#load()));
    }
  }

  #took(page, index) {
    this.indexed = page.index === "done";
    this.sort.disabled = !this.indexed;
    if (this.indexed) {
      this.pages.set(index, page.rows);
      this.count = page.matching;
      replace(this.told, page.matching === page.total ? `${number(page.total)} rows` : `${number(page.matching)} of ${number(page.total)} rows`);
      replace(this.note);
    } else {
      this.#more(page);
      const why = page.index === "none" ? "The job runs: these are its images so far." : page.index === "failed" ? `There's no index: ${page.note}.` : "A worker writes the gallery's index. Until then images come in order, so far:";
      replace(this.note, h("p", { class: "note" }, why));
      if (page.index !== "failed") this.timer = setTimeout(() => this.#again(), page.index === "none" ? 4000 : 1200);
    }
    this.jump.max = this.count;
    this.#layout();
    replace(this.instead, !this.count && empty(this.indexed ? "No image passes these filters" : "No image so far", this.indexed && "Take one of them away."));
    this.inner.hidden = !this.count;
    this.#go(Math.min(this.at, Math.max(0, this.count - 1)), false);
  }

  // See whether there's an index by now, or more images.
  async #again() {
    const page = await this.#ask({ limit: PAGE, cursor: this.cursor }, this.#plain()).catch(() => null);
    if (this.route.signal.aborted) return;
    if (page?.index === "done") return void this.#load();
    if (page && this.cursor && this.#nearEnd()) this.#more(page);
    this.#layout();
    this.timer = setTimeout(() => this.#again(), 4000);
  }

  #more(page) {
    this.soFar.push(...page.rows);
    this.cursor = page.next;
    this.count = this.soFar.length;
    replace(this.told, `${number(this.count)} rows so far`);
  }

  #ask(query, filters = this.asked) {
    return api.get(this.path, { ...filters, ...query }, { signal: this.route.signal });
  }

  // Return the filters that need no index.
  #plain() {
    return Object.fromEntries(Object.entries(this.asked).filter(([field]) => !/^(label|sort|m.._border_share)$/.test(field)));
  }

  #row(index) {
    if (!this.indexed) return this.soFar[index] ?? null;
    const page = Math.floor(index / PAGE);
    return this.pages.get(page)?.[index % PAGE] ?? null;
  }

  async #fetch(first, last) {
    if (!this.indexed) {
      if (this.cursor && this.#nearEnd() && !this.busy) {
        this.busy = true;
        const page = await this.#ask({ limit: PAGE, cursor: this.cursor }, this.#plain()).catch(() => null);
        this.busy = false;
        if (page?.rows.length) { this.#more(page); this.#layout(); }
      }
      return;
    }
    const { token } = this;
    for (let page = Math.floor(first / PAGE); page <= Math.floor(last / PAGE); page++) {
      if (this.pages.has(page)) continue;
      this.pages.set(page, null);
      this.#ask({ first: page * PAGE, limit: PAGE }).then((found) => {
        if (this.token !== token) return;
        this.pages.set(page, found.rows);
        if (this.pages.size > 60) this.pages.delete(this.pages.keys().next().value);
        this.#draw();
      }, () => this.pages.delete(page));
    }
  }

  // Filters --------------------------------------------------------------------------------------

  async #facets() {
    if (!this.indexed) {
      replace(this.filters, h("p", { class: "dim" }, "Filters come with the index."), this.#clear());
      return;
    }
    const { rank } = this.asked;
    const ask = (query) => api.get(`${this.path}/facets`, query, { signal: this.route.signal });
    const { sort: _, ...own } = this.asked;
    this.every ??= await ask({ rank });
    const now = await ask(own);
    const ranges = RANGES.map((field) => this.#range(field, field === "probability" ? "Probability" : term("At the border", BORDER), this.every[field], now[field]));
    replace(this.filters, this.#clear(),
      this.#list("status", "Status", this.every.statuses), this.#list("class", "Class", this.every.classes), ranges,
      this.#list("label", "Label", this.every.labels), this.#list("code", "Error code", this.every.codes),
      this.every.models.length > 1 && this.#list("model", "Model", this.every.models), this.#ranks());
  }

  #clear() {
    const any = FILTERS.some((field) => this.asked[field]?.length);
    return any && h("button", { class: "quiet", on: { click: () => { const { sort } = this.asked; this.asked = sort ? { sort } : {}; this.every = null; this.#filter("at", []); } } }, "Clear all filters");
  }

  #list(field, title, counts) {
    if (!counts.length) return null;
    const chosen = new Set(this.asked[field] ?? []);
    const items = h("ul", { class: "low choices" });
    const fill = (part) => replace(items, counts.filter((one) => one.name !== null && one.name.toLowerCase().includes(part)).slice(0, 200).map((one) =>
      h("li", {}, h("label", { class: "check" }, h("input", { type: "checkbox", checked: chosen.has(one.name), on: { change: (event) => {
        if (event.target.checked) chosen.add(one.name); else chosen.delete(one.name);
        this.#filter(field, [...chosen]);
      } } }), name(one.name), h("span", { class: "dim" }, number(one.rows))))));
    fill("");
    const search = counts.length > 8 && h("input", { type: "search", placeholder: `Find among ${number(counts.length)}`, "aria-label": `Find ${title}`, on: { input: (event) => fill(event.target.value.toLowerCase()) } });
    return h("fieldset", {}, h("legend", {}, title), search, items);
  }

  #range(field, title, every, now) {
    const most = Math.max(1, ...every);
    const bars = (counts, style) => counts.map((count, i) => svg("rect", { class: style, x: i, width: 0.9, y: 32 - (count / most) * 32, height: (count / most) * 32 }));
    const [least, greatest] = [this.asked[`min_${field}`]?.[0] ?? 0, this.asked[`max_${field}`]?.[0] ?? 1];
    const told = h("output", {}, `${least} to ${greatest}`);
    const slider = (end, value, otherwise) => {
      const element = h("input", { type: "range", min: 0, max: 1, step: 0.01, value, "aria-label": `${end === "min" ? "Least" : "Greatest"} ${field.replace("_", " ")}`, on: { change: () => this.#filter(`${end}_${field}`, Number(element.value) === otherwise ? [] : [element.value]) } });
      return element;
    };
    return h("fieldset", {}, h("legend", { class: "spread" }, title, told),
      svg("svg", { class: "histogram", viewBox: "0 0 32 32", preserveAspectRatio: "none", role: "img", "aria-label": "How many images have which value, from 0 to 1" }, bars(every, "all"), bars(now, "own")),
      slider("min", least, 0), slider("max", greatest, 1));
  }

  #ranks() {
    if (this.every.ranks.length < 2 && !this.asked.rank) return null;
    const first = this.asked.rank?.[0] === "0";
    return h("label", { class: "check" }, h("input", { type: "checkbox", checked: first, on: { change: (event) => { this.every = null; this.#filter("rank", event.target.checked ? ["0"] : []); } } }), "Each image's first class only");
  }

  #filter(field, values) {
    if (values.length) this.asked[field] = values; else delete this.asked[field];
    this.at = 0;
    this.#address();
    this.#load();
  }

  #address() {
    const { size, opacity, colormap } = this.look;
    const given = Object.entries(this.asked).flatMap(([field, values]) => values.map((value) => [field, value]));
    if (this.at) given.push(["at", this.at]);
    if (size !== "medium") given.push(["size", size]);
    if (opacity !== 0.5) given.push(["opacity", opacity]);
    if (colormap !== "turbo") given.push(["colormap", colormap]);
    this.app.replace(given);
  }

  #change(look) {
    Object.assign(this.look, look);
    this.#styles();
    this.#address();
    if (look.size) { this.#layout(); this.#go(this.at, false); }
    if (look.colormap) for (const tile of this.tiles.values()) tile.heat?.();
  }

  #styles() {
    this.opacity.value = this.look.opacity;
    this.inner.style.setProperty("--heat", this.look.opacity);
  }

  // Tiles ----------------------------------------------------------------------------------------

  #layout() {
    const wide = this.scroller.clientWidth;
    if (!wide || this.count === undefined) return;
    this.columns = Math.max(wide > 260 ? 2 : 1, Math.floor((wide + GAP) / (SIZES[this.look.size] + GAP)));
    this.side = (wide - GAP * (this.columns - 1)) / this.columns;
    this.line = this.side + CAPTION + GAP;
    this.tall = Math.ceil(this.count / this.columns) * this.line;
    this.inner.style.height = this.count ? `${Math.min(this.tall, WINDOW)}px` : "auto";
    this.base = Math.min(this.base, Math.max(0, this.tall - WINDOW));
    const far = this.tall > WINDOW;
    this.rail.hidden = !far;
    this.rail.max = Math.max(0, this.count - 1);
    this.scroller.classList.toggle("endless", far);
    for (const [index, tile] of this.tiles) this.#place(tile, index);
    this.#draw();
  }

  #place(tile, index) {
    const [line, column] = [Math.floor(index / this.columns), index % this.columns];
    for (const [property, value] of [["top", line * this.line - this.base], ["left", column * (this.side + GAP)], ["width", this.side], ["height", this.side + CAPTION]]) tile.style[property] = `${value}px`;
  }

  #scrolled() {
    const { scrollTop } = this.scroller;
    const end = Math.max(0, this.tall - WINDOW);
    if ((scrollTop < WINDOW / 8 && this.base > 0) || (scrollTop > WINDOW * 0.75 && this.base < end)) this.#move(this.base + scrollTop);
    this.#draw();
    clearTimeout(this.settle);
    this.settle = setTimeout(() => this.#settled(true), SETTLED);
  }

  // Show the whole from a pixel on: the window is laid around it.
  #move(top) {
    const base = Math.min(Math.max(0, top - WINDOW / 2), Math.max(0, this.tall - WINDOW));
    if (base !== this.base) {
      this.base = base;
      for (const [index, tile] of this.tiles) this.#place(tile, index);
    }
    this.scroller.scrollTop = top - this.base;
  }

  #visible(spare) {
    const top = this.base + this.scroller.scrollTop;
    const first = Math.max(0, Math.floor(top / this.line) - spare) * this.columns;
    const last = Math.min(this.count, Math.ceil((top + this.scroller.clientHeight) / this.line + spare) * this.columns) - 1;
    return [first, last];
  }

  #nearEnd() {
    return this.base + this.scroller.scrollTop + 2 * this.scroller.clientHeight > this.tall;
  }

  #draw() {
    if (!this.columns || !this.count) return;
    const [first, last] = this.#visible(1);
    for (const [index, tile] of this.tiles) {
      if (index >= first && index <= last && tile.isConnected) continue;
      if (tile.contains(document.activeElement)) this.scroller.focus({ preventScroll: true });
      tile.remove();
      this.tiles.delete(index);
    }
    for (let index = first; index <= last; index++) {
      const row = this.#row(index);
      let tile = this.tiles.get(index);
      if (!tile || (!tile.row && row)) {
        const made = this.#tile(index, row);
        const focused = tile?.contains(document.activeElement);
        if (tile) tile.replaceWith(made);
        else this.inner.append(made);
        if (focused) made.firstChild.focus({ preventScroll: true });
        this.tiles.set(index, made);
        this.#place(made, index);
        tile = made;
      }
      tile.firstChild.tabIndex = index === this.at ? 0 : -1;
    }
    if (![...this.tiles.keys()].includes(this.at)) this.tiles.get(first)?.firstChild.setAttribute("tabindex", 0);
    if (!this.settle) this.#settled();
  }

  // Once nobody scrolls any more, ask for what is in sight; by `hand`: the focus's place moves along.
  #settled(hand = false) {
    this.settle = null;
    const [first, last] = this.#visible(0);
    this.#fetch(first, last);
    this.rail.value = first;
    if (hand && (this.at < first || this.at > last)) { this.at = first; this.#draw(); }
    if (hand) this.#address();
    this.waiting = [...this.tiles].filter(([index]) => index >= first && index <= last).sort(([a], [b]) => a - b).map(([, tile]) => tile);
    for (let free = AT_ONCE - this.busyTiles; free > 0; free--) this.#work();
  }

  // Load the waiting tiles, a few at a time: each with its photograph and its map.
  async #work() {
    this.busyTiles++;
    for (let tile = this.waiting.shift(); tile; tile = this.waiting.shift()) if (tile.isConnected) await this.#picture(tile);
    this.busyTiles--;
  }

  #tile(index, row) {
    const title = row && (row.class_name ?? (row.class_index === null ? "" : `class ${row.class_index}`));
    const failedRow = row?.status === "failed";
    const value = row && (failedRow ? row.error_code : row.probability === null ? "" : percent(row.probability));
    const more = row && [`, image ${number(index + 1)} of ${number(this.count)}`, row.status === "no_evidence" && ", no evidence", row.border_share !== null && `, ${percent(row.border_share, 0)} at the border`];
    const tile = h("div", { class: `tile ${row?.status ?? ""}`, role: "listitem" },
      h("a", { href: row ? this.#link(index, row) : null, tabindex: -1, title: row?.item_id, data: { index }, on: { focus: () => { this.at = index; } } },
        h("span", { class: "tile-picture" }, failedRow && h("span", { class: "bad" }, "failed")),
        h("span", { class: "tile-caption" }, h("span", { class: "spread" }, h("span", { class: "cut-off", dir: "auto" }, title || (failedRow ? "" : " ")), h("b", { class: failedRow ? "bad" : "" }, value ?? "")),
          h("span", { class: "dim cut-off", dir: "auto" }, row?.item_id?.replace(/^.*\/(?=.)/, "") ?? row?.row ?? "Loading"), h("span", { class: "unseen" }, more))));
    tile.row = row;
    return tile;
  }

  #link(index, row) {
    const given = Object.entries(this.asked).flatMap(([field, values]) => values.map((value) => [field, value]));
    const { colormap, opacity } = this.look;
    const text = new URLSearchParams([...given, ...(this.indexed ? [["n", index]] : []), ["colormap", colormap], ["opacity", opacity]]);
    return `${this.app.address("/jobs/:job/images/:item", { job: this.job, item: row.row })}?${text}`;
  }

  async #picture(tile) {
    const { row } = tile;
    if (!row || tile.heat || row.status === "failed") return;
    const home = tile.querySelector(".tile-picture");
    const canvas = h("canvas", { "aria-hidden": "true" });
    const image = h("img", { alt: "", decoding: "async", draggable: "false" });
    const frame = h("span", { class: "tile-frame" }, image, canvas);
    tile.heat = () => {};
    const loaded = new Promise((done) => {
      image.addEventListener("load", done);
      load(image, sources(this.job, row.row, this.side > 200 ? 512 : 256), () => { replace(home, h("span", { class: "dim" }, "no picture")); done(); });
    });
    const shape = (aspect) => { frame.style.width = `${Math.min(1, aspect) * 100}%`; frame.style.height = `${Math.min(1, 1 / aspect) * 100}%`; };
    image.addEventListener("load", () => shape(image.naturalWidth / image.naturalHeight));
    append(home, frame);
    const map = await mapOf(this.job, row.row).catch(() => null);
    if (!map?.geometry) return loaded;
    const { image_width: width, image_height: height } = map.geometry;
    shape(width / height);
    tile.heat = () => draw(canvas, map, { width, height, colormap: this.look.colormap, longest: 160 });
    tile.heat();
    const { x, y } = map.hottest;
    if (map.peak > 0) append(frame, h("i", { class: "ring small", style: { left: `${x * 100}%`, top: `${y * 100}%` } }));
    return loaded;
  }

  // Keys -----------------------------------------------------------------------------------------

  #go(index, focus = true) {
    if (!this.count || !this.columns) return;
    this.at = Math.min(Math.max(0, index), this.count - 1);
    const top = Math.floor(this.at / this.columns) * this.line;
    const seen = this.base + this.scroller.scrollTop;
    const high = this.scroller.clientHeight;
    if (top < seen || top + this.line > seen + high || !focus) this.#move(top < seen || !focus ? top : top + this.line - high);
    this.#draw();
    this.#settled();
    this.#address();
    if (focus) this.tiles.get(this.at)?.firstChild.focus({ preventScroll: true });
  }

  #pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = this.columns * Math.max(1, Math.floor(this.scroller.clientHeight / this.line));
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns, PageUp: -page, PageDown: page, Home: -this.at, End: this.count - 1 - this.at };
    if (event.key in steps) this.#go(this.at + steps[event.key]);
    else if (/^\d$/.test(event.key)) this.#change({ opacity: event.key === "9" ? 1 : Number(event.key) / 10 });
    else if (event.key === "f") this.#fullScreen();
    else if (event.key === "g") this.jump.focus();
    else return;
    event.preventDefault();
  }

  #fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.stage.requestFullscreen?.();
  }
}
