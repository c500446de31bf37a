"""The dashboard's feed over a WebSocket: one connection follows many runs, and the list of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, assert_never

import gevent
from gevent import Greenlet
from pydantic import ValidationError
from wsproto.frame_protocol import CloseReason

from blueprints.conversation import NO_PONG, WORKER_STOPS, Conversation, Ending, MessageRefused, refuse_fields
from blueprints.subscriber_socket import CLOSED_ERRORS
from errors import GreenrunError, StorageUnavailable
from runtime.protocol import feed as messages
from runtime.protocol.feed import MAX_RUN_ID_LENGTH, Unsubscribed
from runtime.protocol.sse import HEARTBEAT_SECONDS
from runtime.runs import Subscriber
from services.feed import FeedReader, FeedService, ListReader, RunReader
from services.open_streams import OpenStream
from services.run_access import RunAccess

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Subscription:
    """What is read for the client, and the greenlet that reads and sends it."""

    reader: FeedReader[Any]
    greenlet: Greenlet[..., None]

    def end(self) -> None:
        """Send nothing of it any more; waits until what is being sent has gone out."""
        self.reader.stop()
        self.greenlet.join()


class FeedConversation(Conversation):
    """One client, and the feed of what it may see.

    A subscription costs a greenlet and a bounded queue; all of them take turns at the socket. The receiving greenlet
    obeys one command after the other, and receives nothing more while the client does not take the answers.
    """

    def __init__(
        self, feed: FeedService, *, access: RunAccess, max_subscriptions: int, stream: OpenStream | None
    ) -> None:
        super().__init__(stream)
        self._feed = feed
        self._access = access
        self._max_subscriptions = max_subscriptions
        self._subscriptions: dict[str, _Subscription] = {}
        self._list: _Subscription | None = None
        self._seat = Subscriber("")
        self._is_over = False
        self._worker_stops = False

    @property
    def _is_cut(self) -> bool:
        return self._worker_stops

    def _converse(self) -> Ending:
        """Wait, and ping a silent client, until it has gone or the worker stops."""
        with self._feed.attend(self._seat):
            try:
                while not self._is_over and not self._seat.is_cut:
                    self._seat.take(max(0.0, HEARTBEAT_SECONDS - self._socket.idle_seconds))
                    if self._socket.idle_seconds >= HEARTBEAT_SECONDS and not self._socket.ping():
                        return CloseReason.POLICY_VIOLATION, NO_PONG
                self._worker_stops = not self._is_over
                # The runs go on within the grace; what has not ended after that is cut by the hub.
                while self._subscriptions and not self._is_over:
                    gevent.joinall([one.greenlet for one in self._subscriptions.values()])
                self._end(CloseReason.SERVICE_RESTART, WORKER_STOPS)
                return CloseReason.SERVICE_RESTART, WORKER_STOPS
            finally:
                self._stop()

    def _stop(self) -> None:
        self._is_over = True
        self._seat.cut()
        for one in self._subscriptions.values():
            one.reader.stop()
        if self._list is not None:
            self._list.reader.stop()

    def _obey(self, fields: dict[str, Any]) -> None:
        run_id = fields.get("run_id")
        about = {"run_id": run_id} if isinstance(run_id, str) and len(run_id) <= MAX_RUN_ID_LENGTH else {}
        try:
            command = messages.parse_command(fields)
        except ValidationError as error:
            raise refuse_fields(error, **about) from None
        if command is None:
            raise MessageRefused("unknown_type", f"the type of a message is one of {messages.COMMAND_TYPES}", **about)
        try:
            self._do(command)
        except StorageUnavailable as error:
            self._end(CloseReason.TRY_AGAIN_LATER, error.code)
        except GreenrunError as error:
            self._tell(error.code, error.message, **about)

    def _do(self, command: messages.Command) -> None:
        match command:
            case messages.Subscribe():
                self._subscribe(command)
            case messages.Unsubscribe():
                self._unsubscribe(command.run_id)
            case messages.SubscribeRuns():
                self._subscribe_runs(command)
            case messages.UnsubscribeRuns():
                self._unsubscribe_runs()
            case messages.PingCommand():
                self._send({"type": "pong"})
            case _:
                assert_never(command)

    def _subscribe(self, command: messages.Subscribe) -> None:
        run_id = command.run_id
        if run_id in self._subscriptions:
            self._tell("already_subscribed", "the run is followed already: unsubscribe first", run_id=run_id)
            return
        if len(self._subscriptions) >= self._max_subscriptions:
            most = f"one connection may follow {self._max_subscriptions} runs at once"
            self._tell("too_many_subscriptions", most, run_id=run_id)
            return
        reader = self._feed.open_run(run_id, access=self._access, after=command.cursor)
        self._send(messages.subscribed(run_id, reader.record.status))
        if not self._is_over:
            self._subscriptions[run_id] = _Subscription(reader, gevent.spawn(self._send_run, run_id, reader))

    def _unsubscribe(self, run_id: str) -> None:
        if one := self._subscriptions.get(run_id):
            one.end()
        self._send(messages.unsubscribed(run_id, Unsubscribed.REQUESTED))

    def _subscribe_runs(self, command: messages.SubscribeRuns) -> None:
        if self._list is not None:
            self._tell("already_subscribed", "the list of runs is followed already: unsubscribe_runs first")
            return
        reader = self._feed.open_list(access=self._access, after=command.after)
        self._send(messages.subscribed_runs(is_resumed=reader.is_resumed))
        if not self._is_over:
            self._list = _Subscription(reader, gevent.spawn(self._send_list, reader))

    def _unsubscribe_runs(self) -> None:
        if self._list is not None:
            self._list.end()
            self._list = None
        self._send({"type": "unsubscribed_runs"})

    def _send_run(self, run_id: str, reader: RunReader) -> None:
        try:
            for entries in reader:
                self._socket.send_entries(entries)
            if reader.end is not None:
                self._socket.send_json(messages.unsubscribed(run_id, reader.end))
        except Exception as error:
            self._fail(error)
        finally:
            # After the last message, and at once after it: whoever has read that may subscribe again.
            del self._subscriptions[run_id]

    def _send_list(self, reader: ListReader) -> None:
        try:
            for texts in reader:
                self._socket.send_texts(texts)
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """End the connection: with one of its subscriptions broken it no longer says what its client believes."""
        if isinstance(error, CLOSED_ERRORS):
            self._stop()
        elif isinstance(error, GreenrunError):
            self._end(CloseReason.TRY_AGAIN_LATER, error.code)
        else:
            logger.error("unexpected error while the feed was sent over a WebSocket", exc_info=error)
            self._end(CloseReason.INTERNAL_ERROR, GreenrunError.code)
