"""Files that the messages of a run name by URL, where this server fetches them and not the provider."""

from __future__ import annotations

from typing import ClassVar

import httpx2
from pydantic_ai import models
from pydantic_ai.exceptions import AgentRunError

from runtime.outbound.address_guard import AddressNotAllowed, check_url, guarded_transport
from runtime.outbound.bounds import AnswerBounds
from runtime.outbound.errors import AnswerEncoded, AnswerTooLarge
from runtime.outbound.transport import client_over

PHASE_SECONDS = 30.0
FETCH_SECONDS = 60.0
"""For all of a file."""

MAX_REFUSAL_BYTES = 1 << 10
"""Of an answer that is no file, which nobody reads."""

_LIBRARY_TOTAL = models._MAX_REQUEST_FILE_URL_DOWNLOAD_BYTES
_library_fetch = models._download_within_request_budget


class FileNotFetched(AgentRunError):
    """A file that a message names was not fetched. The text is for the caller, and tells nothing of the URL."""

    reason: ClassVar[str] = "file_not_fetched"


class FileFetcher:
    """Fetches the files of model requests: through the address guard, without redirects, and within bounds in bytes.

    Adapters of every provider fetch files by one function of the library, which ``install`` replaces.
    """

    def __init__(self, *, allow_private: bool, max_file_bytes: int, max_request_bytes: int) -> None:
        self._allow_private = allow_private
        self._max_file_bytes = max_file_bytes
        self._max_request_bytes = max_request_bytes

    def install(self) -> None:
        """Becomes the one way for messages' files, in this process, until ``uninstall``."""
        models._download_within_request_budget = self.fetch

    def uninstall(self) -> None:
        """Gives the library its own way back."""
        models._download_within_request_budget = _library_fetch

    async def fetch(self, url: str, *, allow_local: bool = False) -> httpx2.Response:
        """Returns the whole answer with the file.

        Whether the address may be private says the operator, and not ``allow_local``. Raises FileNotFetched.
        """
        try:
            check_url(url, allow_private=self._allow_private)
        except ValueError as error:
            raise FileNotFetched(f"the URL of a file {error}") from None
        # The library opens a budget for each model request, and counts down from its own bound.
        budget = models._request_download_budget.get()
        fetched = _LIBRARY_TOTAL - budget.remaining if budget is not None else 0
        max_bytes = min(self._max_file_bytes, self._max_request_bytes - fetched)
        if max_bytes <= 0:
            raise self._too_large(max_bytes)
        response = await self._get(url, max_bytes)
        if budget is not None:
            budget.remaining -= len(response.content)
        return response

    async def _get(self, url: str, max_bytes: int) -> httpx2.Response:
        bounds = AnswerBounds(success_bytes=max_bytes, other_bytes=MAX_REFUSAL_BYTES, seconds=FETCH_SECONDS)
        transport = guarded_transport(allow_private=self._allow_private, bounds=bounds)
        try:
            async with (
                client_over(transport, timeout=httpx2.Timeout(PHASE_SECONDS)) as client,
                client.stream("GET", url) as response,
            ):
                if response.status_code != httpx2.codes.OK:
                    raise FileNotFetched(f"a file was answered with status {response.status_code}")
                await response.aread()
                return response
        except AnswerTooLarge:
            raise self._too_large(max_bytes) from None
        except AnswerEncoded as error:
            raise FileNotFetched(f"a file cannot be fetched: {error}") from None
        except AddressNotAllowed:
            text = "the URL of a file leads to a private address, which this server's operator does not allow"
            raise FileNotFetched(text) from None
        except httpx2.TimeoutException:
            raise FileNotFetched("a file took too long to fetch") from None
        except httpx2.HTTPError:
            raise FileNotFetched("a file cannot be fetched") from None

    def _too_large(self, max_bytes: int) -> FileNotFetched:
        if max_bytes == self._max_file_bytes:
            return FileNotFetched(f"a file is larger than {max_bytes} bytes")
        return FileNotFetched(f"the files of one model request are larger than {self._max_request_bytes} bytes")
