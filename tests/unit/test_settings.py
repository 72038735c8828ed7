"""Settings: read from a mapping, every variable documented."""

from dataclasses import fields
from pathlib import Path

import pytest

from camfleet.errors import ConfigurationError
from camfleet.settings import GROUPS, Settings, variable
from camfleet_worker.models.converted.signing import Signer
from camfleet_worker.process import confined
from helpers.settings_tables import table, tables_in

ROOT = Path(__file__).parents[2]
NEEDED = {"CAMFLEET_REDIS_URL": "redis://localhost", "CAMFLEET_BUCKET": "camfleet"}


def test_what_is_written_is_read_back():
    environ = {**NEEDED, "CAMFLEET_FILE_ROOTS": "/a:/b", "CAMFLEET_ALLOW_PRIVATE_HOSTS": "yes"}
    settings = Settings.from_environ(environ)
    assert settings.file_roots == (Path("/a"), Path("/b"))
    assert settings.allow_private_hosts is True
    assert Settings.from_environ(settings.to_environ()) == settings


def test_bytes_may_have_a_unit():
    settings = Settings.from_environ({**NEEDED, "CAMFLEET_MAX_IMAGE_BYTES": "5M"})
    assert settings.max_image_bytes == 5 * 2**20


def test_the_secret_of_callbacks_is_handed_on_and_shown_to_nobody():
    secret = "whsec_" + "c2VjcmV0" * 4
    settings = Settings.from_environ({**NEEDED, "CAMFLEET_WEBHOOK_SECRET": secret})
    assert settings.to_environ()["CAMFLEET_WEBHOOK_SECRET"] == secret
    assert "c2VjcmV0" not in repr(settings)


def test_every_secret_may_stand_in_a_file(tmp_path):
    secrets = {
        "CAMFLEET_REDIS_URL": "redis://:secret@redis.example:6379/0",
        "CAMFLEET_SENTINEL_PASSWORD": "",
        "CAMFLEET_LABEL_STUDIO_TOKEN": "label-token",
        "CAMFLEET_WEBHOOK_SECRET": "whsec_" + "c2VjcmV0" * 4,
        "CAMFLEET_SIGNING_KEY": "k" * 32,
    }
    assert secrets.keys() == {variable(each) for each in fields(Settings) if not each.repr}
    environ = {"CAMFLEET_BUCKET": "camfleet"}
    for name, text in secrets.items():
        if text:
            path = tmp_path / name
            path.write_text(f"{text}\n")
            environ[f"{name}_FILE"] = str(path)
    made = Settings.from_environ(environ)
    assert made == Settings.from_environ({"CAMFLEET_BUCKET": "camfleet", **secrets})
    assert Settings.from_environ({**environ, **made.to_environ()}) == made, "of a process's child"
    named = (ROOT / "docs" / "settings.md").read_text()
    assert all(f"`{name}_FILE`" in named for name in secrets)


def test_the_variable_itself_counts_before_its_file(tmp_path):
    environ = {**NEEDED, "CAMFLEET_REDIS_URL_FILE": str(tmp_path / "missing")}
    assert Settings.from_environ(environ).redis_url == Settings.from_environ(NEEDED).redis_url


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (None, "can't be read: No such file or directory"),
        (b"\n", "is empty"),
        (b"k" * 70_000, "too large"),
        (b"\xff" * 40, "can't be read: it isn't text in UTF-8"),
        (b"short", "SIGNING_KEY"),
    ],
    ids=["missing", "empty", "large", "binary", "weak"],
)
def test_a_file_without_a_secret_is_named_and_not_shown(tmp_path, data, why):
    path = tmp_path / "key"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ConfigurationError, match=why) as caught:
        Settings.from_environ({**NEEDED, "CAMFLEET_SIGNING_KEY_FILE": str(path)})
    assert "kkkk" not in str(caught.value)


