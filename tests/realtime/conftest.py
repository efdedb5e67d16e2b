"""Both ways in which replicas wake each other: PostgreSQL's NOTIFY and a stream of a real Redis."""

from collections.abc import AsyncGenerator, Generator

import pytest
from pydantic import SecretStr
from realtime_room import RedisServer

from conforme.foundation.database import Database
from conforme.realtime.fanout import Fanout, fanout_of
from conforme.settings import Settings


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
async def redis(redis_server: RedisServer) -> RedisServer:
    """A Redis that answers, whatever a test before did to it."""
    redis_server.stop()
    await redis_server.start()
    return redis_server


@pytest.fixture(params=["postgres", "redis"])
def told_by(request: pytest.FixtureRequest) -> Settings:
    """The settings of a replica, for each way of waking."""
    if request.param == "postgres":
        return Settings()
    server: RedisServer = request.getfixturevalue("redis")
    return Settings(redis_url=SecretStr(server.url))


@pytest.fixture
async def replica_database(
    told_by: Settings, database: Database, database_url: str
) -> AsyncGenerator[Database]:
    """A replica's own connection to the empty database; what it commits is told its way."""
    own = Database(database_url, pool_size=20, notify=told_by.redis_url is None)
    async with fanout_of(told_by, own).announcing(own):
        yield own
    await own.dispose()


@pytest.fixture
def fanout(told_by: Settings, replica_database: Database) -> Fanout:
    return fanout_of(told_by, replica_database)
