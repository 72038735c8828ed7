// Where two models look, on the same images: the verdict with its interval beside the limit, first
// answers that differ, classes that moved, and the pairs that moved most, under a slider.

import * as api from "../api.js";
import { failed, field, figure, h, head, jobLink, loading, name, number, panel, percent, replace, select, tableHead, term } from "../dom.js";
import { HeatMap, draw } from "../heat.js";
import { loadSoon } from "../looking.js";
import { load, sources } from "../maps.js";
import { MOVEMENT, scale } from "../scale.js";

const DISTANCE = "Jensen-Shannon divergence in bits: 0 for equal maps, 1 where they share nothing.";
const PLACES = "Places that suspiciously many maps of a class peak at, by the second model only.";

export async function show(root, route, app) {
  const { baseline, job } = route.params;
  app.title(`Comparison of ${baseline} and ${job}`);
  const view = new Compare(root, baseline, job, route, app);
  await view.load();
  return () => clearTimeout(view.timer);
}

class Compare {
  constructor(root, one, other, route, app) {
    Object.assign(this, { root, one, other, route, app, path: api.path("v1/jobs", one, "comparisons") });
    this.body = h("div", {});
    this.actions = h("div", { class: "actions" });
    replace(root, head([jobLink(one), one === other ? ", its models" : [" and ", jobLink(other)]], this.actions), this.body);
  }

