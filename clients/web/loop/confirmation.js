/** A question before something that others notice. */

import { html, render } from "../vendor/lit-html/lit-html.js";

/** Whether a person says yes. */
export function confirmed(title, consequence) {
  const dialog = document.createElement("dialog");
  render(
    html`<form method="dialog">
      <h2>${title}</h2>
      <p>${consequence}</p>
      <div class="edit-tools">
        <button value="yes" class="is-main">Yes</button>
        <button value="no" autofocus>No</button>
      </div>
    </form>`,
    dialog,
  );
  dialog.setAttribute("aria-label", title);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
  });
}
