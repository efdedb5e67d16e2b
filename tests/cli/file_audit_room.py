"""Folders of invented calls for `conforme audit`, and a rubric in English."""

import json
from pathlib import Path

from conforme.file_audit import Options

RUBRIC = Path(__file__).parents[2] / "docs" / "examples" / "roadside-assistance.yaml"

CHAT = json.dumps(
    {
        "domain": "motor",
        "message_list": [
            {
                "role": "assistant",
                "content": "Thank you for calling Harbour Motor Insurance. This call may be recorded. How can I help?",
            },
            {"role": "user", "content": "My car will not start and I am stuck in a car park."},
            {
                "role": "assistant",
                "content": "Could you give me your policy number and your postcode, please?",
            },
            {
                "role": "user",
                "content": "Yes, that is policy number HM 20418,\n\nand the postcode is QX1 9ZZ.",
            },
            {
                "role": "assistant",
                "content": "Your roadside coverage is active. Towing is covered up to 20 miles. Shall I go ahead?",
            },
            {"role": "user", "content": "Yes, I consent, please go ahead."},
            {"role": "assistant", "content": "A truck is on its way. Have a great day."},
        ],
    }
).encode()
"""A chat log: who said what in order, and no times."""

BROKEN = b'{"message_list": [{"role": "assistant", "content": 12}]}'


def at(folder: Path, files: dict[str, bytes]) -> Path:
    """The folder, with these files in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def sandboxed(folder: Path, *, as_json: bool = False, html: Path | None = None) -> Options:
    return Options((folder,), config=str(RUBRIC), as_json=as_json, html=html, sandbox=True)
