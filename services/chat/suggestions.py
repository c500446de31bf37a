"""Suggests questions that an end user may want to ask next, with the help of the agent's model."""

from __future__ import annotations

import json

from models import SessionTurn
from services.chat.apps import App
from services.chat.asides import Asides

INSTRUCTION = (
    "You see a question and its answer. Write three short questions that the user may want to ask next, in the "
    "language of the question. Answer with a JSON array of three strings and nothing else."
)
MOST_QUESTIONS = 3
MAX_QUESTION_CHARS = 200
MAX_SHOWN_CHARS = 4000


class Suggestions:
    """Asks the model anew for each request."""

    def __init__(self, asides: Asides) -> None:
        self._asides = asides

    def of_turn(self, app: App, turn: SessionTurn) -> list[str]:
        """Returns up to three questions; none when the model gives none."""
        shown = f"Question:\n{turn.query[:MAX_SHOWN_CHARS]}\n\nAnswer:\n{turn.answer[:MAX_SHOWN_CHARS]}"
        answer = self._asides.ask(turn.session_id, INSTRUCTION, shown)
        return _questions(answer) if answer else []


def _questions(answer: str) -> list[str]:
    """Returns the strings of the first JSON array in the answer; models like to write something around it."""
    start, end = answer.find("["), answer.rfind("]")
    try:
        found = json.loads(answer[start : end + 1]) if start >= 0 else []
    except ValueError:
        return []
    texts = [text.strip() for text in found if isinstance(text, str)] if isinstance(found, list) else []
    return [text[:MAX_QUESTION_CHARS] for text in texts if text][:MOST_QUESTIONS]