  async load() {
    const { signal } = this.route;
    const { comparisons } = await api.get(this.path, {}, { signal });
    const own = comparisons.filter((one) => one.other === this.other);
    const shown = own.find((one) => one.made.id === this.route.query.get("id")) ?? own[0];
    if (!shown) return this.#ask();
    const { made } = shown;
    replace(this.actions, own.length > 1 && this.#choice(own, shown),
      shown.files.length > 0 && h("a", { class: "button", href: `${this.path}/${made.id}/index.html`, target: "_blank", rel: "noopener" }, "Its page"),
      shown.files.length > 0 && h("a", { class: "button", href: `${this.path}/${made.id}/pairs.parquet`, download: "" }, "pairs.parquet"),
      this.app.may("jobs:write") && h("button", { on: { click: () => this.#ask() } }, "Compare anew"));
    if (made.state === "failed") return void replace(this.body, failed({ status: 422, message: made.note }, () => this.#ask()));
    if (made.state !== "done") {
      replace(this.body, loading(made.state === "waiting" ? "Waiting for a worker that compares …" : "A worker compares …"));
      return loadSoon(this);
    }
    this.#show(await api.get(`${this.path}/${made.id}/comparison.json`, {}, { signal }));
  }

  #choice(own, shown) {
    const go = (id) => this.app.go(this.app.address("/compare/:baseline/:job", { baseline: this.one, job: this.other }, { id }));
    const titles = own.map((one) => [one.made.id, `${one.model} and ${one.other_model}, limit ${one.limit}, ${new Date(one.made.asked_at).toLocaleString()}`]);
    return select({ "aria-label": "Which comparison" }, titles, shown.made.id, go);
  }

  // Ask which models, and within which limits.
  async #ask() {
    clearTimeout(this.timer);
    const { signal } = this.route;
    const abouts = await Promise.all([this.one, this.other].map((job) => api.get(api.path("v1/jobs", job, "about"), {}, { signal })));
    const full = abouts.map((about) => about.models.map(({ id, version }) => `${id}@${version}`));
    const models = full.map((list, i) => select({ id: `model${i}` }, list, list[this.one === this.other ? Math.min(i, list.length - 1) : 0]));
    const limit = (id, value) => h("input", { id, type: "number", min: 0, max: 1, step: 0.01, value, placeholder: "none" });
    const limits = { limit: limit("limit", 0.3), limit_flips: limit("limit_flips", ""), limit_lost: limit("limit_lost", 0.1), limit_classes: limit("limit_classes", ""), limit_places: h("input", { id: "limit_places", type: "number", min: 0, step: 1, value: 0 }) };
    const told = h("div", {});
    const start = async (event) => {
      event.preventDefault();
      const given = Object.entries(limits).filter(([, element]) => element.value !== "").map(([key, element]) => [key, Number(element.value)]);
      try {
        const { made } = await api.send("POST", this.path, { other: this.other, model: models[0].value, other_model: models[1].value, ...Object.fromEntries(given) });
        this.route.query.set("id", made.id);
        this.app.replace({ id: made.id });
        await this.load();
      } catch (error) {
        replace(told, failed(error));
      }
    };
    replace(this.body, h("form", { class: "panel submit", on: { submit: start } }, h("h2", {}, "Compare where two models look"),
      h("p", { class: "dim" }, "Both should have explained the same images, for the same classes."),
      h("div", { class: "fields" }, field(models[0], `Model of ${this.one}`), field(models[1], `Model of ${this.other}`),
        field(limits.limit, term("Limit of movement", MOVEMENT)), field(limits.limit_flips, "Limit of first answers that differ"),
        field(limits.limit_lost, "Limit of evidence lost"), field(limits.limit_classes, "Limit of classes that moved"),
        field(limits.limit_places, term("New suspicious places allowed", PLACES))),
      this.app.may("jobs:write") ? h("div", { class: "actions" }, h("button", { class: "main" }, "Compare")) : h("p", { class: "dim" }, "Your token lacks the scope jobs:write."), told));
  }

  #show(found) {
    const { movement, counts, flips } = found;
    const rows = (list, cells) => list.map((one) => h("tr", {}, cells(one)));
    const moved = found.classes.filter((one) => one.moved).length;
    replace(this.body,
      h("section", { class: "panel" },
        h("p", { class: `verdict ${found.verdict}` }, h("b", {}, found.verdict), found.calibrated ? "" : " (noise wasn't measured)"),
        found.reasons.map((text) => h("p", { dir: "auto" }, text)),
        movement && scale(movement),
        h("div", { class: "numbers" }, figure(number(counts.compared), "pairs compared"), figure(`${number(flips.differ)} of ${number(flips.answers)}`, "first answers differ"),
          figure(number(counts.evidence_lost), "lost their evidence"), figure(number(counts.evidence_gained), "gained it"), figure(number(counts.failed + counts.changed + counts.only_one + counts.only_other), "images not compared"), figure(number(moved), "classes moved")),
        h("p", { class: "dim" }, `${found.one.model}, ${found.one.layer} · ${found.other.model}, ${found.other.layer} · ${found.one.method}`)),
      found.places.length > 0 && panel(term("Suspicious places that are new", PLACES), h("div", { class: "low" }, h("table", {}, tableHead("Class", "Row, column", "Maps that peak there", "before", ""),
        h("tbody", {}, rows(found.places, (one) => [h("th", { scope: "row" }, one.class_name === null ? "all classes" : name(one.class_name)), h("td", {}, `${one.cell[0] + 1}, ${one.cell[1] + 1} of ${one.grid[0]} × ${one.grid[1]}`), h("td", { class: "right" }, `${number(one.after)} of ${number(one.maps)}`), h("td", { class: "right" }, number(one.before)), h("td", { class: "bad" }, one.known ? "accepted before" : "new")]))))),
      found.most_moved.length > 0 && panel("Pairs that moved most",
        h("div", { class: "pairs" }, found.most_moved.map((pair) => this.#pair(pair, found)))),
      h("div", { class: "columns" },
        found.classes.length > 0 && panel("Classes", h("div", { class: "low" }, h("table", {}, tableHead("Class", "Pairs", term("Median distance", DISTANCE), ""),
          h("tbody", {}, rows(found.classes, (one) => [h("th", { scope: "row" }, name(one.name)), h("td", { class: "right" }, number(one.pairs)), h("td", { class: "right" }, one.median.toFixed(3)), h("td", { class: "bad" }, one.moved ? "moved" : "")]))))),
        flips.most.length > 0 && panel("First answers that differ", h("div", { class: "low" }, h("table", {}, tableHead(found.one.model, found.other.model, "Images"),
          h("tbody", {}, rows(flips.most, ([from, to, images]) => [h("td", {}, name(from)), h("td", {}, name(to)), h("td", { class: "right" }, number(images))])))))));
  }

  // One photograph with both maps: the first one left of the slider, the other one right of it.
  #pair({ distance, one, other }, found) {
    const [width, height] = one.image ?? [1, 1];
    const image = h("img", { alt: "" });
    const stage = h("div", { class: "swipe", style: { "aspect-ratio": `${width} / ${height}`, "--at": "50%" } }, image);
    for (const [sample, style] of [[one, "first"], [other, "second"]]) {
      const map = mapOf(sample);
      const canvas = h("canvas", { class: style });
      if (map) draw(canvas, map, { width, height, longest: 400 });
      stage.append(canvas);
    }
    stage.append(h("i", {}));
    const place = `${one.chunk}:${one.row}`;
    load(image, sources(this.one, place, 512), () => image.remove());
    const slider = h("input", { type: "range", min: 0, max: 100, value: 50, "aria-label": `${found.one.model} on the left, ${found.other.model} on the right`, on: { input: () => stage.style.setProperty("--at", `${slider.value}%`) } });
    const move = (event) => {
      if (event.type === "pointermove" && !event.buttons) return;
      const box = stage.getBoundingClientRect();
      slider.value = ((event.clientX - box.left) / box.width) * 100;
      slider.dispatchEvent(new Event("input"));
    };
    stage.addEventListener("pointerdown", move);
    stage.addEventListener("pointermove", move);
    return h("figure", {}, stage, slider, h("figcaption", {},
      h("div", { class: "spread" }, name(one.class_name ?? `class ${one.class_index}`), term(`distance ${distance.toFixed(3)}`, DISTANCE)),
      h("div", { class: "spread dim" }, `${percent(one.probability)} → ${percent(other.probability)}`, h("a", { href: this.app.address("/jobs/:job/images/:item", { job: this.one, item: place }) }, "Image"))));
  }
}

function mapOf({ heat, grid, covers, image }) {
  if (!heat || !grid || !covers || !image) return null;
  const [left, top, right, bottom] = covers;
  return new HeatMap({ values: Float32Array.from(heat), height: grid[0], width: grid[1], geometry: { image_width: image[0], image_height: image[1], left, top, right, bottom } });
}
