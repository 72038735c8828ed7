// A new job: of a prefix, of a list, of what is uploaded here, or of images chosen in a gallery.

import * as api from "../api.js";
import { empty, field, h, head, name, number, replace, select, term } from "../dom.js";
import { METHODS, called, details, usable } from "../models.js";

const MOST = 10000; // images in one request
const AT_ONCE = 4; // requests
const MANIFESTS = { csv: "text/csv", jsonl: "application/x-ndjson", parquet: "application/vnd.apache.parquet" };
const SOURCES = [
  ["prefix", "All below a prefix", "s3://bucket/folder/, or the address of a manifest (.csv, .jsonl, .parquet)"],
  ["list", "A list", "One address per line: s3://, https://"],
  ["upload", "From this computer", "Photographs, or one manifest"],
];

export async function show(root, route, app) {
  app.title("New job");
  if (!app.may("jobs:write")) {
    replace(root, empty("Your token doesn't submit jobs", "It lacks the scope jobs:write."));
    return;
  }
  const models = await usable(route.signal);
  if (!models.length) {
    replace(root, empty("There are no models yet", "Register one first:", h("code", {}, "camfleet models add CARD.toml")));
    return;
  }
  const from = route.query.get("from"); // a job, of which images were chosen
  const rows = (route.query.get("rows") ?? "").split(",").filter(Boolean);
  const sources = from && rows.length ? [["chosen", "Chosen ones", `${number(rows.length)} of job ${from}`], ...SOURCES] : SOURCES;
  let [[kind]] = sources;
  let files = [];
  let key = crypto.randomUUID(); // of this form: whoever presses twice submits once
  const anew = () => { key = crypto.randomUUID(); };
  const problem = h("div", { role: "alert" });
  const prefix = h("input", { id: "prefix", placeholder: "s3://bucket/photos/", spellcheck: "false", autocomplete: "off", value: route.query.get("source") ?? "" });
  const list = h("textarea", { id: "list", rows: 8, spellcheck: "false", placeholder: "s3://bucket/one.jpg\ns3://bucket/two.jpg" });
  const chosen = h("p", { class: "dim" }, "None chosen.");
  const input = h("input", { type: "file", id: "upload", multiple: true, class: "unseen", on: { change: () => {
    files = [...input.files];
    replace(chosen, files.length ? `${number(files.length)} chosen: ` : "None chosen.", files.slice(0, 3).map((file) => [name(file.name), " "]), files.length > 3 ? "…" : "");
  } } });
  const panes = {
    chosen: h("p", {}, from && h("a", { id: "chosen", href: app.address("/jobs/:job/gallery", { job: from }) }, "Back to the gallery")), prefix, list, upload: h("div", { class: "drop" }, input, h("label", { class: "button", for: "upload" }, "Choose files"), chosen),
  };
  const pane = h("div", { class: "field" });
  const pick = (chosenKind) => {
    kind = chosenKind;
    const [, title, hint] = sources.find(([one]) => one === kind);
    replace(pane, h("label", { for: kind }, `${title}: ${hint}`), panes[kind]);
  };
  const tabs = h("fieldset", { class: "tabs" }, h("legend", {}, "Images"), sources.map(([one, text]) => h("label", {},
    h("input", { type: "radio", name: "source", value: one, checked: one === kind, on: { change: () => pick(one) } }), h("span", {}, text))));
  pick(kind);

  const boxes = models.map((model, i) => {
    const full = `${model.id}@${model.version}`;
    const value = called(model);
    return h("label", { class: "check" }, h("input", { type: "checkbox", name: "model", value, checked: (route.query.get("model") ?? models[0].id) === value || (models.length === 1 && i === 0) }), name(full), model.aliases.length > 0 && h("span", { class: "dim" }, ` ${model.aliases.join(", ")}`));
  });
  const target = h("input", { id: "target", value: "top", spellcheck: "false" });
  const method = select({ id: "method" }, METHODS);
  const precision = select({ id: "precision" }, [["", "as the card says"], "float32", "bf16"], "", () => refusals());
  const refused = h("div", { class: "notes", role: "status" });
  const report = h("input", { type: "checkbox", checked: true });
  const faithfulness = h("input", { id: "faithfulness", type: "number", min: 0, max: 10000, value: 0 });
  const bar = h("i", { style: { "--share": 0 } });
  const uploading = h("div", { hidden: true }, h("p", { class: "dim" }), h("div", { class: "meter" }, bar));
  const button = h("button", { class: "main", type: "submit" }, "Submit");

  const form = h("form", { class: "panel submit", on: { submit, input: anew, change: anew } },
    tabs, pane,
    h("fieldset", { on: { change: () => refusals() } }, h("legend", {}, "Models"), h("div", { class: "checks" }, boxes)),
    h("div", { class: "fields" },
      field(target, term("Classes", "top is the strongest; top:3 the three strongest; a label or an index is one class; above:0.5 all of that probability.")),
      field(method, term("Method", "How maps are made of feature maps and gradients.")),
      field(precision, term("Precision", "bf16 is faster on CPUs that have it. A model is computed so where its maps and answers stay what they are, as was measured.")),
      field(faithfulness, term("Faithfulness", "On how many images workers measure, at the end, how faithful the maps are. 0: none."))),
    refused, h("label", { class: "check" }, report, "Write a report at the end"),
    problem, uploading, h("div", { class: "actions" }, button));
  replace(root, head("New job"), form);

  async function submit(event) {
    event.preventDefault();
    replace(problem);
    button.disabled = true;
    try {
      const chosenModels = checked();
      if (!chosenModels.length) throw new Error("Choose a model.");
      const body = { models: chosenModels, target: target.value.trim() || "top", method: method.value, report: report.checked, ...(await images()) };
      if (precision.value) body.precision = precision.value;
      if (Number(faithfulness.value)) body.faithfulness = Number(faithfulness.value);
      const answer = await api.send("POST", "v1/jobs", body, { headers: { "Idempotency-Key": key }, signal: route.signal });
      const there = app.address("/jobs/:job", { job: answer.job.job_id });
      if (!answer.warnings.length) return app.go(there);
      replace(root, head("Submitted"), h("ul", { class: "notes" }, answer.warnings.map((text) => h("li", { class: "note", dir: "auto" }, text))),
        h("p", { class: "actions" }, h("a", { class: "button main", href: there }, "Go to the job")));
    } catch (error) {
      if (!route.signal.aborted) replace(problem, h("p", { class: "note bad", dir: "auto" }, error.message));
    } finally {
      button.disabled = false;
      uploading.hidden = true;
    }
  }

  function checked() {
    return boxes.map((box) => box.firstChild).filter((box) => box.checked).map((box) => box.value);
  }

  // Say which of the models aren't computed in the precision, and why.
  async function refusals() {
    const wanted = precision.value;
    const found = wanted ? await Promise.all(checked().map((model) => details(model).catch(() => null))) : [];
    if (precision.value !== wanted) return;
    replace(refused, found.map((model) => model?.precisions[wanted] && h("p", { class: "note bad", dir: "auto" }, model.precisions[wanted])));
  }

  async function images() {
    if (kind === "chosen") return { images: await chosenOnes() };
    if (kind === "prefix") {
      if (!prefix.value.trim()) throw new Error("Name a prefix or a manifest.");
      return { source: prefix.value.trim() };
    }
    if (kind === "list") {
      const lines = list.value.split("\n").map((line) => line.trim()).filter(Boolean);
      if (!lines.length) throw new Error("The list has no line.");
      if (lines.length > MOST) throw new Error(`The list has ${number(lines.length)} lines, more than ${number(MOST)}: upload it as a manifest.`);
      return { images: lines.map((image) => ({ image })) };
    }
    if (!files.length) throw new Error("Choose files first.");
    const manifest = files.length === 1 && MANIFESTS[files[0].name.split(".").pop().toLowerCase()];
    const uris = await uploaded(manifest);
    if (manifest) return { source: uris[0] };
    return { images: uris.map((image, i) => ({ image, id: named(i) })) };
  }

  // The items of rows, each once, with their names, labels and groups.
  async function chosenOnes() {
    const items = new Map();
    await inTurn(rows, "Read", async (row) => {
      const { rows: [{ item_id: id, image_uri: image, label, group }] } = await api.get(api.path("v1/jobs", from, "rows", row), {}, { signal: route.signal });
      items.set(id, { image, id, ...(label !== null && { label }), ...(group !== null && { group }) });
    });
    return [...items.values()];
  }

  // A file's own name, unless another one has it too.
  function named(i) {
    const twins = files.filter((file) => file.name === files[i].name).length;
    return twins > 1 ? `${i + 1} ${files[i].name}` : files[i].name;
  }

  async function uploaded(manifest) {
    if (files.length > MOST) throw new Error(`${number(files.length)} files are more than ${number(MOST)}: put them into a bucket and name its prefix.`);
    const uris = new Array(files.length);
    await inTurn(files, "Uploaded", async (file, i, progress) => {
      const type = manifest || (file.type.startsWith("image/") ? file.type : "application/octet-stream");
      try {
        uris[i] = (await api.upload("v1/uploads", file, type, { progress, signal: route.signal })).uri;
      } catch (error) {
        throw new Error(`${file.name}: ${error.message}`);
      }
    });
    return uris;
  }

  // Do something with each of them, a few at a time, and say how far that is.
  async function inTurn(all, verb, act) {
    const size = (one) => one.size ?? 1;
    const total = all.reduce((sum, one) => sum + size(one), 0) || 1;
    const sent = new Array(all.length).fill(0);
    let [next, complete] = [0, 0];
    uploading.hidden = false;
    const tell = () => {
      bar.style.setProperty("--share", sent.reduce((sum, part) => sum + part, 0) / total);
      replace(uploading.firstChild, `${verb} ${number(complete)} of ${number(all.length)}`);
    };
    async function work() {
      while (next < all.length) {
        const i = next++;
        const progress = (share) => { sent[i] = share * size(all[i]); tell(); };
        try {
          await act(all[i], i, progress);
        } catch (error) {
          next = all.length;
          throw error;
        }
        complete += 1;
        progress(1);
      }
    }
    tell();
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  }
}
