/** The screen where answers wait for somebody to look at them. */

import { questionOf } from "../chat/conversation.js";
import "../correct/answer.js";
import { session } from "../server/session.js";
import { html, nothing, render } from "../vendor/lit-html/lit-html.js";
import { Claims } from "./claims.js";
import { asked, EVERYTHING, filterView } from "./filters.js";
import { heldBack } from "./held_back.js";

/** Shows the screen in `root`; gives what ends it. `tab` is null or `held`. */
export function queue(root, server, tab) {
  const place = document.createElement("div");
  render(
    html`<div class="queue">
      <h1>Queue</h1>
      <nav class="tabs" aria-label="Queue">
        <a href="#/queue" aria-current=${tab === null ? "page" : nothing}>Waiting for a look</a>
        <a href="#/queue/held" aria-current=${tab === "held" ? "page" : nothing}>Held back</a>
      </nav>
      ${place}
    </div>`,
    root,
  );
  if (tab === "held") {
    heldBack(place, server);
    return () => {};
  }
  return waiting(place, server);
}

function waiting(root, server) {
  const claims = new Claims(server, (refusal) => {
    view.note = refusal.message;
    draw();
  });
  const view = { filters: EVERYTHING, known: { versions: [], models: [] }, claim: null, note: "", isBusy: false };
  let isRefiltered = false;

  /** Whether its answer is shown: not while another step is under way, nor where the filters change meanwhile. */
  async function go(step) {
    if (view.isBusy) return false;
    view.isBusy = true;
    try {
      const claim = await step();
      const isMoved = claim.response !== null;
      view.note = isMoved || view.claim === null ? "" : "No other answer that fits is free in this direction.";
      view.claim = isMoved || view.claim === null ? claim : { ...view.claim, num_waiting: claim.num_waiting };
    } catch (error) {
      view.note = error.message;
    }
    view.isBusy = false;
    if (isRefiltered) refilter();
    else draw();
    return !view.isBusy;
  }
  function refilter() {
    isRefiltered = view.isBusy; // then again at the step's end
    if (isRefiltered) return;
    view.claim = null;
    claims.release();
    go(() => claims.first(asked(view.filters)));
  }
  /** For the keys that correct, unless somebody is busy with the filters. */
  function focusAnswer() {
    if (!root.querySelector(".filters :focus")) root.querySelector("errata-answer .answer-text")?.focus();
  }
  async function turn(direction) {
    if (await go(() => claims.step(asked(view.filters), direction))) focusAnswer();
  }
  const act = {
    next: () => turn("next"),
    previous: () => turn("previous"),
    filter(filters) {
      view.filters = filters;
      refilter();
    },
  };
  const listening = new AbortController();
  const { signal } = listening;
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.target.closest("input, select, textarea, [contenteditable]")) return;
    if (root.querySelector("errata-answer")?.isEditing) return;
    if (event.key === "ArrowRight") act.next();
    else if (event.key === "ArrowLeft") act.previous();
  }, { signal });
  addEventListener("pagehide", () => claims.release(), { signal });
  addEventListener("pageshow", ({ persisted }) => {
    if (persisted && view.claim?.response) go(() => claims.again(view.claim.response.id));
  }, { signal });

  function draw() {
    render(screen(server, view, act), root);
  }
  async function readKnown() {
    const [adapters, models] = await Promise.all([server.get("v1/adapters"), server.get("v1/models")]);
    const model = models.data[0].id;
    view.known = { versions: ["base", ...adapters.data.map(({ version }) => version)], models: [model] };
    draw();
  }
  draw();
  readKnown().catch(() => {}); // the filters then offer nothing to choose
  go(() => claims.first(asked(view.filters))).then((isShown) => isShown && focusAnswer());
  return () => {
    listening.abort();
    claims.release();
  };
}

function screen(server, view, act) {
  const response = view.claim?.response;
  return html`${filterView(view.filters, view.known, act.filter)}
    <div class="pages">
      <button type="button" @click=${act.previous}><kbd aria-hidden="true">←</kbd> Newer</button>
      <p role="status" class="quiet">${view.claim ? html`${view.claim.num_waiting} waiting` : "Looking…"}${view.note ? html`. ${view.note}` : nothing}</p>
      <button type="button" @click=${act.next}>Older <kbd aria-hidden="true">→</kbd></button>
    </div>
    ${
      response
        ? html`<article class="queue-item">
            <p class="quiet">${new Date(response.created * 1000).toLocaleString()}${response.user ? html` · ${response.user}` : nothing}</p>
            <p class="asked">${questionOf(response).question}</p>
            <errata-answer .isBeside=${true} .server=${server} .author=${session.name} .record=${response}></errata-answer>
          </article>`
        : nothing
    }
    ${view.claim && !response ? html`<p class="empty">Nothing is waiting for a look.</p>` : nothing}`;
}
