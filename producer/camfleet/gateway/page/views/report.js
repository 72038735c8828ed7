// A job's report, in a frame that can do nothing, and its findings, which people confirm or dismiss.

import * as api from "../api.js";
import { ago, empty, failed, h, loading, name, number, replace, short, term } from "../dom.js";
import { framed, load, sources } from "../maps.js";

const WORDS = { confirmed: ["Confirmed", "bad"], dismissed: ["Dismissed", "dim"], open: ["Open", "warn"] };
const LIFT = "How many times as often as elsewhere, or for other classes, maps peak in this cell.";

export async function show(root, route, app) {
  const { job } = route.params;
  app.title(`Report on ${job}`);
  const view = new Report(root, job, route, app);
  await view.load();
  return () => clearTimeout(view.timer);
}

class Report {
  constructor(root, job, route, app) {
    Object.assign(this, { root, job, route, app, path: api.path("v1/jobs", job, "report") });
    this.status = h("div", { class: "notes", role: "status" });
    this.body = h("div", {});
    this.actions = h("div", { class: "actions" });
    replace(root, h("div", { class: "head" }, h("h1", {}, "Report on ", h("a", { href: app.address("/jobs/:job", { job }) }, name(job))), this.actions), this.status, this.body);
  }

  async load() {
    const { made, files } = await api.get(this.path, {}, { signal: this.route.signal });
    const there = files.includes("index.html");
    const busy = made.state === "waiting" || made.state === "in_work";
    const may = this.app.may("jobs:write");
    replace(this.actions,
      there && h("a", { class: "button", href: `${this.path}/index.html`, target: "_blank", rel: "noopener" }, "Open alone"),
      files.filter((file) => file !== "index.html").map((file) => h("a", { class: "button", href: `${this.path}/${file}`, download: "" }, file)),
      may && !busy && (there || made.state === "failed") && h("button", { on: { click: () => this.#make() } }, "Make it anew"));
    replace(this.status,
      busy && h("p", { class: "note" }, made.state === "waiting" ? "Waiting for a worker that writes reports." : "A worker writes the report."),
      made.state === "failed" && h("p", { class: "note bad", dir: "auto" }, `It failed: ${made.note}`),
      made.state === "done" && made.note && h("p", { class: "verdict", dir: "auto" }, made.note));
    if (busy) this.timer = setTimeout(() => this.load().catch(() => {}), 1500);
    if (there && !busy) await this.#show();
    else if (busy) replace(this.body, loading("A worker reads all results …"));
    else if (!there) replace(this.body, empty("There's no report on this job yet", "A worker reads all results and says which places look suspicious, class by class.", may && h("button", { class: "main", on: { click: () => this.#make() } }, "Make the report")));
  }

  async #make() {
    try {
      await api.send("POST", this.path);
      await this.load();
    } catch (error) {
      replace(this.status, failed(error, () => this.#make()));
    }
  }

  async #show() {
    this.list = h("div", { class: "findings" });
    replace(this.body,
      h("section", { class: "panel" }, h("h2", {}, "Findings"), this.list),
      h("section", { class: "panel" }, h("h2", {}, "Compare"), await this.#compare()),
      h("iframe", { class: "report-frame", src: `${this.path}/index.html`, sandbox: "", title: `The report on ${this.job}` }));
    this.#findings(await api.get(api.path("v1/jobs", this.job, "findings"), {}, { signal: this.route.signal }));
  }

  #findings({ findings }) {
    replace(this.list, findings.length ? findings.map((one) => this.#finding(one)) : h("p", { class: "dim" }, "No place looks suspicious."));
  }

  #finding(one) {
    const [word, style] = WORDS[one.verdict];
    const whose = one.class_name ?? (one.class_index === null ? "All classes" : `Class ${one.class_index}`);
    const note = h("input", { "aria-label": "Why", placeholder: "Why, if you like", maxlength: 1000 });
    const say = (verdict, text) => h("button", { disabled: one.verdict === verdict, on: { click: () => this.#decide(one.id, verdict, note.value) } }, text);
    return h("article", { class: "finding" },
      h("div", {}, h("h3", {}, one.against ? "against " : "", name(whose), " ", h("span", { class: `tag ${style}` }, word)),
        h("p", {}, `${number(one.peaks)} of ${number(one.of)} maps peak in row ${one.cell[0] + 1}, column ${one.cell[1] + 1} of ${one.grid[0]} × ${one.grid[1]}, `, term(`lift ${short(one.lift)}`, LIFT), h("span", { class: "dim" }, ` · ${one.model}, ${one.layer}`)),
        one.decisions.slice(0, 5).map((said) => h("p", { class: "dim", dir: "auto" }, `${WORDS[said.verdict][0]} by `, name(said.by), " ", ago(said.at), said.note && `: ${said.note}`))),
      this.app.may("jobs:write") && h("div", { class: "actions" }, note, say("confirmed", "Confirm"), say("dismissed", "Dismiss"), one.verdict !== "open" && say("open", "Take back")),
      h("div", { class: "samples" }, one.samples.map((sample) => this.#sample(sample))));
  }

  #sample({ chunk, row, item_id: item, image }) {
    const place = `${chunk}:${row}`;
    const picture = h("img", { alt: item, title: item });
    const frame = h("span", { class: "tile-frame" }, picture);
    if (image) framed(frame, ...image);
    load(picture, sources(this.job, place, 160), () => replace(frame, name(item)));
    return h("a", { href: this.app.address("/jobs/:job/images/:item", { job: this.job, item: place }) }, frame);
  }

  async #decide(id, verdict, note) {
    try {
      this.#findings(await api.send("PUT", api.path("v1/jobs", this.job, "findings", id), { verdict, note }));
      this.app.say(WORDS[verdict][0]);
    } catch (error) {
      replace(this.status, failed(error));
    }
  }

  async #compare() {
    const { jobs } = await api.get("v1/jobs", { limit: 50 }, { signal: this.route.signal });
    const select = h("select", { id: "with" }, jobs.filter((one) => one.state === "complete").map((one) => h("option", { value: one.job_id }, one.job_id === this.job ? `${one.job_id} (its own models)` : one.job_id)));
    const go = (event) => {
      event.preventDefault();
      this.app.go(this.app.address("/compare/:baseline/:job", { baseline: this.job, job: select.value }));
    };
    return h("form", { class: "ask-row", on: { submit: go } }, h("div", { class: "field" }, h("label", { for: "with" }, "Where does another model look? This job, and"), select), h("button", {}, "Compare"));
  }
}
