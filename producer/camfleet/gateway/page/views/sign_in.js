// Asking for a token: shown instead of a view, or before it, at the same address.

import * as api from "../api.js";
import { h, replace } from "../dom.js";

export function signIn(root, signedIn, why) {
  const field = h("input", { id: "token", type: "password", autocomplete: "current-password", required: true, spellcheck: "false", placeholder: "cf_…", "aria-describedby": "token-problem" });
  const problem = h("p", { id: "token-problem", class: "problem", role: "alert" });
  const button = h("button", { class: "main", type: "submit" }, "Sign in");
  async function submit(event) {
    event.preventDefault();
    button.disabled = true;
    replace(problem);
    try {
      const session = await api.send("POST", "v1/session", { token: field.value.trim() });
      field.value = "";
      signedIn(session);
    } catch (error) {
      replace(problem, error.message);
      field.select();
    } finally {
      button.disabled = false;
    }
  }
  const form = h("form", { class: "sign-in panel", on: { submit } },
    h("h1", {}, "Sign in"), why && h("p", { role: "status" }, why),
    h("label", { for: "token" }, "Token"),
    field,
    button,
    problem,
    h("p", { class: "dim" }, "Whoever runs this gateway makes one: ", h("code", {}, "camfleet tokens create --owner NAME")));
  replace(root, h("div", { class: "view" }, form));
  field.focus();
}
