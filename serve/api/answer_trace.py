"""What a trace tells of a request that ended: its stages and its numbers, or how it was refused."""

from __future__ import annotations

from serve.traces import Stage, Trace

from .completion import Answer, Completion


def trace_of(completion: Completion, model: str, error: str | None) -> Trace:
    total_s = completion.watch.read()
    first, answers = completion.answers[0], completion.answers
    sampling = first.sampling
    return Trace(
        f"chat {model}",
        [
            Stage("read prompt", 0.0, completion.read_s),
            *(stage for answer in answers for stage in _stages(completion, answer, total_s)),
        ],
        total_s,
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "errata",
            "gen_ai.request.model": model,
            "gen_ai.request.choice.count": len(answers) if len(answers) > 1 else None,
            "gen_ai.request.max_tokens": sampling.max_tokens,
            "gen_ai.request.temperature": sampling.temperature,
            "gen_ai.request.top_p": sampling.top_p,
            "gen_ai.request.seed": sampling.seed,
            "gen_ai.response.id": completion.id,
            "gen_ai.response.model": f"{model}@{completion.adapter}",
            "gen_ai.response.finish_reasons": [answer.finish_reason or "error" for answer in answers],
            "gen_ai.usage.input_tokens": completion.num_prompt_tokens,
            "gen_ai.usage.output_tokens": completion.usage["completion_tokens"],
            "gen_ai.usage.cache_read.input_tokens": first.num_reused_tokens,
            "errata.adapter.version": completion.adapter,
            "errata.rollout.generation": completion.generation,
            "errata.request.id": completion.request_id,
        },
        completion.traceparent,
        error,
    )


def trace_of_refusal(
    method: str, route: str | None, status: int, request_id: str, total_s: float, traceparent: str | None
) -> Trace:
    """Of a request to which no answer was begun. By OpenTelemetry's convention only what the server could not do is an
    error of its span; what the client may not do is told by its status.
    """
    return Trace(
        method if route is None else f"{method} {route}",
        [],
        total_s,
        {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "errata.request.id": request_id,
        },
        traceparent,
        str(status) if status >= 500 else None,
    )


def _stages(completion: Completion, answer: Answer, total_s: float) -> list[Stage]:
    """As far as the answer came. It is read with those that wait for the same step, so that is one stage."""
    of_choice = {"errata.choice.index": answer.index, "gen_ai.response.id": answer.response_id}
    if answer.first_token_s is None or answer.last_token_s is None:
        return [Stage("wait and prefill", completion.read_s, total_s, of_choice)]
    stages = [
        Stage("wait and prefill", completion.read_s, answer.first_token_s, of_choice),
        Stage("decode", answer.first_token_s, answer.last_token_s, of_choice),
    ]
    if answer.response_id is not None:
        stages.append(Stage("record", answer.last_token_s, total_s, of_choice))
    return stages
