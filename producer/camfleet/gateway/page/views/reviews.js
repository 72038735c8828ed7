// Reviews of new versions of models: how each stands, its course over versions, and who changed it.

import * as api from "../api.js";
import { dialog } from "../dialogs.js";
import { ago, empty, fact, failed, h, head, modelLink, name, number, panel, percent, replace, short, svg, term } from "../dom.js";
import { moved, scale } from "../scale.js";

const VERDICTS = { pass: "Nothing is beyond a limit", moved: "Maps, lost evidence or classes are beyond a limit, or a suspicious place is new", undecidable: "Nothing can be said", set_changed: "More than 1 % of the images have changed or are gone", failed: "Results are missing, or images failed" };
const DONE = { began: "began it", created: "made it", accepted: "accepted a new baseline", paused: "paused it", resumed: "let it go on", deleted: "deleted it" };

const model = ({ id, version }) => `${id}@${version}`;
const word = (verdict) => h("span", { class: `tag ${verdict}`, title: VERDICTS[verdict] }, verdict.replace("_", " "));

export async function show(root, route, app) {
  if (route.params.review) return one(root, route, app);
  app.title("Reviews");
  const { reviews } = await api.get("v1/reviews", {}, { signal: route.signal });
  const top = head("Reviews", h("p", { class: "dim" }, number(reviews.length)));
  if (!reviews.length) {
    replace(root, top, empty("No reviews yet", "A review asks of each new version of a model whether it still looks at the same things.", h("code", {}, "camfleet review create NAME SOURCE --baseline MODEL")));
    return;
  }
  const histories = await Promise.all(reviews.map(({ review }) => api.get(api.path("v1/reviews", review.name, "history"), {}, { signal: route.signal }).catch(() => ({ verdicts: [] }))));
  replace(root, top, h("div", { class: "cards" }, reviews.map((row, i) => {
    const { review, verdict } = row;
    return h("section", { class: "panel" },
      h("div", { class: "spread" }, h("h2", {}, h("a", { href: app.address("/reviews/:review", { review: review.name }) }, name(review.name))), verdict ? word(verdict.verdict) : h("span", { class: "dim" }, "never run")),
      course(histories[i].verdicts),
      h("dl", { class: "facts" }, facts(row)),
      review.paused && h("p", { class: "note" }, "Paused: it runs only where somebody asks for that."));
  })));
}

function facts({ review, state, verdict, due }) {
  return [
    fact("Baseline", modelLink(model(review.baseline.model))),
    verdict && fact("Latest", modelLink(model(verdict.model)), " ", ago(verdict.decided_at)),
    state.run && (!verdict || verdict.run !== state.run.run) && fact("Started", modelLink(model(state.run.model))),
    state.trouble && fact(h("span", { class: "bad" }, "Trouble"), h("span", { dir: "auto" }, state.trouble.reason), " ", ago(state.trouble.at)),
    fact("Images", review.set ? number(review.set.items) : "not complete"),
    fact("Next", due ? [new Date(due) < Date.now() ? "due since " : "", new Date(due).toLocaleString()] : review.on_register ? "with the next version" : "when somebody asks for it"),
    review.schedule && fact("Schedule", h("code", {}, review.schedule.cron), ` ${review.schedule.timezone}`),
  ];
}

// Movement over versions, the oldest first, with intervals and the limit as a line.
function course(verdicts) {
  const found = verdicts.filter((one) => one.movement).slice(0, 24).reverse();
  if (!found.length) return h("p", { class: "dim" }, "No movement measured yet.");
  const most = Math.max(0.5, ...found.flatMap(({ movement, limit }) => [movement.high, limit])) * 1.1;
  const x = (i) => 24 + ((i + 0.5) / found.length) * 276;
  const y = (value) => 100 - (Math.max(0, value) / most) * 92;
  const limits = found.map(({ limit }, i) => `${x(i) - 138 / found.length},${y(limit)} ${x(i) + 138 / found.length},${y(limit)}`).join(" ");
  return svg("svg", { class: "course", viewBox: "0 0 300 120", role: "img", "aria-label": found.map((one) => `${model(one.model)} moved by ${moved(one.movement.value)}, limit ${short(one.limit)}`).join("; ") },
    svg("line", { x1: 24, x2: 300, y1: 100, y2: 100, stroke: "var(--line)" }),
    svg("text", { x: 0, y: 104 }, "0"), svg("text", { x: 0, y: y(most) + 8 }, short(most)),
    svg("polyline", { points: limits, fill: "none", stroke: "var(--bad)", "stroke-dasharray": "4 3" }),
    svg("polyline", { points: found.map((one, i) => `${x(i)},${y(one.movement.value)}`).join(" "), fill: "none", stroke: "var(--accent)" }),
    found.map((one, i) => svg("g", {},
      svg("title", {}, `${model(one.model)}: ${one.verdict}, ${moved(one.movement.value)} (${moved(one.movement.low)} to ${moved(one.movement.high)})`),
      svg("line", { x1: x(i), x2: x(i), y1: y(one.movement.low), y2: y(one.movement.high), stroke: "var(--accent)", "stroke-width": 2 }),
      svg("circle", { cx: x(i), cy: y(one.movement.value), r: 4, fill: one.verdict === "pass" ? "var(--good)" : "var(--bad)" }),
      found.length < 9 && svg("text", { x: x(i), y: 116, "text-anchor": "middle" }, one.model.version.slice(0, 10)))));
}

