// The registered models; of one of them its preflight, as a drawing of where it's cut.

import * as api from "../api.js";
import { copy } from "../dialogs.js";
import { ago, empty, fact, h, head, modelLink, name, number, panel, replace, short, tableHead, term } from "../dom.js";

export async function show(root, route, app) {
  const { models } = await api.get("v1/models", {}, { signal: route.signal });
  if (route.params.model) return one(root, route, app, models);
  app.title("Models");
  if (!models.length) {
    replace(root, head("Models"),
      empty("No models yet", "A card names a model's file, its labels and how images are prepared. A worker checks it.", h("code", {}, "camfleet models add CARD.toml")));
    return;
  }
  const rows = models.sort((a, b) => a.id.localeCompare(b.id) || b.added_at.localeCompare(a.added_at)).map((model, i) => h("tr", {},
    h("th", { scope: "row" }, i && models[i - 1].id === model.id ? h("span", { class: "unseen" }, model.id) : name(model.id)),
    h("td", {}, modelLink(`${model.id}@${model.version}`, name(model.version))),
    h("td", {}, aliases(model)),
    h("td", { class: "right" }, ago(model.added_at)),
    h("td", { class: "mono dim" }, model.digest.slice(0, 12))));
  replace(root, head("Models", h("p", { class: "dim" }, number(models.length))),
    h("div", { class: "panel" }, h("div", { class: "scroll" }, h("table", {}, tableHead("Model", "Version", "Aliases", ["Added", "right"], "Digest"), h("tbody", {}, rows)))));
}

function aliases(model) {
  const list = model.aliases.map((alias) => h("span", { class: "tag", title: alias === "champion" ? "What the bare id means" : null }, alias));
  return [list.map((tag) => [tag, " "]), model.removing && h("span", { class: "warn" }, "being removed")];
}

async function one(root, route, app, models) {
  const model = await api.get(api.path("v1/models", route.params.model), {}, { signal: route.signal });
  const full = `${model.id}@${model.version}`;
  app.title(`Model ${full}`);
  const entry = models.find(({ id, version }) => id === model.id && version === model.version);
  const { report } = model;
  const others = models.filter(({ id, version }) => id === model.id && version !== model.version);
  replace(root,
    head(name(full), entry && aliases(entry), h("div", { class: "actions" },
      h("a", { class: "button main", href: app.address("/explain", {}, { model: full }) }, "Explain an image"),
      h("a", { class: "button", href: app.address("/submit", {}, { model: full }) }, "New job"),
      h("a", { class: "button", href: app.address("/jobs", {}, { q: full }) }, "Jobs that use it"))),
    h("section", { class: "panel", "aria-label": "Where the model is cut" }, cut(report)),
    h("div", { class: "columns" },
      panel("The check", h("dl", { class: "facts" },
        fact("File", `${report.format}, Keras ${report.keras_version ?? "–"}`),
        fact("Layer", h("code", {}, name(report.layer)), h("div", { class: "dim" }, report.why)),
        fact(term("Split error", "How far the two halves together differ from the whole model."), report.split_error.toExponential(1)),
        fact(term("CAM", "Whether the head is a mean and one dense layer, so that CAM equals Grad-CAM."), report.cam),
        fact("Methods", report.methods.join(", ")),
        fact(term("Outputs", "What the last activation is, and whether it's taken off for logits."), `${number(report.classes)} classes, ${report.activation ?? "no activation"}`, report.outputs && h("div", { class: report.outputs.guessed ? "warn" : "dim" }, report.outputs.reason)),
        fact(term("In bf16", "Whether jobs may compute it so, which some CPUs do faster: its maps must stay what they are."), model.precisions.bf16 ?? h("span", { class: "good" }, "as good as float32")),
        fact("Engine", `${report.engine}${report.engine_disagreement === null || report.engine_disagreement === undefined ? "" : `, differs from Keras by ${report.engine_disagreement.toExponential(1)}`}`),
        fact("Time", `${short(report.milliseconds_per_image.forward)} ms per image`),
        fact("Memory", `${short((report.conv_bytes + report.head_bytes) / 2 ** 20)} MiB of weights, ${short(report.working_bytes / 2 ** 20)} MiB for ${report.batch_size} images`),
        report.assumed.length > 0 && fact(h("span", { class: "warn" }, "Assumed"), report.assumed.map((text) => h("div", {}, String(text)))))),
      panel("How images are prepared", h("dl", { class: "facts" },
        report.choices.map(({ name: title, value, field, default: given }) => fact(h("span", { title: field }, title), name(value), given && h("span", { class: "dim", title: "The card doesn't say: this is the default" }, " (default)"))))),
      panel(`Labels (${number(model.labels.length)})`, labels(model.labels)),
      panel("Layers to choose from", layers(report)),
      panel("Identity", h("dl", { class: "facts" },
        fact("Digest", h("code", {}, model.digest), " ", copy(model.digest)),
        entry && fact("Added", ago(entry.added_at)),
        others.length > 0 && fact("Other versions", others.map(({ version }) => h("div", {}, modelLink(`${model.id}@${version}`, name(version)))))))));
}

