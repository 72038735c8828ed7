// One image of a job: its photograph with the map of a class, all classes side by side, the values
// under the pointer, where it comes from, and the images before and after it in the gallery.

import * as api from "../api.js";
import { fact, h, head, modelLink, name, percent, replace, short, term } from "../dom.js";
import { HeatMap, draw } from "../heat.js";
import { Looks } from "../looks.js";
import { framed, load, sources } from "../maps.js";
import { Photo, reading } from "../photo.js";
import { measures, titleOf } from "../row.js";
import { filtersOf } from "../gallery/query.js";

export async function show(root, route, app) {
  const { job, item } = route.params;
  app.title(`Image ${item} of ${job}`);
  const found = await api.get(api.path("v1/jobs", job, "rows", item), {}, { signal: route.signal });
  const view = new Image(root, route, app, found);
  view.show();
  const pressed = (event) => view.pressed(event);
  document.addEventListener("keydown", pressed);
  return () => document.removeEventListener("keydown", pressed);
}

class Image {
  constructor(root, route, app, found) {
    Object.assign(this, { root, route, app, found, job: route.params.job });
    this.maps = found.rows.map((row) => (row.map ? new HeatMap({
      values: Float32Array.from(row.map), height: row.grid_height, width: row.grid_width, scale: row.map_scale ?? 1, rawMax: row.raw_max, geometry: row.geometry,
    }) : null));
    const look = { colormap: route.query.get("colormap") ?? "turbo", opacity: Number(route.query.get("opacity") ?? 0.5), threshold: 0 };
    this.looks = new Looks(look, (_, { colormap }) => {
      this.photo.set(look);
      if (colormap) this.#photograph();
    });
    this.chosen = Math.max(0, Number(route.params.item.split(":")[1]) - found.row);
  }

  get row() {
    return this.found.rows[this.chosen];
  }

