// All jobs that the token may see: a table that keeps itself up to date.

import * as api from "../api.js";
import { ago, empty, h, head, jobLink, loading, name, number, replace, select, tableHead } from "../dom.js";
import { keepLooking, stale } from "../looking.js";
import { done, ended, left, meter, rate, state } from "../progress.js";

const PAGE = 100; // rows that are shown, and again whenever somebody asks for more
const MOST = 1000; // jobs of a request
const FAR = 20_000; // jobs among which is searched by itself
const BUSY_MS = 2000; // between two looks while a job runs
const IDLE_MS = 15000;
const HEADS = ["Job", "State", "Model", ["Images", "right"], ["Progress", "wide"], ["Failed", "right"], ["Rate", "right"], ["Time left", "right"], ["Submitted", "right"], "Owner"];

export async function show(root, route, app) {
  app.title("Jobs");
  const jobs = new Map(); // by id, the newest first
  const rows = new Map(); // job id -> [what it shows as JSON, row]
  let next = null;
  let [most, far, filling] = [PAGE, FAR, false];
  const filter = { state: route.query.get("state") ?? "", q: route.query.get("q") ?? "" };

  const body = h("tbody", {});
  const told = h("p", { class: "dim count", role: "status" });
  const below = h("div", { class: "below" });
  const note = h("div", {});
  const changed = () => {
    app.replace(Object.fromEntries(Object.entries(filter).filter(([, value]) => value)));
    fill();
  };
  const states = select({ id: "state" }, [["", "all states"], "queued", "running", "complete", "cancelled", "with failures"], filter.state, (value) => { filter.state = value; changed(); });
  const words = h("input", { id: "q", type: "search", value: filter.q, placeholder: "job, model or owner", on: { input: () => { filter.q = words.value; changed(); } } });
  const table = h("div", { class: "panel" }, h("div", { class: "scroll" }, h("table", { class: "jobs" },
    tableHead(...HEADS), body)));
  const shown = h("div", {});

  replace(root,
    head("Jobs", told,
      h("div", { class: "actions" },
        h("label", { class: "unseen", for: "q" }, "Search"), words, h("label", { class: "unseen", for: "state" }, "State"), states,
        app.may("jobs:write") && h("a", { class: "button main", href: "#/submit" }, "New job"))),
    note, shown, below);

  const fits = (job) => {
    const text = `${job.job_id} ${job.models.join(" ")} ${job.owner ?? ""}`.toLowerCase();
    const wanted = filter.state === "with failures" ? job.failed > 0 : !filter.state || job.state === filter.state;
    return wanted && text.includes(filter.q.toLowerCase());
  };

  function draw() {
    const found = [...jobs.values()].filter(fits);
    replace(told, `${number(found.length)}${found.length < jobs.size ? ` of ${number(jobs.size)}` : ""}${filling ? ", searching …" : next ? ", and older ones" : ""}`);
    if (!jobs.size) {
      replace(shown, empty("No jobs yet", "A job explains all images below a prefix, of a list, or that you upload.",
        app.may("jobs:write") && h("a", { class: "button main", href: "#/submit" }, "Submit the first one")));
    } else if (!found.length && filling) {
      replace(shown, loading("Searching older jobs …"));
    } else if (!found.length) {
      replace(shown, empty("No job fits", next ? "There are older ones that weren't looked at." : "Change the filter.", h("button", { on: { click: () => { filter.q = filter.state = words.value = states.value = ""; changed(); } } }, "Show all")));
    } else if (table.parentElement !== shown) {
      replace(shown, table);
    }
    const wanted = found.slice(0, most).map(row);
    wanted.forEach((one, i) => body.children[i] !== one && body.insertBefore(one, body.children[i] ?? null));
    while (body.children.length > wanted.length) body.lastChild.remove();
    replace(below, !filling && (next || found.length > most) && h("button", { on: { click: older } }, "Show older jobs"));
  }

  function row(job) {
    const text = JSON.stringify(job);
    const [before, old] = rows.get(job.job_id) ?? [];
    if (before === text) return old;
    const made = old ?? h("tr", {});
    const more = job.models.length > 1 ? ` and ${job.models.length - 1} more` : "";
    replace(made,
      h("th", { scope: "row" }, jobLink(job.job_id)),
      h("td", {}, state(job)),
      h("td", { title: job.models.join(", ") }, job.models.length ? name(job.models[0]) : "–", more),
      h("td", { class: "right" }, done(job) === job.total ? number(job.total) : `${number(done(job))} / ${number(job.total)}`),
      h("td", { class: "wide" }, meter(job)),
      h("td", { class: `right ${job.failed ? "bad" : "dim"}` }, number(job.failed)),
      h("td", { class: "right" }, rate(job)),
      h("td", { class: "right" }, left(job)),
      h("td", { class: "right" }, ago(job.submitted_at)),
      h("td", {}, job.owner ? name(job.owner) : h("span", { class: "dim", title: "From the command line or Python" }, "–")));
    rows.set(job.job_id, [text, made]);
    return made;
  }

  function take(page, first) {
    const before = first ? [...jobs.values()] : [];
    if (first) jobs.clear();
    for (const job of page.jobs) jobs.set(job.job_id, job);
    // What lies behind the first page stays as it was seen.
    const last = page.jobs.at(-1);
    const behind = page.next ? before.filter((job) => !jobs.has(job.job_id) && job.submitted_at <= last?.submitted_at) : [];
    for (const job of behind) jobs.set(job.job_id, job);
    if (!behind.length) next = page.next;
  }

  function older() {
    most += PAGE;
    far = jobs.size + FAR;
    fill();
  }

  // Load older jobs until so many fit as are shown.
  async function fill() {
    const missing = () => next && jobs.size < far && [...jobs.values()].filter(fits).length < most;
    if (!filling) {
      try {
        while (missing()) {
          filling = true;
          draw();
          const limit = filter.q || filter.state ? MOST : PAGE;
          take(await api.get("v1/jobs", { limit, cursor: next }, { signal: route.signal }), false);
        }
      } catch (error) {
        if (!route.signal.aborted) replace(note, stale(error));
      }
      filling = false;
    }
    draw();
  }

  // As far back as one hasn't ended.
  async function look() {
    const open = [...jobs.values()].findLastIndex((job) => !ended(job)) + 1;
    const limit = Math.min(Math.max(PAGE, open), MOST);
    take(await api.get("v1/jobs", { limit }, { signal: route.signal }), true);
    fill();
    return [...jobs.values()].every(ended) ? IDLE_MS : BUSY_MS * Math.ceil(limit / 200);
  }

  return keepLooking(look, note, route.signal);
}
