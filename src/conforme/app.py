"""Builds the application: the resources of a process, its durable jobs and its HTTP surface."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from enum import StrEnum
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.routing import APIRoute
from markupsafe import escape
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

import conforme.accounts.workflows  # pyright: ignore[reportUnusedImport] -- declares when what is old is deleted
import conforme.automation.run_workflows  # pyright: ignore[reportUnusedImport] -- declares the work of runs
import conforme.automation.workflows  # pyright: ignore[reportUnusedImport] -- declares the look at the clock
import conforme.fiches.range_workflows  # noqa: F401  # pyright: ignore[reportUnusedImport] -- declares the fetch of ranges
from conforme.accounts.admin_routes import router as admin
from conforme.accounts.auth import identify
from conforme.accounts.refusals import refused
from conforme.accounts.routes import router as auth
from conforme.accounts.team_routes import router as teams
from conforme.accounts.token_routes import router as api_tokens
from conforme.audit_configs import ports as config_ports
from conforme.audit_configs.revision_routes import router as config_revisions
from conforme.audit_configs.routes import router as audit_configs
from conforme.audits.batch_queries import visible_batch_ids
from conforme.audits.batch_routes import router as audit_batches
from conforme.audits.config_usage import config_usage
from conforme.audits.export_routes import router as audit_exports
from conforme.audits.links import connect as connect_links
from conforme.audits.list_routes import router as audit_lists
from conforme.audits.queries import visible_audit_ids
from conforme.audits.review_routes import router as reviews
from conforme.audits.routes import router as audits
from conforme.audits.settling import connect as connect_runs
from conforme.audits.speaker_routes import router as speakers
from conforme.audits.status import audit_status, audits_of_fiches
from conforme.automation.named import named
from conforme.automation.outcomes import audit_ended
from conforme.automation.queries import token_of
from conforme.automation.routes import router as automation
from conforme.automation.run_reads import visible_run_ids
from conforme.automation.run_routes import router as automation_runs
from conforme.fiches.job_queries import visible_job_ids
from conforme.fiches.job_routes import router as fiche_jobs
from conforme.fiches.list_routes import router as fiche_lists
from conforme.fiches.ports import Ports, connect
from conforme.fiches.routes import router as fiches
from conforme.fiches.scope import visible_fiche_ids
from conforme.foundation.border import Border
from conforme.foundation.cors import BrowserRules
from conforme.foundation.database import Database, now
from conforme.foundation.docs import mount_docs
from conforme.foundation.durable import Durable
from conforme.foundation.errors import ConformeError, Forbidden, Unauthenticated
from conforme.foundation.llm import LazyModel, model_from
from conforme.foundation.outbound import Outbound
from conforme.foundation.resources import Resources
from conforme.foundation.web import failure, install_error_handlers, iso, route_not_found
from conforme.realtime import channels
from conforme.realtime.channels import Finders
from conforme.realtime.fanout import fanout_of
from conforme.realtime.hub import Hub
from conforme.realtime.publisher import publishing
from conforme.realtime.pusher_routes import router as pusher
from conforme.realtime.routes import router as realtime
from conforme.recordings.fiche_calls import FicheCalls
from conforme.recordings.listed_calls import listed_calls
from conforme.recordings.routes import router as recordings
from conforme.settings import Settings
from conforme.transcriptions.routes import router as transcriptions
from conforme.transcriptions.status import transcription_status, transcription_statuses
from conforme.webhooks.routes import router as webhooks

ROUTERS = (
    auth,
    admin,
    teams,
    api_tokens,
    fiche_jobs,  # before the fiches, whose ids would be any path
    fiche_lists,
    fiches,
    recordings,
    speakers,
    transcriptions,
    audit_configs,
    config_revisions,
    audit_batches,  # before the audits, whose ids would be any path
    reviews,  # before `/api/audits/{audit_id}`, which would take its names for ids
    audit_exports,
    audit_lists,  # before the audit whose id a path names
    audits,
    automation_runs,
    automation,
    realtime,
    pusher,
    webhooks,
)
FICHE_PORTS = Ports(
    FicheCalls(),
    transcription_status,
    audit_status,
    listed_calls=listed_calls,
    transcription_statuses=transcription_statuses,
    audits_of_fiches=audits_of_fiches,
    schedule_token=token_of,
)
TITLE = "Conforme API"
SERVICE = "conforme"
READY_SECONDS = 3.0


class Role(StrEnum):
    """What a process does: answer HTTP, carry out jobs, or both."""

    ALL = "all"
    API = "api"
    WORKER = "worker"


def instance_of(settings: Settings) -> str:
    return settings.hostname or f"pid-{os.getpid()}"


@asynccontextmanager
async def running(settings: Settings, url: str, role: Role = Role.ALL) -> AsyncGenerator[Resources]:
    """The resources of one process, working until the block ends; then drained and handed over."""
    connect(FICHE_PORTS)
    config_ports.connect(config_usage)
    channels.connect(
        Finders(
            fiches=visible_fiche_ids,
            audits=visible_audit_ids,
            jobs=visible_job_ids,
            batches=visible_batch_ids,
            runs=visible_run_ids,
        )
    )
    connect_runs(audit_ended)
    connect_links(named)
    database = Database(
        url,
        pool_size=settings.database_pool_size,
        notify=settings.redis_url is None,
        workflow_log=settings.workflow_log_db_enabled,
    )
    fanout = fanout_of(settings, database)
    outbound = Outbound(settings)
    durable = Durable(settings, database)
    resources = Resources(
        settings=settings,
        database=database,
        durable=durable,
        outbound=outbound,
        model=model_from(settings, outbound),
    )
    works = role is not Role.API
    try:
        if works and isinstance(resources.model, LazyModel):
            await asyncio.to_thread(resources.model.warm_up)
        async with fanout.announcing(database), publishing(resources, fanout) if works else nullcontext():
            try:
                await durable.start(resources, works=works)
                yield resources
            finally:
                await durable.stop()
    finally:
        await outbound.aclose()
        await database.dispose()


def build(settings: Settings, url: str, role: Role = Role.ALL) -> FastAPI:
    """The HTTP application; its resources start and stop with it."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        async with running(settings, url, role) as resources:
            app.state.resources = resources
            app.state.hub = Hub(resources.database, fanout_of(settings, resources.database))
            yield
            await app.state.hub.stop()

    app = FastAPI(
        title=TITLE,
        version=version("conforme"),
        lifespan=lifespan,
        openapi_url="/api-docs.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False},
        servers=[{"url": "/"}, {"url": settings.api_base_url}],
    )
    for router in ROUTERS:
        app.include_router(router)
    _add_health(app, settings)
    mount_docs(app)
    install_error_handlers(app)
    app.add_exception_handler(Forbidden, refused)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_middleware(
        Border,
        instance=instance_of(settings),
        body_limit=settings.body_limit_bytes,
        static_segments=static_segments(),
        rules=BrowserRules(settings.cors_allowed_origins, https=settings.cookie_secure),
    )
    return app


