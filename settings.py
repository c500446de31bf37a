"""Every environment variable, in one typed class.

Read from the environment, then ``.env``, then ``dify-agent/.env``; the first that names a variable wins. All of them
have the prefix ``DIFY_AGENT_``.
"""

from __future__ import annotations

import math
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_PREFIX = "DIFY_AGENT_"
PROVIDERS = ("openai", "anthropic", "google")

Seconds = Annotated[float, Field(ge=0)]

_RATE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)(?:/(\d{1,6}))?", re.ASCII)
_HOST = re.compile(r"\.?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\]", re.ASCII)
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@*,A-Z]+")


def _transport(name: str, default: float | int, description: str, *, at_least: int = 0) -> Any:
    """A setting of the plugin daemon's HTTP client, which later Dify releases renamed; the older name wins."""
    names = AliasChoices(f"{ENV_PREFIX}PLUGIN_DAEMON_{name}", f"{ENV_PREFIX}OUTBOUND_HTTP_{name}")
    return Field(default=default, ge=at_least, validation_alias=names, description=description)


def _read_tokens(path: object) -> object:
    """The tokens in a file, as the setting without a file would have them. Raises ValueError."""
    if not isinstance(path, str):
        return path
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"names no file: {path}")
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"names a file that cannot be read: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"names a file that is no text in UTF-8: {path}") from None
    return ",".join(text.splitlines())


TokensOfFile = Annotated[SecretStr | None, BeforeValidator(_read_tokens)]
"""The path of a file when it is given, and the tokens in it when it is used."""


