"""What in a layer's config is secret."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, Field, JsonValue, Secret, SecretBytes, SecretStr

from runtime.composition.layer import Layer, NoState
from runtime.composition.layer_config import LayerConfigModel, NoConfig, header_secrets, unmarked_secrets


class Place(BaseModel):
    """A model that is no config of a layer."""

    key: SecretStr


class Server(LayerConfigModel):
    """A config within another, which says itself what is secret."""

    url: str

    def secret_values(self) -> Iterator[str]:
        yield self.url


class Config(LayerConfigModel):
    """A config with secrets of every kind."""

    note: str = "no secret"
    token: SecretStr | None = None
    seal: SecretBytes | None = None
    values: Secret[dict[str, JsonValue]] | None = None
    place: Place | None = None
    servers: list[Server] = Field(default_factory=list)
    by_name: dict[str, SecretStr] = Field(default_factory=dict)


class SecretLayer(Layer[Config, NoState]):
    """Says nothing of its secrets itself."""

    type_id = "test.secret"
    config_type = Config


def test_every_secret_field_of_a_config_is_a_secret_of_its_layer() -> None:
    config = Config.model_validate(
        {
            "token": "the-token",
            "seal": b"the-seal",
            "values": {"a": "first", "b": [1, None, {"deep": "second"}]},
            "place": {"key": "in-a-model"},
            "servers": [{"url": "of-one"}, {"url": "of-two"}],
            "by_name": {"x": "by-name"},
        }
    )

    secrets = SecretLayer("name", config, NoState()).secrets()

    assert secrets == [
        "the-token",
        "the-seal",
        "first",
        "second",
        "in-a-model",
        "of-one",
        "of-two",
        "by-name",
    ]


def test_a_config_without_secrets_has_none() -> None:
    assert list(Config().secret_values()) == list(NoConfig().secret_values()) == []


def test_the_key_behind_a_scheme_is_as_secret_as_the_header() -> None:
    headers = {"AUTHORIZATION": "Custom scheme-key", "X-Words": "two words"}

    assert list(header_secrets(headers)) == ["Custom scheme-key", "scheme-key", "two words"]


def test_a_short_text_that_nothing_marks_is_no_secret() -> None:
    assert list(unmarked_secrets({"mode": "json_object", "key": ["twelve-chars"], "n": 123456789012})) == [
        "twelve-chars"
    ]
