/** Which answers are looked at: by version, day and whether somebody has said anything about them. */

import { html } from "../vendor/lit-html/lit-html.js";

export const EVERYTHING = { adapter: "", model: "", from: "", to: "", isUnseen: true };

/** As the queue's route takes them. Days are the visitor's own. */
export function asked({ adapter, model, from, to, isUnseen }) {
  return {
    adapter,
    model,
    created_from: from ? midnight(from) : "",
    created_before: to ? midnight(to) + 86_400 : "",
    corrected: isUnseen ? false : null,
  };
}

export function filterView(filters, { versions, models }, change) {
  const take = (name) => (event) =>
    change({ ...filters, [name]: event.target.type === "checkbox" ? event.target.checked : event.target.value });
  return html`<form class="filters" aria-label="Filters" @submit=${(event) => event.preventDefault()}>
    <label>Version ${choice(filters.adapter, versions, take("adapter"))}</label>
    <label>Model ${choice(filters.model, models, take("model"))}</label>
    <label>From <input type="date" .value=${filters.from} @change=${take("from")} /></label>
    <label>To <input type="date" .value=${filters.to} @change=${take("to")} /></label>
    <label class="check"><input type="checkbox" .checked=${filters.isUnseen} @change=${take("isUnseen")} /> Not looked at yet</label>
  </form>`;
}

function choice(chosen, names, onChange) {
  return html`<select @change=${onChange}>
    <option value="">any</option>
    ${names.map((name) => html`<option value=${name} ?selected=${name === chosen}>${name}</option>`)}
  </select>`;
}

function midnight(day) {
  return new Date(`${day}T00:00:00`).getTime() / 1000;
}
