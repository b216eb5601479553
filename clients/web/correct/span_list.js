/** Changes in a row, as the editor shows them and as a stored correction tells them. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { KINDS, kindOf } from "./kinds.js";

/** What became of some words, and of what kind that was. */
export function spanView(removed, replacement, kind) {
  return html`<span class="span"
    >${removed ? html`<del>${removed}</del>` : nothing}${removed && replacement ? " " : nothing}${
      replacement ? html`<ins>${replacement}</ins>` : nothing
    }${kind ? html` <span class="kind" data-kind=${kind}>${kind}</span>` : nothing}</span
  >`;
}

/** A stored correction's spans, with the words they replaced. */
export function storedSpans({ served_text, spans }) {
  const points = [...served_text];
  return html`<ul class="spans">
    ${spans.map(
      ({ start, end, replacement, kind }) =>
        html`<li>${spanView(points.slice(start, end).join(""), replacement, kind)}</li>`,
    )}
  </ul>`;
}

/** Each change with its kinds to choose from: by its number, or as radio buttons. */
export function choices(changes, choose) {
  return html`<ol class="changes">
    ${changes.map(
      (change, index) => html`<li @keydown=${(event) => byKey(event, changes, index, choose)}>
        ${spanView(change.removed, change.replacement)}
        <fieldset>
          <legend class="only-heard">What kind of mistake was “${change.removed || change.replacement}”?</legend>
          ${KINDS.map(
            (kind, number) => html`<label data-kind=${kind}
              ><input
                type="radio"
                name="kind-${index}"
                .checked=${change.kind === kind}
                @change=${() => choose(change, kind)}
              /><span><kbd aria-hidden="true">${number + 1}</kbd>${kind}</span></label
            >`,
          )}
        </fieldset>
      </li>`,
    )}
  </ol>`;
}

function byKey(event, changes, index, choose) {
  const kind = kindOf(event);
  if (!kind || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const rows = event.currentTarget.parentElement.children;
  choose(changes[index], kind);
  rows[Math.min(index + 1, rows.length - 1)]?.querySelector("input")?.focus();
}
