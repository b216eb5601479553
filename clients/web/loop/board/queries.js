/** Arithmetic on samples, as a panel asks for it: groups, quantiles, ratios. Pure; a group is a JSON list of its labels' values. */

/** One number for each group: the sum, or the largest, of what `value` says of the samples. */
export function gathered(samples, { metrics, by, where = {} }, value, isLargest = false) {
  const tests = Object.entries(where).map(([label, pattern]) => [label, new RegExp(`^(?:${pattern})$`)]);
  const groups = new Map();
  for (const sample of samples) {
    const number = value(sample);
    if (number === undefined || !metrics.includes(sample.metric)) continue;
    if (!tests.every(([label, pattern]) => pattern.test(sample.labels[label] ?? ""))) continue;
    const group = JSON.stringify(by.map((label) => sample.labels[label] ?? ""));
    const former = groups.get(group);
    groups.set(group, former === undefined ? number : isLargest ? Math.max(former, number) : former + number);
  }
  return groups;
}

/** Where `q` of what a histogram counted lies, linear within its bucket, as Prometheus's `histogram_quantile`; null of nothing. */
export function quantile(q, groups) {
  const buckets = [...groups].map(([group, count]) => [limit(JSON.parse(group)[0]), count]).sort(([one], [other]) => one - other);
  const rank = q * (buckets.at(-1)?.[1] ?? 0);
  if (!(rank > 0)) return null;
  const index = buckets.findIndex(([, count]) => count >= rank);
  const [low, below] = index > 0 ? buckets[index - 1] : [0, 0];
  const [high, count] = buckets[index];
  return high === Infinity ? low : low + ((high - low) * (rank - below)) / (count - below);
}

/** Of each group of the whole that is there; a part that is not there is nothing. */
export function ratio(part, whole) {
  return new Map([...whole].filter(([, number]) => number > 0).map(([group, number]) => [group, (part.get(group) ?? 0) / number]));
}

export function legendOf(legend, by, group) {
  const values = JSON.parse(group);
  return legend.replace(/\{\{(\w+)\}\}/g, (_, label) => values[by.indexOf(label)] ?? "");
}

function limit(le) {
  return le === "+Inf" ? Infinity : Number(le);
}
