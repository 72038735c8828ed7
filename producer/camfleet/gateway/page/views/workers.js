// The live workers, and what each does; looked at again every few seconds.

import * as api from "../api.js";
import { ago, empty, fact, h, head, jobLink, name, number, replace, term } from "../dom.js";
import { keepLooking } from "../looking.js";

const AGAIN_MS = 3000;

export async function show(root, route, app) {
  app.title("Workers");
  const body = h("div", {});
  const told = h("p", { class: "dim" });
  const note = h("div", {});
  replace(root, head("Workers", told), note, body);
  async function look() {
    draw((await api.get("v1/workers", {}, { signal: route.signal })).workers);
    return AGAIN_MS;
  }

  function draw(workers) {
    const rate = workers.reduce((sum, worker) => sum + worker.images_per_second, 0);
    replace(told, workers.length ? `${number(workers.length)}, together ${rate.toFixed(1)} images/s` : "");
    replace(body, workers.length ? h("div", { class: "cards" }, workers.sort((a, b) => a.name.localeCompare(b.name)).map(card))
      : empty("No worker lives", "Jobs and questions wait until one does.", h("code", {}, "celery -A camfleet_worker worker")));
  }

  return keepLooking(look, note, route.signal);
}

function card(worker) {
  const busy = worker.chunks.length > 0 || worker.interactive > 0;
  const list = (texts) => texts.map((text) => h("div", {}, name(text)));
  const [sign, state] = worker.trouble ? ["✕", "takes no work"] : worker.waits_for ? ["◔", "waits"] : busy ? ["◐", "busy"] : ["○", "idle"];
  return h("section", { class: "panel" },
    h("div", { class: "spread" }, h("h2", {}, name(worker.name)), h("span", { class: worker.trouble ? "bad" : worker.waits_for ? "warn" : busy ? "good" : "dim" }, h("span", { "aria-hidden": "true" }, `${sign} `), state)),
    worker.trouble && h("p", { class: "note bad", dir: "auto" }, worker.trouble),
    worker.waits_for && h("p", { class: "note", dir: "auto" }, `Waiting: ${worker.waits_for}`),
    h("dl", { class: "facts" },
      fact("In work", busy ? [worker.chunks.map((chunk) => h("div", {}, chunkLink(chunk))), worker.interactive > 0 && `${number(worker.interactive)} interactive`] : h("span", { class: "dim" }, "nothing")),
      fact(term("Rate", "Over the last few heartbeats."), `${worker.images_per_second.toFixed(1)} images/s, ${number(worker.images)} since it started`),
      fact("Device", worker.device, worker.slots ? `, ${worker.slots} chunks at a time` : ""),
      fact("Models in memory", worker.models.length ? list(worker.models) : h("span", { class: "dim" }, "none")),
      fact("Reads", worker.file_roots?.length || worker.s3_roots?.length ? list([...(worker.file_roots ?? []), ...(worker.s3_roots ?? [])]) : h("span", { class: "dim" }, "the bucket only")),
      fact("Version", worker.version ?? "0.1.0"),
      fact("Started", ago(worker.started_at), h("span", { class: "dim" }, ` process ${worker.pid}`))),
    worker.lacks?.length > 0 && h("details", {}, h("summary", { class: "warn" }, "Its machine lacks"), h("ul", {}, list(worker.lacks))));
}

function chunkLink(chunk) {
  const found = /^job (\S+) (.*)$/.exec(chunk);
  return found ? [jobLink(found[1]), ` ${found[2]}`] : name(chunk);
}
