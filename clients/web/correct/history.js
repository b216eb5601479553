/** Undo and redo of a text; the browser's own forgets everything when the marks are drawn anew. */

const TOGETHER_MS = 700;

export class History {
  constructor(text) {
    this.states = [{ text, caret: text.length }];
    this.index = 0;
    this.last = 0;
  }

  /** Letters that are typed in a row are undone in a row. */
  add(text, caret, isTyping, now) {
    this.states.length = this.index + 1;
    const goesOn = isTyping && this.index > 0 && now - this.last < TOGETHER_MS;
    if (goesOn) this.states[this.index] = { text, caret };
    else this.index = this.states.push({ text, caret }) - 1;
    this.last = isTyping ? now : 0;
  }

  undo() {
    this.last = 0;
    return this.states[(this.index = Math.max(0, this.index - 1))];
  }

  redo() {
    this.last = 0;
    return this.states[(this.index = Math.min(this.states.length - 1, this.index + 1))];
  }
}
