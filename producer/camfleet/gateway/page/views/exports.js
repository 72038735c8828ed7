// Archives of a job: its pictures, or its rows in the formats of annotation tools. A worker makes them.

import * as api from "../api.js";
import { confirm } from "../dialogs.js";
import { ago, empty, failed, field, h, head, jobLink, name, panel, percent, replace, select, short, term } from "../dom.js";
import { filtersOf } from "../gallery/query.js";
import { keepLooking } from "../looking.js";

const BUSY_MS = 1500; // between two looks while one is made
const IDLE_MS = 15000;
const FORMATS = [["pictures", "pictures, as the job stored them"], ["label-studio", "Label Studio"], ["coco", "COCO"], ["coco-results", "COCO results"],
  ["voc", "Pascal VOC"], ["yolo", "YOLO"], ["cvat", "CVAT"], ["fiftyone", "FiftyOne"]];
const WITH_HEAT = ["label-studio", "fiftyone"];
const SINGLE = ["min_probability", "max_probability"];
const LISTS = ["status", "code", "model", "class", "rank"];
const STATES = { waiting: "Waiting for a worker that makes archives", in_work: "In work", done: "Ready", failed: "Failed" };
const busy = ({ made }) => made.state === "waiting" || made.state === "in_work";

export async function show(root, route, app) {
  const { job } = route.params;
  app.title(`Exports of ${job}`);
  const about = await api.get(api.path("v1/jobs", job, "about"), {}, { signal: route.signal });
  const view = new Exports(root, about, route, app);
  await view.start();
  return () => view.stop();
}

