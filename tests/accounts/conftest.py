"""A browser that nobody signed in with, on an empty database."""

from collections.abc import AsyncGenerator

import httpx2
import pytest
from accounts_room import browsing
from fastapi import FastAPI

from conforme.foundation.database import Database


@pytest.fixture
async def browser(api_app: FastAPI, database: Database) -> AsyncGenerator[httpx2.AsyncClient]:
    async with browsing(api_app) as client:
        yield client