  show() {
    const [first] = this.found.rows;
    const gone = first.status === "failed";
    this.probe = h("p", { class: "probe mono dim" }, " ");
    this.facts = h("div", {});
    this.beside = h("div", { class: "beside", role: "group", "aria-label": "Classes" });
    this.stage = h("div", { class: "stage" });
    replace(this.root,
      head(name(first.item_id), h("div", { class: "actions" },
        h("a", { class: "button", href: this.#gallery() }, "Gallery"),
        h("button", { title: "Key p", on: { click: () => this.#step(-1) } }, "Previous"),
        h("button", { title: "Key n", on: { click: () => this.#step(1) } }, "Next"))),
      h("div", { class: "image-view" },
        h("section", { class: "panel", "aria-label": "The photograph with its heat" }, this.stage, this.probe, !gone && [this.looks.element, this.beside]),
        h("section", { class: "panel", "aria-label": "About this image" }, this.facts)));
    this.#tell();
    if (gone) {
      replace(this.stage, h("div", { class: "state failed" }, h("p", { class: "strong" }, first.error_code), h("p", { dir: "auto" }, first.error_message)));
      return;
    }
    this.photo = new Photo({
      alt: `The photograph ${first.item_id}`,
      probed: (at) => replace(this.probe, at ? reading(at, this.photo.map) : " "),
      opacityKey: (opacity) => this.looks.set({ opacity }),
    });
    this.#photograph();
    this.#choose(this.chosen);
  }

  async #photograph() {
    this.photo.set(this.looks.look);
    const addresses = sources(this.job, this.route.params.item, 1024).slice(0, 1);
    replace(this.stage, this.photo.element);
    try {
      await this.photo.show(addresses[0]);
      replace(this.beside, this.found.rows.length > 1 && this.found.rows.map((row, i) => this.#side(row, i, addresses)));
    } catch {
      replace(this.stage, h("div", { class: "state" }, h("p", { class: "strong" }, "The photograph can't be shown"),
        h("p", {}, "It may have changed or gone since it was explained, or no worker lives. Its map stands in the table.")));
    }
  }

  #side(row, i, addresses) {
    const image = h("img", { alt: "", draggable: "false" });
    const canvas = h("canvas", { "aria-hidden": "true" });
    load(image, addresses, () => {});
    const frame = h("span", { class: "tile-frame", style: { "--heat": 0.5 } }, image, canvas);
    const map = this.maps[i];
    if (map?.geometry) {
      const { image_width: width, image_height: height } = map.geometry;
      framed(frame, width, height);
      draw(canvas, map, { width, height, colormap: this.looks.look.colormap, longest: 256 });
    }
    return h("button", { "aria-pressed": String(i === this.chosen), on: { click: () => this.#choose(i) } },
      h("span", { class: "tile-picture" }, frame), h("span", { class: "spread" }, name(titleOf(row)), h("b", {}, percent(row.probability))));
  }

  #choose(i) {
    this.chosen = i;
    [...this.beside.children].forEach((button, at) => button.setAttribute("aria-pressed", String(at === i)));
    this.photo.lay(this.maps[i]);
    this.#tell();
    this.app.say(`${titleOf(this.row)}, ${percent(this.row.probability)}`);
  }

  #tell() {
    const { row } = this;
    const map = this.maps[this.chosen];
    const took = Object.values(row.timings).reduce((sum, one) => sum + one, 0);
    replace(this.facts,
      row.status !== "failed" && h("h2", { class: "spread" }, name(titleOf(row)), h("b", {}, percent(row.probability))),
      row.status === "no_evidence" && h("p", { class: "note" }, "Nothing in the image speaks for this class: its map is nowhere above 0."),
      h("dl", { class: "facts" },
        row.label !== null && fact("Label", name(row.label), row.class_name && (row.label === row.class_name || row.label === String(row.class_index) ? h("span", { class: "good" }, " as predicted") : h("span", { class: "bad" }, " not as predicted"))),
        row.group !== null && fact("Group", name(row.group)),
        measures(row),
        row.focus && fact("Peak", `${short(row.focus.peak_x)}, ${short(row.focus.peak_y)} px`),
        row.geometry && fact("Photograph", `${row.geometry.image_width} × ${row.geometry.image_height} px`),
        fact("Image", name(row.image_uri), /^(s3|az|gs):\/\//.test(row.image_uri) && [" ", h("a", { href: api.url(api.path("v1/jobs", this.job, "rows", this.route.params.item, "original"), { stream: true }) }, "original")]),
        fact("Model", modelLink(`${row.model_id}@${row.model_version}`), h("div", { class: "mono dim" }, row.model_digest.slice(0, 16))),
        fact("Method", `${row.method}, target `, h("code", {}, name(row.target))),
        row.layer && fact("Layer", h("code", {}, name(row.layer))),
        fact(term("ETag", "Of the image when it was explained: by it a change is noticed."), h("code", {}, name(row.image_etag ?? "none"))),
        fact("Time", `${short(took)} ms`),
        fact("Row", h("code", {}, `${this.found.part}:${this.found.row + this.chosen}`))),
      map && map.values.length <= 4096 && h("details", {}, h("summary", {}, "The raw map"), h("div", { class: "scroll" }, this.#table(map))));
  }

  #table(map) {
    const most = map.extreme || 1;
    const cell = (value) => h("td", { style: { "--share": Math.max(0, value) / most } }, (value * map.scale).toPrecision(3));
    return h("table", { class: "raw" }, h("tbody", {}, Array.from({ length: map.height }, (_, y) =>
      h("tr", {}, Array.from({ length: map.width }, (_, x) => cell(map.values[y * map.width + x]))))));
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || /input|select|textarea/i.test(event.target.tagName)) return;
    if (event.key === "n") this.#step(1);
    if (event.key === "p") this.#step(-1);
    if (event.key === "Escape") location.href = this.#gallery();
  }

  #gallery() {
    const query = new URLSearchParams(this.route.query);
    if (query.has("n")) query.set("at", query.get("n"));
    query.delete("n");
    return `${this.app.address("/jobs/:job/gallery", { job: this.job })}?${query}`;
  }

  // The next image by the gallery's filters and order, or else by the order of the rows.
  async #step(by) {
    const query = new URLSearchParams(this.route.query);
    let place = null;
    try {
      place = query.has("n") ? await this.#beside(query, by) : this.#following(by);
    } catch (error) {
      if (!this.route.signal.aborted) replace(this.probe, error.message);
      return;
    }
    if (place) this.app.go(`${this.app.address("/jobs/:job/images/:item", { job: this.job, item: place })}?${query}`);
    else this.app.say(by > 0 ? "This is the last image" : "This is the first image");
  }

  async #beside(query, by) {
    const first = Number(query.get("n")) + by;
    if (first < 0) return null;
    const page = await api.get(api.path("v1/jobs", this.job, "gallery"), { ...filtersOf(query), first, limit: 1 }, { signal: this.route.signal });
    query.set("n", first);
    return page.rows[0]?.row;
  }

  #following(by) {
    const { part, row, rows, rows_in_part: all } = this.found;
    if (by < 0) return row ? `${part}:${row - 1}` : null;
    return row + rows.length < all ? `${part}:${row + rows.length}` : `${part + 1}:0`;
  }
}
