// One image: dropped, pasted, chosen or named; its classes as bars, its maps on the photograph.

import * as api from "../api.js";
import { copy, empty, failed, h, name, number, percent, replace, short, term } from "../dom.js";
import { NAMES, SIGNED } from "../colormaps.js";
import { HeatMap, npy } from "../heat.js";
import { Photo, reading } from "../photo.js";
import { LANGUAGES, example } from "../examples.js";

const METHODS = ["gradcam", "cam", "hirescam", "layercam", "xgradcam", "gradcam++"];
const TARGETS = ["top", "top:3", "top:5", "top:10", "above:0.5", "not:top"];
const START = { image: "", model: "", method: "gradcam", target: "top:5", colormap: "turbo", opacity: "0.5", threshold: "0", rank: "0" };
const POLL_MS = 1000;
const MOST_LABELS = 5000; // that are suggested

const files = new Map(); // the photographs of this window, by the URI of their upload: blob URLs

export async function show(root, route, app) {
  app.title("Explain");
  const found = app.may("explain") ? (await api.get("v1/models", {}, { signal: route.signal })).models : [];
  const models = choices(found.filter((model) => !model.removing));
  const state = { ...START, model: models[0]?.value ?? "", ...Object.fromEntries(route.query) };
  if (state.model && !models.some(({ value }) => value === state.model)) models.push({ value: state.model, text: state.model });
  const view = new Explain(root, state, models, route, app);
  if (!app.may("explain")) return view.refuse();
  if (!models.length) return view.noModels();
  view.draw();
  if (state.image) view.explain();
  const paste = (event) => view.take([...event.clipboardData.files]);
  document.addEventListener("paste", paste);
  return () => {
    document.removeEventListener("paste", paste);
    view.stop();
  };
}

// The bare id for what it stands for, id@version for all others.
function choices(models) {
  return models.map((model) => {
    const full = `${model.id}@${model.version}`;
    const bare = model.aliases.includes("champion");
    return { value: bare ? model.id : full, text: bare ? `${model.id} (version ${model.version})` : full };
  }).sort((one, other) => one.value.localeCompare(other.value));
}

class Explain {
  constructor(root, state, models, route, app) {
    Object.assign(this, { root, state, models, route, app });
    this.answers = new Map(); // what came for {image, model, method, target}, as JSON
    this.maps = new Map(); // HeatMaps by answer and rank
    this.labels = new Map(); // of models
    this.asked = null; // an AbortController
  }

  refuse() {
    replace(this.root, empty("Your token doesn't explain images", "It lacks the scope explain. Whoever runs this gateway makes tokens."));
  }

  noModels() {
    replace(this.root, empty("There are no models yet", "Register one, then reload this page:", h("code", {}, "camfleet models add CARD.toml")));
  }

  stop() {
    this.asked?.abort();
  }

