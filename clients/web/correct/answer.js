/**
 * `<errata-answer>`: an answer that can be corrected where it stands.
 *
 * Set `server`, `record` (as GET /v1/responses/ID tells it) and, where wanted, `author`. Tells by the events
 * `errata-stored` and `errata-left`. Reads and writes nothing but its own answer.
 */

import { html, nothing, render } from "../vendor/lit-html/lit-html.js";
import { pictureOf } from "../server/pictures.js";
import { isToken } from "../server/session.js";
import { selectedIn } from "./caret.js";
import { spansOf } from "./changes.js";
import { drafts } from "./drafts.js";
import { Editor } from "./editor.js";
import { kindOf } from "./kinds.js";
import { outbox } from "./outbox.js";
import "./picture.js";
import { ANOTHER, CLOSE, refusal } from "./refusal.js";
import { choices } from "./span_list.js";
import { storedView } from "./stored.js";

const LOOK_AGAIN_MS = 10_000;

class AnswerElement extends HTMLElement {
  server = null;
  author = null;
  /** Whether the picture stands beside the answer while it is only read, too. */
  isBeside = false;
  #record = null;
  #mode = "read"; // read, edit, sending
  #editor = null;
  #problem = null;
  #waiting = null;
  #corrections = [];
  #nextRun = null;
  #pictures = [];
  #timer = null;

