/** Where a person gives a key, and a name if they like. Both stay in this tab. */

import { html, nothing, render } from "../vendor/lit-html/lit-html.js";
import { session } from "../server/session.js";

/** `onDone` is called when the server knows the key. */
export function signIn(root, server, onDone, reason = null) {
  let problem = reason;
  async function submit(event) {
    event.preventDefault();
    const { key, name } = event.currentTarget.elements;
    const given = key.value.trim();
    try {
      await server.as(() => given).get("v1/models");
      session.signIn(given, name.value.trim());
      onDone();
    } catch (error) {
      problem = error.message;
      draw();
    }
  }
  function draw() {
    render(
      html`<form class="sign-in" @submit=${submit}>
        <h1>Sign in</h1>
        <p class="quiet">
          With a key of this server (<code>errata keys create --scope chat --scope feedback</code>). It stays in this tab and goes when you
          close it.
        </p>
        <label>Key <input name="key" type="password" autocomplete="off" required placeholder="sk-errata-…" /></label>
        <label>Name <input name="name" type="text" maxlength="200" autocomplete="name" placeholder="optional; kept with your corrections" .value=${session.name} /></label>
        ${problem ? html`<p class="notice is-problem" role="alert">${problem}</p>` : nothing}
        <button type="submit" class="is-main">Sign in</button>
      </form>`,
      root,
    );
  }
  draw();
  root.querySelector("input").focus();
  return () => {};
}
