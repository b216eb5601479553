/** Corrections in quarantine: shown with the reason, to be released or rejected by an admin. */

import { storedSpans } from "../correct/span_list.js";
import { html, nothing, render } from "../vendor/lit-html/lit-html.js";

export function heldBack(root, server) {
  const view = { waiting: null, problem: null };
  async function read() {
    try {
      view.waiting = (await server.get("v1/reviews")).data;
    } catch (error) {
      view.problem = error.status === 403 ? "Only a key with the scope admin may settle these." : error.message;
    }
    draw();
  }
  async function settle(correction, decision) {
    try {
      await server.post(`v1/reviews/${correction.id}`, { decision });
      view.problem = null;
    } catch (error) {
      view.problem = error.message;
    }
    await read();
    root.querySelector("h2").focus();
  }
  function draw() {
    render(
      html`<h2 tabindex="-1">Held back</h2>
        <p class="quiet">These teach nothing until they are released. What is rejected never will.</p>
        ${view.problem ? html`<p class="notice is-problem" role="alert">${view.problem}</p>` : nothing}
        ${view.waiting?.length === 0 ? html`<p class="empty">Nothing is held back.</p>` : nothing}
        ${(view.waiting ?? []).map((correction) => one(correction, settle))}`,
      root,
    );
  }
  draw();
  read();
}

function one(correction, settle) {
  const { explanation, questioned, author, source, served_text } = correction;
  return html`<article class="card">
    <p class="card-text">${served_text}</p>
    ${storedSpans(correction)}
    <p class="quiet">
      ${sentence(explanation)}${questioned.length ? html` In question: ${questioned.map((phrase) => html`<q>${phrase}</q> `)}` : nothing}
      From ${author ? html`<strong>${author}</strong> by ` : nothing}<code>${source}</code>.
    </p>
    <div class="answer-tools">
      <button type="button" @click=${() => settle(correction, "release")}>Release</button>
      <button type="button" @click=${() => settle(correction, "reject")}>Reject</button>
    </div>
  </article>`;
}

function sentence(text) {
  return text ? `${text[0].toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}` : "";
}
