"""One call of a plugin's tool, from the model's arguments to the observation."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import httpx2

from runtime.llm.plugin_daemon.body import BodyReader
from runtime.llm.plugin_daemon.client import PluginDaemonClient
from runtime.llm.plugin_daemon.errors import PluginDaemonError
from runtime.llm.plugin_daemon.failures import Failures
from runtime.llm.plugin_daemon.lines import LineBatches
from runtime.llm.plugin_daemon.wire import ReportedFailure
from runtime.llm.plugin_tools.arguments import UnfitArgumentsError, tool_parameters
from runtime.llm.plugin_tools.messages import read_message
from runtime.llm.plugin_tools.observation import Observation, cut
from runtime.llm.plugin_tools.prepared import PreparedTool
from runtime.llm.plugin_tools.refusals import refusal, unfit_arguments
from runtime.llm.wire.errors import WireError
from runtime.protocol.redaction import Redactor

MAX_ANSWER_BYTES = 64 << 20
"""All that is read of one answer: a file of the greatest size in base64, and room for what comes with it."""

MIN_ECHO_CHARS = 12
"""Shorter credentials (regions, user names) are left in a result: they are ordinary words of it as well."""

_ADDRESS = re.compile(r"https?://[\w.-]+(:\d+)?(/[\w.~-]{0,20})*|[\w.+-]+@[\w-]+(\.[\w-]+)*\.[a-z]{2,}")
"""Of a site or a person. A longer step in the path of a URL may be a key, as in that of a web hook."""


class PluginToolCaller:
    """Calls tools on behalf of one run's tenant and user."""

    def __init__(self, client: PluginDaemonClient, *, tenant_id: str, user_id: str | None) -> None:
        self._client = client
        self._tenant_id = tenant_id
        self._user_id = user_id

    async def observe(self, tool: PreparedTool, arguments: Mapping[str, Any]) -> str:
        """Call the tool and tell what came of it.

        Whatever the daemon, the plugin or the connection does ends in a text for the model, without a credential.
        """
        try:
            body = self._body(tool, tool_parameters(tool, arguments))
        except UnfitArgumentsError as error:
            return unfit_arguments(tool.name, error)
        secrets = tool.secrets()
        failures = Failures(tool.name, [*secrets, self._client.api_key.get_secret_value()])
        try:
            observation = await self._call(tool, body, failures)
        except PluginDaemonError as error:
            return refusal(tool.name, error)
        return cut(Redactor(_telling(secrets)).clean(observation.text()))

    async def _call(self, tool: PreparedTool, body: bytes, failures: Failures) -> Observation:
        observation = Observation()
        async with self._client.invoke_tool(
            tenant_id=self._tenant_id, plugin_id=tool.plugin_id, body=body, failures=failures
        ) as reader:
            try:
                await _read_answer(reader, observation, failures)
            except WireError as error:
                raise failures.protocol(str(error)) from None
            except httpx2.HTTPError as error:
                raise failures.broken(error, answered=True) from error
        return observation

    def _body(self, tool: PreparedTool, parameters: Mapping[str, Any]) -> bytes:
        data = {
            "provider": tool.provider,
            "tool": tool.tool_name,
            "credentials": dict(tool.credentials),
            "credential_type": tool.credential_type,
            "tool_parameters": dict(parameters),
        }
        user = {} if self._user_id is None else {"user_id": self._user_id}
        try:
            return json.dumps({**user, "data": data}, allow_nan=False, separators=(",", ":")).encode("ascii")
        except ValueError:
            # Models write such numbers, and the library reads them.
            raise UnfitArgumentsError("NaN and Infinity are no numbers of JSON") from None


async def _read_answer(reader: BodyReader, observation: Observation, failures: Failures) -> None:
    size = 0
    async for lines in LineBatches(reader):
        for line in lines:
            size += len(line)
            if size > MAX_ANSWER_BYTES:
                raise WireError(f"the tool's answer is larger than {MAX_ANSWER_BYTES >> 20} MiB")
            message = read_message(line)
            if isinstance(message, ReportedFailure):
                raise failures.reported(message.message)
            if message is not None:
                observation.add(message)


def _telling(secrets: list[str]) -> list[str]:
    """The secrets to keep out of a result. It is full of addresses, which the model needs to follow its links."""
    return [value for value in secrets if len(value) >= MIN_ECHO_CHARS and not _ADDRESS.fullmatch(value)]
