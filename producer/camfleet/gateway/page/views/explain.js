// One image: dropped, pasted, chosen or named; its classes as bars, its maps on the photograph.

import { SIGNED } from "../colormaps.js";
import { copy } from "../dialogs.js";
import { empty, fact, failed, h, loading, name, number, percent, replace, select, short, term } from "../dom.js";
import { LANGUAGES, example } from "../examples.js";
import { Answers } from "../explain/answers.js";
import { Form, inputsOf } from "../explain/form.js";
import { Looks } from "../looks.js";
import { called, usable } from "../models.js";
import { Photo, reading } from "../photo.js";
import { measures, titleOf } from "../row.js";

const ASKED = { image: "", model: "", method: "gradcam", target: "top:5", layer: "", inputs: "" };
const START = { ...ASKED, colormap: "turbo", opacity: 0.5, threshold: 0, rank: "0" };

const answers = new Answers(); // of this window: the view may be left and come back

export async function show(root, route, app) {
  app.title("Explain");
  if (!app.may("explain")) {
    replace(root, empty("Your token doesn't explain images", "It lacks the scope explain. Whoever runs this gateway makes tokens."));
    return null;
  }
  const found = await usable(route.signal);
  const models = found.map((model) => [called(model), called(model) === model.id ? `${model.id} (version ${model.version})` : called(model)])
    .sort(([one], [other]) => one.localeCompare(other));
  const state = { ...START, model: models[0]?.[0] ?? "", ...Object.fromEntries(route.query) };
  if (state.model && !models.some(([value]) => value === state.model)) models.push([state.model, state.model]);
  if (!models.length) {
    replace(root, empty("There are no models yet", "Register one, then reload this page:", h("code", {}, "camfleet models add CARD.toml")));
    return null;
  }
  const view = new Explain(root, state, app);
  view.draw(models);
  if (state.image) view.explain();
  const paste = (event) => view.take([...event.clipboardData.files]);
  document.addEventListener("paste", paste);
  return () => {
    document.removeEventListener("paste", paste);
    view.asked?.abort();
  };
}

class Explain {
  constructor(root, state, app) {
    Object.assign(this, { root, state, app });
    this.asked = null; // an AbortController
  }

  draw(models) {
    this.status = h("div", { class: "explain-status", role: "status" });
    this.stage = h("div", { class: "stage" });
    this.bars = h("div", { class: "classes" });
    this.more = h("div", {});
    this.probe = h("p", { class: "probe mono dim" }, " ");
    this.photo = new Photo({
      alt: "The photograph",
      probed: (at) => replace(this.probe, at ? reading(at, this.photo.map) : " "),
      opacityKey: (opacity) => this.looks.set({ opacity }),
    });
    const { opacity, threshold, colormap } = this.state;
    this.looks = new Looks({ opacity: Number(opacity), threshold: Number(threshold), colormap }, (look) => {
      this.photo.set(look);
      Object.assign(this.state, look);
      this.#address();
    });
    this.photo.set(this.looks.look);
    this.form = new Form(this.state, models, (field, value) => {
      this.state[field] = value.trim() || START[field];
      this.state.rank = "0";
      this.explain();
    });
    replace(this.root,
      h("h1", { class: "unseen" }, "Explain an image"),
      h("div", { class: "explain" },
        h("section", { class: "panel ask", "aria-label": "What to explain" }, this.#drop(), this.form.element),
        h("section", { class: "panel see", "aria-label": "The photograph with its heat" }, this.status, this.stage, this.probe, this.looks.element),
        h("section", { class: "panel tell", "aria-label": "The answer" }, this.bars, this.more)));
    this.#instead(empty("No photograph yet", "Choose, drop or paste one; or name one that lies in the bucket. This page doesn't keep it, the bucket does."));
  }

  #drop() {
    const input = h("input", { type: "file", accept: "image/*", class: "unseen", id: "file", on: { change: () => { this.take([...input.files]); input.value = ""; } } });
    const zone = h("div", { class: "drop" }, input,
      h("label", { for: "file", class: "button main" }, "Choose a photograph"),
      h("p", { class: "dim" }, "or drop one anywhere here, or paste it"));
    for (const kind of ["dragenter", "dragover"]) {
      this.root.addEventListener(kind, (event) => { event.preventDefault(); zone.classList.add("over"); });
    }
    this.root.addEventListener("dragleave", () => zone.classList.remove("over"));
    this.root.addEventListener("drop", (event) => {
      event.preventDefault();
      zone.classList.remove("over");
      this.take([...event.dataTransfer.files]);
    });
    return zone;
  }

