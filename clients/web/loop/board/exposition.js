/** Prometheus's text as plain samples. Knows nothing of what they mean. */

const LINE = /^(\w+)(?:\{(.*)\})? (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const ESCAPED = { n: "\n" };

/** `{metric, labels, value}` of each line whose metric is in the set `wanted`. */
export function samplesOf(text, wanted) {
  const samples = [];
  for (const line of text.split("\n")) {
    const [, metric, labels, value] = LINE.exec(line) ?? [];
    if (wanted.has(metric) && Number.isFinite(Number(value))) samples.push({ metric, labels: labelsOf(labels ?? ""), value: Number(value) });
  }
  return samples;
}

function labelsOf(text) {
  const pairs = [...text.matchAll(LABEL)].map(([, name, value]) => [name, value.replace(/\\(.)/g, (_, letter) => ESCAPED[letter] ?? letter)]);
  return Object.fromEntries(pairs);
}
