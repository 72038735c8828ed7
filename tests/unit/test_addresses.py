"""What CAMFLEET_REDIS_URL may say, and what it means to each library."""

import re
import ssl
import traceback

import pytest

from camfleet import ConfigurationError, Settings
from camfleet.addresses import Sentinels, for_celery, name_of, sentinels_of, tls_options
from camfleet_worker.models.model_report import read_settings

LOCAL = "redis://localhost:6379/0"
MINIMUM = {"CAMFLEET_REDIS_URL": LOCAL, "CAMFLEET_BUCKET": "b"}


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
        "sentinel://",
        "sentinel://h:1/0?ssl_cert_reqs=none",
    ],
)
def test_what_no_library_would_connect_to_is_refused(url):
    with pytest.raises(ConfigurationError, match="CAMFLEET_REDIS_URL"):
        settings(url)


def test_settings_are_shown_without_the_password():
    assert "secret" not in repr(settings("rediss://:secret@h:1/0"))


@pytest.mark.parametrize(
    ("url", "flaw"),
    [
        ("rdis://:hunter2@h:1/0", "another scheme"),
        (":hunter2@h:1/0", "another scheme"),
        ("hunter2@h:1", "another scheme"),
        ("hunter2://h:1", "another scheme"),
        ("redis//:hunter2@h:1/0", "another scheme"),
        ("redis:/:hunter2@h:1/0", "written %2F"),
        ("sentinelz://:hunter2@h:1/0", "another scheme"),
        ("sentinel:/:hunter2@h:1/0", "written %2F"),
        ("sentinel://:hunter2;h:1", "a password ends with @"),
        ("sentinel://:hunter2", "a password ends with @"),
        ("sentinel://:hun;hunter2@h:1", "; is written %3B"),
        ("sentinel://:hun/hunter2@h:1;h:2", "/ is written %2F"),
        ("sentinel://h:1;:hunter2@h:2", "the first sentinel has the login for all"),
        ("sentinel://:one@h:1;:hunter2@h:2", "the first sentinel has the login for all"),
        ("sentinel://:hunter2@h:1/0;h:2/1", "several databases"),
        ("sentinel://:hunter2@h:1;redis://h:2", "of one of the sentinels"),
        ("sentinel://:hunter2@h:1;;h:2", "of one of the sentinels"),
        ("sentinels://h:1/0?hunter2=1", "sentinels take no options"),
        ("redis://:hunter2:6379/0", "a password ends with @"),
        ("redis://default:hunter2/0", "a password ends with @"),
        ("redis://:hunter2", "a password ends with @"),
        ("redis://:hunter2@", "no host"),
        ("redis://:hunter2@:6379", "no host"),
        ("redis://:hunter2@a host:6379", "spaces"),
        ("redis://:hunter2@h:port/0", "port is not a number"),
        ("redis://:hunter2@h:70000/0", "port is not a number"),
        ("redis://:hunter2@h:1/zero", "database is not a number"),
        ("redis://hunter2@h:1/0", ":PASSWORD@"),
        ("redis://:hun/hunter2@h:1/0", "/ is written %2F"),
        ("redis://:hun?hunter2@h:1/0", "? is %3F"),
        ("redis://user:123?hunter2=x@h:1/0", "? is %3F"),
        ("redis://user:123#hunter2@h:1/0", "# is %23"),
        ("redis://user:123#hunter2", "# is %23"),
        ("redis://h:1/0?hunter2", "option in it is not known"),
        ("redis://h:1/0?password=hunter2", "option password is not known"),
        ("rediss://h:1/0?ssl_password=hunter2", "option ssl_password is refused"),
        ("redis://:hunter2@[::1/0", "host can't be read"),
        ("redis://:hunter2\u2100@h/0", "host can't be read"),
        ("unix://:hunter2/run/s.sock", "nothing but :PASSWORD@"),
        ("unix://:hun/hunter2@/run/s.sock", "/ is written %2F"),
        ("unix://:hunter2@", "no path"),
    ],
)
def test_a_refused_url_is_not_quoted(url, flaw):
    with pytest.raises(
        ConfigurationError, match=rf"CAMFLEET_REDIS_URL.*{re.escape(flaw)}"
    ) as caught:
        settings(url)
    told = "".join(traceback.format_exception(caught.value)).lower()
    assert "hunter2" not in told


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://key:hunter2@h", "key:hunter2@h:9000", "http://key:hunter2@h:9000"),
        *("http://hunter2@h", "http://h:9000?key=hunter2", "http://h/#hunter2", "http://h:hunter2"),
        *("http://[hunter2", "https://", "http://key:hun/hunter2@h"),
    ],
)
def test_a_refused_endpoint_is_not_quoted(url):
    for make in (
        lambda: settings(LOCAL, CAMFLEET_S3_ENDPOINT=url),
        lambda: Settings(s3_endpoint=url),
    ):
        with pytest.raises(
            ConfigurationError, match=r"CAMFLEET_S3_ENDPOINT.*http://host:port"
        ) as caught:
            make()
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("url", "celery", "name"),
    [
        ("redis://:p@h/1", "redis://:p@h/1", "h:6379"),
        ("rediss://:p;q@h:7/1", "rediss://:p%3Bq@h:7/1", "h:7"),
        ("redis://[::1]:7/1", "redis://[::1]:7/1", "[::1]:7"),
        (
            "sentinel://u:p@h:1/2;sentinel://u:p@[::1]:2/2",
            "sentinel://u:p@h:1/2;sentinel://u:p@[::1]:2/2",
            "the primary (by sentinels h:1, [::1]:2)",
        ),
        (
            "sentinels://:p@h:1/0",
            "sentinel://:p@h:1/0",
            "the primary (by sentinels h:1)",
        ),
        ("unix:///a/s", "redis+socket:///a/s?virtual_host=0", "/a/s"),
        ("unix://:p@/a/s?db=4", "redis+socket://:p@/a/s?virtual_host=4", "/a/s"),
    ],
)
def test_celery_and_messages_have_their_own_ways_to_write_it(url, celery, name):
    assert for_celery(url) == celery
    assert name_of(url) == name