async function one(root, route, app) {
  const { review: id } = route.params;
  const path = api.path("v1/reviews", id);
  const options = { signal: route.signal };
  app.title(`Review ${id}`);
  const [row, { changes, verdicts }] = await Promise.all([api.get(path, {}, options), api.get(`${path}/history`, {}, options)]);
  const { review, verdict } = row;
  const told = h("div", { class: "notes" });
  const act = async (verb, body, done) => {
    replace(told, h("p", { class: "note" }, "One moment …"));
    try {
      await api.send("POST", `${path}/${verb}`, body);
      app.say(done);
      await one(root, route, app);
    } catch (error) {
      replace(told, failed(error));
    }
  };
  const entries = [...changes.map((each) => [each.changed_at, each]), ...verdicts.map((each) => [each.decided_at, each])].sort(([a], [b]) => b.localeCompare(a));
  const limits = Object.entries(review.limits).filter(([, value]) => value !== null);
  replace(root,
    head(["Review ", name(id)], verdict && word(verdict.verdict), h("div", { class: "actions" },
      h("button", { class: "main", on: { click: () => act("run", {}, "Started") } }, "Run it"),
      verdict && h("button", { on: { click: () => ask(`Accept ${model(verdict.model)}?`, "It becomes the baseline, after its noise was measured. The set and the first baseline stay.", "Accept", true, (reason) => act("accept", { reason, model: model(verdict.model) }, "Accepted")) } }, "Accept"),
      h("button", { on: { click: () => ask(review.paused ? "Let it go on?" : "Pause this review?", review.paused ? "It runs by itself again; what was missed isn't made up for." : "It then runs only where somebody asks for that.", review.paused ? "Go on" : "Pause", false, (reason) => act("pause", { paused: !review.paused, ...(reason && { reason }) }, review.paused ? "Goes on" : "Paused")) } }, review.paused ? "Go on" : "Pause"))),
    told,
    verdict && h("section", { class: "panel" }, h("p", { class: `verdict ${verdict.verdict}` }, h("b", {}, verdict.verdict.replace("_", " ")), ` · ${model(verdict.model)} beside ${model(verdict.baseline)}`),
      verdict.reasons.map((text) => h("p", { dir: "auto" }, text)), verdict.movement && scale({ ...verdict.movement, limit: verdict.limit }), pages(path, verdict)),
    h("div", { class: "columns" },
      panel("Movement over versions", course(verdicts)),
      panel("What is reviewed", h("dl", { class: "facts" }, facts(row),
        [h("dt", {}, "First baseline"), h("dd", {}, name(model(review.first.model))), h("dt", {}, "Source"), h("dd", {}, review.sources.map((text) => h("div", {}, name(text)))),
          h("dt", {}, "Limits"), h("dd", {}, limits.length ? limits.map(([key, value]) => `${key} ${key === "places" ? number(value) : percent(value, 0)}`).join(", ") : "as usual"),
          h("dt", {}, term("Job", "The baseline's: its maps are what others are compared with.")), h("dd", {}, h("a", { href: app.address("/jobs/:job/gallery", { job: review.baseline.job_id }) }, name(review.baseline.job_id)))])),
      panel("History", h("ul", { class: "timeline" }, entries.map(([time, each]) => h("li", {}, ago(time), h("div", {},
        each.verdict ? [word(each.verdict), " ", name(model(each.model)), each.movement && ` moved by ${moved(each.movement.value)}`, each.reasons.slice(0, 3).map((text) => h("p", { class: "dim", dir: "auto" }, text)), pages(path, each)]
          : [name(each.user), ` ${DONE[each.action] ?? each.action}`, each.reason && h("p", { class: "dim", dir: "auto" }, each.reason)])))))));
}

function pages(path, { run, page, first_page: first }) {
  const link = (file, text) => h("a", { href: `${path}/runs/${run}/${file}`, target: "_blank", rel: "noopener" }, text);
  return h("p", {}, page && link("index.html", "Comparison with the baseline"), first && [" · ", link("first-index.html", "with the first one")]);
}

// Ask for a reason, then act.
function ask(title, text, action, required, then) {
  const reason = h("textarea", { rows: 3, maxlength: 1000, required, "aria-label": "Reason", placeholder: required ? "Why" : "Why, if you like" });
  dialog(title, [h("p", {}, text), h("form", { method: "dialog" }, reason, h("div", { class: "actions" },
    h("button", { formnovalidate: true }, "Not now"), h("button", { class: "main", value: "yes" }, action)))],
  (value) => value === "yes" && then(reason.value.trim()));
}
