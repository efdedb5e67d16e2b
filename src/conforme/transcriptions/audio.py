"""Fetching the audio of a recording."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from conforme.foundation.outbound import Outbound, OutboundFailed, UnsafeUrl
from conforme.settings import Settings
from conforme.transcriptions.speech import SpeechFailed


@asynccontextmanager
async def audio_at(url: str, outbound: Outbound, settings: Settings) -> AsyncGenerator[AsyncIterator[bytes]]:
    """The audio behind a recording URL as it arrives, guarded and capped at AUDIO_MAX_BYTES.

    Raises `SpeechFailed` ("Audio download failed …", also while it is read); the URL is not repeated, it may be signed.
    """
    try:
        async with outbound.download(
            url, max_bytes=settings.audio_max_bytes, timeout=settings.transcription_timeout_seconds
        ) as pieces:
            yield pieces
    except UnsafeUrl as error:
        raise SpeechFailed(f"Audio download failed: {error.message.partition('. Got ')[0]}") from None
    except OutboundFailed as error:
        raise SpeechFailed(
            f"Audio download failed {error.reason}", retryable=error.retryable, retry_after=error.retry_after
        ) from None
