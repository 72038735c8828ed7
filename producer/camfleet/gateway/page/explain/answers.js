// Questions about one image, and what came: rows, photographs, maps. What came once stays.

import * as api from "../api.js";
import { HeatMap, npy } from "../heat.js";

const POLL_MS = 1000;

export class Answers {
  constructor() {
    this.files = new Map(); // the photographs of this window, by the URI of their upload: blob URLs
    this.answers = new Map(); // by the question as JSON
    this.maps = new Map(); // by answer and rank
  }

  // Upload a file and return its URI; `progress` is told the share.
  async upload(file, options) {
    const type = file.type.startsWith("image/") ? file.type : "application/octet-stream";
    const { uri } = await api.upload("v1/uploads", file, type, options);
    if (!this.files.has(uri)) this.files.set(uri, URL.createObjectURL(file));
    return uri;
  }

  // Return {id, results} of {image, model, ...}; `slow()` is told where that takes a while.
  async ask(question, signal, slow) {
    const key = JSON.stringify(question);
    if (!this.answers.has(key)) {
      const timer = setTimeout(slow, 300);
      try {
        this.answers.set(key, await this.#ask(question, signal));
      } finally {
        clearTimeout(timer);
      }
    }
    return this.answers.get(key);
  }

  // The photograph of an address comes from the worker, as an overlay without heat: it's upright
  // and decoded. That of this window is there.
  async #ask(question, signal) {
    const wanted = this.files.has(question.image)
      ? { pictures: ["raw"] } : { pictures: ["raw", "overlay"], opacity: 0, max_side: 1600 };
    const response = await api.request("POST", "v1/explain", {
      body: JSON.stringify({ ...question, ...wanted }),
      signal, headers: { "Content-Type": "application/json", Prefer: "wait=20" },
    });
    let answer = await response.json();
    while (!answer.results) {
      await pause(POLL_MS, signal);
      answer = await api.get(api.path("v1/answers", answer.id), {}, { signal });
    }
    return answer;
  }

  // Show a question's photograph.
  async photograph(photo, question, { id, results: [first] }, signal) {
    const { image } = question;
    const show = (answer) => photo.show(this.files.get(image) ?? api.path("v1/answers", answer, "0", "overlay"), `The photograph ${image}`);
    if (first.status === "failed" && !this.files.has(image)) return;
    try {
      await show(id);
    } catch {
      if (!this.files.has(image)) throw new Error("The photograph can't be shown.");
      this.files.delete(image); // this browser can't decode it: have a worker do so
      await show((await this.#ask(question, signal)).id);
    }
  }

  // Return the map of a row, null where it has none.
  async map(answer, row) {
    const key = `${answer.id} ${row.rank}`;
    if (row.raw_uri && !this.maps.has(key)) {
      const raw = await api.request("GET", api.path("v1/answers", answer.id, String(row.rank), "raw"));
      this.maps.set(key, new HeatMap({ ...npy(await raw.arrayBuffer()), geometry: row.geometry, rawMax: row.raw_max }));
    }
    return this.maps.get(key) ?? null;
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => { clearTimeout(timer); reject(new DOMException("aborted", "AbortError")); }, { once: true });
  });
}
