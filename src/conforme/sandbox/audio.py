"""Recordings that play: MPEG-2 Layer III at 16 kHz and 8 kbit/s, made without an encoder.

Each word is a soft tone (lower for the advisor, higher for the client), each pause silence, at the times of
`speaking.speak`: who follows a transcript hears the right voice at the right second. One frame lasts 36 ms and
takes 36 bytes, so a minute is 60 kB. An ID3 comment names the written call, by which the speech service of the
sandbox recognises it; it cannot hear.

A frame holds one granule with at most one MDCT coefficient of magnitude 1, which Huffman table 1 writes in a few
bits (ISO/IEC 11172-3 §2.4, 13818-3 §2.4 for the low sampling rate).
"""

import io
import re
import wave
from functools import lru_cache

from conforme.sandbox.corpus import CallReference, WrittenCall
from conforme.sandbox.speaking import Speech, speak

SAMPLE_RATE = 16_000
SAMPLES_PER_FRAME = 576
FRAME_SECONDS = SAMPLES_PER_FRAME / SAMPLE_RATE
FRAME_BYTES = 36
_HEADER = bytes((0xFF, 0xF3, 0x18, 0xC4))
"""Sync, MPEG-2, Layer III, no CRC; 8 kbit/s, 16 kHz; mono, original, no emphasis."""
_GAIN = 196
"""Step of 2^((196 - 210) / 4), about a tenth of full scale."""
_PITCH = {"conseiller": 13, "client": 22, "tiers": 31}
"""MDCT line of each voice; a line is 13.9 Hz wide."""
_DESCRIPTION = "conforme-call"


def render(call: WrittenCall) -> bytes:
    """The recording of a call, an MP3 file."""
    return _tag(str(call.reference)) + _frames(speak(call))


def reference_in(audio: bytes) -> CallReference | None:
    """The call that an MP3 stands for; None when it names none."""
    found = re.search(
        rb"TXXX.{6}\x00" + _DESCRIPTION.encode() + rb"\x00([\x20-\x7e]{1,200})", audio[:1024], re.DOTALL
    )
    return CallReference.parse(found[1].decode("ascii").strip()) if found else None


def seconds_of(audio: bytes) -> float | None:
    """Length of an MP3 or WAV file; None when it is neither."""
    if audio[:4] == b"RIFF":
        return _wav_seconds(audio)
    start = _tag_end(audio)
    if audio[start : start + 4] == _HEADER:
        return round((len(audio) - start) // FRAME_BYTES * FRAME_SECONDS, 3)
    if audio[start : start + 1] == b"\xff" and len(audio) > start + 1 and audio[start + 1] & 0xE0 == 0xE0:
        # A file from elsewhere: telephone recordings are about 32 kbit/s.
        return round((len(audio) - start) / 4000, 3)
    return None


def _wav_seconds(audio: bytes) -> float | None:
    try:
        with wave.open(io.BytesIO(audio)) as file:
            return round(file.getnframes() / (file.getframerate() or 1), 3)
    except (wave.Error, EOFError):
        return None


def _tag_end(audio: bytes) -> int:
    if audio[:3] != b"ID3" or len(audio) < 10:
        return 0
    size = 0
    for byte in audio[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size


def _tag(text: str) -> bytes:
    """An ID3v2.3 tag with one user text frame."""
    body = b"\x00" + _DESCRIPTION.encode() + b"\x00" + text.encode("ascii")
    frame = b"TXXX" + len(body).to_bytes(4, "big") + b"\x00\x00" + body
    size = len(frame)
    synchsafe = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\x00\x00" + synchsafe + frame


def _frames(speech: Speech) -> bytes:
    """The voice of each 36 ms: the tone of the word being said, or silence."""
    total = max(1, round(speech.seconds / FRAME_SECONDS))
    frames = [_frame(None)] * total
    for word in speech.words:
        line = _PITCH[word.role] + len(word.text) % 4
        first = int(word.start / FRAME_SECONDS)
        for index in range(first, min(total, max(first + 1, int(word.end / FRAME_SECONDS)))):
            frames[index] = _frame(line)
    return b"".join(frames)


@lru_cache(maxsize=64)
def _frame(line: int | None) -> bytes:
    """One frame whose only sound is that MDCT line; None is silence."""
    huffman = "" if line is None else "1" * (line // 2) + ("0010" if line % 2 else "010")
    pairs = 0 if line is None else line // 2 + 1
    fields = (
        (0, 8),  # main_data_begin: frames stand alone
        (0, 1),  # private bit
        (len(huffman), 12),  # part2_3_length
        (pairs, 9),  # big_values
        (_GAIN, 8),  # global_gain
        (0, 9),  # scalefac_compress: no scale factors
        (0, 1),  # long block
        (1, 5),  # Huffman table 1 in each region
        (1, 5),
        (1, 5),
        (0, 4),  # region0_count
        (0, 3),  # region1_count
        (0, 1),  # scalefac_scale
        (0, 1),  # count1 table
    )
    bits = "".join(f"{value:0{width}b}" for value, width in fields) + huffman
    payload = bits.ljust((FRAME_BYTES - len(_HEADER)) * 8, "0")
    return _HEADER + int(payload, 2).to_bytes(FRAME_BYTES - len(_HEADER), "big")
