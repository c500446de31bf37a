"""Claims: what of a request is the same request, and where a run of it is kept."""

from __future__ import annotations

from typing import Any, cast

import pytest

from runtime.events.keys import Keys
from runtime.protocol.requests import CreateRunRequest
from runtime.runs import Claim, Runs
from services.idempotency import claim_of, scope_of


def claim(key: str = "key-1", scope: str = "", **changes: Any) -> Claim:
    layers = [{"name": "prompt", "type": "plain.prompt", "config": {"user": "hi", "prefix": "be brief"}}]
    request = CreateRunRequest.model_validate({"composition": {"layers": layers}, "idempotency_key": key, **changes})
    made = claim_of(request, key, scope=scope)
    assert made is not None
    return made


def test_a_request_without_a_key_claims_nothing() -> None:
    request = CreateRunRequest.model_validate({"composition": {"layers": []}})

    assert claim_of(request, None) is None


def test_the_same_request_under_the_same_key_is_the_same_claim() -> None:
    assert claim() == claim()


def test_without_the_key_nobody_can_tell_what_the_request_was() -> None:
    assert claim("key-1").fingerprint != claim("key-2").fingerprint
    assert claim("key-1").digest != claim("key-2").digest


def test_a_claim_that_was_stored_before_an_upgrade_is_still_the_same() -> None:
    layers = [{"name": "prompt", "type": "plain.prompt", "config": {"user": "Grüße", "prefix": "be brief"}}]
    request = CreateRunRequest.model_validate({"composition": {"layers": layers}, "metadata": {"n": 1.0, "s": "é"}})

    assert claim_of(request, "key-1", scope=scope_of("run", "acme")) == Claim(
        digest="7e7f9dd1e7f22bc9b9d1a34aa2430427bfa44d52b72ecf8a384e78b2f432e259",
        fingerprint="02e94ec922b4ee00e12a801066b097b890baa06edc7eced635d8f7123cf9b25e",
    )


def test_callers_of_different_scopes_do_not_share_keys() -> None:
    digests = {claim("key", "tenant-1").digest, claim("key", "tenant-2").digest, claim("1key", "tenant-").digest}

    assert len(digests) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"n": 1}},
        {"metadata": {"n": "1"}},
        {"metadata": {"n": True}},
        {"purpose": "workflow_node"},
        {"on_exit": {"default": "delete"}},
        {"deferred_tool_results": {}},
    ],
)
def test_every_part_of_a_request_makes_it_another(change: dict[str, Any]) -> None:
    assert claim(**change).fingerprint != claim().fingerprint


def test_each_value_of_a_part_makes_it_another() -> None:
    values: list[Any] = [1, 1.5, "1", True, None, [1], {"1": 1}, "é", "e\u0301"]

    assert len({claim(metadata={"n": value}).fingerprint for value in values}) == len(values)


def test_a_run_of_a_cluster_shares_the_bucket_of_its_claim() -> None:
    keys, nothing = Keys("prefix", buckets=64), cast(Any, None)
    parts = dict.fromkeys(("worker", "store", "hub", "log", "executor", "feed", "tell_owner"), nothing)
    runs = Runs(keys=keys, **parts)

    for number in range(20):
        made = claim(f"key-{number}")
        assert keys.bucket(runs.new_run_id(made)) == keys.bucket(made.digest)
