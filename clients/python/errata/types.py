"""What the server answers. Fields that a newer server adds are kept, and none of them is an error."""

from __future__ import annotations

from typing import Any

from openai import BaseModel

ENDED = ("admitted", "refused", "held", "failed", "cancelled", "promoted")


class Span(BaseModel):
    """Replace `served_text[start:end]` with `replacement`; offsets count Unicode code points, as Python's do."""

    start: int
    end: int
    replacement: str
    kind: str = "other"


class Correction(BaseModel):
    """A correction as it was stored: `accepted`, `quarantined` (kept, not trained on), `rejected` or `nothing_wrong`.

    `reason` is the code of the rule that put it into quarantine.
    """

    id: str
    response_id: str
    created: int
    status: str
    served_text: str
    corrected_text: str
    spans: list[Span]
    adapter: str
    author: str | None = None
    reason: str | None = None


class Record(BaseModel):
    """An answer as the server keeps it. `messages` hold texts, and images by their SHA-256; `timings` are seconds.

    `num_tokens` counts the answer's tokens with the one that ends it; `corrections` are the newest 100 of it.
    """

    id: str
    created: int
    model: str
    adapter: str
    messages: list[dict[str, Any]]
    images: list[str]
    text: str
    num_tokens: int
    num_prompt_tokens: int
    finish_reason: str
    sampling: dict[str, Any]
    timings: dict[str, float]
    key_id: str
    user: str | None = None
    metadata: dict[str, str]
    corrections: list[Correction]


class ResponseSummary(BaseModel):
    """An answer in short: `question` is the text of the user's last message, `images` are SHA-256 sums.

    `num_corrections` counts those that say nothing was wrong, too.
    """

    id: str
    created: int
    model: str
    adapter: str
    question: str
    text: str
    images: list[str]
    user: str | None = None
    num_corrections: int


class ResponseLink(BaseModel):
    """`path` opens one answer on the server's page, with its `token`; good until `expires`, seconds since the epoch."""

    response_id: str
    token: str
    path: str
    expires: int


class Claim(BaseModel):
    """`response` is held for `holder` until `expires`; none where no other fits. `num_waiting` fit, at most 10,000."""

    response: Record | None = None
    holder: str
    expires: int | None = None
    num_waiting: int


class Release(BaseModel):
    response_id: str
    holder: str
    was_held: bool


class Day(BaseModel):
    """A day of UTC: its answers, and the corrections that were sent on it, by what became of them."""

    date: str
    answers: int
    accepted: int
    quarantined: int
    rejected: int
    nothing_wrong: int


class VersionStatistics(BaseModel):
    """A version's answers of all times; `low` and `high` are the ends of the 95 % interval, per 1,000."""

    version: str
    answers: int
    corrected: int
    nothing_wrong: int
    corrected_per_1000: float
    low: float
    high: float


class NextRun(BaseModel):
    """`new_corrections` that no run has seen yet; `needed` of them start one."""

    new_corrections: int
    needed: int
    is_running: bool


class Statistics(BaseModel):
    """Counts, the oldest day first; `kinds` counts accepted spans by their kind.

    Of a large store they are of some time ago: as it was at `counted`, in seconds since the epoch.
    """

    counted: float
    days: list[Day]
    kinds: dict[str, int]
    adapters: list[VersionStatistics]
    next_run: NextRun


class CorrectionPreview(BaseModel):
    """What a correction would be stored as: its spans, and the status that it would get now."""

    response_id: str
    status: str
    served_text: str
    corrected_text: str
    spans: list[Span]
    adapter: str
    author: str | None = None
    reason: str | None = None


class WaitingCorrection(BaseModel):
    """A correction in quarantine: `explanation` says why, `questioned` are the inserted phrases in question.

    `sequence` is its place in the order of arrival.
    """

    id: str
    response_id: str
    created: int
    sequence: int
    status: str
    reason: str
    explanation: str
    questioned: list[str]
    source: str
    author: str | None = None
    served_text: str
    corrected_text: str
    spans: list[Span]


class WaitingList(BaseModel):
    data: list[WaitingCorrection]