  draw() {
    this.status = h("div", { class: "explain-status", role: "status" });
    this.stage = h("div", { class: "stage" });
    this.bars = h("div", { class: "classes" });
    this.more = h("div", {});
    this.probe = h("p", { class: "probe mono dim" }, " ");
    this.photo = new Photo({
      alt: "The photograph",
      probed: (at) => replace(this.probe, at === null && !this.photo.map ? " " : at ? reading(at, this.photo.map) : " "),
      opacityKey: (share) => this.#look("opacity", share),
    });
    this.photo.set(this.#looks());
    replace(this.root,
      h("h1", { class: "unseen" }, "Explain an image"),
      h("div", { class: "explain" },
        h("section", { class: "panel ask", "aria-label": "What to explain" }, this.#drop(), this.#form()),
        h("section", { class: "panel see", "aria-label": "The photograph with its heat" }, this.status, this.stage, this.probe, this.#sliders()),
        h("section", { class: "panel tell", "aria-label": "The answer" }, this.bars, this.more)));
    this.#nothing();
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

  #form() {
    this.uri = h("input", { id: "uri", value: this.state.image, spellcheck: "false", autocomplete: "off", placeholder: "s3://bucket/photo.jpg" });
    const labels = h("datalist", { id: "targets" });
    const target = h("input", { id: "target", value: this.state.target, list: "targets", spellcheck: "false", autocomplete: "off" });
    const suggest = async () => replace(labels, [...TARGETS, ...(await this.#labelsOf(this.state.model)).slice(0, MOST_LABELS)].map((text) => h("option", { value: text })));
    const changed = (field, element) => {
      this.state[field] = element.value.trim() || START[field];
      this.state.rank = "0";
      if (field === "model") suggest();
      this.explain();
    };
    const select = (id, label, options, field) => {
      const element = h("select", { id, on: { change: () => changed(field, element) } },
        options.map(({ value, text }) => h("option", { value, selected: value === this.state[field] }, text)));
      return h("div", { class: "field" }, h("label", { for: id }, label), element);
    };
    target.addEventListener("change", () => changed("target", target));
    suggest();
    const submit = (event) => {
      event.preventDefault();
      this.state.image = this.uri.value.trim();
      this.explain();
    };
    return h("form", { class: "asking", on: { submit } },
      h("div", { class: "field" }, h("label", { for: "uri" }, "or an address"), h("div", { class: "joined" }, this.uri, h("button", { type: "submit" }, "Explain"))),
      select("model", "Model", this.models, "model"),
      select("method", "Method", METHODS.map((text) => ({ value: text, text })), "method"),
      h("div", { class: "field" }, h("label", { for: "target" },
        term("Classes", "top:5 is the five strongest; a label or an index is one class; above:0.5 all of that probability; not:LABEL what speaks against it.")), target, labels));
  }

  #sliders() {
    const slider = (id, label, meaning) => {
      const told = h("output", { for: id }, percent(Number(this.state[id]), 0));
      const element = h("input", { id, type: "range", min: 0, max: 1, step: 0.01, value: this.state[id], on: { input: () => this.#look(id, element.value) } });
      this[`${id}Slider`] = { element, told };
      return h("div", { class: "field" }, h("label", { for: id, class: "spread" }, term(label, meaning), told), element);
    };
    const colours = h("select", { id: "colormap", on: { change: () => this.#look("colormap", colours.value) } },
      [...NAMES, SIGNED].map((text) => h("option", { value: text, selected: text === this.state.colormap }, text)));
    return h("div", { class: "fields looks" },
      slider("opacity", "Opacity", "How much of the heat lies on the photograph. Keys 0 to 9 set it, too."),
      slider("threshold", "Threshold", "Heat below this share of the map's maximum is left out; a line runs where it begins."),
      h("div", { class: "field" }, h("label", { for: "colormap" }, term("Colours", `${SIGNED} also shows what speaks against the class, in blue.`)), colours));
  }

  #looks() {
    return { colormap: this.state.colormap, opacity: Number(this.state.opacity), threshold: Number(this.state.threshold) };
  }

  #look(field, value) {
    this.state[field] = String(value);
    const slider = this[`${field}Slider`];
    if (slider) {
      slider.element.value = value;
      slider.told.textContent = percent(Number(value), 0);
    }
    this.photo.set(this.#looks());
    this.#address();
  }

  #address() {
    const differing = Object.entries(this.state).filter(([field, value]) => value !== START[field]);
    this.app.replace(Object.fromEntries(differing));
  }

  #nothing() {
    replace(this.stage, empty("No photograph yet", "Choose, drop or paste one; or name one that lies in the bucket. This page doesn't keep it, the bucket does."));
    replace(this.bars);
    replace(this.more);
  }

  async #labelsOf(model) {
    if (!this.labels.has(model)) {
      const asked = api.get(api.path("v1/models", model)).then(({ labels }) => labels, () => []);
      this.labels.set(model, asked);
    }
    return this.labels.get(model);
  }

  // Take what was dropped: upload the first file, then explain it.
  async take(given) {
    if (!given.length) return;
    this.asked?.abort();
    const asked = new AbortController();
    this.asked = asked;
    const [file] = given;
    const bar = h("i", { style: { "--share": 0 } });
    replace(this.status, h("p", { class: "dim" }, "Uploading ", name(file.name)), h("div", { class: "meter" }, bar));
    try {
      const type = file.type.startsWith("image/") ? file.type : "application/octet-stream";
      const { uri } = await api.upload("v1/uploads", file, type, { progress: (share) => bar.style.setProperty("--share", share), signal: asked.signal });
      if (!files.has(uri)) files.set(uri, URL.createObjectURL(file));
      this.state.image = uri;
      this.state.rank = "0";
      this.uri.value = uri;
      await this.explain();
    } catch (error) {
      if (error.name !== "AbortError") this.#failed(error, () => this.take(given));
    }
  }

  async explain() {
    this.#address();
    if (!this.state.image) return;
    this.asked?.abort();
    const asked = new AbortController();
    this.asked = asked;
    const { image, model, method, target } = this.state;
    const key = JSON.stringify({ image, model, method, target });
    try {
      if (!this.answers.has(key)) {
        const slow = setTimeout(() => replace(this.status, h("p", { class: "dim" }, "Waiting for a worker …")), 300);
        try {
          this.answers.set(key, await this.#ask({ image, model, method, target }, asked.signal));
        } finally {
          clearTimeout(slow);
        }
      }
      const answer = this.answers.get(key);
      await this.#photograph(answer);
      if (asked.signal.aborted) return;
      replace(this.status);
      this.#told(answer);
    } catch (error) {
      if (!asked.signal.aborted && error.name !== "AbortError") this.#failed(error, () => this.explain());
    }
  }

  // The photograph of an address comes from the worker, as an overlay without heat: it's upright
  // and decoded. That of this window is there.
  async #ask(question, signal) {
    const own = files.has(question.image);
    const pictures = own ? ["raw"] : ["raw", "overlay"];
    const body = { ...question, pictures, opacity: 0, max_side: 1600 };
    const response = await api.request("POST", "v1/explain", {
      body: JSON.stringify(body), signal, headers: { "Content-Type": "application/json", Prefer: "wait=20" },
    });
    let answer = await response.json();
    while (!answer.results) {
      await pause(POLL_MS, signal);
      answer = await api.get(api.path("v1/answers", answer.id), {}, { signal });
    }
    return answer;
  }

  async #photograph({ id, results: [first] }) {
    const { image } = this.state;
    if (first.status === "failed" && !files.has(image)) return;
    try {
      await this.photo.show(files.get(image) ?? api.path("v1/answers", id, "0", "overlay"), `The photograph ${image}`);
    } catch {
      if (!files.has(image)) throw new Error("The photograph can't be shown.");
      files.delete(image); // this browser can't decode it: have a worker do so
      const { model, method, target } = this.state;
      const answer = await this.#ask({ image, model, method, target }, this.asked.signal);
      await this.photo.show(api.path("v1/answers", answer.id, "0", "overlay"), `The photograph ${image}`);
    }
  }

  #failed(error, again) {
    replace(this.status);
    replace(this.stage, failed(error, again));
    replace(this.bars);
    replace(this.more);
  }

  #told(answer) {
    const [first] = answer.results;
    this.answer = answer;
    if (first.status === "failed") {
      this.#failed({ status: 422, code: first.error_code, message: first.error_message }, null);
      return;
    }
    if (this.photo.element.parentElement !== this.stage) replace(this.stage, this.photo.element);
    const rank = answer.results.some((row) => String(row.rank) === this.state.rank) ? this.state.rank : "0";
    const buttons = answer.results.map((row) => this.#bar(row, String(row.rank) === rank, answer));
    replace(this.bars, h("h2", {}, answer.results.length > 1 ? `${number(answer.results.length)} classes` : "Class"), h("div", { class: "bars" }, buttons));
    this.#choose(answer, rank);
  }

  #bar(row, pressed, answer) {
    const title = row.class_name ?? (row.class_index === null ? "No class" : `Class ${row.class_index}`);
    const against = row.target.startsWith("not:") ? "against " : "";
    return h("button", { class: "class-bar", "aria-pressed": String(pressed), data: { rank: row.rank }, on: { click: () => this.#choose(answer, String(row.rank)) } },
      h("span", { class: "spread" }, h("span", {}, against, name(title)), h("b", {}, row.probability === null ? short(row.logit) : percent(row.probability))),
      h("span", { class: "meter" }, h("i", { style: { "--share": row.probability ?? 0 } })),
      row.status === "no_evidence" && h("span", { class: "dim" }, "nothing speaks for it"));
  }

  async #choose(answer, rank) {
    this.state.rank = rank;
    this.#address();
    for (const button of this.bars.querySelectorAll(".class-bar")) button.setAttribute("aria-pressed", String(button.dataset.rank === rank));
    const row = answer.results.find((one) => String(one.rank) === rank);
    this.#facts(row);
    const key = `${answer.id} ${rank}`;
    try {
      if (row.raw_uri && !this.maps.has(key)) {
        const raw = await api.request("GET", api.path("v1/answers", answer.id, rank, "raw"));
        this.maps.set(key, new HeatMap({ ...npy(await raw.arrayBuffer()), geometry: row.geometry, rawMax: row.raw_max }));
      }
    } catch (error) {
      if (this.state.rank === rank && this.answer === answer) replace(this.status, h("p", { class: "note bad" }, `The map can't be read: ${error.message}`));
      return;
    }
    if (this.state.rank !== rank || this.answer !== answer) return; // another one came meanwhile
    this.photo.set(this.#looks());
    this.photo.lay(this.maps.get(key) ?? null);
    this.app.say(`${row.class_name ?? "No class"}, ${percent(row.probability)}`);
  }

  #facts(row) {
    const fact = (title, value) => [h("dt", {}, title), h("dd", {}, value)];
    const took = row.timings.fetch + row.timings.decode + row.timings.explain;
    const origin = new URL(".", document.baseURI).href;
    const shown = h("pre", { class: "example", tabindex: 0 });
    const language = h("select", { "aria-label": "Language", on: { change: () => replace(shown, this.#example(language.value, origin)) } },
      LANGUAGES.map((text) => h("option", { value: text }, text)));
    replace(shown, this.#example(LANGUAGES[0], origin));
    replace(this.more,
      row.status === "no_evidence" && h("p", { class: "note" }, row.error_message ?? `Nothing in the image speaks for ${row.class_name}: its map is nowhere above 0. The colours ${SIGNED} show what speaks against it.`),
      h("dl", { class: "facts" },
        fact("Model", `${row.model_id}@${row.model_version}`),
        fact("Layer", row.layer ?? "–"),
        row.grid_height && fact(term("Grid", "Cells of the map, before it's spread over the photograph."), `${row.grid_height} × ${row.grid_width}`),
        row.raw_max !== null && fact(term("Raw maximum", "The map's highest value in the method's own units: 0 or less is no evidence."), short(row.raw_max)),
        row.logit !== null && fact(term("Logit", "The class's score before softmax or sigmoid."), short(row.logit)),
        row.focus && fact(term("At the border", "The share of the heat in the outer tenth of the photograph, on each side."), percent(row.focus.border_share)),
        fact(term("Time", "Fetching, decoding and explaining, by the worker."), `${short(took)} ms`)),
      h("details", {}, h("summary", {}, "The same by program"),
        h("div", { class: "joined" }, language, copy(() => this.#example(language.value, origin))), shown));
  }

  #example(language, origin) {
    const { image, model, method, target } = this.state;
    return example(language, { image, model, method, target }, origin);
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); reject(new DOMException("aborted", "AbortError")); }, { once: true });
  });
}
