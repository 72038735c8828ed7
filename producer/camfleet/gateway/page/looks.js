// How heat looks, as a person sets it: opacity, threshold and colours of a Photo.

import { NAMES, SIGNED } from "./colormaps.js";
import { field, h, percent, select, term } from "./dom.js";

const SLIDERS = [
  ["opacity", "Opacity", "How much of the heat lies on the photograph. Keys 0 to 9 set it, too."],
  ["threshold", "Threshold", "Heat below this share of the map's maximum is left out; a line runs where it begins."],
];

export class Looks {
  // `look` is {opacity, threshold, colormap}; `changed(look, which)` is told of every change.
  constructor(look, changed) {
    Object.assign(this, { look, changed, sliders: {} });
    const colours = select({ id: "colormap" }, [...NAMES, SIGNED], look.colormap, (colormap) => this.set({ colormap }));
    this.element = h("div", { class: "fields looks" }, SLIDERS.map((one) => this.#slider(...one)),
      field(colours, term("Colours", `${SIGNED} also shows what speaks against the class, in blue.`)));
  }

  #slider(id, label, meaning) {
    const element = h("input", { id, type: "range", min: 0, max: 1, step: 0.01, on: { input: () => this.set({ [id]: Number(element.value) }) } });
    const told = h("output", { for: id });
    this.sliders[id] = { element, told };
    this.#show(id);
    return h("div", { class: "field" }, h("label", { for: id, class: "spread" }, term(label, meaning), told), element);
  }

  #show(id) {
    const { element, told } = this.sliders[id];
    element.value = this.look[id];
    told.textContent = percent(this.look[id], 0);
  }

  set(look) {
    Object.assign(this.look, look);
    for (const id of Object.keys(look)) if (id in this.sliders) this.#show(id);
    this.changed(this.look, look);
  }
}
