"""What accounts leave behind is deleted once a day, in batches; what may still be asked for is not."""

from typing import cast

import pytest
from accounts_room import account, run, value
from fastapi import FastAPI

from conforme.accounts import workflows
from conforme.foundation import retention
from conforme.foundation.database import Database
from conforme.foundation.durable import JobContext
from conforme.foundation.resources import Resources

ROWS = (
    (
        "insert into attempts (key, window_ends, count) values ('gone', now() - interval '1 second', 3),"
        " ('counts', now() + interval '1 minute', 3)"
    ),
    (
        "insert into sessions (user_id, expires_at, ended_at, user_agent) values"
        " (:user, now() + interval '9 days', null, 'open'),"
        " (:user, now() + interval '9 days', now() - interval '29 days', 'ended'),"
        " (:user, now() + interval '9 days', now() - interval '31 days', 'ended long ago'),"
        " (:user, now() - interval '31 days', null, 'expired long ago')"
    ),
    (
        "insert into refresh_tokens (user_id, session_id, token_hash, expires_at) select :user, id, user_agent || days,"
        " now() - make_interval(days => days) from sessions, (values (-1), (29), (31)) as ages (days)"
    ),
    (
        "insert into user_invite_tokens (user_id, token_hash, expires_at, used_at) values"
        " (:user, 'open', now() + interval '1 day', null), (:user, 'expired', now() - interval '29 days', null),"
        " (:user, 'expired long ago', now() - interval '31 days', null),"
        " (:user, 'used long ago', now() + interval '1 day', now() - interval '31 days')"
    ),
)


class Straight:
    """A context that remembers nothing: the deletions are what is tested."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources

    step = staticmethod(lambda _name, fn: fn())


@pytest.mark.parametrize("batch", [1, 1000])
async def test_only_what_ended_long_ago_is_deleted(
    api_app: FastAPI, database: Database, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", batch)
    user_id = await account(database)
    for statement in ROWS:
        await run(database, statement, user=user_id)
    context = cast("JobContext", Straight(api_app.state.resources))
    deleted = await workflows.retention.body(context, None)  # pyright: ignore[reportArgumentType]
    assert deleted == {"attempts": 1, "refresh tokens": 4, "sessions": 2, "invites": 2}
    for table, column, left in (
        ("attempts", "key", "counts"),
        ("sessions", "user_agent", "ended,open"),
        ("refresh_tokens", "token_hash", "ended-1,ended29,open-1,open29"),
        ("user_invite_tokens", "token_hash", "expired,open"),
    ):
        kept = f"select string_agg({column}, ',' order by {column} collate \"C\") from {table}"  # noqa: S608
        assert await value(database, kept) == left
