// A gallery's filters: lists with counts, ranges with histograms.

import { h, name, number, replace, svg, term } from "../dom.js";
import { FILTERS, RANGES } from "./query.js";

const BORDER = "The share of the heat in the outer tenth of the photograph, on each side: high where a model looks at the frame, a tag, a scale bar.";
const MOST = 200; // of a list, besides those that are found by a search

export class Filters {
  // `changed(asked)` is told what a person wants to see.
  constructor(rows, changed) {
    Object.assign(this, { rows, changed, element: h("div", { class: "filters" }) });
  }

  async show(asked) {
    this.asked = asked;
    if (!this.rows.indexed) {
      replace(this.element, h("p", { class: "dim" }, "Filters come with the index."), this.#clear());
      return;
    }
    const { sort: _, ...own } = asked;
    this.every ??= await this.rows.facets({ rank: asked.rank });
    const now = await this.rows.facets(own);
    const { every } = this;
    replace(this.element, this.#clear(),
      this.#list("status", "Status", every.statuses), this.#list("class", "Class", every.classes),
      RANGES.map((field) => this.#range(field, every[field], now[field])),
      this.#list("label", "Label", every.labels), this.#list("code", "Error code", every.codes),
      every.models.length > 1 && this.#list("model", "Model", every.models), this.#ranks());
  }

  #set(field, values) {
    const { [field]: _, ...others } = this.asked;
    this.changed(values.length ? { ...others, [field]: values } : others);
  }

  #clear() {
    if (!FILTERS.some((field) => this.asked[field]?.length)) return null;
    const { sort } = this.asked;
    const clear = () => {
      this.every = null;
      this.changed(sort ? { sort } : {});
    };
    return h("button", { class: "quiet", on: { click: clear } }, "Clear all filters");
  }

  #list(field, title, counts) {
    if (!counts.length) return null;
    const chosen = new Set(this.asked[field] ?? []);
    const toggled = (value, on) => {
      if (on) chosen.add(value);
      else chosen.delete(value);
      this.#set(field, [...chosen]);
    };
    const item = (one) => h("li", {}, h("label", { class: "check" },
      h("input", { type: "checkbox", checked: chosen.has(one.name), on: { change: (event) => toggled(one.name, event.target.checked) } }),
      name(one.name), h("span", { class: "dim" }, number(one.rows))));
    const items = h("ul", { class: "low choices" });
    const fill = (part) => replace(items, counts.filter((one) => one.name?.toLowerCase().includes(part)).slice(0, MOST).map(item));
    fill("");
    const search = counts.length > 8 && h("input", { type: "search", placeholder: `Find among ${number(counts.length)}`, "aria-label": `Find ${title}`, on: { input: (event) => fill(event.target.value.toLowerCase()) } });
    return h("fieldset", {}, h("legend", {}, title), search, items);
  }

  #range(field, every, now) {
    const most = Math.max(1, ...every);
    const bars = (counts, style) => counts.map((count, i) => svg("rect", { class: style, x: i, width: 0.9, y: 32 - (count / most) * 32, height: (count / most) * 32 }));
    const [least, greatest] = [this.asked[`min_${field}`]?.[0] ?? 0, this.asked[`max_${field}`]?.[0] ?? 1];
    const words = field.replace("_", " ");
    const slider = (end, label, value, otherwise) => h("input", {
      type: "range", min: 0, max: 1, step: 0.01, value, "aria-label": `${label} ${words}`,
      on: { change: ({ target }) => this.#set(`${end}_${field}`, Number(target.value) === otherwise ? [] : [target.value]) },
    });
    return h("fieldset", {}, h("legend", { class: "spread" }, field === "probability" ? "Probability" : term("At the border", BORDER), h("output", {}, `${least} to ${greatest}`)),
      svg("svg", { class: "histogram", viewBox: "0 0 32 32", preserveAspectRatio: "none", role: "img", "aria-label": "How many images have which value, from 0 to 1" }, bars(every, "all"), bars(now, "own")),
      slider("min", "Least", least, 0), slider("max", "Greatest", greatest, 1));
  }

  #ranks() {
    if (this.every.ranks.length < 2 && !this.asked.rank) return null;
    const changed = (event) => {
      this.every = null;
      this.#set("rank", event.target.checked ? ["0"] : []);
    };
    return h("label", { class: "check" }, h("input", { type: "checkbox", checked: this.asked.rank?.[0] === "0", on: { change: changed } }), "Each image's first class only");
  }
}