  #address() {
    this.app.replace(Object.fromEntries(Object.entries(this.state).filter(([field, value]) => value !== START[field])));
  }

  // Show something in the place of an answer.
  #instead(element) {
    replace(this.stage, element);
    replace(this.status);
    replace(this.bars);
    replace(this.more);
  }

  #failed(error, again) {
    if (error.name !== "AbortError") this.#instead(failed(error, again));
  }

  #begin() {
    this.asked?.abort();
    this.asked = new AbortController();
    return this.asked.signal;
  }

  // Take what was dropped: upload the first file, then explain it.
  async take(given) {
    if (!given.length) return;
    const signal = this.#begin();
    const [file] = given;
    const bar = h("i", { style: { "--share": 0 } });
    replace(this.status, h("p", { class: "dim" }, "Uploading ", name(file.name)), h("div", { class: "meter" }, bar));
    try {
      const uri = await answers.upload(file, { progress: (share) => bar.style.setProperty("--share", share), signal });
      Object.assign(this.state, { image: uri, rank: "0" });
      this.form.uri.value = uri;
      await this.explain();
    } catch (error) {
      this.#failed(error, () => this.take(given));
    }
  }

  // Return what is asked, as the body of a request.
  #question() {
    const { image, model, method, target, layer } = this.state;
    const inputs = inputsOf(this.state);
    return { image, model, method, target, ...(layer && { layer }), ...(Object.keys(inputs).length && { inputs }) };
  }

  async explain() {
    this.#address();
    if (!this.state.image) return;
    const signal = this.#begin();
    const question = this.#question();
    try {
      const answer = await answers.ask(question, signal, () => this.#slow());
      await answers.photograph(this.photo, question, answer, signal);
      if (signal.aborted) return;
      replace(this.status);
      this.#told(answer);
    } catch (error) {
      if (!signal.aborted) this.#failed(error, () => this.explain());
    }
  }

  #slow() {
    if (this.photo.element.isConnected) replace(this.status, h("p", { class: "dim" }, "Waiting for a worker …"));
    else this.#instead(loading("Waiting for a worker …"));
  }

  #told(answer) {
    const { results } = answer;
    const [first] = results;
    this.answer = answer;
    if (first.status === "failed") {
      this.#failed({ status: 422, code: first.error_code, message: first.error_message }, null);
      return;
    }
    if (this.photo.element.parentElement !== this.stage) replace(this.stage, this.photo.element);
    replace(this.bars, h("h2", {}, results.length > 1 ? `${number(results.length)} classes` : "Class"),
      h("div", { class: "bars" }, results.map((row) => this.#bar(row, answer))));
    this.#choose(answer, results.find((row) => String(row.rank) === this.state.rank) ?? first);
  }

  #bar(row, answer) {
    return h("button", { class: "class-bar", data: { rank: row.rank }, on: { click: () => this.#choose(answer, row) } },
      h("span", { class: "spread" }, name(titleOf(row)), h("b", {}, row.probability === null ? short(row.logit) : percent(row.probability))),
      h("span", { class: "meter" }, h("i", { style: { "--share": row.probability ?? 0 } })),
      row.status === "no_evidence" && h("span", { class: "dim" }, "nothing speaks for it"));
  }

  async #choose(answer, row) {
    const rank = String(row.rank);
    this.state.rank = rank;
    this.#address();
    for (const button of this.bars.querySelectorAll(".class-bar")) button.setAttribute("aria-pressed", String(button.dataset.rank === rank));
    this.#facts(row);
    const overtaken = () => this.state.rank !== rank || this.answer !== answer; // another one came meanwhile
    try {
      const map = await answers.map(answer, row);
      if (overtaken()) return;
      this.photo.lay(map);
      this.app.say(`${titleOf(row)}, ${percent(row.probability)}`);
    } catch (error) {
      if (!overtaken()) replace(this.status, h("p", { class: "note bad" }, `The map can't be read: ${error.message}`));
    }
  }

  #facts(row) {
    const took = row.timings.fetch + row.timings.decode + row.timings.explain;
    replace(this.more,
      row.status === "no_evidence" && h("p", { class: "note" }, row.error_message ?? `Nothing in the image speaks for ${row.class_name}: its map is nowhere above 0. The colours ${SIGNED} show what speaks against it.`),
      h("dl", { class: "facts" },
        fact("Model", `${row.model_id}@${row.model_version}`),
        fact("Layer", row.layer ?? "–"),
        measures(row),
        fact(term("Time", "Fetching, decoding and explaining, by the worker."), `${short(took)} ms`)),
      this.#programs());
  }

  #programs() {
    const origin = new URL(".", document.baseURI).href;
    const shown = h("pre", { class: "example", tabindex: 0 });
    const text = () => example(language.value, this.#question(), origin);
    const language = select({ "aria-label": "Language" }, LANGUAGES, LANGUAGES[0], () => replace(shown, text()));
    replace(shown, text());
    return h("details", {}, h("summary", {}, "The same by program"), h("div", { class: "joined" }, language, copy(text)), shown);
  }
}
