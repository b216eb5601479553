/** The screen where people ask, read and correct. */

import "../correct/answer.js";
import { html, nothing, render } from "../vendor/lit-html/lit-html.js";
import { session } from "../server/session.js";
import { composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { asDataUrl, pictureIn } from "./picture_file.js";

const DEFAULT_QUESTION = "What is in the picture?";
let conversation = null; // kept while other screens are shown

/** Shows the screen in `root`; gives what ends it. */
export function chat(root, server) {
  const view = { models: [], model: null, picture: null, pictureProblem: null };
  if (conversation === null) {
    conversation = new Conversation(server);
    conversation.restore();
  }
  let early = null;
  const act = {
    ask(field) {
      const question = field.value.trim() || (view.picture ? DEFAULT_QUESTION : "");
      if (!question || conversation.isAnswering) return;
      if (!view.model) {
        early = field; // asked for again as soon as it is known who answers
        return;
      }
      conversation.ask({ model: view.model, question, picture: view.picture, user: session.name });
      field.value = "";
      Object.assign(view, { picture: null, pictureProblem: null });
      draw();
    },
    stop: () => conversation.stop(),
    async take(file) {
      if (!file) return;
      try {
        Object.assign(view, { picture: await asDataUrl(file), pictureProblem: null });
      } catch (error) {
        Object.assign(view, { picture: null, pictureProblem: error.message });
      }
      draw();
      root.querySelector("textarea").focus();
    },
    dropPicture() {
      view.picture = null;
      draw();
    },
    choose(model) {
      view.model = model;
    },
    editLast() {
      [...root.querySelectorAll("errata-answer")].at(-1)?.edit();
    },
    clear() {
      conversation.clear();
      root.querySelector("textarea").focus();
    },
  };

  let wasAtEnd = true;
  function draw() {
    const main = document.scrollingElement;
    wasAtEnd = main.scrollHeight - main.scrollTop - main.clientHeight < 80;
    render(screen(server, view, act), root);
    if (wasAtEnd && conversation.isAnswering) main.scrollTop = main.scrollHeight;
  }

  async function readModels() {
    view.models = (await server.get("v1/models")).data;
    view.model ??= view.models[0].id;
    draw();
    if (early) act.ask(early);
  }

  const listening = new AbortController();
  const { signal } = listening;
  conversation.addEventListener("change", draw, { signal });
  document.addEventListener("paste", (event) => {
    const file = pictureIn(event.clipboardData);
    if (!file) return;
    event.preventDefault();
    act.take(file);
  }, { signal });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    root.classList.add("is-dropping");
  }, { signal });
  document.addEventListener("dragleave", () => root.classList.remove("is-dropping"), { signal });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    root.classList.remove("is-dropping");
    act.take(pictureIn(event.dataTransfer));
  }, { signal });
  root.addEventListener("errata-left", () => root.querySelector("textarea").focus(), { signal });

  draw();
  readModels().catch((error) => {
    view.pictureProblem = error.message;
    draw();
  });
  root.querySelector("textarea").focus();
  return () => listening.abort();
}

function screen(server, view, act) {
  const { turns, isAnswering } = conversation;
  return html`<div class="chat">
    <h1 class="only-heard">Chat</h1>
    <div class="turns" role="log" aria-live="polite" aria-busy=${isAnswering} aria-label="Conversation">
      ${turns.length === 0 ? welcome() : turns.map((turn) => turnView(server, turn))}
    </div>
    <div class="chat-foot">
      ${turns.length && !isAnswering ? html`<button type="button" class="again" @click=${act.clear}>New chat</button>` : nothing}
      ${composer({ ...view, isAnswering }, act)}
    </div>
  </div>`;
}

function turnView(server, { question, picture, answer }) {
  return html`<article class="turn">
    <div class="question">
      ${picture ? html`<img src=${picture} alt="The picture that was asked about" />` : nothing}
      <p>${question}</p>
    </div>
    ${
      answer.record
        ? html`<errata-answer .server=${server} .author=${session.name} .record=${answer.record}></errata-answer>`
        : html`<div class="answer-text is-coming">${answer.text}${answer.state === "streaming" ? html`<span class="cursor"></span>` : nothing}</div>
            ${answer.adapter ? html`<div class="answer-tools"><span class="version">${answer.adapter}</span></div>` : nothing}`
    }
    ${answer.state === "stopped" ? html`<p class="quiet">Stopped.</p>` : nothing}
    ${
      answer.problem
        ? html`<p class="notice is-problem" role="alert">
            <strong>No whole answer came.</strong> ${answer.problem.message}. Ask again, or start a new chat.
          </p>`
        : nothing
    }
  </article>`;
}

function welcome() {
  return html`<div class="welcome">
    <p class="welcome-head">Ask about a picture. <span class="struck">Live with</span> <span class="inserted">Correct</span> the answer.</p>
    <p class="quiet">Click the words that are wrong and type what is true. The model learns from it.</p>
  </div>`;
}
