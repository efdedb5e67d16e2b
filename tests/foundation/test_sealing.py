"""Secrets that must be used again are kept so that the database alone does not tell them."""

import pytest
from pydantic import SecretStr

from conforme.foundation import sealing
from conforme.foundation.errors import Misconfigured
from conforme.settings import Settings

OLD, NEW = SecretStr("an old key of the tests, long enough"), SecretStr("a new key of the tests, long enough")
SECRET = "an-invented-gateway-key"


def test_what_is_sealed_can_be_opened_and_tells_nothing() -> None:
    settings = Settings(secrets_key=OLD)
    sealed = sealing.seal(SECRET, settings)
    assert SECRET not in sealed
    assert sealed != sealing.seal(SECRET, settings)
    assert sealing.unseal(sealed, settings).get_secret_value() == SECRET


def test_what_the_key_before_sealed_can_still_be_opened() -> None:
    sealed = sealing.seal(SECRET, Settings(secrets_key=OLD))
    rotated = Settings(secrets_key=NEW, secrets_key_previous=OLD)
    assert sealing.unseal(sealed, rotated).get_secret_value() == SECRET
    with pytest.raises(Misconfigured, match="SECRETS_KEY_PREVIOUS"):
        sealing.unseal(sealing.seal(SECRET, rotated), Settings(secrets_key=OLD))


def test_without_a_key_of_its_own_the_key_of_access_tokens_seals_under_another_label() -> None:
    settings = Settings(jwt_access_secret=OLD)
    sealed = sealing.seal(SECRET, settings)
    assert sealing.unseal(sealed, settings).get_secret_value() == SECRET
    assert (
        sealing.unseal(sealed, Settings(secrets_key=NEW, jwt_access_secret=OLD)).get_secret_value() == SECRET
    )


def test_what_was_tampered_with_is_not_opened() -> None:
    settings = Settings(secrets_key=OLD)
    sealed = sealing.seal(SECRET, settings)
    with pytest.raises(Misconfigured):
        sealing.unseal(sealed[:-8] + "AAAAAAA=", settings)


def test_without_any_key_nothing_is_sealed() -> None:
    assert not sealing.can_seal(Settings())
    with pytest.raises(Misconfigured, match="SECRETS_KEY"):
        sealing.seal(SECRET, Settings())


def test_a_mask_shows_the_end_of_a_long_secret_and_nothing_of_a_short_one() -> None:
    settings = Settings(secrets_key=OLD)
    assert sealing.masked(sealing.seal(SECRET, settings), settings) == "********-key"
    assert sealing.masked(sealing.seal("short-secret", settings), settings) == "********"
    assert sealing.masked("not sealed at all", settings) == "********"
