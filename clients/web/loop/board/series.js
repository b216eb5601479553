/** What each series has gained since it was last seen. Replicas come, go, begin anew and miss a look: the sum of all would jump. */

export class Series {
  #replicas = new Map();

  /** The samples, each with its `gain` as a counter and its `change` as a gauge; neither where nothing is known before. */
  follow(samples, at_s, forget_s) {
    const followed = samples.map((sample) => ({ ...sample, ...difference(sample, this.#replicas.get(replicaOf(sample))) }));
    for (const sample of samples) this.#keep(sample, at_s);
    for (const [replica, { seen_s }] of this.#replicas) if (at_s - seen_s > forget_s) this.#replicas.delete(replica);
    return followed;
  }

  #keep(sample, at_s) {
    const replica = replicaOf(sample);
    if (!this.#replicas.has(replica)) this.#replicas.set(replica, { values: new Map(), metrics: new Set() });
    const known = this.#replicas.get(replica);
    known.seen_s = at_s;
    known.values.set(nameOf(sample), sample.value);
    known.metrics.add(sample.metric);
  }
}

/** A counter that was not there is from zero, since it comes with its first count; one that is less has begun anew. */
function difference(sample, known) {
  if (known === undefined) return {};
  const { metric, value } = sample;
  const last = known.values.get(nameOf(sample));
  if (last === undefined) return { gain: value, change: known.metrics.has(metric) ? value : undefined };
  return { gain: value < last ? value : value - last, change: value - last };
}

function nameOf({ metric, labels }) {
  return JSON.stringify([metric, Object.entries(labels)]);
}

/** What all replicas share has none. */
function replicaOf({ labels }) {
  return labels.replica ?? "";
}
