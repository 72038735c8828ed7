// One job: how far it is, as it happens; what failed and why; what became of every image.

import * as api from "../api.js";
import { confirm, copy } from "../dialogs.js";
import { ago, duration, fact, figure, h, head, modelLink, name, number, panel, percent, replace } from "../dom.js";
import { askOther } from "../other_job.js";
import { FATES, done, ended, fate, left, meter, rate, sparkline, state } from "../progress.js";

const FORMS = [["csv", "CSV"], ["json", "JSON lines"], ["parquet", "Parquet"]];
const FOLLOWS = [["report", "Report"], ["faithfulness", "Faithfulness"], ["review", "Review"], ["label_studio", "Label Studio"]];
const FOLLOW_STATES = { waiting: "waiting for the job's end", in_work: "in work", done: "done", failed: "failed", dropped: "dropped" };

export async function show(root, route, app) {
  const { job: id } = route.params;
  app.title(`Job ${id}`);
  const [first, about] = await Promise.all([
    api.get(api.path("v1/jobs", id), {}, { signal: route.signal }),
    api.get(api.path("v1/jobs", id, "about"), {}, { signal: route.signal }),
  ]);
  const view = new Job(root, id, about, app);
  view.told(first);
  const stop = ended(first) ? null : api.follow(id, (progress) => view.told(progress), (text) => view.lost(text));
  view.stop = stop;
  return () => view.stop?.();
}

class Job {
  constructor(root, id, about, app) {
    Object.assign(this, { id, about, app });
    this.rates = [];
    this.head = h("div", { class: "actions" });
    this.state = h("span", {});
    this.note = h("div", { class: "notes" });
    this.bar = h("div", { class: "big-meter" });
    this.numbers = h("div", { class: "numbers" });
    this.failures = h("div", {});
    this.sums = h("div", {});
    this.follows = h("div", {});
    replace(root,
      head(name(id), this.state, this.head),
      this.note,
      h("section", { class: "panel", "aria-label": "Progress" }, this.bar, this.numbers),
      h("div", { class: "columns" },
        panel("Failures by code", this.failures),
        panel("What became of the images", this.sums),
        panel("What was asked", this.#asked()),
        panel("What came of it", this.follows)));
  }

  lost(text) {
    this.broken = text;
    this.#notes();
  }

  told(job) {
    const before = this.job;
    this.job = job;
    if (job.images_per_second && !ended(job)) this.rates = [...this.rates, job.images_per_second].slice(-60);
    replace(this.state, state(job));
    replace(this.bar, meter(job));
    this.#actions();
    this.#notes();
    this.#numbers();
    this.#failed();
    this.#accounting();
    this.#followed();
    if (before && before.state !== job.state) this.app.say(`Job ${job.state}`);
    if (job.failed && Object.keys(job.failures).some((code) => !(code in this.about.messages))) this.#messages();
  }

  #actions() {
    const { job } = this;
    const may = this.app.may("jobs:write") && !job.pruned_at;
    const button = (text, action, kind = "") => h("button", { class: kind, on: { click: action } }, text);
    const link = (text, pattern, main) => h("a", { class: `button ${main ? "main" : ""}`, href: this.app.address(pattern, { job: this.id }) }, text);
    const rows = done(job) > 0 && !job.pruned_at;
    const given = [
      rows && link("Gallery", "/jobs/:job/gallery", true),
      (rows || job.report?.state === "done") && link("Report", "/jobs/:job/report"),
      rows && ended(job) && link("Exports", "/jobs/:job/exports"),
      rows && ended(job) && button("Compare …", () => askOther(this.id, this.app)),
      may && !ended(job) && button("Cancel", () => confirm("Cancel this job?", "It stops before its next batch. What is done stays and counts; Resume goes on.", ["Keep it running", "Cancel the job"], () => this.#act("cancel")), "danger"),
      may && (job.state === "cancelled" || job.troubles.length > 0) && button("Resume", () => this.#act("resume")),
      may && job.state === "complete" && job.failed > 0 && button(`Retry ${number(job.failed)} failed`, () => this.#act("retry", {})),
    ];
    // Buttons that are the same stay: whoever is about to press one doesn't miss it.
    const text = given.filter(Boolean).map((one) => one.textContent).join("|");
    if (text !== this.actions) replace(this.head, given);
    this.actions = text;
  }

  async #act(verb, body) {
    this.problem = null;
    try {
      const answer = await api.send("POST", api.path("v1/jobs", this.id, verb), body);
      if (verb === "retry") this.app.say(`${number(answer.images)} images run again`);
      this.told(answer.job ?? answer);
      if (!ended(this.job)) {
        this.stop?.();
        this.stop = api.follow(this.id, (progress) => this.told(progress), (text) => this.lost(text));
      }
    } catch (error) {
      this.problem = error.message;
      this.#notes();
    }
  }

  #notes() {
    const { job } = this;
    const note = (text, bad) => text && h("p", { class: `note ${bad ? "bad" : ""}`, dir: "auto" }, text);
    replace(this.note,
      note(this.problem, true), note(this.broken, true),
      note(job?.pruned_at && "Its results were deleted; its report stays."),
      job?.troubles.map((text) => note(`Chunks that can't be run: ${text}`, true)),
      job?.state === "complete" && job.total > 0 && job.failed === job.total && note("Every image failed. The codes below say why; once that is mended, retry.", true));
  }

  #numbers() {
    const { job } = this;
    const share = job.total ? done(job) / job.total : 1;
    replace(this.numbers,
      figure(`${number(done(job))} / ${number(job.total)}`, `images, ${percent(Math.floor(share * 1000) / 1000)}`, "Images times models: how many are counted, of how many."),
      figure(number(job.failed), "failed", FATES[2][2], job.failed ? "bad" : ""),
      figure(number(job.no_evidence), "no evidence", FATES[1][2]),
      !ended(job) && figure(rate(job), "images per second", "Over the latest chunks."),
      !ended(job) && figure(left(job), "left", "At the present rate."),
      !ended(job) && figure(number(job.in_work), "in work", "Explained in chunks that aren't counted yet, about."),
      figure(duration(job.seconds_running), "running", "Since a worker took the first chunk."),
      this.rates.length > 2 && !ended(job) && h("div", { class: "grow" }, sparkline(this.rates, "Images per second while you look"), h("span", {}, "rate while you look")));
  }

  #failed() {
    const codes = Object.entries(this.job.failures).sort(([, one], [, other]) => other - one);
    const text = JSON.stringify([codes, this.about.messages]);
    if (text === this.shownFailures) return;
    this.shownFailures = text;
    replace(this.failures, codes.length
      ? h("ul", { class: "codes" }, codes.map(([code, count]) => h("li", {},
        h("div", { class: "spread" },
          h("a", { href: this.app.address("/jobs/:job/gallery", { job: this.id }, { status: "failed", code }) }, h("code", {}, code)), h("b", {}, number(count))),
        h("div", { class: "meter" }, h("i", { class: "bad", style: { "--share": count / this.job.failed } })),
        this.about.messages[code] && h("p", { class: "dim", dir: "auto" }, this.about.messages[code]))))
      : h("p", { class: "dim" }, done(this.job) ? "None failed." : "None yet."));
  }

