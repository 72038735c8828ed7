"""What CAMFLEET_REDIS_URL may say, and what it means to each library."""

import ssl

import pytest

from camfleet import ConfigurationError, Settings
from camfleet.addresses import for_celery, name_of, tls_options

MINIMUM = {"CAMFLEET_REDIS_URL": "redis://localhost:6379/0", "CAMFLEET_BUCKET": "b"}


def settings(url, **more):
    return Settings.from_environ({**MINIMUM, "CAMFLEET_REDIS_URL": url, **more})


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://:pw@[::1]:7000/3",
        "rediss://user:pw@cache.example:6380/0",
        "unix:///run/valkey.sock",
        "unix://:pw@/run/valkey.sock?db=2",
    ],
)
def test_a_good_url_stays_as_it_is(url):
    assert settings(url).redis_url == url


@pytest.mark.parametrize("option", ["ssl_cert_reqs=required", "ssl_check_hostname=True"])
def test_options_that_say_what_holds_anyway_are_taken(option):
    assert settings(f"rediss://h:1/0?{option}").redis_url == "rediss://h:1/0"


@pytest.mark.parametrize(
    "option",
    [
        "ssl_cert_reqs=none",
        "ssl_cert_reqs=CERT_NONE",
        "ssl_cert_reqs=optional",
        "ssl_cert_reqs=",
        "ssl_check_hostname=false",
        "ssl_ca_certs=/ca.pem",
        "ssl_cert_reqs=required&ssl_cert_reqs=none",
    ],
)
def test_options_that_weaken_tls_are_refused_with_the_way_out(option):
    with pytest.raises(ConfigurationError, match="always verified, and CAMFLEET_CA_FILE names"):
        settings(f"rediss://:secret@h:1/0?{option}")
    with pytest.raises(ConfigurationError, match="always verified"):
        Settings(redis_url=f"rediss://:secret@h:1/0?{option}", bucket="b")


@pytest.mark.parametrize(
    "url",
    [
        "localhost:6379",
        "http://localhost",
        "redis://",
        "redis:///0",
        "redis://h/zero",
        "redis://h:port/0",
        "redis://h/0?protocol=2",
        "unix://?db=1",
        "unix:///s?db=one",
        "unix:///s?ssl_cert_reqs=none",
        "sentinel://h:1/0",
    ],
)
def test_what_no_library_would_connect_to_is_refused(url):
    with pytest.raises(ConfigurationError, match="CAMFLEET_REDIS_URL"):
        settings(url)


def test_settings_are_shown_without_the_password():
    assert "secret" not in repr(settings("rediss://:secret@h:1/0"))


def test_a_refused_url_is_quoted_without_its_password():
    with pytest.raises(ConfigurationError) as caught:
        settings("rdis://:secret@h:1/0")
    assert "secret" not in str(caught.value)
    assert "rdis://***@h:1/0" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "celery", "name"),
    [
        ("redis://:p@h/1", "redis://:p@h/1", "h:6379"),
        ("rediss://:p;q@h:7/1", "rediss://:p%3Bq@h:7/1", "h:7"),
        ("redis://[::1]:7/1", "redis://[::1]:7/1", "[::1]:7"),
        ("unix:///a/s", "redis+socket:///a/s?virtual_host=0", "/a/s"),
        ("unix://:p@/a/s?db=4", "redis+socket://:p@/a/s?virtual_host=4", "/a/s"),
    ],
)
def test_celery_and_messages_have_their_own_ways_to_write_it(url, celery, name):
    assert for_celery(url) == celery
    assert name_of(url) == name


def test_tls_is_verified_by_certificate_and_host():
    strict = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    assert tls_options("rediss://h:1/0", "") == strict
    assert tls_options("rediss://h:1/0", "/ca.pem") == {**strict, "ssl_ca_certs": "/ca.pem"}
    assert tls_options("redis://h:1/0", "/ca.pem") == {}


def test_a_file_without_certificates_is_refused_at_once(tmp_path):
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificate")
    for path, reason in ((empty, "no certificate in PEM form"), (tmp_path / "absent", "No such")):
        with pytest.raises(ConfigurationError, match=f"CAMFLEET_CA_FILE.*{reason}"):
            settings("rediss://h:1/0", CAMFLEET_CA_FILE=str(path))
