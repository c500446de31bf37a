"""The room for runs: the one door of the runtime to services.

A *run* is one execution of a composition. What has to be known to execute it is its ``Job``, plain data. Who asked
for it is the job's ``Origin``, whose kind names the hooks that the run is executed with (``Origins``).

It is *owned* by the ``Executor`` that has started it. ``LocalExecutor`` is the one of this worker, which the run's
record in Redis names. Its ``Phase`` goes from waiting to begun, ending and ended.

It *ends* by one script in Redis, once, whoever runs it: the owner behind the last event, a cancel, or the reaper. The
same step announces the end, and ``Observers`` hear of it.

Services reach it all by the ``Worker`` that they are given, and import nothing else of ``runtime.events`` and
``runtime.execution``, nor the ``Runtime`` that a worker is.
"""

from runtime.events.entries import StreamEntry
from runtime.events.feed import CursorLost
from runtime.events.follow import Follower
from runtime.events.subscriber import Subscriber
from runtime.protocol.announcements import AnnouncedEnd
from runtime.protocol.jobs import ASIDE, CLEANUP, RUN, TURN, Job, Origin
from runtime.protocol.phases import Phase
from runtime.runs.claims import Claim
from runtime.runs.executor import Executor, Place, StopReason
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
    "Place",
    "ProvenRun",
    "RunHooks",
    "RunNotBegun",
    "Runs",
    "StopReason",
    "StreamEntry",
    "Subscriber",
    "Worker",
]