def test_what_is_no_secret_has_no_file():
    with pytest.raises(ConfigurationError, match="CAMFLEET_BUCKET_FILE is not a setting"):
        Settings.from_environ({**NEEDED, "CAMFLEET_BUCKET_FILE": "/bucket"})


@pytest.mark.parametrize(
    "secret", ["c2VjcmV0" * 4, "whsec_c2VjcmV0", "whsec_" + "c2Vj-mV0" * 4, "whsec_" + "c2Vj" * 22]
)
def test_a_malformed_secret_is_refused_and_not_shown(secret):
    with pytest.raises(ConfigurationError, match="CAMFLEET_WEBHOOK_SECRET is not") as caught:
        Settings.from_environ({**NEEDED, "CAMFLEET_WEBHOOK_SECRET": secret})
    assert "c2Vj" not in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({}, "CAMFLEET_REDIS_URL is not set.*camfleet up"),
        ({**NEEDED, "CAMFLEET_BATCHSIZE": "3"}, "CAMFLEET_BATCHSIZE is not a setting"),
        ({**NEEDED, "CAMFLEET_BATCH_SIZE": "many"}, "CAMFLEET_BATCH_SIZE='many' is not a number"),
        ({**NEEDED, "CAMFLEET_BATCH_SIZE": "-1"}, "at least 1"),
        ({**NEEDED, "CAMFLEET_BATCH_SIZE": "0"}, "at least 1"),
        ({**NEEDED, "CAMFLEET_ALLOW_PRIVATE_HOSTS": "maybe"}, "neither 1 nor 0"),
        ({**NEEDED, "CAMFLEET_REDIS_URL": "localhost:6379"}, "redis://"),
        ({**NEEDED, "CAMFLEET_S3_ENDPOINT": "nonsense"}, "http://host:port"),
        (
            {**NEEDED, "CAMFLEET_LABEL_STUDIO_URL": "http://a:b@ls"},
            "LABEL_STUDIO_URL.*https://host",
        ),
        ({**NEEDED, "CAMFLEET_LABEL_STUDIO_URL": "http://ls/"}, "LABEL_STUDIO_URL.*slash"),
    ],
)
def test_a_bad_variable_is_named(environ, message):
    with pytest.raises(ConfigurationError, match=message):
        Settings.from_environ(environ)


@pytest.mark.parametrize("group", GROUPS)
def test_the_table_of_a_group_is_that_of_the_code(group):
    found = tables_in((ROOT / "docs" / "settings.md").read_text())
    assert found.get(group) == table(group), f"docs/settings.md should say:\n{table(group)}"


def test_every_setting_is_in_one_group():
    grouped = [field.name for kind in GROUPS.values() for field in fields(kind)]
    assert sorted(grouped) == sorted(field.name for field in fields(Settings))


def test_a_misspelt_variable_is_named_with_the_one_that_was_meant():
    with pytest.raises(ConfigurationError, match=r"did you mean CAMFLEET_BATCH_SIZE\?"):
        Settings.from_environ({**NEEDED, "CAMFLEET_BATCHSIZE": "3"})


@pytest.mark.parametrize("keys", ["short", "x" * 31, f"{'x' * 40},short", f"{'x' * 40},"])
def test_a_signing_key_that_is_too_short_is_refused_with_a_way_to_make_one(keys):
    with pytest.raises(ConfigurationError, match="openssl rand -base64 32") as caught:
        Settings.from_environ({**NEEDED, "CAMFLEET_SIGNING_KEY": keys})
    assert "x" * 31 not in str(caught.value)


def test_signing_keys_are_read_in_order_and_shown_to_nobody():
    keys = ("first" * 8, "second" * 8)
    settings = Settings.from_environ({**NEEDED, "CAMFLEET_SIGNING_KEY": ", ".join(keys)})
    assert settings.signing_keys == keys
    assert not [key for key in keys if key in repr(settings) + repr(Signer.of(settings))]
    assert confined.without_secrets(settings).signing_keys == ()
    assert Settings.from_environ(settings.to_environ()) == settings
