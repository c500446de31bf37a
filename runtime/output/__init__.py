"""Structured output: the schema of an answer, its repair and its check. Independent of agents, HTTP and storage."""

from runtime.output.checker import OutputChecker
from runtime.output.elsewhere import close_shared_pool
from runtime.output.errors import InvalidOutputSchema, OutputProblem, OutputRejected
from runtime.output.judge import CheckedOutput
from runtime.output.policy import OnFailure, OutputPolicy, Repair
from runtime.output.repair import AppliedRepair
from runtime.output.schema import OutputSchema

__all__ = [
    "AppliedRepair",
    "CheckedOutput",
    "InvalidOutputSchema",
    "OnFailure",
    "OutputChecker",
    "OutputPolicy",
    "OutputProblem",
    "OutputRejected",
    "OutputSchema",
    "Repair",
    "close_shared_pool",
]
