"""The port to speech recognition."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from conforme.foundation.errors import External
from conforme.transcriptions.words import Word


@dataclass(frozen=True, slots=True)
class Transcript:
    """What a provider heard. No words and no text: nobody speaks in the recording."""

    transcription_id: str
    text: str
    language_code: str | None
    language_probability: float | None
    words: tuple[Word, ...]
    audio_seconds: float | None
    """Length of the audio as the provider says or its last word shows; None = unknown."""

    @property
    def silent(self) -> bool:
        return not self.words and not self.text.strip()


class SpeechFailed(External):
    """The audio could not be fetched, or its recognition failed."""


class SpeechToText(Protocol):
    provider: str
    model: str

    async def transcribe(self, audio: AsyncIterator[bytes], *, language: str) -> Transcript:
        """Transcribes MP3 audio; `language` is ISO 639-3. One request, never repeated here.

        Raises `SpeechFailed`.
        """
        ...
