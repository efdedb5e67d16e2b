"""The whole sandbox: every outside system the product speaks to, on loopback, with one seed.

    async with Sandbox(SandboxOptions(seed=7)) as sandbox:
        Settings(**…) from sandbox.environment()

`serve` runs it as a process of its own: the providers then outlive the product, and remember what they were asked.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from conforme.sandbox.chassis import Service
from conforme.sandbox.corpus import load_corpus
from conforme.sandbox.crm import DEFAULT_BEARER, Gateway, GatewayFaults
from conforme.sandbox.model import ModelOptions, ModelStandIn
from conforme.sandbox.population import Population
from conforme.sandbox.pusher import PusherDesk
from conforme.sandbox.smtp import SmtpSink
from conforme.sandbox.speech import DEFAULT_KEY, Hearing, SpeechDesk
from conforme.sandbox.weather import FaultPlan, Latency
from conforme.sandbox.webhooks import WebhookSink


@dataclass(frozen=True, slots=True)
class Ports:
    """Where each service listens; 0 lets the system choose."""

    crm: int = 0
    speech: int = 0
    model: int = 0
    pusher: int = 0
    webhooks: int = 0
    smtp: int = 0


@dataclass(frozen=True, slots=True)
class SandboxOptions:
    """Shares and rates are between 0 and 1."""

    seed: int = 1
    faults: FaultPlan = field(default_factory=FaultPlan)
    """Faults of the CRM, the speech service and the model alike."""
    fabricated_share: float = 0.0
    """Share of control points to which the model adds a quote nobody said."""
    refusal_share: float = 0.0
    gullible: bool = False
    """The model obeys what is said in a call, or written about it, to whoever judges."""
    model_latency: Latency = field(default_factory=Latency)
    """Per answer, and per output token."""
    speech_latency: Latency = field(default_factory=Latency)
    """Per answer, and per second of audio."""
    crm_latency: Latency = field(default_factory=Latency)
    hearing: Hearing = field(default_factory=Hearing)
    gateway_faults: GatewayFaults = field(default_factory=GatewayFaults)
    sales_per_day: int = 12
    attempts_per_sale: int = 0
    """Calls that came to nothing before each sale, beside those that some sales have anyway."""
    now: Callable[[], datetime] | None = None
    """When set, sales later than this have not happened yet."""
    ports: Ports = field(default_factory=Ports)


class Sandbox:
    """All services together; each is reachable by its attribute and by `url` of its `Service`."""

    def __init__(self, options: SandboxOptions | None = None) -> None:
        self.options = options or SandboxOptions()
        given = self.options
        corpus = load_corpus()
        self.population = Population(
            corpus,
            seed=given.seed,
            sales_per_day=given.sales_per_day,
            attempts_per_sale=given.attempts_per_sale,
            now=given.now,
        )
        self.gateway = Gateway(self.population, faults=given.gateway_faults)
        self.speech_desk = SpeechDesk(corpus, hearing=given.hearing)
        self.stand_in = ModelStandIn(
            ModelOptions(
                seed=given.seed,
                fabricated_share=given.fabricated_share,
                refusal_share=given.refusal_share,
                gullible=given.gullible,
            )
        )
        self.pusher_desk = PusherDesk()
        self.webhook_sink = WebhookSink()
        self.smtp = SmtpSink()
        weather: dict[str, Any] = {"seed": given.seed, "faults": given.faults}
        self.crm = Service("crm", self.gateway.app, latency=given.crm_latency, **weather)
        self.speech = Service(
            "speech",
            self.speech_desk.app,
            latency=given.speech_latency,
            report=self.speech_desk.report,
            **weather,
        )
        self.model = self.stand_in.service(faults=given.faults, latency=given.model_latency)
        self.pusher = self.pusher_desk.service(seed=given.seed)
        self.webhooks = self.webhook_sink.service(seed=given.seed)
        self._open = AsyncExitStack()

    @property
    def services(self) -> tuple[Service, ...]:
        return (self.crm, self.speech, self.model, self.pusher, self.webhooks)

    async def __aenter__(self) -> Self:
        ports = self.options.ports
        async with AsyncExitStack() as opening:
            for service in self.services:
                await service.start(getattr(ports, service.name))
                opening.push_async_callback(service.stop)
            await self.smtp.start(ports.smtp)
            opening.push_async_callback(self.smtp.stop)
            self._open = opening.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    def environment(self) -> dict[str, str]:
        """The environment variables that point the product at the sandbox."""
        pusher = self.pusher_desk.keys
        return {
            "FICHE_API_BASE_URL": self.crm.url,
            "FICHE_API_AUTH_TOKEN": DEFAULT_BEARER,
            "ELEVENLABS_BASE_URL": self.speech.url,
            "ELEVENLABS_API_KEY": DEFAULT_KEY,
            "LLM_PROVIDER": "openai",
            "OPENAI_BASE_URL": f"{self.model.url}/v1",
            "OPENAI_API_KEY": self.stand_in.options.api_key,
            "OUTBOUND_ALLOWED_ORIGINS": self.crm.url,
            "WEBHOOK_ALLOWED_ORIGINS": self.webhooks.url,
            "PUSHER_APP_ID": pusher.app_id,
            "PUSHER_KEY": pusher.key,
            "PUSHER_SECRET": pusher.secret,
            "PUSHER_CLUSTER": "sandbox",
            "PUSHER_HOST": self.pusher.url,
        }

    def addresses(self) -> dict[str, str]:
        """URL of each service by name, for the control routes; the mail server as `smtp://…`."""
        listed = {service.name: service.url for service in self.services}
        return listed | {"smtp": f"smtp://127.0.0.1:{self.smtp.port}"}

    def counts(self) -> dict[str, Mapping[str, Any]]:
        """What every service was asked, by its name."""
        return {service.name: service.counts() for service in self.services}

    def planted(self) -> Mapping[str, Any]:
        """`{fabricated_quotes, quotes: [{text, kind, recording, turn}]}`: what the model said that nobody said."""
        return self.stand_in.report()["planted"]


def as_json(sandbox: Sandbox) -> str:
    """`{addresses, environment}` of a running sandbox."""
    found = {"addresses": sandbox.addresses(), "environment": sandbox.environment()}
    return json.dumps(found, indent=2)


async def serve(
    options: SandboxOptions, announce: Callable[[Sandbox], None], stop: asyncio.Event | None = None
) -> None:
    """Runs the sandbox until `stop` is set (for ever without one), after telling `announce` where it listens."""
    async with Sandbox(options) as sandbox:
        announce(sandbox)
        await (stop or asyncio.Event()).wait()