  set record(record) {
    if (record.id !== this.#record?.id) this.#begin(record);
    this.#record = record;
    this.draw();
  }

  get record() {
    return this.#record;
  }

  get isEditing() {
    return this.#mode !== "read";
  }

  connectedCallback() {
    this.addEventListener("keydown", this.#key);
    if (this.#record) this.#listen();
    this.#timer = setInterval(() => this.#lookAgain(), LOOK_AGAIN_MS);
    this.draw();
  }

  disconnectedCallback() {
    this.removeEventListener("keydown", this.#key);
    outbox.removeEventListener(this.#record?.id, this.#news);
    clearInterval(this.#timer);
  }

  /** Make the text editable: over the words from `start` to `end`, or else with what is wrong yet to be found. */
  edit(start = null, end = start) {
    if (this.isEditing) return;
    this.#problem = null;
    const draft = drafts.get(this.#record.id);
    this.#mode = "edit";
    this.draw();
    const node = this.querySelector(".answer-text");
    this.#editor = new Editor(node, this.#record.text, {
      text: draft?.text,
      kinds: draft?.changes,
      onChange: () => this.#edited(),
    });
    this.draw();
    if (start === null) this.querySelector(".find input").focus();
    else this.#editor.pick(start, end);
    this.scrollIntoView({ block: "nearest" });
  }

  /** One key: looked at, and right. Where a draft says otherwise it is shown, and stays. */
  nothingWrong() {
    if (this.isEditing) return;
    if (drafts.get(this.#record.id)?.changes.length) {
      this.edit();
      this.#problem = { title: "You have begun to correct this answer", advice: "Send that; or Reset, Leave, and then say that nothing is wrong." };
      this.draw();
      return;
    }
    drafts.keep(this.#record.id, { text: this.#record.text, changes: [] });
    this.#send({ spans: [] });
  }

  #begin(record) {
    outbox.removeEventListener(this.#record?.id, this.#news);
    this.#mode = "read";
    this.#editor = this.#problem = this.#waiting = null;
    this.#corrections = record.corrections ?? [];
    this.#pictures = [];
    this.#record = record;
    if (this.isConnected) this.#listen();
    this.#showPictures();
  }

  #listen() {
    outbox.removeEventListener(this.#record.id, this.#news);
    outbox.addEventListener(this.#record.id, this.#news);
    const draft = drafts.get(this.#record.id);
    if (draft?.body) this.#mode = "sending";
    this.#lookAgain();
  }

  async #showPictures() {
    const { id, images = [] } = this.#record;
    const found = await Promise.allSettled(images.map((sha256) => pictureOf(this.server, id, sha256)));
    if (id !== this.#record.id) return;
    this.#pictures = found.filter(({ value }) => value).map(({ value }) => value);
    this.draw();
  }

  #edited() {
    const { text, changes } = this.#editor;
    if (text === this.#record.text) drafts.drop(this.#record.id);
    else drafts.keep(this.#record.id, { text, changes });
    this.draw();
  }

  #submit() {
    const { text, changes } = this.#editor;
    if (changes.length === 0) {
      this.#problem = { title: "Nothing is changed yet", advice: "Change what is wrong, or say that nothing is." };
      this.draw();
      return;
    }
    this.#send({ corrected_text: text, spans: spansOf(changes) });
  }

  #send(said) {
    const { id } = this.#record;
    const body = { response_id: id, ...said, ...(this.author ? { author: this.author } : {}) };
    this.#mode = "sending";
    this.#problem = this.#waiting = null;
    this.draw();
    outbox.send(this.server, id, body);
  }

  #news = ({ detail: { stored, refused, waiting } }) => {
    if (stored) {
      this.#corrections = [stored, ...this.#corrections];
      this.#leave();
      this.#lookAgain();
      this.dispatchEvent(new CustomEvent("errata-stored", { detail: stored, bubbles: true, composed: true }));
    } else if (refused) {
      this.#reopen();
      this.#problem = { ...refusal(refused, isToken(this.server.credential())), message: refused.message };
    } else {
      this.#waiting = waiting;
    }
    this.draw();
  };

  /** Back to where the draft was left, in another element; only told where somebody writes elsewhere by then. */
  #reopen() {
    const isOurs = this.#holdsFocus();
    this.#mode = "read";
    this.#waiting = null;
    const draft = drafts.get(this.#record.id);
    if (isOurs && draft?.changes.length) this.edit(draft.text.length);
  }

  #keepEditing() {
    outbox.withdraw(this.#record.id);
    this.#reopen();
    this.draw();
  }

  #asAnother() {
    const draft = drafts.get(this.#record.id);
    drafts.drop(this.#record.id); // and with it its idempotency key
    if (draft) drafts.keep(this.#record.id, { text: draft.text, changes: draft.changes });
    if (draft?.changes.length) this.edit(); // if it isn't open
    if (this.#mode === "edit") this.#submit();
    else this.nothingWrong(); // which is what was refused
  }

  #leave() {
    const isOurs = this.#holdsFocus(); // before it is drawn anew: the editor holds it and goes
    this.#mode = "read";
    this.#editor = this.#problem = this.#waiting = null;
    this.draw();
    if (!isOurs) return;
    this.querySelector(".answer-text").focus();
    this.dispatchEvent(new CustomEvent("errata-left", { bubbles: true, composed: true }));
  }

  /** Or nothing does. News come late, and must not take the caret from whoever writes elsewhere by then. */
  #holdsFocus() {
    const { activeElement } = document;
    return [null, document.body].includes(activeElement) || this.contains(this.getRootNode().activeElement);
  }

  /** When corrections count, and who has learned from them since. */
  async #lookAgain() {
    if (document.hidden || this.#corrections.length === 0) return;
    const { id } = this.#record;
    const [nextRun, ...stories] = await Promise.allSettled([
      this.server.get("v1/statistics", { days: 1 }).then((statistics) => statistics.next_run),
      ...this.#corrections.map((correction) => this.server.get(`feedback/${correction.id}`)),
    ]);
    if (id !== this.#record.id || stories.length !== this.#corrections.length) return;
    this.#nextRun = nextRun.value ?? null;
    this.#corrections = stories.map(({ value }, index) => value ?? this.#corrections[index]);
    this.draw();
  }

  #key = (event) => {
    if (this.#mode === "edit") return this.#editKey(event);
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, button, a, .picture-frame")) return;
    const act = { e: () => this.edit(), Enter: () => this.edit(), n: () => this.nothingWrong() }[event.key];
    if (!act || this.isEditing) return;
    event.preventDefault();
    act();
  };

  #editKey(event) {
    const kind = event.altKey && !event.ctrlKey ? kindOf(event) : null;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.#submit();
    else if (event.key === "Escape") this.#leave();
    else if (kind && this.#editor.current) this.#editor.setKind(this.#editor.current, kind);
    else if (event.key === "f" && (event.ctrlKey || event.metaKey)) this.querySelector(".find input").select();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #find(event) {
    if (event.key !== "Enter" || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const found = this.#editor.find(event.target.value);
    event.target.value = "";
    this.#editor.find("");
    if (found) this.#editor.pick(...found);
    else this.querySelector(".answer-text").focus();
  }

  /** A click is on a word, a drag over several. */
  #click(event) {
    if (this.isEditing) return;
    const selected = selectedIn(event.currentTarget);
    if (selected) this.edit(...selected);
  }

  draw() {
    if (!this.#record || !this.server) return;
    const isEditing = this.#mode === "edit";
    const showsPicture = this.#pictures.length > 0 && (isEditing || this.isBeside);
    this.classList.toggle("has-picture", showsPicture);
    this.classList.toggle("is-editing", isEditing);
    // the text is the editor's while it is edited, and lit-html's otherwise: keyed by which template it is
    render(
      html`${showsPicture ? html`<div class="beside">${this.#pictures.map((src) => html`<errata-picture .src=${src}></errata-picture>`)}</div>` : nothing}
        <div class="words">
          ${isEditing ? this.#editing() : this.#reading()} ${this.#problem ? this.#problemView() : nothing}
          <p class="only-heard" role="status">${this.#said()}</p>
          ${isEditing ? nothing : this.#corrections.map((correction) => storedView(correction, this.#nextRun))}
        </div>`,
      this,
    );
  }

  #reading() {
    const isSending = this.#mode === "sending";
    const text = drafts.get(this.#record.id)?.text;
    return html`<div
        class="answer-text"
        tabindex="0"
        role="group"
        aria-label="Answer. E corrects it, N says that nothing is wrong."
        title=${isSending ? nothing : "Click the words that are wrong"}
        @click=${(event) => this.#click(event)}
        .textContent=${isSending && text ? text : this.#record.text}
      ></div>
      ${
        isSending
          ? html`<div class="notice ${this.#waiting ? "is-waiting" : ""}">
              ${
                this.#waiting
                  ? html`<p>
                        <strong>Not sent yet.</strong> ${sentence(this.#waiting.message)} Your correction is kept and goes out by itself as soon as
                        that works again.
                      </p>
                      <button type="button" @click=${() => this.#keepEditing()}>Keep editing</button>`
                  : html`<p>Sending…</p>`
              }
            </div>`
          : html`<div class="answer-tools">
              <span class="version" title="The version that answered">${this.#record.adapter}</span>
              <button type="button" @click=${() => this.edit()}>Correct <kbd aria-hidden="true">E</kbd></button>
              <button type="button" @click=${() => this.nothingWrong()}>Nothing wrong <kbd aria-hidden="true">N</kbd></button>
              ${drafts.get(this.#record.id) ? html`<span class="quiet">Draft kept</span>` : nothing}
            </div>`
      }`;
  }

  #editing() {
    const changes = this.#editor?.changes ?? [];
    return html`<label class="find"
        ><span>Find</span
        ><input
          type="text"
          autocomplete="off"
          spellcheck="false"
          placeholder="wrong words, then Enter"
          aria-label="Find the wrong words, then Enter"
          @input=${(event) => this.#editor.find(event.target.value)}
          @keydown=${(event) => this.#find(event)}
      /></label>
      <div
        class="answer-text"
        contenteditable="plaintext-only"
        role="textbox"
        aria-multiline="true"
        aria-label="The answer as it should be"
        spellcheck="true"
      ></div>
      ${changes.length ? choices(changes, (change, kind) => this.#editor.setKind(change, kind)) : html`<p class="quiet hint">The smallest change that makes it true is the best one.</p>`}
      <div class="edit-tools">
        <button type="button" class="is-main" @click=${() => this.#submit()}>Send <kbd aria-hidden="true">Ctrl ↵</kbd></button>
        <button type="button" ?disabled=${changes.length === 0} @click=${() => this.#editor.reset()}>Reset</button>
        <button type="button" @click=${() => this.#leave()}>Leave <kbd aria-hidden="true">Esc</kbd></button>
        ${changes.length ? html`<span class="quiet keys"><kbd>Alt 1</kbd>–<kbd>7</kbd> kind of the change at the caret</span>` : nothing}
      </div>`;
  }

  #problemView() {
    const { title, message, advice, next } = this.#problem;
    return html`<div class="notice is-problem" role="alert">
      <p><strong>${title}.</strong> ${message ? sentence(message) : nothing} ${advice}</p>
      ${next === ANOTHER ? html`<button type="button" @click=${() => this.#asAnother()}>Send as another correction</button>` : nothing}
      ${
        next === CLOSE || next === ANOTHER
          ? html`<button
              type="button"
              @click=${() => {
                drafts.drop(this.#record.id);
                this.#leave();
              }}
            >
              Discard the draft
            </button>`
          : nothing
      }
    </div>`;
  }

  #said() {
    if (this.#mode === "sending") return this.#waiting ? "Not sent yet; the draft is kept" : "Sending";
    if (this.#mode === "edit") return "";
    const [newest] = this.#corrections;
    return newest ? (newest.spans.length ? "Correction stored" : "Stored: nothing was wrong") : "";
  }
}

function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}`;
}

customElements.get("errata-answer") ?? customElements.define("errata-answer", AnswerElement);
