"""The question to a person for whose answer a session may wait."""

from __future__ import annotations

from sqlalchemy import update
from sqlalchemy.orm import Session

from errors import HumanInputPending
from models import HumanInputForm
from models.enums import FormStatus
from services.sessions.locked_session import LockedSession


def resolve_question(session: Session, row: LockedSession, *, is_answer: bool, cancels: bool) -> None:
    """Lets a turn proceed past the question that the session waits with, if there is one.

    With ``cancels``, an ordinary turn gives the question up. Without, it cannot come between a question and its answer,
    and raises HumanInputPending.
    """
    if row.waiting_form_id is None:
        return
    if not is_answer and not cancels:
        raise HumanInputPending
    if not is_answer:
        waiting = (HumanInputForm.id == row.waiting_form_id, HumanInputForm.status == FormStatus.WAITING)
        session.execute(update(HumanInputForm).where(*waiting).values(status=FormStatus.CANCELLED))
    row.waiting_form_id = None
