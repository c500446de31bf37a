"""Runs: the only part of the runtime that services import.

A *run* is one execution of a composition. Its ``Job`` holds all that is needed to execute it, as plain data. The job's
``Origin`` says who asked for the run, and the origin's kind selects the hooks that the run is executed with
(``Origins``).

A run is *owned* by the ``Executor`` that has started it: the ``LocalExecutor`` of one worker, whose name is in the
run's record in Redis. Its ``Phase`` goes from waiting to begun, ending and ended.

A run *ends* exactly once, by one script in Redis, whoever ends it: the owner after the last event, a cancel, or the
reaper. The same script announces the end, and ``Observers`` receive the announcement.

Services use all of this through the ``Worker`` that they are given. They import nothing else from ``runtime.events`` or
``runtime.execution``, nor ``Runtime``, the class that implements ``Worker``.
"""

from runtime.events.entries import StreamEntry
from runtime.events.feed import CursorLost
from runtime.events.follow import Follower
from runtime.events.subscriber import Subscriber
from runtime.protocol.announcements import AnnouncedEnd
from runtime.protocol.jobs import ASIDE, CLEANUP, RUN, TURN, Job, Origin
from runtime.protocol.phases import Phase
from runtime.runs.claims import Claim
from runtime.runs.executor import Executor, StopReason
from runtime.runs.observers import Handler, HeardEnd, Observers
from runtime.runs.origins import Origins, ProvenRun, RunHooks, RunNotBegun
from runtime.runs.runs import FoundRun, Runs
from runtime.runs.worker import Worker

__all__ = [
    "ASIDE",
    "CLEANUP",
    "RUN",
    "TURN",
    "AnnouncedEnd",
    "Claim",
    "CursorLost",
    "Executor",
    "Follower",
    "FoundRun",
    "Handler",
    "HeardEnd",
    "Job",
    "Observers",
    "Origin",
    "Origins",
    "Phase",
    "ProvenRun",
    "RunHooks",
    "RunNotBegun",
    "Runs",
    "StopReason",
    "StreamEntry",
    "Subscriber",
    "Worker",
]
