"""Every setting of Conforme, with its unit and default.

Names are those of the deployed environment (spec/audits §13, spec/fiches §5, spec/realtime §5); blank values
count as unset. Secrets are `SecretStr`: they are never logged nor returned.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MAX_RECORDINGS_PER_FICHE = 50
"""A fiche with more recordings is not transcribed nor audited (spec/fiches §4)."""
MIN_KEY_BYTES = 32
MAX_WEBHOOK_WAITS = 30
_ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?",
    re.ASCII,
)


def _split_commas(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
    return value


def _unquoted_secret(value: Any) -> Any:
    """Trims a key and takes one pair of surrounding quotes off (spec/fiches §4)."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if not isinstance(value, str):
        return value
    text = value.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    return SecretStr(text) if text else None


def _origin(text: str) -> str:
    found = _ORIGIN.fullmatch(text.lower())
    if found is None or int(found["port"] or 0) > 65_535:
        raise ValueError(f"{text} is no origin: scheme://host or scheme://host:port")
    scheme, host, port = found["scheme"], found["host"], found["port"]
    default = {"http": "80", "https": "443"}[scheme]
    return f"{scheme}://{host}" if port in {None, default} else f"{scheme}://{host}:{int(port)}"


def _stripped(value: Any) -> Any:
    return (value.strip() or None) if isinstance(value, str) else value


Word = Annotated[str | None, BeforeValidator(_stripped)]
CommaList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)]
Secret = Annotated[SecretStr | None, BeforeValidator(_unquoted_secret)]


