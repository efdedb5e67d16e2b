"""What is sent to a database while a block lasts."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, event

from conforme.foundation.database import Database


class Sent:
    def __init__(self) -> None:
        self.statements: list[str] = []
        self.commits = 0

    def __len__(self) -> int:
        return len(self.statements)


@contextmanager
def sent_to(database: Database) -> Generator[Sent]:
    sent, engine = Sent(), database.engine.sync_engine

    def statement(_connection: Connection, _cursor: Any, text: str, *_rest: Any) -> None:
        sent.statements.append(text)

    def committed(_connection: Connection) -> None:
        sent.commits += 1

    event.listen(engine, "before_cursor_execute", statement)
    event.listen(engine, "commit", committed)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", statement)
        event.remove(engine, "commit", committed)
