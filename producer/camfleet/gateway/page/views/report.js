// A job's report, in a frame that can do nothing, and its findings, which people confirm or dismiss.

import * as api from "../api.js";
import { ago, append, empty, failed, h, head, jobLink, loading, name, number, panel, replace, short, term, visible } from "../dom.js";
import { loadSoon } from "../looking.js";
import { framed, load, sources } from "../maps.js";
import { askOther } from "../other_job.js";

const WORDS = { confirmed: ["Confirmed", "bad"], dismissed: ["Dismissed", "dim"], open: ["Open", "warn"] };
const SOME = 10; // findings that are shown, and again whenever somebody asks for more
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
    replace(root, head(["Report on ", jobLink(job)], this.actions), this.status, this.body);
  }

  async load() {
    const { made, files } = await api.get(this.path, {}, { signal: this.route.signal });
    const there = files.includes("index.html");
    const busy = made.state === "waiting" || made.state === "in_work";
    const may = this.app.may("jobs:write");
    replace(this.actions,
      there && h("a", { class: "button", href: `${this.path}/index.html`, target: "_blank", rel: "noopener" }, "Open alone"),
      files.filter((file) => file !== "index.html").map((file) => h("a", { class: "button", href: `${this.path}/${file}`, download: "" }, file)),
      there && h("button", { on: { click: () => askOther(this.job, this.app) } }, "Compare …"),
      may && !busy && (there || made.state === "failed") && h("button", { on: { click: () => this.#make() } }, "Make it anew"));
    replace(this.status,
      busy && h("p", { class: "note" }, made.state === "waiting" ? "Waiting for a worker that writes reports." : "A worker writes the report."),
      made.state === "failed" && h("p", { class: "note bad", dir: "auto" }, `It failed: ${made.note}`),
      made.state === "done" && made.note && h("p", { class: "verdict", dir: "auto" }, made.note));
    if (busy) loadSoon(this);
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
    const { findings } = await api.get(api.path("v1/jobs", this.job, "findings"), {}, { signal: this.route.signal });
    this.found = findings;
    this.list = h("div", { class: "findings" });
    this.more = h("button", { on: { click: () => this.#showMore(true) } }, `Show more of ${number(findings.length)}`);
    replace(this.body,
      panel("Findings", findings.length ? [this.list, this.more] : h("p", { class: "dim" }, "No place looks suspicious.")),
      h("iframe", { class: "report-frame", src: `${this.path}/index.html`, sandbox: "", title: `The report on ${this.job}` }));
    this.#showMore(false);
  }

  // Show some more: there may be one of each class, with eight photographs.
  #showMore(focus) {
    const first = this.list.children.length;
    append(this.list, this.found.slice(first, first + SOME).map((one) => this.#finding(one)));
    this.more.hidden = this.list.children.length === this.found.length;
    if (focus) this.list.children[first].querySelector("input, a").focus();
  }

  #finding(one) {
    const [word, style] = WORDS[one.verdict];
    const whose = one.class_name ?? (one.class_index === null ? "All classes" : `Class ${one.class_index}`);
    const note = h("input", { "aria-label": "Why", placeholder: "Why, if you like", maxlength: 1000 });
    const say = (verdict, text) => h("button", { disabled: one.verdict === verdict, on: { click: () => this.#decide(element, one.id, verdict, note.value) } }, text);
    const element = h("article", { class: "finding" },
      h("div", {}, h("h3", {}, one.against ? "against " : "", name(whose), " ", h("span", { class: `tag ${style}` }, word)),
        h("p", {}, `${number(one.peaks)} of ${number(one.of)} maps peak in row ${one.cell[0] + 1}, column ${one.cell[1] + 1} of ${one.grid[0]} × ${one.grid[1]}, `, term(`lift ${short(one.lift)}`, LIFT), h("span", { class: "dim" }, ` · ${one.model}, ${one.layer}`)),
        one.decisions.slice(0, 5).map((said) => h("p", { class: "dim", dir: "auto" }, `${WORDS[said.verdict][0]} by `, name(said.by), " ", ago(said.at), said.note && `: ${visible(said.note)}`))),
      this.app.may("jobs:write") && h("div", { class: "actions" }, note, say("confirmed", "Confirm"), say("dismissed", "Dismiss"), one.verdict !== "open" && say("open", "Take back")),
      h("div", { class: "samples" }, one.samples.map((sample) => this.#sample(sample))));
    return element;
  }

  #sample({ chunk, row, item_id: item, image }) {
    const place = `${chunk}:${row}`;
    const picture = h("img", { alt: "" });
    const frame = h("span", { class: "tile-frame" }, picture);
    if (image) framed(frame, ...image);
    load(picture, sources(this.job, place, 160), () => replace(frame, name(item)));
    return h("a", { href: this.app.address("/jobs/:job/images/:item", { job: this.job, item: place }), title: visible(item), "aria-label": visible(item) }, frame);
  }

  // What somebody has begun to write elsewhere stays.
  async #decide(element, id, verdict, note) {
    try {
      const { findings } = await api.send("PUT", api.path("v1/jobs", this.job, "findings", id), { verdict, note });
      this.found = findings;
      const made = this.#finding(findings.find((one) => one.id === id));
      element.replaceWith(made);
      made.querySelector("button:enabled").focus();
      this.app.say(WORDS[verdict][0]);
    } catch (error) {
      replace(this.status, failed(error));
    }
  }
}
