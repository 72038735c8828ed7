// The live workers, and what each does; looked at again every few seconds.

import * as api from "../api.js";
import { ago, empty, fact, h, name, number, replace, term } from "../dom.js";

const AGAIN_MS = 3000;

export async function show(root, route, app) {
  app.title("Workers");
  let timer = 0;
  const body = h("div", {});
  const told = h("p", { class: "dim" });
  const note = h("div", {});
  replace(root, h("div", { class: "head" }, h("h1", {}, "Workers"), told), note, body);
  let first = true;

  async function look() {
    try {
      if (first || !document.hidden) draw((await api.get("v1/workers", {}, { signal: route.signal })).workers);
      replace(note);
    } catch (error) {
      if (route.signal.aborted) return;
      if (first) throw error;
      replace(note, h("p", { class: "note bad", role: "status" }, `Not up to date: ${error.message}`));
    }
    first = false;
    timer = setTimeout(look, AGAIN_MS);
  }

  function draw(workers) {
    const rate = workers.reduce((sum, worker) => sum + worker.images_per_second, 0);
    replace(told, workers.length ? `${number(workers.length)}, together ${rate.toFixed(1)} images/s` : "");
    replace(body, workers.length ? h("div", { class: "cards" }, workers.sort((a, b) => a.name.localeCompare(b.name)).map((worker) => card(worker, app)))
      : empty("No worker lives", "Jobs and questions wait until one does.", h("code", {}, "celery -A camfleet_worker worker")));
  }

  await look();
  return () => clearTimeout(timer);
}

function card(worker, app) {
  const busy = worker.chunks.length > 0 || worker.interactive > 0;
  const list = (texts) => texts.map((text) => h("div", {}, name(text)));
  const [sign, state] = worker.trouble ? ["✕", "takes no work"] : worker.waits_for ? ["◔", "waits"] : busy ? ["◐", "busy"] : ["○", "idle"];
  return h("section", { class: "panel" },
    h("div", { class: "spread" }, h("h2", {}, name(worker.name)), h("span", { class: worker.trouble ? "bad" : worker.waits_for ? "warn" : busy ? "good" : "dim" }, h("span", { "aria-hidden": "true" }, `${sign} `), state)),
    worker.trouble && h("p", { class: "note bad", dir: "auto" }, worker.trouble),
    worker.waits_for && h("p", { class: "note", dir: "auto" }, `Waiting: ${worker.waits_for}`),
    h("dl", { class: "facts" },
      fact("In work", busy ? [worker.chunks.map((chunk) => h("div", {}, chunkLink(chunk, app))), worker.interactive > 0 && `${number(worker.interactive)} interactive`] : h("span", { class: "dim" }, "nothing")),
      fact(term("Rate", "Over the last few heartbeats."), `${worker.images_per_second.toFixed(1)} images/s, ${number(worker.images)} since it started`),
      fact("Device", worker.device, worker.slots ? `, ${worker.slots} chunks at a time` : ""),
      fact("Models in memory", worker.models.length ? list(worker.models) : h("span", { class: "dim" }, "none")),
      fact("Reads", worker.file_roots?.length || worker.s3_roots?.length ? list([...(worker.file_roots ?? []), ...(worker.s3_roots ?? [])]) : h("span", { class: "dim" }, "the bucket only")),
      fact("Version", worker.version ?? "0.1.0"),
      fact("Started", ago(worker.started_at), h("span", { class: "dim" }, ` process ${worker.pid}`))),
    worker.lacks?.length > 0 && h("details", {}, h("summary", { class: "warn" }, "Its machine lacks"), h("ul", {}, list(worker.lacks))));
}

function chunkLink(chunk, app) {
  const found = /^job (\S+) (.*)$/.exec(chunk);
  return found ? [h("a", { href: app.address("/jobs/:job", { job: found[1] }) }, name(found[1])), ` ${found[2]}`] : name(chunk);
}
