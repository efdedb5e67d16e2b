"""A store of recordings and a speech service on loopback whose answers the tests write."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from conforme.sandbox.chassis import Service

Heard = dict[str, Any]
Reply = Callable[[str], Response]


def heard(call_id: str, text: str) -> Heard:
    """What the service hears in a call: two speakers, half a second a word."""
    words = [
        {
            "text": word,
            "start": place / 2,
            "end": place / 2 + 0.4,
            "type": "word",
            "speaker_id": f"speaker_{place // 5 % 2}",
        }
        for place, word in enumerate(text.split())
    ]
    return {
        "transcription_id": f"tr-{call_id}",
        "language_code": "fra",
        "language_probability": 0.97,
        "text": text,
        "words": words,
    }


@dataclass
class Provider:
    """`calls` is what is spoken in each call; `replies` overrides the answer for one."""

    calls: dict[str, str] = field(default_factory=dict[str, str])
    replies: dict[str, list[Response]] = field(default_factory=dict[str, list[Response]])
    keys: set[str] = field(default_factory=set[str])

    def service(self) -> Service:
        routes = [
            Route("/audio/{call_id}.mp3", self._audio),
            Route("/v1/speech-to-text", self._speech, methods=["POST"]),
        ]
        return Service("speech", Starlette(routes=routes))

    async def _audio(self, request: Request) -> Response:
        call_id = request.path_params["call_id"]
        if call_id not in self.calls:
            return Response(status_code=404)
        return Response(f"ID3 {call_id}", media_type="audio/mpeg")

    async def _speech(self, request: Request) -> Response:
        self.keys.add(request.headers["xi-api-key"])
        async with request.form() as form:
            file = form["file"]
            assert isinstance(file, UploadFile)
            call_id = (await file.read()).decode().removeprefix("ID3 ")
        waiting = self.replies.get(call_id)
        return waiting.pop(0) if waiting else JSONResponse(heard(call_id, self.calls[call_id]))