class Exports {
  constructor(root, about, route, app) {
    Object.assign(this, { about, route, app, job: about.job_id, path: api.path("v1/jobs", about.job_id, "exports") });
    this.note = h("div", { class: "notes" });
    this.problem = h("div", { role: "alert" });
    this.list = h("ul", { class: "exports" });
    replace(root, head(["Exports of ", jobLink(this.job)], h("div", { class: "actions" }, h("a", { class: "button", href: app.address("/jobs/:job/gallery", { job: this.job }) }, "Gallery"))),
      this.note, app.may("jobs:write") && panel("A new archive", this.#form()), panel("Archives", this.list));
  }

  #form() {
    const { pictures } = this;
    const boxes = pictures.map((kind) => [kind, h("input", { type: "checkbox", checked: kind === "overlay" || pictures.length === 1 })]);
    const formats = pictures.length ? FORMATS : FORMATS.slice(1);
    const heat = h("input", { type: "checkbox" });
    const first = h("input", { type: "checkbox" });
    const shape = select({ id: "shape" }, [["", "the job's own"], ["box", "boxes"], ["polygon", "polygons"], ["rle", "masks (RLE)"]], "");
    const config = h("textarea", { id: "config", rows: 4, spellcheck: "false", placeholder: "<View>…</View>" });
    const of = { pictures: h("fieldset", {}, h("legend", {}, "Which pictures"), boxes.map(([kind, box]) => h("label", { class: "check" }, box, kind))),
      shape: field(shape, term("Shapes", "What regions become; where the job has none, only classes are written.")),
      config: field(config, "Label config of the project, if there is one"), heat: h("label", { class: "check" }, heat, "With the heat, as a layer") };
    const pick = (format) => {
      for (const [part, element] of Object.entries(of)) element.hidden = (part === "pictures") !== (format === "pictures");
      if (format !== "label-studio") of.config.hidden = true;
      if (!WITH_HEAT.includes(format)) of.heat.hidden = true;
    };
    const format = select({ id: "format" }, formats, formats[0][0], pick);
    pick(format.value);
    const given = (element) => !element.closest("[hidden]") && (element.type === "checkbox" ? element.checked : element.value.trim());
    const submit = (event) => {
      event.preventDefault();
      const order = { ...this.#filters(), format: format.value };
      if (format.value === "pictures") order.pictures = boxes.filter(([, box]) => box.checked).map(([kind]) => kind);
      for (const [part, element] of Object.entries({ shape, config, heat })) if (given(element)) order[part] = given(element);
      if (first.checked) order.rank = [0];
      this.#do(() => api.send("POST", this.path, order));
    };
    return h("form", { class: "submit", on: { submit } }, h("div", { class: "fields" }, field(format, "Format"), of.shape), of.pictures, of.config, of.heat,
      h("label", { class: "check" }, first, "Each image's first class only"), this.#rows(), this.problem, h("div", { class: "actions" }, h("button", { class: "main" }, "Make it")));
  }

  // The kinds of pictures that the job stored.
  get pictures() {
    const { kinds, thumbnail } = this.about.outputs;
    return [...kinds, ...(thumbnail ? ["thumbnail"] : [])];
  }

  // What the gallery's filters mean for an archive, by its options.
  #filters() {
    const asked = filtersOf(this.route.query);
    const lists = LISTS.filter((one) => asked[one]).map((one) => [one, one === "rank" ? asked[one].map(Number) : asked[one]]);
    const labels = asked.label ? [["where", { label: asked.label }]] : []; // a column that the job kept
    return Object.fromEntries([...lists, ...labels, ...SINGLE.filter((one) => asked[one]).map((one) => [one, Number(asked[one][0])])]);
  }

  #rows() {
    const { sort: _, ...asked } = filtersOf(this.route.query);
    const { where, ...own } = this.#filters();
    const words = Object.entries({ ...own, ...where }).map(([field_, values]) => [name(`${field_.replace("_", " ")} ${[values].flat().join(", ")}`), "; "]);
    const left = Object.keys(asked).filter((one) => ![...LISTS, "label", ...SINGLE].includes(one));
    return h("p", { class: "dim" }, words.length ? ["Of the rows with ", words, h("a", { href: this.app.address("/jobs/:job/exports", { job: this.job }) }, "take all rows")] : "Of all rows.",
      left.length > 0 && h("span", { class: "warn" }, ` Archives have no filter by ${left.join(", ").replaceAll("_", " ")}.`));
  }

  async start() {
    this.stop = await keepLooking(() => this.#look(), this.note, this.route.signal);
  }

  // Change something, then look.
  async #do(change) {
    replace(this.problem);
    try {
      await change();
      this.stop();
      await this.start();
    } catch (error) {
      replace(this.problem, failed(error));
    }
  }

  async #look() {
    const { exports } = await api.get(this.path, {}, { signal: this.route.signal });
    const text = JSON.stringify(exports);
    if (text !== this.shown) replace(this.list, exports.length ? exports.map((one) => this.#one(one)) : h("li", {}, empty("None yet", "An archive holds the pictures, or the rows for an annotation tool.")));
    this.shown = text;
    return exports.some(busy) ? BUSY_MS : IDLE_MS;
  }

  #one(one) {
    const { made, format, pictures, bytes } = one;
    const [, title] = FORMATS.find(([key]) => key === format);
    const place = api.path(this.path, made.id);
    const text = busy(one) ? "Take it back" : "Delete";
    const doomed = () => confirm(busy(one) ? "Take this order back?" : "Delete this archive?", "It can be ordered again.", ["Keep it", text],
      () => this.#do(() => api.send("DELETE", place)));
    return h("li", {}, h("div", { class: "spread" }, h("h3", {}, format === "pictures" ? `Pictures: ${pictures.join(", ")}` : title), h("span", { class: made.state === "failed" ? "bad" : made.state === "done" ? "good" : "dim" }, made.state === "done" && bytes === null ? "Gone" : STATES[made.state])),
      busy(one) && h("div", { class: "meter", role: "progressbar", "aria-label": "Rows that are read", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round((made.share ?? 0) * 100) }, h("i", { style: { "--share": made.share ?? 0 } })),
      made.share !== null && h("p", { class: "dim" }, `${percent(made.share, 0)} of the rows are read`),
      made.note && h("p", { class: made.state === "failed" ? "bad" : "dim", dir: "auto" }, made.note),
      made.state === "done" && bytes === null && h("p", { class: "dim" }, "A job keeps its newest archives only. Order it again."),
      h("div", { class: "spread" }, h("p", { class: "dim" }, ago(made.asked_at), made.asked_by && [" by ", name(made.asked_by)]),
        h("div", { class: "actions" }, bytes !== null && h("a", { class: "button main", href: api.url(`${place}/archive`, { stream: true }), download: "" }, `Download ${size(bytes)}`),
          this.app.may("jobs:write") && h("button", { class: "danger", on: { click: doomed } }, text))));
  }
}

function size(bytes) {
  const power = Math.min(4, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  return `${short(bytes / 1024 ** power)} ${["bytes", "KiB", "MiB", "GiB", "TiB"][power]}`;
}
