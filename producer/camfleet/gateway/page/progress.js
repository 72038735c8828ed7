// A job's progress as elements; the table of jobs and a job's page share them.

import { duration, h, number, svg, term } from "./dom.js";

const STATES = {
  queued: ["○", "dim", "Waiting for a worker"],
  running: ["◐", "", "In work"],
  complete: ["●", "good", "Every image is counted"],
  cancelled: ["✕", "dim", "Stopped before its end; what was done stays"],
};

// The state, by sign, colour and word.
export function state({ state: name, failed, total, pruned_at: pruned }) {
  const [sign, style, meaning] = STATES[name] ?? ["?", "", name];
  const told = pruned ? "deleted" : name;
  return h("span", { class: `job-state ${name === "complete" && failed ? (failed === total ? "bad" : "warn") : style}`, title: pruned ? "Its results were deleted, its report stays" : meaning }, h("span", { "aria-hidden": "true" }, `${sign} `), told);
}

export const done = (job) => job.ok + job.no_evidence + job.failed;
export const ended = (job) => job.state === "complete" || job.state === "cancelled";

// A bar of what is done, by how it ended, and what is in work.
export function meter(job) {
  const share = (count) => ({ "--share": job.total ? count / job.total : 0 });
  const text = `${number(done(job))} of ${number(job.total)} images, ${number(job.failed)} failed`;
  return h("div", { class: "meter", role: "img", "aria-label": text, title: text },
    h("i", { style: share(job.ok) }), h("i", { class: "faint", style: share(job.no_evidence) }),
    h("i", { class: "bad", style: share(job.failed) }), h("i", { class: "busy", style: share(job.in_work) }));
}

export function rate(job) {
  if (!job.images_per_second) return "–";
  const perSecond = job.images_per_second;
  return `${perSecond < 10 ? perSecond.toFixed(1) : number(Math.round(perSecond))}/s`;
}

export const left = (job) => (ended(job) ? "–" : duration(job.seconds_left));

export const FATES = [
  ["ok", "ok", "An explanation was written"],
  ["no_evidence", "no evidence", "Nothing in the image speaks for the class: the map is nowhere above 0"],
  ["failed", "failed", "By an error of the image's own; its row says which"],
];

export const fate = ([, text, meaning]) => term(text, meaning);

// A few numbers over time as a line: rate while one looks.
export function sparkline(values, label) {
  const most = Math.max(...values, 1e-9);
  const points = values.map((value, i) => `${(i / Math.max(1, values.length - 1)) * 100},${30 - (value / most) * 28}`).join(" ");
  return svg("svg", { class: "spark", viewBox: "0 0 100 32", preserveAspectRatio: "none", role: "img", "aria-label": label },
    svg("polyline", { points, fill: "none", stroke: "currentColor", "stroke-width": 1.5, "vector-effect": "non-scaling-stroke" }));
}