class DefaultLlm(BaseModel):
    """The type and config of a model layer."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    type: str
    config: dict[str, Any] = Field(default_factory=dict, repr=False)


class Settings(BaseSettings):
    """The settings of one server. Making it raises pydantic's ValidationError with every problem at once."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_file=("dify-agent/.env", ".env"),
        env_ignore_empty=True,
        extra="ignore",
        hide_input_in_errors=True,
    )

    redis_url: str = Field(
        default="redis://localhost:6379/0",
        pattern=r"^(redis|rediss|unix)://",
        repr=False,
        description="Redis connection URL: redis://, rediss:// or unix://.",
    )
    redis_prefix: str = Field(default="dify-agent", min_length=1, description="Prefix of every Redis key.")
    redis_cluster: bool = Field(default=False, description="Whether Redis is a cluster, of which the URL is one node.")
    redis_cluster_buckets: int = Field(
        default=64, ge=1, le=1024, description="Buckets, each a hash slot, that runs are spread over in a cluster."
    )
    database_url: str = Field(
        default="sqlite:///greenrun.db",
        pattern=r"^(sqlite:///[^:]|postgres(ql)?(\+psycopg)?://)",
        repr=False,
        description="Database of agents and keys: sqlite:/// with a file, or postgresql://.",
    )
    database_pool_size: int = Field(
        default=20, ge=1, le=1000, description="Database connections a worker keeps; further transactions wait."
    )
    database_timeout_seconds: float = Field(
        default=5.0, gt=0, le=3600, description="How long a transaction may take, waiting included, before it is a 503."
    )
    shutdown_grace_seconds: Seconds = Field(
        default=30, description="How long active runs may go on during a graceful shutdown."
    )
    run_retention_seconds: int = Field(
        default=259_200, ge=1, description="Lifetime of run records and event streams, counted from the last write."
    )
    lease_seconds: float = Field(
        default=10, ge=3, description="How long after its last sign of life a worker counts as lost, and its runs fail."
    )
    plugin_daemon_url: str = Field(
        default="http://localhost:5002", pattern=r"^https?://", description="Address of Dify's plugin daemon."
    )
    plugin_daemon_api_key: SecretStr = Field(
        default=SecretStr(""), description="Sent to the plugin daemon as X-Api-Key."
    )
    plugin_daemon_connect_timeout: float = _transport(
        "CONNECT_TIMEOUT", 10, "Seconds to wait for a connection to the plugin daemon."
    )
    plugin_daemon_read_timeout: float = _transport(
        "READ_TIMEOUT", 600, "Seconds to wait for the next piece of a model's or a tool's answer."
    )
    plugin_daemon_write_timeout: float = _transport(
        "WRITE_TIMEOUT", 30, "Seconds to wait while a request is sent to the plugin daemon."
    )
    plugin_daemon_pool_timeout: float = _transport(
        "POOL_TIMEOUT", 10, "Seconds a call may wait for its turn; unset, it waits without a bound."
    )
    plugin_daemon_max_connections: int = _transport(
        "MAX_CONNECTIONS", 100, "Model streams, and as many tool calls, a worker has open at once.", at_least=1
    )
    plugin_daemon_max_keepalive_connections: int = _transport(
        "MAX_KEEPALIVE_CONNECTIONS", 20, "Idle connections to the plugin daemon that are kept."
    )
    plugin_daemon_keepalive_expiry: float = _transport(
        "KEEPALIVE_EXPIRY", 30, "Seconds an idle connection to the plugin daemon is kept."
    )
    api_token: SecretStr | None = Field(
        default=None, description="Bearer tokens for /runs*, separated by commas. Unset leaves them open."
    )
    api_token_file: TokensOfFile = Field(
        default=None, description="File with more bearer tokens for /runs*, one a line or separated by commas."
    )
    allowed_providers: str = Field(
        default=",".join(PROVIDERS),
        description="Providers whose models requests may call without Dify: names separated by commas, or a JSON list.",
    )
    allow_private_urls: bool = Field(
        default=False, description="Whether a URL in a request may lead to a private address."
    )
    max_file_bytes: int = Field(
        default=20_971_520, ge=1024, description="Largest file that is fetched because a message names it by URL."
    )
    max_request_file_bytes: int = Field(
        default=41_943_040, ge=1024, description="Bytes of all files that are fetched for one model request."
    )
    mcp_commands: dict[str, Annotated[list[str], Field(min_length=1)]] | None = Field(
        default=None,
        repr=False,
        description="JSON of the programs that requests may start as MCP servers: a name, and the program's arguments.",
    )
    admin_token: SecretStr | None = Field(
        default=None, description="The operator's bearer tokens, separated by commas. Unset, nobody has them."
    )
    admin_token_file: TokensOfFile = Field(
        default=None, description="File with more of the operator's tokens, one a line or separated by commas."
    )
    secret_keys: SecretStr | None = Field(
        default=None,
        description="The key ring, separated by commas: the first signs and encrypts, all verify and decrypt.",
    )
    cors_origins: str = Field(
        default="",
        description="Origins whose pages may call /runs*, /events*, /v1* and /sessions*, by commas; * is all.",
    )
    allowed_hosts: str = Field(
        default="",
        description="Names that requests may call this server by, by commas; .example.com is all below. Empty is any.",
    )
    trusted_proxies: str = Field(
        default="",
        description="Addresses or networks of proxies whose X-Forwarded-* counts, by commas. Empty is this machine.",
    )
    default_llm: DefaultLlm | None = Field(
        default=None,
        repr=False,
        description="JSON with the type and config of a model layer, for runs without a layer named llm.",
    )
    wire_dialect: Literal["auto", "2026-05-14", "2026-05-27", "2026-06-16", "2026-07-17", "2026-08-10", "current"] = (
        Field(default="auto", description="The dialect of every run; auto chooses it from each request.")
    )
    max_request_bytes: int = Field(default=10_485_760, ge=1024, description="Largest request body accepted.")
    max_json_values: int = Field(
        default=150_000, ge=1000, description="Values that the JSON of one request body may hold."
    )
    max_input_bytes: int = Field(
        default=262_144, ge=1024, description="Largest JSON of the inputs of one request, which are kept."
    )
    stalled_reader_seconds: int = Field(
        default=120, ge=1, description="How long a reader may take nothing of what it is sent before it is cut."
    )
    body_timeout_seconds: float = Field(
        default=60, gt=0, description="How long a caller may take to send a request body."
    )
    rate_limit: str = Field(
        default="",
        description="Requests a second of one caller, and after a slash how many at once.",
    )
    max_subscriptions: int = Field(
        default=200, ge=1, description="Runs that one connection to the dashboard's feed may follow at once."
    )
    max_active_runs: int = Field(default=1000, ge=1, description="Runs a worker executes at once.")
    max_waiting_runs: int = Field(
        default=100, ge=0, description="Runs a worker accepts beyond those, which wait for their turn."
    )
    max_wait_seconds: float = Field(
        default=300, gt=0, description="How long an accepted run may wait for its turn before it ends as failed."
    )
    max_tenant_active_runs: int = Field(
        default=0, ge=0, description="Runs of one tenant that a worker executes at once; 0 is no limit."
    )
    max_tenant_waiting_runs: int = Field(
        default=0, ge=0, description="Runs of one tenant that wait for their turn on a worker; 0 is no limit."
    )
    max_tenant_runs_per_minute: int = Field(
        default=0, ge=0, le=1_000_000, description="New runs of one tenant in a minute, on all workers; 0 is no limit."
    )
    max_tenant_streams: int = Field(
        default=0, ge=0, description="Streams and sockets that one tenant has open on a worker; 0 is no limit."
    )
    max_session_queue: int = Field(
        default=20, ge=1, description="Turns of one session that wait for those before them; one more is refused."
    )
    max_run_event_bytes: int = Field(
        default=268_435_456, ge=1024, description="Bytes of events one run may store before it ends as failed."
    )
    max_model_requests: int = Field(
        default=100, ge=1, description="Model requests of one run; one more ends it as failed."
    )
    run_timeout_seconds: Seconds = Field(
        default=0, description="How long one run may take before it ends as failed; 0 is no limit."
    )
    human_input_seconds: float = Field(
        default=129_600, gt=0, le=315_360_000, description="How long an agent's question to a person can be answered."
    )
    human_input_conflict: Literal["reject", "cancel"] = Field(
        default="reject",
        description="Whether an ordinary turn that comes before the answer is refused, or cancels the question.",
    )
    service_api_strict: bool = Field(
        default=False,
        description="Whether /v1 refuses what Dify refuses: blocking answers, and messages without inputs.",
    )
    stop_unread_chats: bool = Field(
        default=False, description="Whether the answer to a chat message is stopped when its reader leaves."
    )
    conversation_names: Literal["query", "model"] = Field(
        default="query",
        description="Whether a conversation is named after its first question, or by the agent's model.",
    )
    max_tool_argument_bytes: int = Field(
        default=1_048_576, ge=1, description="Largest arguments of one tool call; larger ones end the run as failed."
    )
    max_tool_result_bytes: int = Field(
        default=4_194_304, ge=1, description="Largest result of one tool call; a larger one ends the run as failed."
    )
    delta_merging: Literal["adaptive", "off"] = Field(
        default="adaptive", description="Whether text chunks of a model that have arrived together become one delta."
    )
    event_loop: Literal["hub", "selector"] = Field(
        default="hub", description="How the asyncio loop shares the worker with gevent; selector is the way out."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="Least level logged.")

    @field_validator("api_token", "admin_token", "api_token_file", "admin_token_file", "secret_keys")
    @classmethod
    def _holds_a_secret(cls, value: SecretStr | None) -> SecretStr | None:
        """A value without any token would silently leave ``/runs*`` open."""
        if value is not None and not _listed(value):
            raise ValueError("names no token or key; leave it unset to have none")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _names_origins(cls, value: str) -> str:
        """Origins are compared as they are, so one that no browser sends would silently never match."""
        if _names(value) != {"*"} and not all(_ORIGIN.fullmatch(name) for name in _names(value)):
            raise ValueError("takes * alone, or origins such as https://app.example.com: no path, in lower case")
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _names_hosts(cls, value: str) -> str:
        if not all(_HOST.fullmatch(name) for name in _names(value)):
            raise ValueError("takes names such as api.example.com or .example.com and addresses: no scheme, no port")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _names_networks(cls, value: str) -> str:
        for name in _names(value) - {"*"}:
            ip_network(name, strict=False)
        return value

    @field_validator("rate_limit")
    @classmethod
    def _is_a_rate(cls, value: str) -> str:
        match = _RATE.fullmatch(value or "0")
        if match is None or match[2] == "0":
            raise ValueError("takes requests a second, such as 10, or 10/50 for up to 50 at once; 0 is no limit")
        return value

    @field_validator("allowed_providers")
    @classmethod
    def _names_providers(cls, value: str) -> str:
        unknown = _names(value) - set(PROVIDERS)
        if unknown:
            raise ValueError(f"knows only {', '.join(PROVIDERS)}")
        return value

    @model_validator(mode="after")
    def _leads_to_a_cluster(self) -> Self:
        url = urlsplit(self.redis_url)
        if self.redis_cluster and (url.scheme == "unix" or url.path not in ("", "/", "/0")):
            raise ValueError("DIFY_AGENT_REDIS_CLUSTER takes a redis:// or rediss:// URL without a database")
        return self

    @property
    def allowed_provider_names(self) -> frozenset[str]:
        """The providers that requests may name; ``[]`` allows none."""
        return _names(self.allowed_providers)

    @property
    def api_tokens(self) -> list[SecretStr]:
        """The tokens that open ``/runs*``; none leaves it open."""
        return _listed(self.api_token) + _listed(self.api_token_file)

    @property
    def admin_tokens(self) -> list[SecretStr]:
        """The operator's tokens; without any, what needs one is closed."""
        return _listed(self.admin_token) + _listed(self.admin_token_file)

    @property
    def key_ring(self) -> list[SecretStr]:
        """The keys of the ring; the first is the one to use, the others are on their way out."""
        return _listed(self.secret_keys)

    @property
    def allowed_origins(self) -> frozenset[str]:
        """The origins whose pages may call ``/runs*``, or ``*`` for all."""
        return _names(self.cors_origins)

    @property
    def allowed_host_names(self) -> frozenset[str]:
        """What the Host header of a request may name; none is any."""
        return _names(self.allowed_hosts)

    @property
    def trusted_proxy_networks(self) -> list[str]:
        """The proxies whose word counts; none leaves it to gunicorn's own setting."""
        return sorted(_names(self.trusted_proxies))

    @property
    def requests_a_second(self) -> float:
        """What one caller may ask of a worker in the long run; 0 is no limit."""
        return float(self.rate_limit.partition("/")[0] or 0)

    @property
    def requests_at_once(self) -> int:
        """What one caller may ask of a worker after a pause; as much as in a second when nothing else is set."""
        return int(self.rate_limit.partition("/")[2] or max(1, math.ceil(self.requests_a_second)))

    @property
    def explicit_pool_timeout(self) -> float | None:
        """The pool timeout if it was set, and otherwise None: then a model call waits its turn without a bound."""
        return self.plugin_daemon_pool_timeout if "plugin_daemon_pool_timeout" in self.model_fields_set else None


def _names(value: str) -> frozenset[str]:
    """The names in a JSON list, or between commas."""
    if value.lstrip().startswith("["):
        return frozenset(TypeAdapter(list[str]).validate_json(value))
    return frozenset(name.strip() for name in value.split(",") if name.strip())


def _listed(tokens: SecretStr | None) -> list[SecretStr]:
    joined = tokens.get_secret_value() if tokens is not None else ""
    return [SecretStr(token.strip()) for token in joined.split(",") if token.strip()]
