"""Which Host headers name a server."""

from __future__ import annotations

import pytest

from blueprints.hosts import is_known_host

HOSTS = ["localhost", "127.0.0.1", "[::1]", ".example.com"]


@pytest.mark.parametrize(
    "header",
    [
        "localhost",
        "localhost:5050",
        "LOCALHOST",
        "localhost.",
        "localhost.:80",
        "127.0.0.1:1",
        "[::1]",
        "[::1]:5050",
        "example.com",
        "a.example.com:443",
        "A.B.Example.com",
    ],
)
def test_a_name_of_the_server_is_known_however_it_is_written(header: str) -> None:
    assert is_known_host(header, HOSTS)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "evil.com",
        "localhost.evil.com",
        "evillocalhost",
        "evilexample.com",
        "example.com.evil.com",
        "localhost@evil.com",
        "evil.com@localhost",
        "localhost:80@evil.com",
        "localhost:eighty",
        "localhost, evil.com",
        "[::2]",
        "::1",
        "127.0.0.2",
        "\u212aocalhost",
    ],
)
def test_any_other_name_is_not(header: str) -> None:
    assert not is_known_host(header, HOSTS)
