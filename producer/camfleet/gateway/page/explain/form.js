// What is asked of an image: its address, the model and its other inputs, method, layer, classes.

import { field, h, replace, select, term } from "../dom.js";
import { METHODS, details } from "../models.js";

const TARGETS = ["top", "top:3", "top:5", "top:10", "above:0.5", "not:top"];
const MOST_LABELS = 5000; // that are suggested
const NOTHING = { labels: [], report: { candidates: [], other_inputs: [], methods: METHODS } };

export class Form {
  // `state` is what is asked, by the names of fields; `changed(field, value)` is told of another.
  constructor(state, models, changed) {
    Object.assign(this, { state, changed });
    this.uri = h("input", { id: "uri", value: state.image, spellcheck: "false", autocomplete: "off", placeholder: "s3://bucket/photo.jpg" });
    this.labels = h("datalist", { id: "targets" });
    const target = h("input", { id: "target", value: state.target, list: "targets", spellcheck: "false", autocomplete: "off", on: { change: () => changed("target", target.value) } });
    this.layer = h("div", {});
    this.inputs = h("div", { class: "asking-more" });
    const submit = (event) => {
      event.preventDefault();
      changed("image", this.uri.value);
    };
    const picked = (model) => {
      Object.assign(state, { layer: "", inputs: "" }); // those of the other one
      changed("model", model);
      this.#details();
    };
    this.element = h("form", { class: "asking", on: { submit } },
      h("div", { class: "field" }, h("label", { for: "uri" }, "or an address"), h("div", { class: "joined" }, this.uri, h("button", { type: "submit" }, "Explain"))),
      field(select({ id: "model" }, models, state.model, picked), "Model"),
      field(select({ id: "method" }, METHODS, state.method, (method) => changed("method", method)), "Method"),
      this.layer,
      h("div", { class: "field" }, h("label", { for: "target" },
        term("Classes", "top:5 is the five strongest; a label or an index is one class; above:0.5 all of that probability; not:LABEL what speaks against it.")), target, this.labels),
      this.inputs);
    this.#details();
  }

  // Show what the model has of its own: labels, layers, other inputs.
  async #details() {
    const { model } = this.state;
    const { labels, report } = await details(model).catch(() => NOTHING);
    if (this.state.model !== model) return;
    replace(this.labels, [...TARGETS, ...labels.slice(0, MOST_LABELS)].map((text) => h("option", { value: text })));
    replace(this.layer, this.#layers(report));
    replace(this.inputs, (report.other_inputs ?? []).map((one) => this.#input(one)));
  }

  #layers({ candidates = [], layer }) {
    const others = candidates.filter(({ path }) => path !== layer).reverse();
    const options = [["", `${layer ?? "as the card says"}`], ...others.map(({ path, grid }) => [path, `${path}, ${grid.join(" × ")}`])];
    if (!options.some(([path]) => path === this.state.layer)) options.push([this.state.layer, this.state.layer]);
    return field(select({ id: "layer" }, options, this.state.layer, (path) => this.changed("layer", path)),
      term("Layer", "Where maps are made. Earlier layers have finer maps that say less about the class."));
  }

  #input({ name, shape }) {
    const count = shape.reduce((product, side) => product * side, 1);
    const given = inputsOf(this.state)[name];
    const element = h("input", { id: `input-${name}`, value: [given ?? []].flat().join(", "), inputmode: "decimal", spellcheck: "false", autocomplete: "off", placeholder: "as the card says", on: { change: () => {
      const values = element.value.split(/[\s,;]+/).filter(Boolean).map(Number);
      element.setCustomValidity(values.some(Number.isNaN) || ![0, count].includes(values.length) ? `Give ${count === 1 ? "a number" : `${count} numbers`}.` : "");
      if (!element.reportValidity()) return;
      const { [name]: _, ...others } = inputsOf(this.state);
      const all = values.length ? { ...others, [name]: count === 1 ? values[0] : values } : others;
      this.changed("inputs", Object.keys(all).length ? JSON.stringify(all) : "");
    } } });
    return field(element, term(`Input ${name}`, `${count === 1 ? "A number" : `${count} numbers, with commas between them`}; left out it's as the card says.`));
  }
}

// Return the values of a model's other inputs, by name.
export function inputsOf(state) {
  try {
    return JSON.parse(state.inputs || "{}") ?? {};
  } catch {
    return {};
  }
}
