/** The screen of one answer: what a presigned link opens. */

import "../correct/answer.js";
import { questionOf } from "../chat/conversation.js";
import { session } from "../server/session.js";
import { html, render } from "../vendor/lit-html/lit-html.js";

export function oneAnswer(root, server, responseId) {
  const token = session.token(responseId);
  const asker = token ? server.as(() => token) : server;
  asker.get(`v1/responses/${responseId}`).then(
    (record) =>
      render(
        html`<div class="one">
          <h1 class="only-heard">Correct an answer</h1>
          <p class="question"><span>${questionOf(record).question}</span></p>
          <errata-answer .isBeside=${true} .server=${asker} .author=${token ? null : session.name} .record=${record}></errata-answer>
        </div>`,
        root,
      ),
    (error) =>
      render(
        html`<div class="one">
          <h1>This answer cannot be shown</h1>
          <p class="notice is-problem" role="alert">${error.message}</p>
        </div>`,
        root,
      ),
  );
  return () => {};
}
