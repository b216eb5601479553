/**
 * What is asked and answered in this tab, turn by turn. Tells by the event `change`. Knows nothing of how it looks.
 *
 * A turn is `{question, picture, answer}`: the picture a `data:` URL or null, the answer `{id, text, adapter, state,
 * problem, record}` with a state of streaming, done, stopped or failed.
 */

import { pictureBlob } from "../server/pictures.js";
import { events } from "../server/stream.js";
import { asDataUrl } from "./picture_file.js";

const KEPT = "errata.chat";
const TRIES = 10;
const PAUSE_MS = 200;

export class Conversation extends EventTarget {
  turns = [];
  #abort = null;
  #notified = 0;

  constructor(server) {
    super();
    this.server = server;
  }

  get isAnswering() {
    return this.#abort !== null;
  }

  get last() {
    return this.turns.at(-1) ?? null;
  }

  clear() {
    this.stop();
    this.turns = [];
    this.#changed();
  }

  stop() {
    this.#abort?.abort();
  }

  async ask({ model, question, picture, user }) {
    const messages = [...this.turns.flatMap(said), asked(question, picture)];
    const answer = { id: null, text: "", adapter: null, state: "streaming", problem: null, record: null };
    this.turns.push({ question, picture, answer });
    this.#abort = new AbortController();
    this.#changed();
    try {
      await this.#follow(answer, { model, messages, stream: true, ...(user ? { user } : {}) });
      answer.state = "done";
    } catch (error) {
      const isStopped = error.name === "AbortError";
      answer.state = isStopped ? "stopped" : "failed";
      answer.problem = isStopped ? null : error;
    } finally {
      this.#abort = null;
    }
    this.#changed();
    if (answer.id && answer.text && answer.state !== "failed") await this.#read(answer);
  }

  /** The turns of before a reload, from the server's records. */
  async restore() {
    const ids = JSON.parse(sessionStorage.getItem(KEPT) ?? "[]");
    const found = await Promise.allSettled(ids.map((id) => this.server.get(`v1/responses/${id}`)));
    const records = found.map(({ value }) => value).filter(Boolean);
    const turns = await Promise.all(records.map((record) => this.#turnOf(record)));
    if (this.turns.length > 0) return; // somebody was faster
    this.turns = turns;
    this.#changed();
  }

  async #follow(answer, body) {
    const { signal } = this.#abort;
    const response = await this.server.fetch("POST", "v1/chat/completions", { body, signal });
    answer.id = response.headers.get("x-errata-response-id");
    answer.adapter = response.headers.get("x-errata-adapter");
    for await (const { choices } of events(response)) {
      answer.text += choices[0]?.delta.content ?? "";
      this.#changed();
    }
  }

  /** A stopped answer's record comes a moment after the server has noticed. */
  async #read(answer) {
    for (let tries = 0; tries < TRIES && answer.record === null; tries += 1) {
      if (tries > 0) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      answer.record = await this.server.get(`v1/responses/${answer.id}`).catch(() => null);
    }
    if (answer.record) answer.text = answer.record.text;
    this.#changed();
  }

  async #turnOf(record) {
    const { question, sha256 } = questionOf(record);
    const picture = sha256 ? await pictureBlob(this.server, record.id, sha256).then(asDataUrl).catch(() => null) : null;
    const answer = { id: record.id, text: record.text, adapter: record.adapter, state: "done", problem: null, record };
    return { question, picture, answer };
  }

  #changed() {
    const ids = this.turns.map(({ answer }) => answer.record && answer.id).filter(Boolean);
    sessionStorage.setItem(KEPT, JSON.stringify(ids));
    cancelAnimationFrame(this.#notified);
    this.#notified = requestAnimationFrame(() => this.dispatchEvent(new Event("change")));
  }
}

/** The text and the first image of the question that a record answers. */
export function questionOf({ messages }) {
  const parts = messages.findLast(({ role }) => role === "user")?.content ?? [];
  return {
    question: parts.filter(({ type }) => type === "text").map(({ text }) => text).join("\n"),
    sha256: parts.find(({ type }) => type === "image")?.sha256 ?? null,
  };
}

function said({ question, picture, answer }) {
  return answer.text && answer.state !== "failed" ? [asked(question, picture), { role: "assistant", content: answer.text }] : [];
}

function asked(question, picture) {
  if (!picture) return { role: "user", content: question };
  return {
    role: "user",
    content: [
      { type: "image_url", image_url: { url: picture } },
      { type: "text", text: question },
    ],
  };
}
