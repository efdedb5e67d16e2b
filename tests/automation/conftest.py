"""What tests of automation stand on."""

import httpx2
import pytest
from fastapi import FastAPI
from run_room import Room

from audit_rows import configured
from conforme.foundation.database import Database
from conforme.foundation.resources import Resources


@pytest.fixture
def resources(api_app: FastAPI) -> Resources:
    return api_app.state.resources


@pytest.fixture
async def room(api: httpx2.AsyncClient, database: Database, resources: Resources) -> Room:
    return Room(api, database, resources, (await configured(database, steps=1)).config_id)
