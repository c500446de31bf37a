"""Portable documents: a version of an agent, exported, and read back as untrusted input."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, Field, ValidationError

from errors import AgentExportRefused, DigestMismatch, RequestTooLarge
from runtime.output.strict import NotJson, read_strictly
from runtime.protocol.clock import wire_time
from runtime.protocol.json_text import TooManyValues, ValueBudget
from services.souls.bounds import MAX_VALUES, bound_problem
from services.souls.digest import digest_of
from services.souls.document import MAX_DESCRIPTION_CHARS, MAX_NAME_CHARS, Part, ShortText
from services.souls.problems import Problem, malformed, malformed_at
from services.souls.secret_scan import secret_problems
from services.souls.soul import AgentSoulConfig

FORMAT = "agent-version/1"
MAX_DOCUMENT_BYTES = 8 << 20
MAX_DOCUMENT_VALUES = 2 * MAX_VALUES
"""A rough count, made before the text is parsed; the Soul in it has its own bounds."""
DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}\z"


def _not_blank(name: str) -> str:
    if not name.strip():
        raise ValueError("must not be blank")
    return name


class PortableAgent(Part):
    """The name, description and looks of an agent. Its ids are left out: they mean nothing elsewhere."""

    name: Annotated[str, Field(max_length=MAX_NAME_CHARS), AfterValidator(_not_blank)]
    description: Annotated[str, Field(max_length=MAX_DESCRIPTION_CHARS)] = ""
    icon_type: Literal["image", "emoji", "link"] | None = None
    icon: ShortText | None = None
    icon_background: ShortText | None = None


class PortableVersion(Part):
    """One version of an agent. ``version`` is its number where it was exported."""

    format: Literal["agent-version/1"]
    exported_at: AwareDatetime
    agent: PortableAgent
    version: int = Field(ge=1, strict=True)
    soul: AgentSoulConfig
    digest: Annotated[str, Field(pattern=DIGEST_PATTERN)]


def export_version(
    agent: PortableAgent, *, version: int, soul: Mapping[str, Any], exported_at: datetime
) -> dict[str, Any]:
    """Returns the document of a version, as JSON. ``soul`` is the Soul as it is stored, ``exported_at`` a time in UTC.

    Raises AgentExportRefused when it would contain what has since become known as a secret.
    """
    told = agent.model_dump(mode="json")
    problems = [*secret_problems(soul, name=AgentSoulConfig.document_name), *secret_problems(told, name="agent")]
    if problems:
        raise AgentExportRefused(problems[0].message)
    return {
        "format": FORMAT,
        "exported_at": wire_time(exported_at),
        "agent": told,
        "version": version,
        "soul": dict(soul),
        "digest": digest_of(soul),
    }


def read_portable(data: bytes) -> PortableVersion:
    """Reads a document from bytes that anyone may have written.

    Raises RequestTooLarge, DigestMismatch, and MalformedRequest with every problem.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise RequestTooLarge(f"the document is larger than {MAX_DOCUMENT_BYTES:,} bytes")
    try:
        text = data.decode()
        ValueBudget(MAX_DOCUMENT_VALUES).take(text)
        value = read_strictly(text)
    except UnicodeDecodeError:
        raise malformed_at(Problem((), "the document is not UTF-8", "json_invalid"), "body") from None
    except NotJson as error:
        raise malformed_at(Problem((), str(error), "json_invalid"), "body") from None
    except TooManyValues:
        raise RequestTooLarge(f"the document holds more than {MAX_DOCUMENT_VALUES:,} values") from None
    return parse_portable(value)


def parse_portable(value: object, *place: str | int) -> PortableVersion:
    """Parses and checks a decoded JSON value as a document; its problems are placed below ``place``, or ``body``.

    The digest is that of the Soul as it came, before anything in it is filled in or left out.

    Raises DigestMismatch, and MalformedRequest with every problem.
    """
    place = place or ("body",)
    for key, part in value.items() if isinstance(value, Mapping) else ():
        if (problem := bound_problem(part)) is not None:
            raise malformed_at(problem, *place, key)
    _check_format(value, place)
    _check_digest(value)
    try:
        return PortableVersion.model_validate(value)
    except ValidationError as error:
        raise malformed(error, *place) from None


def _check_format(value: object, place: tuple[str | int, ...]) -> None:
    """Refuses another format at once, before the rest of the document is checked."""
    if isinstance(value, Mapping) and value.get("format", FORMAT) != FORMAT:
        raise malformed_at(Problem(("format",), f"must be '{FORMAT}'", "literal_error"), *place)


def _check_digest(value: object) -> None:
    if not isinstance(value, Mapping):
        return
    soul, digest = value.get("soul"), value.get("digest")
    if isinstance(soul, Mapping) and isinstance(digest, str) and digest != digest_of(soul):
        raise DigestMismatch
