/** The screen that shows what comes of corrections: rates, runs, versions. */

import { html, nothing, render } from "../vendor/lit-html/lit-html.js";
import { adaptersView, isOnItsWay, rolloutView } from "./adapters.js";
import "./board/board.js";
import { confirmed } from "./confirmation.js";
import { runsView, UNDER_WAY } from "./runs.js";
import { agedView, byDay, byKind, byVersion, nextRunView } from "./statistics.js";

const SOON_MS = 1000;
const LATER_MS = 10_000;

/** Shows the screen in `root`; gives what ends it. `chosen` is a version to look at, or null. */
export function loop(root, server, chosen) {
  const view = { statistics: null, runs: [], adapters: null, comparison: null, stories: {}, problem: null, readProblem: null };
  let timer = null;
  let isOver = false;

  async function read() {
    try {
      const [statistics, runs, adapters] = await Promise.all([
        server.get("v1/statistics", { days: 30 }),
        server.get("v1/alignments"),
        server.get("v1/adapters"),
      ]);
      Object.assign(view, { statistics, runs: runs.data, adapters });
      view.comparison = adapters.in_force.is_judged ? await server.get("v1/adapters/comparison").catch(() => null) : null;
      view.readProblem = null;
    } catch (error) {
      view.readProblem = error.message;
    }
    draw();
  }
  let numFollowed = 0;
  async function follow() {
    const number = (numFollowed += 1);
    clearTimeout(timer);
    if (!document.hidden) await read();
    if (isOver || number !== numFollowed) return; // somebody has changed something meanwhile, and follows that
    timer = setTimeout(follow, isMoving(view) ? SOON_MS : LATER_MS);
  }
  async function change(path, body) {
    try {
      await server.post(path, body);
      view.problem = null;
    } catch (error) {
      view.problem = error.status === 403 ? "Only a key with the scope admin may change this." : error.message;
    }
    await follow();
    if (view.problem || view.readProblem) root.querySelector("[role=alert]")?.scrollIntoView({ block: "center" });
  }
  const act = {
    start: () => change("v1/alignments"),
    cancel: async (run) => (await confirmed("Cancel this run?", "What it has learned is lost.")) && change(`v1/alignments/${run.id}/cancel`),
    admit: async (version) => (await confirmed(`Admit ${version}?`, "The gate could not rule out that it harms.")) && change(`v1/adapters/${version}/admit`),
    retire: async (version) => (await confirmed(`Retire ${version}?`, "It never serves again.")) && change(`v1/adapters/${version}/retire`),
    rollBack: async () => (await confirmed("Roll back?", "The version before answers everyone.")) && change("v1/adapters/rollback"),
    async promote(version, share) {
      const whom = share === null ? "everyone" : `${100 * share} % of the people`;
      if (await confirmed(`Promote ${version}?`, `It will answer ${whom}.`)) change(`v1/adapters/${version}/promote`, share === null ? undefined : { share });
    },
    async tell(version) {
      view.stories[version] = await server.get(`v1/adapters/${version}`).catch(() => null);
      draw();
    },
    /** As a file, since a page of this origin may not bring styles of its own. */
    async openReport(run) {
      const page = await server.blob(`v1/alignments/${run.id}/report`);
      const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(page), download: `${run.id}.html` });
      link.click();
      URL.revokeObjectURL(link.href);
    },
  };
  let isShown = false;
  function draw() {
    if (isOver) return;
    render(screen(view, chosen, act, server), root);
    const place = chosen && root.querySelector(`#adapter-${CSS.escape(chosen)}`);
    if (place && !isShown) place.scrollIntoView({ block: "center" });
    isShown ||= Boolean(place);
  }
  draw();
  follow();
  return () => {
    isOver = true;
    clearTimeout(timer);
  };
}

/** Whether something is about to look different. */
function isMoving({ runs, adapters }) {
  if (runs.some(({ status }) => UNDER_WAY.includes(status))) return true;
  return adapters !== null && isOnItsWay(adapters);
}

function screen({ statistics, runs, adapters, comparison, stories, problem, readProblem }, chosen, act, server) {
  const told = adapters && { ...adapters, data: adapters.data.map((one) => ({ ...one, story: stories[one.version] })) };
  return html`<div class="loop">
    <h1>Loop</h1>
    ${[problem, readProblem].filter(Boolean).map((said) => html`<p class="notice is-problem" role="alert">${said}</p>`)}
    ${statistics && told
      ? html`<div class="two">${nextRunView(statistics.next_run, act.start)} ${rolloutView(told, comparison, act)}</div>
          ${agedView(statistics.counted)}
          <div class="figures">${byDay(statistics.days)} ${byVersion(statistics.adapters)}</div>
          <div class="two is-uneven">${runsView(runs, act)} ${byKind(statistics.kinds)}</div>
          ${adaptersView(told, chosen, act)}`
      : problem || readProblem ? nothing : html`<p class="empty">Looking…</p>`}
    <errata-board .server=${server}></errata-board>
  </div>`;
}
