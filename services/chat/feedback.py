"""Feedback: how end users rate messages."""

from __future__ import annotations

from services.chat.apps import App
from services.chat.end_users import EndUserService
from services.chat.messages import find_message
from services.chat.requests import FeedbackRequest
from services.database import Database


class FeedbackService:
    """Keeps one rating per message: the last one."""

    def __init__(self, database: Database, end_users: EndUserService) -> None:
        self._database = database
        self._end_users = end_users

    def rate_message(self, app: App, message_id: str, wanted: FeedbackRequest) -> None:
        """Replaces the rating of a message, or removes it.

        Raises ParameterRefused without a user, ItemNotFound and DatabaseUnavailable.
        """
        end_user_id = self._end_users.find(app, wanted.require_user())
        with self._database.transaction() as session:
            turn = find_message(session, app, end_user_id, message_id, lock=True)
            turn.rating = wanted.rating
            turn.rating_content = wanted.content if wanted.rating else None
