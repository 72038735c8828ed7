// What views ask about models.

import * as api from "./api.js";

export const METHODS = ["gradcam", "cam", "hirescam", "layercam", "xgradcam", "gradcam++"];

// Return those that can be used: {id, version, aliases, ...}.
export async function usable(signal) {
  const { models } = await api.get("v1/models", {}, { signal });
  return models.filter((model) => model.usable && !model.removing);
}

// The bare id for what it stands for, id@version for all others.
export const called = ({ id, version, aliases }) => (aliases.includes("champion") ? id : `${id}@${version}`);
