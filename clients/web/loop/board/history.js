/** What the board's panels showed at each look at `/metrics`, for an hour. Asks nobody and draws nothing. */

import { samplesOf } from "./exposition.js";
import { gathered, legendOf, quantile, ratio } from "./queries.js";
import { Series } from "./series.js";

export const KEPT_S = 3600;
const PAUSE_S = 30; // between two looks: the page was not in sight

export class History {
  #panels;
  #generation;
  #wanted;
  #followed;
  #series = new Series();
  #gains = new Map(); // by query that is of a time: what each look found, within that time
  #looks = [];

  constructor(rows, generation) {
    this.#panels = rows.flatMap(({ panels }) => panels);
    this.#generation = generation;
    const all = [generation, ...this.#panels.flatMap(({ queries }) => queries)].flatMap(gatheredOf);
    this.#wanted = new Set(all.flatMap(({ metrics }) => metrics));
    this.#followed = new Set(all.filter(isOfATime).flatMap(({ metrics }) => metrics));
  }

  /** Add what `/metrics` says at a moment, in seconds. */
  look(text, at_s) {
    const samples = samplesOf(text, this.#wanted);
    const followed = this.#series.follow(samples.filter(({ metric }) => this.#followed.has(metric)), at_s, KEPT_S);
    const from_s = this.#looks.at(-1)?.at_s ?? null;
    const now = { samples, followed, from_s, at_s };
    const shown = new Map(this.#panels.map((panel) => [panel, new Map(panel.queries.flatMap((query) => this.#lines(query, now)))]));
    const [generation = null] = this.#ask(this.#generation, now).values();
    this.#looks = [...this.#looks.filter((look) => look.at_s > at_s - KEPT_S), { at_s, generation, shown }];
  }

  /** Of a panel: the times, and the values of each line at them; null where there is none. */
  course(panel) {
    const looks = this.#looks.flatMap((look, index) =>
      index > 0 && look.at_s - this.#looks[index - 1].at_s > PAUSE_S ? [{ at_s: look.at_s - 0.001, shown: new Map() }, look] : [look],
    );
    const labels = [...new Set(looks.flatMap(({ shown }) => [...(shown.get(panel)?.keys() ?? [])]))];
    return {
      times: looks.map(({ at_s }) => at_s),
      lines: labels.map((label) => ({ label, values: looks.map(({ shown }) => shown.get(panel)?.get(label) ?? null) })),
    };
  }

  /** When another version began to answer. */
  get switches() {
    const known = this.#looks.filter(({ generation }) => generation !== null);
    return known.filter(({ generation }, index) => index > 0 && generation !== known[index - 1].generation).map(({ at_s }) => at_s);
  }

  #lines(query, now) {
    const by = (query.take === "ratio" ? query.whole : query.take === "quantile" ? { by: [] } : query).by;
    return [...this.#ask(query, now)].map(([group, value]) => [legendOf(query.legend, by, group), value]);
  }

  #ask(query, now) {
    if (query.take === "ratio") return ratio(this.#ask(query.part, now), this.#ask(query.whole, now));
    if (query.take === "quantile") return new Map([["[]", quantile(query.q, this.#ask(query.of, now))]]);
    if (isOfATime(query)) return this.#within(query, now);
    return gathered(now.samples, query, ({ value }) => value, query.take === "max");
  }

  /** What the series gained in the query's time, as far as it was seen; of a rate, by the second. */
  #within(query, { followed, from_s, at_s }) {
    if (from_s === null) return new Map();
    const found = gathered(followed, query, query.take === "rate" ? ({ gain }) => gain : ({ change }) => change);
    const kept = [...(this.#gains.get(query) ?? []).filter((one) => one.at_s > at_s - query.window_s), { at_s, seconds: at_s - from_s, found }];
    this.#gains.set(query, kept);
    const seconds = query.take === "rate" ? kept.reduce((sum, one) => sum + one.seconds, 0) : 1;
    const totals = new Map();
    for (const { found } of kept) for (const [group, gain] of found) totals.set(group, (totals.get(group) ?? 0) + gain / seconds);
    return totals;
  }
}

function gatheredOf(query) {
  return query.take === "ratio" ? [query.part, query.whole] : query.take === "quantile" ? [query.of] : [query];
}

function isOfATime({ take }) {
  return take === "rate" || take === "change";
}