def static_segments() -> frozenset[str]:
    """The words in the paths of all routes; not by way of the API's document, which takes a second to write."""
    routed = [route.path for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    paths = [*routed, "/health/ready", "/api-docs"]
    return frozenset(part for path in paths for part in path.split("/") if part and "{" not in part)


async def _http_exception(request: Request, error: Exception) -> Response:
    """Unknown routes and wrong methods alike are 404; under `/api` a stranger learns nothing but 401."""
    assert isinstance(error, HTTPException)  # noqa: S101 -- registered for this class alone
    path = request.url.path
    if error.status_code not in {404, 405}:
        return JSONResponse(failure(str(error.detail)), status_code=error.status_code)
    if not path.startswith("/api"):
        page = f"<!doctype html><title>Error</title><pre>Cannot {escape(request.method)} {escape(path)}</pre>"
        return HTMLResponse(page, status_code=404)
    told: ConformeError = route_not_found(request) if await identify(request) else Unauthenticated()
    return JSONResponse(failure(told.message, told.code), status_code=told.status)


async def _readiness(resources: Resources) -> dict[str, bool]:
    try:
        async with asyncio.timeout(READY_SECONDS), resources.database.read() as session:
            await session.execute(select(1))
    except (SQLAlchemyError, TimeoutError, OSError):
        return {"database": False, "engine": False}
    return {"database": True, "engine": resources.durable.healthy}


def _add_health(app: FastAPI, settings: Settings) -> None:
    described = {"service": SERVICE, "version": version("conforme"), "instance": instance_of(settings)}

    @app.get("/health", tags=["health"])
    async def health() -> dict[str, str | None]:
        """The process is alive; nothing else is checked."""
        return {"status": "ok", "timestamp": iso(now()), **described}

    @app.get("/health/ready", tags=["health"])
    async def ready(request: Request) -> JSONResponse:
        """The process can do its work: the database answers and this replica's heartbeat is fresh."""
        checks = await _readiness(request.app.state.resources)
        status = 200 if all(checks.values()) else 503
        label = "ready" if status == 200 else "not ready"
        body = {"status": label, "timestamp": iso(now()), "checks": checks, **described}
        return JSONResponse(body, status_code=status)
