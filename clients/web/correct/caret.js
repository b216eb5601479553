/** Where the caret stands in an element, as an offset into its text (UTF-16). */

/** The selection that `node` may be part of; inside a shadow tree the document's knows nothing of it. */
function selectionAt(node) {
  const root = node.getRootNode();
  return root.getSelection ? root.getSelection() : document.getSelection();
}

/** `[start, end]`, or null where the selection is elsewhere. */
export function selectedIn(node) {
  const selection = selectionAt(node);
  if (!selection || selection.rangeCount === 0) return null;
  return offsetsOf(node, selection.getRangeAt(0));
}

/** The same of a range. */
export function offsetsOf(node, { startContainer, startOffset, endContainer, endOffset }) {
  if (!node.contains(startContainer) || !node.contains(endContainer)) return null;
  return [offsetOf(node, startContainer, startOffset), offsetOf(node, endContainer, endOffset)];
}

export function select(node, start, end = start) {
  selectionAt(node).setBaseAndExtent(...placeOf(node, start), ...placeOf(node, end));
}

export function rangeOf(node, start, end) {
  const range = document.createRange();
  range.setStart(...placeOf(node, start));
  range.setEnd(...placeOf(node, end));
  return range;
}

function offsetOf(node, container, offset) {
  const range = document.createRange();
  range.setStart(node, 0);
  range.setEnd(container, offset);
  return range.toString().length;
}

function placeOf(node, offset) {
  const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
  let last = null;
  while (walker.nextNode()) {
    last = walker.currentNode;
    if (offset <= last.data.length) return [last, offset];
    offset -= last.data.length;
  }
  return last ? [last, last.data.length] : [node, 0];
}
