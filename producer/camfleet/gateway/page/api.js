// Requests to the gateway, by addresses relative to the page.

// What an answer says that went wrong: a problem document, or that there was no answer at all.
export class Problem extends Error {
  constructor({ status, code, detail, title }, retryAfter = null) {
    super(detail || title || `status ${status}`);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter; // seconds, or null
  }
}

const SESSION = "v1/session";
let askAgain = null; // asks for a token: a promise that's kept once the same person is signed in
let closed = null; // that promise, while it isn't kept

export function onSessionEnd(callback) {
  askAgain = callback;
}

// The session is over: whatever is asked waits until the person has signed in again, then goes on.
const ended = () => (closed ??= askAgain().then(() => { closed = null; }));

// Return the relative address of a path, with a query; lists repeat their name.
export function url(path, query = {}) {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") given.append(name, one);
    }
  }
  const text = given.toString();
  return text ? `${path}?${text}` : path;
}

// Make a path of words that others chose: path("v1/jobs", job, "events"). Browsers would take dots
// for a step to another path, however they're written.
export function path(start, ...words) {
  if (words.some((word) => word === "." || word === "..")) throw new Problem({ status: 404, code: "not_found", detail: "Dots are no name." });
  return [start, ...words.map(encodeURIComponent)].join("/");
}

// Return the Response of a request; throw a Problem for an error.
export async function request(method, address, { body, headers = {}, signal, cache = "no-cache" } = {}) {
  const own = address === SESSION;
  while (closed && !own) await closed;
  let answer;
  try {
    answer = await fetch(address, { method, body, headers, signal, credentials: "same-origin", cache });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ status: 0, code: "no_answer", detail: "The gateway doesn't answer. Is it running, and are you online?" });
  }
  if (answer.ok || answer.status === 304) return answer;
  const problem = await readProblem(answer);
  if (problem.status !== 401 || own) throw problem;
  await ended();
  return request(method, address, { body, headers, signal, cache });
}

async function readProblem(answer) {
  const seconds = Number.parseInt(answer.headers.get("Retry-After") ?? "", 10);
  const retryAfter = Number.isNaN(seconds) ? null : seconds;
  try {
    return new Problem({ ...(await answer.json()), status: answer.status }, retryAfter);
  } catch {
    const detail = `The gateway, or a proxy before it, answered with status ${answer.status}.`;
    return new Problem({ status: answer.status, code: "no_problem_document", detail }, retryAfter);
  }
}

// Return the JSON of a GET.
export async function get(address, query = {}, options = {}) {
  return (await request("GET", url(address, query), options)).json();
}

// Send a plain object as JSON (or a Blob as it is) and return the JSON that comes, if any.
export async function send(method, address, body, { headers = {}, signal } = {}) {
  const plain = body !== undefined && !(body instanceof Blob);
  const answer = await request(method, address, {
    body: plain ? JSON.stringify(body) : body,
    headers: plain ? { "Content-Type": "application/json", ...headers } : headers,
    signal,
  });
  return answer.status === 204 ? null : answer.json();
}

// Send a file with `progress(share)` from 0 to 1: fetch doesn't tell.
export function upload(address, file, type, { progress = () => {}, signal } = {}) {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    sending.open("POST", address);
    sending.setRequestHeader("Content-Type", type);
    sending.responseType = "text";
    sending.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    sending.onload = () => {
      let found = null;
      try {
        found = JSON.parse(sending.responseText);
      } catch {
        found = { detail: `The gateway, or a proxy before it, answered with status ${sending.status}.` };
      }
      if (sending.status >= 200 && sending.status < 300) return resolve(found);
      if (sending.status === 401) return resolve(ended().then(() => upload(address, file, type, { progress, signal })));
      return reject(new Problem({ ...found, status: sending.status }));
    };
    sending.onerror = () => reject(new Problem({ status: 0, code: "no_answer", detail: "The upload was cut off. Try again." }));
    sending.onabort = () => reject(new DOMException("aborted", "AbortError"));
    signal?.addEventListener("abort", () => sending.abort(), { once: true });
    sending.send(file);
  });
}

let stream = null; // one per page: browsers open few connections to a server

// Follow a job: `told(progress)` at every change, also the last. Return a function that stops.
// `lost(text)` says that the connection broke, and with null that it's there again.
export function follow(job, told, lost = () => {}) {
  stream?.close();
  const mine = new EventSource(path("v1/jobs", job, "events"));
  stream = mine;
  const read = (event) => {
    lost(null);
    told(JSON.parse(event.data));
  };
  mine.addEventListener("progress", read);
  mine.addEventListener("end", (event) => {
    mine.close();
    read(event);
  });
  mine.addEventListener("error", async ({ data }) => {
    if (data) mine.close();
    if (mine.readyState !== EventSource.CLOSED) return lost("The connection broke; trying again.");
    lost(data ? JSON.parse(data).detail : "The job can't be followed any more.");
    // It may be that the session has ended, of which an EventSource says nothing.
    if ((await get(SESSION).catch(() => "unknown")) !== null) return;
    await ended();
    if (stream === mine) again = follow(job, told, lost);
  });
  let again = () => {
    mine.close();
    if (stream === mine) stream = null;
  };
  return () => again();
}