// Input -> convolutions -> [grid] -> head -> scores, as boxes in a row: text that can be read.
function cut(report) {
  const [height, width, channels] = report.input;
  const [rows, columns] = report.grid;
  const box = (title, kind, ...lines) => h("div", { class: `cut-box ${kind}` }, h("b", {}, title), lines.map((text) => h("span", {}, text)));
  const arrow = () => h("span", { class: "arrow", "aria-hidden": "true" }, "→");
  const cells = Math.min(rows, 16) * Math.min(columns, 16);
  const grid = h("div", { class: "cut-grid", "aria-hidden": "true", style: { "--columns": Math.min(columns, 16) } }, Array.from({ length: cells }, () => h("i", {})));
  return h("div", { class: "cut" },
    box("Input", "", `${height} × ${width}`, channels === 1 ? "gray" : `${channels} channels`, report.other_inputs.length > 0 && `and ${report.other_inputs.length} more`), arrow(),
    box("Convolutions", "wide", `to ${report.layer}`, `${short(report.conv_bytes / 2 ** 20)} MiB`), arrow(),
    h("div", { class: "cut-box hot" }, h("b", {}, "Maps are made here"), grid, h("span", {}, `${rows} × ${columns} cells, ${number(report.channels)} channels`)), arrow(),
    box("Head", "wide", ...report.head.map((text) => name(text))), arrow(),
    box("Scores", "", `${number(report.classes)} classes`, report.activation ?? ""));
}

function labels(all) {
  const list = h("ol", { class: "labels" });
  const search = h("input", { type: "search", "aria-label": "Search labels", placeholder: "Search", on: { input: draw } });
  function draw() {
    const wanted = search.value.toLowerCase();
    const found = all.map((text, index) => [index, text]).filter(([index, text]) => text.toLowerCase().includes(wanted) || String(index) === wanted);
    replace(list, found.slice(0, 200).map(([index, text]) => h("li", {}, h("span", { class: "dim" }, `${index} `), name(text))),
      found.length > 200 && h("li", { class: "dim" }, `… and ${number(found.length - 200)} more: search`));
  }
  draw();
  return [all.length > 12 && h("div", { class: "field" }, search), all.length ? h("div", { class: "low", tabindex: 0, role: "group", "aria-label": "Labels" }, list) : h("p", { class: "dim" }, "The card has none: classes are numbers.")];
}

function layers({ candidates, layer }) {
  const rows = [...candidates].reverse().map(({ path, grid, channels }) => h("tr", { class: path === layer ? "chosen" : "" },
    h("td", {}, h("code", {}, name(path)), path === layer && h("span", { class: "dim" }, " chosen")), h("td", { class: "right" }, grid.join(" × ")), h("td", { class: "right" }, number(channels))));
  return h("div", { class: "scroll low", tabindex: 0, role: "group", "aria-label": "Layers" }, h("table", {}, tableHead("Layer", ["Grid", "right"], ["Channels", "right"]), h("tbody", {}, rows)));
}