class Pair(BaseModel):
    """What a correction teaches: after `messages`, the answer `chosen` and not the one `rejected`.

    `messages` are OpenAI's, images as data URLs; `spans` count code points of `rejected`; `id` is the correction's.
    """

    id: str
    messages: list[dict[str, Any]]
    chosen: str
    rejected: str
    spans: list[Span]


class ExportedRow(BaseModel):
    """A line of OpenAI's preference format."""

    id: str
    input: dict[str, list[dict[str, Any]]]
    preferred_output: list[dict[str, str]]
    non_preferred_output: list[dict[str, str]]
    spans: list[Span]

    @property
    def pair(self) -> Pair:
        return Pair(
            id=self.id,
            messages=self.input["messages"],
            chosen=self.preferred_output[0]["content"],
            rejected=self.non_preferred_output[0]["content"],
            spans=self.spans,
        )


class Use(BaseModel):
    """An adapter version that has seen a correction: `role` is train where it taught, held_out where it judged."""

    version: str
    role: str
    status: str
    is_tainted: bool


class CorrectionStory(Correction):
    """With the adapters that it taught or judged, the newest first."""

    used_by: list[Use]


class Erasure(BaseModel):
    """What was erased, and the adapter versions that are `tainted` by it: they learned from it or were judged by it.

    `alignment` is the run without it that was asked for; none where none is needed.
    """

    id: str
    responses: list[str]
    corrections: list[str]
    tainted: list[str]
    alignment: str | None = None


class Adapter(BaseModel):
    """One version of what was learned. `report` holds the gate's measurements, whatever the verdict.

    `tainted` says since when something that it learned from is erased; it may not serve any more.
    """

    version: str
    status: str
    digest: str
    created: int
    run_id: str
    report: dict[str, Any]
    tainted: int | None = None


class Change(BaseModel):
    """From the live adapter to another, with the ends of its interval."""

    estimate: float | None
    low: float | None
    high: float | None


class AdapterSummary(BaseModel):
    """A version in short: the gate's `verdict` with its `reasons`, and the `figures` that it rests on."""

    version: str
    status: str
    digest: str
    created: int
    run_id: str
    tainted: int | None = None
    num_pairs: int | None = None
    verdict: str | None = None
    reasons: list[str]
    figures: dict[str, Change]


class Rollout(BaseModel):
    """Which version answers. `phase`: preparing, committed or abandoned; `share` is the candidate's part of traffic."""

    generation: int
    live: str
    candidate: str | None = None
    share: float = 0.0
    phase: str
    reason: str | None = None
    effective_at: float | None = None
    is_judged: bool = False


class ComparedVersion(BaseModel):
    """`answers` that can be compared and how many of them were corrected; `ended`, and how many of those `failed`."""

    version: str
    answers: int
    corrected: int
    corrected_per_1000: float | None = None
    ended: int
    failed: int
    failed_per_1000: float | None = None


class Comparison(BaseModel):
    """How a new version stands against the other. `kind`: canary, or live where the other was live before it.

    It is rolled back where the evidence of one kind reaches `threshold`, and has stood the test after `num_answers`.
    """

    kind: str
    version: ComparedVersion
    other: ComparedVersion
    num_answers: int
    evidence_corrected: float
    evidence_failed: float
    threshold: float


class AdapterList(BaseModel):
    """All versions; `rollout` is the newest rollout, and `in_force` the one that answers until it is committed."""

    data: list[AdapterSummary]
    rollout: Rollout
    in_force: Rollout


class Alignment(BaseModel):
    """A training run. `trigger`: count, request, review or erasure.

    `reason` says why it was refused, held for review, cancelled or failed; `adapter` is what it published.
    """

    id: str
    status: str
    trigger: str = "request"
    created: int
    ended: int | None = None
    num_corrections: int
    progress: dict[str, Any] | None = None
    reason: str | None = None
    adapter: str | None = None

    @property
    def is_ended(self) -> bool:
        return self.status in ENDED


class AdapterStory(Adapter):
    """Where a version comes from, and what it did.

    `manifest` is what its run was made from: corrections, split, config, seed, digests; `erased`, what of it was erased
    since; `rollouts`, all that named it, the oldest first; `num_responses`, how many answers it gave.
    """

    run: Alignment
    manifest: dict[str, Any]
    erased: list[str]
    rollouts: list[Rollout]
    num_responses: int


class AlignmentList(BaseModel):
    data: list[Alignment]
