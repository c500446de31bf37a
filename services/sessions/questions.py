"""The question to a person that a session may wait with."""

from __future__ import annotations

from sqlalchemy import update
from sqlalchemy.orm import Session

from errors import HumanInputPending
from models import HumanInputForm
from models.enums import FormStatus
from services.sessions.locked_session import LockedSession


def resolve_question(session: Session, row: LockedSession, *, is_answer: bool, cancels: bool) -> None:
    """Let a turn go on past the question that waits, if one does.

    An ordinary turn gives it up with ``cancels``, and without cannot come between a question and its answer: it
    raises HumanInputPending.
    """
    if row.waiting_form_id is None:
        return
    if not is_answer and not cancels:
        raise HumanInputPending
    if not is_answer:
        waiting = (HumanInputForm.id == row.waiting_form_id, HumanInputForm.status == FormStatus.WAITING)
        session.execute(update(HumanInputForm).where(*waiting).values(status=FormStatus.CANCELLED))
    row.waiting_form_id = None
