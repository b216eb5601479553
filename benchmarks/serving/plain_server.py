"""The server that many write first: FastAPI around `generate`, one answer at a time."""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, TextIteratorStreamer


def build(folder: str) -> FastAPI:
    app = FastAPI()
    processor: Any = AutoProcessor.from_pretrained(folder)
    model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    one_at_a_time = asyncio.Lock()

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> StreamingResponse:
        body = await request.json()
        return StreamingResponse(_events(body), media_type="text/event-stream")

    async def _events(body: dict[str, Any]) -> AsyncIterator[str]:
        inputs = processor.apply_chat_template(
            _with_pictures(body["messages"]),
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        streamer = TextIteratorStreamer(processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
        num_tokens = 0

        def generate() -> None:
            nonlocal num_tokens
            output = model.generate(
                **inputs, streamer=streamer, do_sample=False, max_new_tokens=body["max_tokens"]
            )
            num_tokens = output.shape[1] - inputs["input_ids"].shape[1]

        async with one_at_a_time:
            thread = threading.Thread(target=generate)
            thread.start()
            pieces = iter(streamer)
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                if piece:
                    yield _event({"choices": [{"index": 0, "delta": {"content": piece}}]})
            thread.join()
        yield _event({"choices": [], "usage": {"completion_tokens": num_tokens}})
        yield "data: [DONE]\n\n"

    return app


def _with_pictures(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**message, "content": [_part(part) for part in message["content"]]} for message in messages]


def _part(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] == "text":
        return part
    encoded = base64.b64decode(part["image_url"]["url"].partition(",")[2])
    return {"type": "image", "image": Image.open(io.BytesIO(encoded)).convert("RGB")}


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    uvicorn.run(build(options.folder), host="127.0.0.1", port=options.port, log_level="warning")
