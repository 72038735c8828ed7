// What views ask about models.

import * as api from "./api.js";

export const METHODS = ["gradcam", "cam", "hirescam", "layercam", "xgradcam", "gradcam++"];

// Return those that can be used: {id, version, aliases, ...}.
export async function usable(signal) {
  const { models } = await api.get("v1/models", {}, { signal });
  return models.filter((model) => model.usable && !model.removing);
}

const known = new Map(); // promises, by what the models are called

// Return a model's labels, report and so on; what came once stays.
export function details(model) {
  if (!known.has(model)) {
    const found = api.get(api.path("v1/models", model));
    found.catch(() => known.delete(model));
    known.set(model, found);
  }
  return known.get(model);
}

// The bare id for what it stands for, id@version for all others.
export const called = ({ id, version, aliases }) => (aliases.includes("champion") ? id : `${id}@${version}`);