class Settings(BaseSettings):
    """The whole configuration, read from the environment and an optional `.env` file."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, populate_by_name=True
    )

    # Where things live
    data: Path = Field(default=Path(".conforme"), validation_alias="CONFORME_DATA")
    """Folder of the embedded database and of local files."""
    database_url: Secret = None
    """PostgreSQL to use; unset starts the embedded server under the data folder."""
    database_pool_size: int = Field(default=10, ge=1, le=200)
    """Connections one process keeps for the application (the engine has its own)."""

    # HTTP server
    host: str = "127.0.0.1"
    port: int = Field(default=3002, ge=0, le=65535)
    hostname: str | None = None
    """Label of this instance in `X-Backend-Instance`; default `pid-<pid>`."""
    api_base_url: str = "http://localhost:3002"
    """Public address, used in links sent to clients."""
    body_limit_bytes: int = Field(default=50 * 1024 * 1024, ge=1024)
    api_auth_token: Secret = None
    api_auth_tokens: SecretStr = SecretStr("")
    """Machine tokens, comma-separated; each gives an actor with scope ALL."""

    # Accounts
    jwt_access_secret: Secret = None
    """Key that signs access tokens, 32 bytes or more; without one nobody can sign in, and tokens still work."""
    jwt_access_secret_previous: Secret = None
    """The key before: what it signed stays valid until it expires."""
    jwt_issuer: str = "ai-audit"
    jwt_audience: str = "ai-audit"
    secrets_key: Secret = None
    """Key that secrets to be used again (a schedule's `externalApiKey`) are sealed with, 32 bytes or more; unset: `JWT_ACCESS_SECRET`."""
    secrets_key_previous: Secret = None
    """The key before: what it sealed can still be opened."""
    auth_access_ttl_seconds: int = Field(default=900, ge=30, le=86_400)
    auth_refresh_ttl_seconds: int = Field(default=2_592_000, ge=60)
    """A session ends when it is not refreshed for this long."""
    auth_session_max_seconds: int = Field(default=7_776_000, ge=60)
    """A session ends after this long, however often it is refreshed."""
    auth_refresh_grace_seconds: float = Field(default=10.0, ge=0, le=60)
    """A refresh token used again within this time is taken for two tabs at once, and only refused."""
    auth_refresh_cookie_name: str = Field(default="refresh_token", pattern=r"^[A-Za-z0-9_\-]{1,64}$")
    auth_cookie_secure: bool | None = None
    """Cookie over HTTPS alone; unset: when NODE_ENV is `production`."""
    auth_cookie_samesite: Literal["lax", "strict", "none"] = "lax"
    auth_seed_admin_email: str | None = None
    auth_seed_admin_password: Secret = None
    """With the e-mail: an administrator who is created at start when there is none of that address."""
    auth_invite_ttl_seconds: int = Field(default=604_800, ge=60)
    auth_attempts_per_account: int = Field(default=10, ge=1)
    """Failed logins of one account within the window, before it has to wait; from one address half of that."""
    auth_attempts_per_address: int = Field(default=100, ge=1)
    """Failed logins, refreshes and invites from one address within the window."""
    auth_attempts_window_seconds: int = Field(default=900, ge=1)
    cors_allowed_origins: CommaList = (
        "http://localhost:3000",
        "http://localhost:3001",
        "http://localhost:5173",
        "http://localhost:5174",
    )
    """Origins whose pages may call with credentials."""
    node_env: str = "production"
    """`production`, `development` or `test`: the deployed environment's word for where it runs."""

    # Logging
    log_format: Literal["json", "console"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    # Replicas
    replica_heartbeat_seconds: float = Field(default=2.0, gt=0, le=60)
    replica_lease_seconds: float = Field(default=15.0, gt=0, le=600)
    """A replica silent for this long is taken for dead and its work is taken over."""
    drain_seconds: float = Field(default=20.0, ge=0, le=600)
    """How long SIGTERM lets running work finish before handing it over."""
    workflow_retention_days: int = Field(default=30, ge=1)
    event_retention_days: int = Field(default=30, ge=1)
    workflow_log_db_enabled: bool = False
    """Keeps the lines of workflows in the database, for the routes that show them."""
    workflow_log_retention_days: int = Field(default=30, ge=1)
    worker_concurrency: int = Field(default=20, ge=1, le=500)
    """Work of one lane that one replica runs at once."""

    # Outbound HTTP
    outbound_allowed_origins: CommaList = ()
    """Origins (`scheme://host:port`) outside URLs may reach although they are not public."""
    webhook_allowed_origins: CommaList = ()
    outbound_timeout_seconds: float = Field(default=30.0, gt=0)
    audio_max_bytes: int = Field(default=500 * 1024 * 1024, ge=1024)
    """Largest recording that is downloaded."""

    # Webhooks
    webhook_retry_seconds: str = "2,4,60,300,1800,3600,7200,14400"
    """Waits between the attempts of a delivery; after the attempt behind the last one it is given up."""
    webhook_timeout_seconds: float = Field(default=10.0, gt=0, le=120)
    webhook_secret_overlap_seconds: int = Field(default=86_400, ge=0, le=2_592_000)
    """How long deliveries are signed with the old secret, too, after a new one was set."""
    webhook_concurrency: int = Field(default=20, ge=1, le=500)
    """Attempts at once, all replicas together."""
    webhook_per_host_concurrency: int = Field(default=4, ge=1, le=500)
    """Attempts at once at one origin."""
    webhook_retention_days: int = Field(default=30, ge=1)

    # Realtime
    stream_heartbeat_seconds: float = Field(default=15.0, gt=0, le=120)
    stream_max_seconds: float = Field(default=600.0, gt=0)
    """A stream is closed after this long; the browser reconnects and replays from its last event."""
    stream_recheck_seconds: float = Field(default=60.0, gt=0, le=600)
    """Who listens is asked for their right to it again after this long; what is told of ends a stream at once."""
    stream_max_clients: int = Field(default=5000, ge=1)
    redis_url: Secret = None
    """Redis that wakes the replicas when the event log has grown; unset: PostgreSQL's NOTIFY does."""
    pusher_app_id: Word = Field(default=None, pattern=r"^[A-Za-z0-9_\-]{1,64}$")
    pusher_key: Word = Field(default=None, max_length=200)
    next_public_pusher_key: Word = Field(default=None, max_length=200)
    pusher_secret: Secret = None
    pusher_cluster: Word = Field(default=None, pattern=r"^[a-z0-9\-]{1,40}$")
    pusher_host: Word = None
    """Address of a server that speaks Pusher's protocol; unset: Pusher's own in the cluster."""
    pusher_max_payload_bytes: int = Field(default=9000, ge=1)
    """Larger payloads are reduced; counts as at least 1000 and at most 10240, the provider's own limit."""
    pusher_dry_run: bool = False
    pusher_use_private_channels: bool = True
    pusher_max_age_seconds: float = Field(default=300.0, gt=0)
    """Older events are not published: whoever missed them has long asked again."""

    # Mail
    smtp_host: Word = Field(default=None, max_length=253)
    """Server that takes our mail; unset: none is sent."""
    smtp_port: int = Field(default=587, ge=1, le=65_535)
    smtp_secure: bool = False
    """TLS from the first byte, as always on port 465; else STARTTLS when the server offers it."""
    smtp_user: Word = Field(default=None, max_length=320)
    smtp_pass: Secret = None
    smtp_from: Word = Field(default=None, max_length=320)
    """Sender; default SMTP_USER."""
    smtp_timeout_ms: int = Field(default=10_000, ge=1000, le=120_000)
    """Longest time one message may take."""

    # CRM gateway
    fiche_api_base_url: str | None = None
    fiche_api_url: str | None = None
    fiche_api_auth_token: Secret = None
    fiche_sales_include_recordings: bool = False
    fiche_fetch_concurrency: int = Field(default=3, ge=1)
    """Detail fetches at once, all replicas together."""
    fiche_sales_search_concurrency: int = Field(default=1, ge=1)
    fiche_range_max_days: int = Field(default=92, ge=1, le=366)
    """Longest range that is fetched at once."""
    fiche_running_day_seconds: int = Field(default=300, ge=0)
    """A day that is not over is searched anew when its last search is older than this."""
    progressive_fetch_webhook_frequency: int = Field(default=5, ge=1)
    """Webhooks are told of every so many days of a range, and of the last."""
    fiche_force_refresh_cooldown_ms: int = Field(default=1_800_000, ge=0)
    fiche_not_found_ttl_ms: int = Field(default=300_000, ge=60_000)
    fiche_cache_ttl_hours: int = Field(default=240, ge=1)

    # Speech to text
    elevenlabs_api_key: Secret = None
    elevenlabs_base_url: str = "https://api.elevenlabs.io"
    elevenlabs_model: str = "scribe_v2"
    elevenlabs_language: str = "fra"
    transcription_elevenlabs_rate_limit_per_minute: int = Field(default=10, ge=1)
    """Requests to the provider per minute, all replicas together."""
    transcription_elevenlabs_max_attempts: int = Field(default=6, ge=1, le=20)
    transcription_elevenlabs_backoff_base_seconds: float = Field(default=2.0, gt=0)
    transcription_elevenlabs_backoff_max_seconds: float = Field(default=60.0, gt=0)
    transcription_recording_concurrency: int = Field(default=10, ge=1)
    transcription_progress_webhook_frequency: int = Field(default=3, ge=1)
    transcription_timeout_seconds: float = Field(default=600.0, gt=0)

    # Language model
    llm_provider: Literal["openai", "openai-chat", "anthropic", "google", "mistral"] = "openai"
    """Which adapter speaks: `openai` is the Responses API, `openai-chat` any compatible server."""
    llm_base_url: str | None = None
    openai_api_key: Secret = None
    openai_base_url: str | None = None
    anthropic_api_key: Secret = None
    google_api_key: Secret = None
    mistral_api_key: Secret = None
    openai_model_audit: str = "gpt-5.2"
    llm_timeout_seconds: float = Field(default=120.0, gt=0)
    llm_max_attempts: int = Field(default=5, ge=1, le=20)
    llm_backoff_base_seconds: float = Field(default=1.0, gt=0)
    llm_backoff_max_seconds: float = Field(default=30.0, gt=0)
    llm_reasoning_effort: Literal["none", "low", "medium", "high"] = "high"
    price_table: Path | None = None
    """JSON file that replaces the shipped price table."""

    # Audits
    audit_run_concurrency: int = Field(default=10, ge=1)
    """Audits at once, all replicas together."""
    audit_bulk_concurrency: int | None = Field(default=None, ge=1)
    """Audits of batches and of automation at once, beside those; unset: as many."""
    audit_run_per_fiche_concurrency: int = Field(default=1, ge=1)
    audit_step_worker_concurrency: int = Field(default=20, ge=1)
    """Step analyses at once, all replicas together; room for all steps of one audit makes it two waves of answers."""
    audit_evidence_gating: bool = True
    audit_evidence_min_quote_chars: int = Field(default=12, ge=0)
    audit_tools_max_messages: int = Field(default=8, ge=2, le=20)
    """Tools mode: messages of the model per step, the answer included."""
    audit_tools_token_budget: int = Field(default=60_000, ge=4_000, le=2_000_000)
    """Tools mode: prompt tokens per step, all messages together."""
    audit_tools_max_results: int = Field(default=25, ge=1, le=50)
    """Matches of a search, when the model does not say how many."""
    audit_tools_max_chunks: int = Field(default=20, ge=1, le=40)
    """Chunks given out at once, their neighbours not counted."""
    audit_tools_max_chars: int = Field(default=20_000, ge=1_000, le=80_000)
    """Characters given out at once, when the model does not say how many."""
    audit_tools_preview_chars: int = Field(default=450, ge=80, le=2_000)
    audit_role_confidence: float = Field(default=0.9, gt=0.5, le=1)
    """Below this, who spoke is not known well enough to decide: a person is asked to look."""
    audit_call_origins: CommaList = ()
    """What the CRM's names of a provenance or an origine say of the call, each as `NAME=unsolicited|requested|client`."""
    audit_max_cost: Decimal | None = Field(default=None, gt=0)
    """Refuses an audit whose estimate exceeds this many units of the price table's currency."""
    audit_deadline_seconds: float = Field(default=1800.0, gt=0)
    audit_same_request_seconds: float = Field(default=5.0, ge=0)
    """The same request within this time starts one audit."""
    audit_confirm_critical: bool = False
    """Critical steps are analysed twice; where the two differ, a person is asked to look."""
    audit_rerun_concurrency: int = Field(default=5, ge=1)
    """Reruns at once, all replicas together; those of one audit follow one another."""
    audit_rerun_deadline_seconds: float = Field(default=600.0, gt=0)

    # Automation
    automation_fiche_worker_concurrency: int = Field(default=5, ge=1)
    """Fiches of runs that are fetched and transcribed at once, all replicas together."""
    automation_fiche_worker_per_schedule_concurrency: int = Field(default=3, ge=1)
    automation_fiches_in_work: int = Field(default=12, ge=1, le=1000)
    """Fiches of one run between their fetch and the end of their audits: more are begun as these end."""
    automation_day_batch_size: int = Field(default=3, ge=1, le=100)
    """Days of sales asked for between two reports of progress."""
    automation_max_recordings_per_fiche: int = Field(default=0, ge=0)
    """Fiches with more recordings are ignored by runs; 0: no limit but that of audits."""
    automation_fiche_deadline_seconds: float = Field(default=3600.0, gt=0)
    """Longest time a fiche of a run takes to be fetched and transcribed."""
    automation_scheduler_window_minutes: int = Field(default=20, ge=1, le=1440)
    """A due time that is no later than this is not missed; counts as at least 5."""
    automation_stale_threshold_ms: int = Field(default=18_000_000, ge=60_000)
    """Longest time a run takes to find its fiches."""
    automation_fiche_details_max_wait_ms: int = Field(default=600_000, ge=1000)
    """Longest work on the details of one fiche of a run; waiting for a place does not count."""
    automation_transcription_max_wait_ms: int = Field(default=900_000, ge=1000)
    """Longest time between the beginning of the transcription of one fiche of a run and its end."""
    automation_audit_max_wait_ms: int = Field(default=1_800_000, ge=1000)
    """Longest work on one audit of a run, where that is less than `audit_deadline_seconds`."""
    automation_scheduler_stale_grace_ms: int = Field(default=1_800_000, ge=60_000)
    automation_scheduler_cron: str = "*/1 * * * *"
    automation_fiche_details_poll_interval_seconds: int = Field(default=20, ge=1)
    automation_transcription_poll_interval_seconds: int = Field(default=30, ge=1)
    automation_audit_poll_interval_seconds: int = Field(default=60, ge=1)
    automation_day_concurrency: int = Field(default=3, ge=1)
    automation_day_per_schedule_concurrency: int = Field(default=2, ge=1)
    automation_fiche_batch_size: int = Field(default=5, ge=1)
    automation_debug_log_to_file: bool = False
    automation_runs_kept_days: int = Field(default=400, ge=0, le=36_500)
    """Runs that ended longer ago are deleted, with the outcomes of their fiches; 0: never. Audits stay."""

    @field_validator(
        "fiche_api_base_url", "fiche_api_url", "llm_base_url", "openai_base_url", "elevenlabs_base_url"
    )
    @classmethod
    def _plain_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value.strip())
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be an http or https URL")
        return value.strip().rstrip("/")

    @field_validator("cors_allowed_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """As browsers spell them: lower case, no default port. `*` would open a session to every page."""
        return tuple(dict.fromkeys(_origin(origin) for origin in value))

    @field_validator("audit_call_origins")
    @classmethod
    def _call_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            name, _, origin = entry.rpartition("=")
            if not name.strip() or origin.strip() not in {"unsolicited", "requested", "client"}:
                raise ValueError("must be entries NAME=unsolicited, NAME=requested or NAME=client")
        return value

    @field_validator("pusher_host")
    @classmethod
    def _host_or_url(cls, value: str | None) -> str | None:
        return cls._plain_url(value if value is None or "://" in value else f"https://{value}")

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        scheme = "" if value is None else urlsplit(value.get_secret_value()).scheme
        if value is not None and scheme not in {"redis", "rediss", "unix"}:
            raise ValueError("must start with redis://, rediss:// or unix://")
        return value

    @field_validator("jwt_access_secret", "jwt_access_secret_previous", "secrets_key", "secrets_key_previous")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        """RFC 7518 §3.2: a key of HS256 is no shorter than its hash."""
        if value is not None and len(value.get_secret_value().encode()) < MIN_KEY_BYTES:
            raise ValueError(f"must have at least {MIN_KEY_BYTES} bytes")
        return value

    @field_validator("webhook_retry_seconds")
    @classmethod
    def _waits(cls, value: str) -> str:
        try:
            waits = [float(part) for part in value.split(",")]
        except ValueError:
            waits = []
        if not 0 < len(waits) <= MAX_WEBHOOK_WAITS or not all(0 <= wait <= 86_400 for wait in waits):
            raise ValueError(
                f"must be 1 to {MAX_WEBHOOK_WAITS} waits of 0 to 86400 seconds, separated by commas"
            )
        return value

    @property
    def webhook_waits(self) -> tuple[float, ...]:
        return tuple(float(part) for part in self.webhook_retry_seconds.split(","))

    @property
    def cookie_secure(self) -> bool:
        return self.node_env == "production" if self.auth_cookie_secure is None else self.auth_cookie_secure

    @model_validator(mode="after")
    def _cookie_is_kept(self) -> "Settings":
        if self.auth_cookie_samesite == "none" and not self.cookie_secure:
            raise ValueError(
                "AUTH_COOKIE_SAMESITE=none needs AUTH_COOKIE_SECURE=true: browsers drop such a cookie"
            )
        return self

    @model_validator(mode="after")
    def _lease_outlives_heartbeat(self) -> "Settings":
        if self.replica_lease_seconds < 2 * self.replica_heartbeat_seconds:
            raise ValueError("REPLICA_LEASE_SECONDS must be at least twice REPLICA_HEARTBEAT_SECONDS")
        return self

    @property
    def crm_base_url(self) -> str:
        """The gateway's base, `/api` appended once (spec/fiches §1); empty when none is configured."""
        base = self.fiche_api_base_url or self.fiche_api_url
        if base is None:
            return ""
        base = base.rstrip("/")
        return base if base.endswith("/api") else f"{base}/api"

    @property
    def api_tokens(self) -> tuple[SecretStr, ...]:
        listed = self.api_auth_tokens.get_secret_value().split(",")
        alone = self.api_auth_token.get_secret_value() if self.api_auth_token else ""
        return tuple(
            SecretStr(token) for token in dict.fromkeys(part.strip() for part in [alone, *listed]) if token
        )


def settings_with(settings: Settings, environment: Mapping[str, str]) -> Settings:
    """The settings with these variables set, checked like any others."""
    known = {
        str(field.validation_alias or name).lower(): name for name, field in Settings.model_fields.items()
    }
    named = {known[name.lower()]: value for name, value in environment.items() if name.lower() in known}
    kept = {name: getattr(settings, name) for name in Settings.model_fields if name not in named}
    return Settings.model_validate(kept | named)
