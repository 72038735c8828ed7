// With which job to compare one, asked in a dialog.

import * as api from "./api.js";
import { dialog } from "./dialogs.js";
import { field, h } from "./dom.js";
import { done } from "./progress.js";

// Ask for an earlier job, or of a job of several models for these, and go to the comparison.
export async function askOther(id, app) {
  const [{ jobs }, { models }] = await Promise.all([
    api.get("v1/jobs", { limit: 100 }).catch(() => ({ jobs: [] })),
    api.get(api.path("v1/jobs", id, "about")).catch(() => ({ models: [] })),
  ]);
  const others = jobs.filter((job) => job.job_id !== id && done(job) > 0 && !job.pruned_at);
  const baseline = h("input", { id: "baseline", list: "others", required: true, spellcheck: "false", autocomplete: "off", placeholder: "the id of a job" });
  const go = (other) => {
    asking.close();
    app.go(app.address("/compare/:baseline/:job", { baseline: other, job: id }));
  };
  const submit = (event) => {
    event.preventDefault();
    go(baseline.value.trim());
  };
  const asking = dialog("Compare with an earlier job", [
    h("p", { class: "dim" }, "Of the same images: how far did the model's look move?"),
    h("form", { class: "submit", on: { submit } }, field(baseline, "Earlier job"),
      h("datalist", { id: "others" }, others.map((job) => h("option", { value: job.job_id }, job.models.join(", ")))),
      h("div", { class: "actions" }, models.length > 1 && h("button", { type: "button", on: { click: () => go(id) } }, "Its own models"),
        h("button", { type: "button", on: { click: () => asking.close() } }, "Close"), h("button", { class: "main", type: "submit" }, "Compare")))]);
}
