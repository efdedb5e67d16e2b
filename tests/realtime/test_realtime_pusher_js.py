"""The real pusher-js, from the npm registry, subscribes through us and hears what happens."""

import asyncio
import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copy, which
from typing import Any
from urllib.parse import urlsplit

import pytest
from realtime_room import until

from conforme.accounts.grants import EVERYTHING
from conforme.app import Role
from conforme.foundation import events
from conforme.foundation.database import Database
from conforme.process import Served, http_server
from conforme.realtime.models import RealtimeCursor
from conforme.realtime.publisher import CURSOR
from conforme.sandbox.pusher import PusherDesk
from conforme.sandbox.world import Sandbox
from conforme.settings import Settings, settings_with
from people import SignedIn, signed_in
from product_fixtures import SETTINGS

HERE = Path(__file__).parent / "js"
PATIENCE = 20.0


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """pusher-js as pinned, installed once per machine outside the repository."""
    assert which("npm"), "npm is not installed"
    digest = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"conforme-js-{digest}"
    if not (folder / "complete").exists():
        building = Path(tempfile.mkdtemp(prefix="conforme-js-"))
        for name in ("package.json", "package-lock.json"):
            copy(HERE / name, building / name)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=building, check=True)
        (building / "complete").touch()
        try:
            building.rename(folder)
        except OSError:
            return building
    return folder


@dataclass
class Room:
    """A replica that publishes at the sandbox's Pusher, and a person."""

    served: Served
    desk: PusherDesk
    person: SignedIn
    settings: Settings
    node_modules: Path

    @asynccontextmanager
    async def subscriber(self, *channels: str, token: str | None = None) -> AsyncGenerator["Subscriber"]:
        host = urlsplit(str(self.settings.pusher_host))
        given = {
            "key": self.settings.pusher_key,
            "host": host.hostname,
            "port": host.port,
            "endpoint": f"{self.served.url}/api/realtime/pusher/auth",
            "token": token or self.person.headers["Authorization"].removeprefix("Bearer "),
            "channels": channels,
            "bind": "audit.progress",
        }
        command = ["node", str(HERE / "subscribe.cjs"), str(self.node_modules), json.dumps(given)]
        clean = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=clean
        )
        try:
            yield Subscriber(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            await asyncio.wait_for(process.wait(), PATIENCE)


class Subscriber:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def says(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE)
        return json.loads(line)


@pytest.fixture
async def room(database_url: str, database: Database, node_modules: Path) -> AsyncGenerator[Room]:
    async with Sandbox() as sandbox:
        pusher = {name: value for name, value in sandbox.environment().items() if name.startswith("PUSHER")}
        settings = settings_with(SETTINGS, pusher | {"PORT": "0", "DRAIN_SECONDS": "1"})
        person = await signed_in(database, settings, EVERYTHING)
        async with http_server(settings, database_url, Role.ALL) as served:

            async def leads() -> bool:
                async with database.read() as session:
                    return await session.get(RealtimeCursor, CURSOR) is not None

            await until(leads)
            yield Room(served, sandbox.pusher_desk, person, settings, node_modules)


async def test_pusher_js_subscribes_to_a_private_channel_and_hears_an_event(
    room: Room, database: Database
) -> None:
    async with room.subscriber("private-audit-7") as subscriber:
        assert await subscriber.says() == {"subscribed": "private-audit-7", "me": None}
        async with database.write() as session:
            await events.record(session, "audit.progress", {"audit_id": "7"}, ["private-audit-7"])
        heard = await subscriber.says()
    assert heard["on"] == "private-audit-7"
    assert heard["heard"]["audit_id"] == "7"
    assert heard["heard"]["event_uid"]


async def test_pusher_js_joins_a_presence_channel_as_the_person_who_is_signed_in(room: Room) -> None:
    person = room.person.caller.person
    assert person is not None
    async with room.subscriber("presence-global") as subscriber:
        said = await subscriber.says()
    assert said["me"] == {
        "id": str(person.id),
        "info": {"email": person.email, "roles": list(person.roles)},
    }


async def test_pusher_js_is_refused_what_is_not_theirs(room: Room) -> None:
    async with room.subscriber("private-user-999999") as subscriber:
        assert await subscriber.says() == {"refused": "private-user-999999", "status": 403}
    async with room.subscriber("private-audit-7", token="nobody") as subscriber:
        assert await subscriber.says() == {"refused": "private-audit-7", "status": 401}
