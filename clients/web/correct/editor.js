/**
 * A text that is edited in place, what was changed marked as it is typed.
 *
 * The element's text is the corrected text, always: removed words are drawn by the style sheet from `data-removed`, so
 * the caret, a copy and a screen reader's cursor never meet them as letters to edit.
 */

import { offsetsOf, rangeOf, select, selectedIn } from "./caret.js";
import { changesBetween, nearest, withKinds, words } from "./changes.js";
import { History } from "./history.js";

const FOUND = "errata-found";

export class Editor {
  /** `onChange` is called after each edit, with this. */
  constructor(node, served, { text = served, kinds = [], onChange }) {
    Object.assign(this, { node, served, text, onChange });
    this.changes = withKinds(changesBetween(served, text), kinds);
    this.history = new History(text);
    node.addEventListener("compositionend", () => this.#read());
    node.addEventListener("beforeinput", (event) => this.#before(event));
    node.addEventListener("keydown", (event) => this.#key(event));
    this.#draw();
  }

  /** The change that the caret is at. */
  get current() {
    return nearest(this.changes, selectedIn(this.node)?.[1] ?? this.text.length);
  }

  setKind(change, kind) {
    change.kind = change.kind === kind ? null : kind;
    this.#draw(selectedIn(this.node));
    this.onChange(this);
  }

  reset() {
    this.#set(this.served, 0, false);
    this.node.focus();
  }

  /** Put the caret over the word at an offset, or over what is selected there, ready to be typed over. */
  pick(start, end = start) {
    if (start === end) [start, end] = wordAt(this.text, start);
    this.node.focus();
    select(this.node, start, end);
  }

  /** Show where some words stand, of which only the beginning need be given. Null where they don't. */
  find(sought) {
    const found = place(this.text, sought);
    CSS.highlights?.delete(FOUND);
    if (found && globalThis.Highlight) CSS.highlights.set(FOUND, new Highlight(rangeOf(this.node, ...found)));
    return found;
  }

  /** Edit the text, not the element: a browser would carry the marks' looks along. */
  #before(event) {
    if (!event.cancelable) return; // an input method is composing; what it made is read at its end
    event.preventDefault();
    const [range] = event.getTargetRanges();
    const [start, end] = (range && offsetsOf(this.node, range)) ?? selectedIn(this.node) ?? [this.text.length, this.text.length];
    const inserted = insertedBy(event);
    if (inserted === null || (inserted === "" && start === end)) return;
    this.#set(this.text.slice(0, start) + inserted + this.text.slice(end), start + inserted.length, event.inputType === "insertText");
  }

  #read() {
    this.#set(this.node.textContent, selectedIn(this.node)?.[1] ?? 0, false);
  }

  #key(event) {
    if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
    const letter = event.key.toLowerCase();
    if (letter !== "z" && letter !== "y") return;
    event.preventDefault();
    const { text, caret } = letter === "y" || event.shiftKey ? this.history.redo() : this.history.undo();
    this.#change(text, caret);
  }

  #set(text, caret, isTyping) {
    this.#change(text, caret);
    this.history.add(text, caret, isTyping, performance.now());
  }

  #change(text, caret) {
    this.text = text;
    this.changes = withKinds(changesBetween(this.served, text), this.changes);
    this.#draw([caret, caret]);
    this.onChange(this);
  }

  #draw(selected = null) {
    const pieces = [];
    let at = 0;
    for (const change of this.changes) {
      if (change.at > at) pieces.push(this.text.slice(at, change.at));
      pieces.push(mark(change));
      at = change.at + change.replacement.length;
    }
    if (at < this.text.length) pieces.push(this.text.slice(at));
    if (this.text.endsWith("\n")) pieces.push(document.createElement("br")); // else its last line has no height
    this.node.replaceChildren(...pieces);
    if (selected && this.node.getRootNode().activeElement === this.node) select(this.node, ...selected);
  }
}

/** What an edit puts in the place of its range; null where it is no edit of a text. */
function insertedBy({ inputType, data, dataTransfer }) {
  if (inputType === "insertParagraph" || inputType === "insertLineBreak") return "\n";
  if (inputType.startsWith("delete")) return "";
  if (inputType.startsWith("insert")) return (data ?? dataTransfer?.getData("text/plain") ?? null)?.replaceAll("\r\n", "\n") ?? null;
  return null; // undo is ours, and there is nothing to format
}

function mark({ removed, replacement, kind }) {
  const mark = document.createElement("ins");
  if (removed) mark.dataset.removed = removed;
  if (kind) mark.dataset.kind = kind;
  mark.textContent = replacement;
  return mark;
}

/** Start and end of the word that an offset is in, or of the one before it. */
export function wordAt(text, offset) {
  let [start, best] = [0, [0, 0]];
  for (const word of words(text)) {
    if (start > offset) break;
    if (/\S/.test(word)) best = [start, start + word.length];
    start += word.length;
  }
  return best;
}

/** The whole words that begin so, or else hold this. */
function place(text, sought) {
  if (sought.trim() === "") return null;
  const [within, wanted] = [text.toLowerCase(), sought.trim().toLowerCase()];
  const starts = [];
  for (let at = within.indexOf(wanted); at >= 0; at = within.indexOf(wanted, at + 1)) starts.push(at);
  if (starts.length === 0) return null;
  const start = starts.find((at) => wordAt(text, at)[0] === at) ?? starts[0];
  return [wordAt(text, start)[0], wordAt(text, start + wanted.length - 1)[1]];
}