  async #messages() {
    if (this.asking) return;
    this.asking = true;
    try {
      this.about = await api.get(api.path("v1/jobs", this.id, "about"));
      this.#failed();
    } catch {
      // the codes are shown anyway
    } finally {
      setTimeout(() => { this.asking = false; }, 5000);
    }
  }

  // Each line is the sum of those below it that are indented.
  #accounting() {
    const { job, about } = this;
    const files = about.left_out.reduce((sum, { files: count }) => sum + count, 0);
    const open = job.total - done(job);
    const line = (count, text, kind = "") => h("tr", { class: kind }, h("td", { class: "right" }, number(count)), h("td", {}, text));
    replace(this.sums, h("table", { class: "sums" }, h("tbody", {},
      line(about.items + about.duplicates + files, "things in the sources"),
      about.duplicates > 0 && line(about.duplicates, "that appear again, explained once", "part"),
      about.left_out.map(({ kind, files: count, why }) => line(count, ["left out: ", name(kind), `, ${why}`], "part")),
      line(about.items, "images", "part"),
      line(job.total, about.models.length > 1 ? `explanations: images × ${about.models.length} models` : "explanations", "sum"),
      FATES.map((one) => line(job[one[0]], fate(one), "part")),
      line(open, job.state === "cancelled" ? "not done when it was cancelled" : "still to do", "part"))));
  }

  #asked() {
    const { about } = this;
    return h("dl", { class: "facts" },
      fact("Models", about.models.map(({ id, version }) => h("div", {}, modelLink(`${id}@${version}`)))),
      fact("Classes", h("code", {}, name(about.target))), fact("Method", about.method), fact("Layer", about.layer), about.precision !== "float32" && fact("Precision", about.precision),
      fact("Pictures", [...about.outputs.kinds, about.outputs.thumbnail && "thumbnail"].filter(Boolean).join(", ") || "none"),
      about.outputs.regions && fact("Shapes", `${about.outputs.regions.shapes.join(", ")} above ${about.outputs.regions.threshold}`),
      fact("Submitted", ago(about.created_at), about.owner && [" by ", name(about.owner)]),
      fact("In a terminal", h("code", {}, `camfleet watch ${this.id}`), " ", copy(`camfleet watch ${this.id}`)));
  }

  #followed() {
    const { job } = this;
    const link = ([format, text]) => h("a", { class: "button", href: api.url(api.path("v1/jobs", this.id, "results"), { format }), download: "" }, text);
    const asked = FOLLOWS.filter(([kind]) => job[kind]);
    const text = JSON.stringify([asked.map(([kind]) => job[kind]), job.callback, done(job) > 0, job.pruned_at, job.retry]);
    if (text === this.shownFollows) return;
    this.shownFollows = text;
    replace(this.follows, h("dl", { class: "facts" },
      asked.map(([kind, title]) => fact(title, h("span", { class: job[kind].state === "failed" ? "bad" : "" }, FOLLOW_STATES[job[kind].state]), job[kind].note && h("div", { class: "dim", dir: "auto" }, job[kind].note))),
      job.callback && fact("Callback", h("span", { dir: "auto" }, job.callback_sent_at ? ["sent ", ago(job.callback_sent_at)] : job.callback)),
      job.retry > 0 && fact("Retries", number(job.retry)),
      fact("Rows", done(job) && !job.pruned_at ? h("div", { class: "actions" }, FORMS.map(link)) : h("span", { class: "dim" }, "none yet"))));
  }
}