@pytest.mark.parametrize(
    ("url", "complete"),
    [
        ("sentinel://h", "sentinel://h:26379/0"),
        (
            "sentinel://:p%3B%2F@h:1;[::1];c:3/2",
            "sentinel://:p%3B%2F@h:1/2;sentinel://:p%3B%2F@[::1]:26379/2;sentinel://:p%3B%2F@c:3/2",
        ),
        (
            "sentinels://u:p@h:1/2;sentinels://u:p@b:2/2",
            "sentinels://u:p@h:1/2;sentinels://u:p@b:2/2",
        ),
    ],
)
def test_sentinels_are_written_once_or_as_celery_writes_them(url, complete):
    assert settings(url, CAMFLEET_SENTINEL_MASTER="ours").redis_url == complete


def test_what_a_url_says_of_sentinels():
    assert sentinels_of("redis://h") is None
    url = settings("sentinel://u:p%3B@h;b:2/3", CAMFLEET_SENTINEL_MASTER="ours").redis_url
    found = Sentinels((("h", 26379), ("b", 2)), "u", "p;", 3)
    assert sentinels_of(url) == found
    assert sentinels_of("sentinel://h/0") == Sentinels((("h", 26379),), None, None, 0)


def test_sentinels_need_the_name_of_a_primary_and_nothing_else_has_one():
    with pytest.raises(ConfigurationError, match="CAMFLEET_SENTINEL_MASTER isn't set"):
        settings("sentinel://h:1;h:2/0")
    for name in ("MASTER", "USER", "PASSWORD"):
        with pytest.raises(ConfigurationError, match="CAMFLEET_REDIS_URL must name"):
            settings(LOCAL, **{f"CAMFLEET_SENTINEL_{name}": "ours"})


def test_a_report_on_a_model_needs_no_sentinels():
    environ = {"CAMFLEET_REDIS_URL": "sentinel://h", "CAMFLEET_SENTINEL_MASTER": "ours"}
    assert read_settings(environ).sentinel_master == ""


def test_tls_is_verified_by_certificate_and_host():
    strict = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    assert tls_options("rediss://h:1/0", "") == strict
    assert tls_options("rediss://h:1/0", "/ca.pem") == {**strict, "ssl_ca_certs": "/ca.pem"}
    assert tls_options("sentinels://h:1/0", "") == strict
    assert tls_options("redis://h:1/0", "/ca.pem") == {}
    assert tls_options("sentinel://h:1/0", "/ca.pem") == {}


def test_a_file_without_certificates_is_refused_at_once(tmp_path):
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificate")
    for path, reason in ((empty, "no certificate in PEM form"), (tmp_path / "absent", "No such")):
        with pytest.raises(ConfigurationError, match=f"CAMFLEET_CA_FILE.*{reason}"):
            settings("rediss://h:1/0", CAMFLEET_CA_FILE=str(path))
