"""The commands ``flask --app app credentials``."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from cryptography.fernet import Fernet
from flask.testing import FlaskCliRunner
from pydantic import SecretStr

from app import create_app
from errors import DatabaseUnavailable
from models import AgentSession, Credential
from runtime.protocol.ids import new_id
from services import rekeying
from services.credential_cipher import CredentialCipher
from services.credential_types import PutCredentialRequest, RekeyReport
from services.credentials import CredentialService
from services.database import Database
from settings import Settings
from tests.support.gunicorn_server import CHECKOUT

OLD = Fernet.generate_key().decode()
NEW = Fernet.generate_key().decode()
DEADLINE_SECONDS = 60.0
KEY = "sk-test-0123456789abcdef"
VALUES = {"api_key": KEY, "base_url": "https://models.example.com/v1"}


@pytest.fixture
def runner(database_url: str) -> FlaskCliRunner:
    return runner_with(database_url, OLD)


@pytest.fixture
def tenant() -> str:
    return new_id()


def runner_with(database_url: str, *keys: str) -> FlaskCliRunner:
    ring = SecretStr(",".join(keys)) if keys else None
    return create_app(Settings(database_url=database_url, secret_keys=ring)).test_cli_runner()


def run(runner: FlaskCliRunner, *arguments: str, given: str | bytes = "") -> Result:
    return runner.invoke(args=["credentials", *arguments], input=given)


def put(runner: FlaskCliRunner, tenant: str, name: str = "my-openai", values: object = VALUES) -> Result:
    return run(runner, "set", name, "--provider", "openai", "--tenant", tenant, given=json.dumps(values))


def service(database: Database, *keys: str) -> CredentialService:
    return CredentialService(database, [SecretStr(key) for key in keys])


def resolved(database: Database, tenant: str, name: str = "my-openai", *, ring: str = OLD) -> dict[str, Any]:
    with database.reading() as session:
        return service(database, ring).resolve(session, tenant, [name])[name]


def store_many(database: Database, tenant: str, count: int, *, key: str = OLD) -> None:
    wanted = PutCredentialRequest.model_validate({"provider": "p", "values": VALUES})
    for number in range(count):
        service(database, key).put_credential(tenant, f"c{number}", wanted, changed_by=None)


@pytest.fixture
def only(database: Database) -> None:
    """Removes the credentials of other tests, because a rekey goes through those of all tenants."""
    with database.transaction() as session:
        session.query(Credential).delete()


def test_a_credential_is_set_listed_and_removed(runner: FlaskCliRunner, tenant: str, database: Database) -> None:
    made = put(runner, tenant)

    assert (made.exit_code, KEY in made.output) == (0, False), made.output
    assert made.stdout.startswith("Stored my-openai, fingerprint ")
    assert resolved(database, tenant) == VALUES
    assert put(runner, tenant).stdout.startswith("Replaced the values of my-openai")

    listed = run(runner, "list", "--tenant", tenant)
    heads, row = listed.stdout.splitlines()
    assert heads.split() == ["NAME", "PROVIDER", "LAST4", "FINGERPRINT", "CREATED_AT", "UPDATED_AT"]
    assert row.split()[:3] == ["my-openai", "openai", "cdef"]
    assert KEY not in listed.output

    removed = run(runner, "remove", "my-openai", "--tenant", tenant)
    assert (removed.exit_code, removed.stdout) == (0, "Deleted my-openai.\n")
    assert run(runner, "remove", "my-openai", "--tenant", tenant).exit_code == 1


def test_with_json_the_commands_print_what_the_routes_answer(runner: FlaskCliRunner, tenant: str) -> None:
    made = run(runner, "set", "a", "--provider", "openai", "--tenant", tenant, "--json", given=json.dumps(VALUES))
    listed = run(runner, "list", "--tenant", tenant, "--json")

    assert set(json.loads(made.stdout)) == {"name", "provider", "last4", "fingerprint", "created_at", "updated_at"}
    assert json.loads(listed.stdout) == {"data": [json.loads(made.stdout)]}


@pytest.mark.parametrize("text", [KEY, f"{KEY}\n", f"{KEY}\r\n"])
def test_standard_input_may_be_one_value(runner: FlaskCliRunner, tenant: str, database: Database, text: str) -> None:
    result = run(
        runner, "set", "my-openai", "--provider", "openai", "--field", "api_key", "--tenant", tenant, given=text
    )

    assert result.exit_code == 0, result.output
    assert resolved(database, tenant) == {"api_key": KEY}


def test_one_value_may_be_json_itself(runner: FlaskCliRunner, tenant: str, database: Database) -> None:
    account = json.dumps({"private_key": KEY}, indent=2)

    run(runner, "set", "my-openai", "--provider", "google", "--field", "account", "--tenant", tenant, given=account)

    assert resolved(database, tenant) == {"account": account}


def read_until(terminal: int, wanted: str) -> str:
    """Reads what a program writes to its terminal, up to these words."""
    text = ""
    while wanted not in text:
        readable, _, _ = select.select([terminal], [], [], DEADLINE_SECONDS)
        assert readable, f"it wrote nothing more than {text!r}"
        text += os.read(terminal, 1024).decode()
    return text


def test_on_a_terminal_values_are_asked_for_and_not_shown(
    tenant: str, database: Database, database_url: str, tmp_path: Path
) -> None:
    terminal, theirs = pty.openpty()
    fields = ["--field", "api_key", "--field", "base_url", "--tenant", tenant]
    command = ["flask", "--app", "app", "credentials", "set", "my-openai", "--provider", "openai", *fields]
    env = {"PYTHONPATH": str(CHECKOUT), "DIFY_AGENT_DATABASE_URL": database_url, "DIFY_AGENT_SECRET_KEYS": OLD}

    with subprocess.Popen(
        [sys.executable, "-m", *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=tmp_path,
        env=env,
        start_new_session=True,
    ) as process:
        seen = read_until(terminal, "api_key: ")
        os.write(terminal, f"{KEY}\n".encode())
        seen += read_until(terminal, "base_url: ")
        os.write(terminal, b"https://x\n")
        seen += read_until(terminal, "Stored my-openai, fingerprint ")
        assert process.wait(DEADLINE_SECONDS) == 0
    os.close(theirs)
    os.close(terminal)

    assert (KEY in seen, "https://x" in seen) == (False, False)
    assert resolved(database, tenant) == {"api_key": KEY, "base_url": "https://x"}


@pytest.mark.parametrize(
    ("arguments", "given", "exit_code", "says"),
    [
        (["set", "a", "--provider", "p"], "", 1, "no JSON object"),
        (["set", "a", "--provider", "p"], KEY, 1, "--field"),
        (["set", "a", "--provider", "p"], f'{{"api_key": "{KEY}"', 1, "no JSON object"),
        (["set", "a", "--provider", "p"], f'["{KEY}"]', 1, "values"),
        (["set", "a", "--provider", "p"], f'"{KEY}"', 1, "values"),
        (["set", "a", "--provider", "p"], "{}", 1, "holds no value"),
        (["set", "a", "--provider", "p"], b"\xff\xfe", 1, "UTF-8"),
        (["set", "a", "--provider", "p", "--field", "x"], KEY * 4000, 1, "longer than"),
        (["set", "a", "--provider", "p", "--field", "x"], "", 1, "holds no value"),
        (["set", "a", "--provider", "p", "--field", "x", "--field", "y"], KEY, 2, "only one --field"),
        (["set", "a", "--provider", ""], f'{{"api_key": "{KEY}"}}', 1, "provider"),
        (["set", "../a", "--provider", "p"], "{}", 2, "takes 1 to 255 of"),
        (["set", "a", "--provider", "p", "--tenant", "../x"], "{}", 2, "takes 1 to 64 of"),
        (["set", "a"], "{}", 2, "--provider"),
        (["remove", "nothing-here"], "", 1, "credential not found"),
        (["remove", "../a"], "", 1, "credential not found"),
    ],
)
def test_an_error_is_printed_in_one_line_without_the_input(
    runner: FlaskCliRunner, arguments: list[str], given: str | bytes, exit_code: int, says: str
) -> None:
    result = run(runner, *arguments, given=given)

    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert says in result.stderr
    assert KEY not in result.output
    assert "Traceback" not in result.output


def test_without_a_key_ring_the_command_says_so(database_url: str, tenant: str) -> None:
    runner = runner_with(database_url)

    for result in (put(runner, tenant), run(runner, "rekey")):
        assert result.exit_code == 1
        assert "DIFY_AGENT_SECRET_KEYS is not set" in result.stderr
    assert run(runner, "list", "--tenant", tenant).exit_code == 0


@pytest.mark.usefixtures("only")
def test_after_a_rekey_the_old_key_may_be_removed(runner: FlaskCliRunner, tenant: str, database_url: str) -> None:
    other = new_id()
    put(runner, tenant)
    put(runner, other)
    before = run(runner, "list", "--tenant", tenant, "--json").stdout

    first = run(runner_with(database_url, NEW, OLD), "rekey")
    again = run(runner_with(database_url, NEW, OLD), "rekey", "--json")

    assert (first.exit_code, first.stdout) == (0, "2 encrypted with the newest key, 0 had it already.\n")
    assert json.loads(again.stdout) == {"renewed": 0, "unchanged": 2, "unreadable": []}
    assert run(runner_with(database_url, NEW), "rekey").stdout.startswith("0 encrypted with the newest key, 2 had")
    assert run(runner, "list", "--tenant", tenant, "--json").stdout == before, "nothing that is told has changed"


@pytest.mark.usefixtures("only")
def test_a_rekey_keeps_the_values(runner: FlaskCliRunner, tenant: str, database: Database, database_url: str) -> None:
    put(runner, tenant)

    run(runner_with(database_url, NEW, OLD), "rekey")

    assert resolved(database, tenant, ring=NEW) == VALUES


@pytest.mark.usefixtures("only")
def test_a_credential_that_no_key_can_decrypt_is_reported_and_left_alone(
    tenant: str, database: Database, database_url: str
) -> None:
    lost = Fernet.generate_key().decode()
    put(runner_with(database_url, lost), tenant, "lost")
    put(runner_with(database_url, OLD), tenant, "kept")

    result = run(runner_with(database_url, NEW, OLD), "rekey")

    assert (result.exit_code, result.stdout) == (1, "1 encrypted with the newest key, 0 had it already.\n")
    assert f"lost of {tenant}" in result.stderr
    assert resolved(database, tenant, "kept", ring=NEW) == VALUES
    assert resolved(database, tenant, "lost", ring=lost) == VALUES


@pytest.mark.usefixtures("only")
def test_an_interrupted_rekey_is_finished_by_the_next(
    tenant: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rekeying, "REKEYED_AT_ONCE", 2)
    store_many(database, tenant, 7)
    ring = service(database, NEW, OLD)
    begun = 0
    transaction = database.transaction

    def twice() -> Any:
        nonlocal begun
        begun += 1
        if begun > 2:
            raise DatabaseUnavailable
        return transaction()

    monkeypatch.setattr(database, "transaction", twice)
    with pytest.raises(DatabaseUnavailable):
        ring.rekey()
    monkeypatch.undo()

    assert ring.rekey() == RekeyReport(renewed=3, unchanged=4, unreadable=[])
    assert all(resolved(database, tenant, f"c{number}", ring=NEW) == VALUES for number in range(7))


@pytest.mark.usefixtures("only")
def test_a_rekey_goes_through_all_batches(tenant: str, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rekeying, "REKEYED_AT_ONCE", 3)
    store_many(database, tenant, 9)

    assert service(database, NEW, OLD).rekey() == RekeyReport(renewed=9, unchanged=0, unreadable=[])


@pytest.mark.usefixtures("only")
def test_the_layers_of_sessions_are_rekeyed_too(tenant: str, database: Database) -> None:
    old = CredentialCipher([SecretStr(OLD)])
    row = AgentSession(id=new_id(), tenant_id=tenant)
    row.sealed_composition = old.seal({"composition": {}}, tenant_id=tenant, name=row.id)
    with database.transaction() as session:
        session.add(row)

    assert service(database, NEW, OLD).rekey() == RekeyReport(renewed=1, unchanged=0, unreadable=[])

    with database.reading() as session:
        sealed = session.get_one(AgentSession, row.id).sealed_composition
    new = CredentialCipher([SecretStr(NEW)])
    assert new.unseal(str(sealed), tenant_id=tenant, name=row.id) == {"composition": {}}


def test_without_migrations_the_command_says_what_to_do(empty_database_url: str) -> None:
    result = run(runner_with(empty_database_url, OLD), "list")

    assert result.exit_code == 1
    assert "flask --app app db upgrade" in result.stderr
