/** Where a question is written: text, a picture, which version is asked. */

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { ACCEPTED } from "./picture_file.js";

/** `act` has `ask`, `stop`, `take` (a file), `dropPicture`, `choose` (a model) and `editLast`. */
export function composer({ isAnswering, picture, pictureProblem, models, model }, act) {
  return html`<form
    class="composer"
    @submit=${(event) => {
      event.preventDefault();
      act.ask(event.currentTarget.elements.question);
    }}
  >
    ${
      picture
        ? html`<figure class="chosen">
            <img src=${picture} alt="The picture to ask about" />
            <button type="button" aria-label="Remove the picture" @click=${act.dropPicture}>×</button>
          </figure>`
        : nothing
    }
    ${pictureProblem ? html`<p class="notice is-problem" role="alert">${pictureProblem}</p>` : nothing}
    <div class="composer-line">
      <label class="choose" title="Choose a picture; dropping or pasting one works too"
        ><input
          type="file"
          class="only-heard"
          accept=${ACCEPTED.join(",")}
          aria-label="Choose a picture"
          @change=${(event) => {
            act.take(event.target.files[0]);
            event.target.value = "";
          }}
        /><span aria-hidden="true">+</span></label
      >
      <textarea
        name="question"
        rows="1"
        aria-label="Your question"
        placeholder=${picture ? "Ask about the picture" : "Drop, paste or choose a picture, and ask"}
        @keydown=${(event) => onKey(event, act)}
      ></textarea>
      ${
        isAnswering
          ? html`<button type="button" class="is-main" @click=${act.stop}>Stop <kbd aria-hidden="true">Esc</kbd></button>`
          : html`<button type="submit" class="is-main">Ask</button>`
      }
    </div>
    <div class="composer-foot quiet">
      <label
        >Answered by
        <select aria-label="Version that answers" @change=${(event) => act.choose(event.target.value)}>
          ${models.map(
            ({ id, adapter, role }, index) =>
              html`<option value=${id} ?selected=${id === model}>${index === 0 ? `live (${adapter})` : `${adapter}${role === "candidate" ? " (candidate)" : ""}`}</option>`,
          )}
        </select></label
      >
      <span class="keys"><kbd>↑</kbd> corrects the last answer</span>
    </div>
  </form>`;
}

function onKey(event, act) {
  const { target, key } = event;
  if (key === "Enter" && !event.shiftKey && !event.isComposing) target.form.requestSubmit();
  else if (key === "Escape") act.stop();
  else if (key === "ArrowUp" && target.value === "") act.editLast();
  else return;
  event.preventDefault();
}
