"""What commands and workers say when their servers are away or refuse them: no password."""

import os
import subprocess
import sys

import pytest

from helpers.waiting import wait_until

SECRET = "hunter2"
AWAY = {
    "CAMFLEET_REDIS_URL": f"redis://:{SECRET}@127.0.0.1:1/0",
    "CAMFLEET_S3_ENDPOINT": "http://127.0.0.1:1",
    "AWS_SECRET_ACCESS_KEY": SECRET,
}
SENTINELS = {
    **AWAY,
    "CAMFLEET_REDIS_URL": f"sentinel://:{SECRET}@127.0.0.1:1;127.0.0.1:2/0",
    "CAMFLEET_SENTINEL_MASTER": "ours",
    "CAMFLEET_SENTINEL_PASSWORD": SECRET,
}
PROXY = f"http://user:{SECRET}@127.0.0.1:1"
BEHIND_PROXY = {"CAMFLEET_S3_ENDPOINT": "https://s3.example", "https_proxy": PROXY}
CAMFLEET = ("-c", "from camfleet.cli import main; main()")
CELERY = ("-m", "celery", "-A", "camfleet_worker")


def start(*words, environ, **options):
    plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.Popen(
        [sys.executable, *words],
        stderr=subprocess.STDOUT,
        text=True,
        env={**plain, "CAMFLEET_BUCKET": "camfleet", "AWS_ACCESS_KEY_ID": "key", **environ},
        **options,
    )


def said(*words, environ):
    with start(*words, environ=environ, stdout=subprocess.PIPE) as running:
        text, _ = running.communicate(timeout=60)
    return text


@pytest.mark.parametrize(
    ("words", "environ", "reason"),
    [
        (("setup",), AWAY, "no answer from the object store"),
        (("health",), AWAY, "no Redis at 127.0.0.1:1"),
        (("jobs", "--json"), AWAY, "no Redis at 127.0.0.1:1"),
        (("workers",), SENTINELS, "sentinels 127.0.0.1:1, 127.0.0.1:2"),
        (
            ("workers",),
            {"CAMFLEET_REDIS_URL": f"sentinel://:{SECRET}@h;:{SECRET}2@h"},
            "the first sentinel has the login for all",
        ),
        (("workers",), {"CAMFLEET_REDIS_URL": f"unix://:{SECRET}@/none"}, "no Redis at /none"),
        (("workers",), {"CAMFLEET_REDIS_URL": f"redis://:{SECRET}:1"}, "a password ends with @"),
        (("models", "list"), {**AWAY, **BEHIND_PROXY}, "object store at s3.example"),
        (("jobs",), {**AWAY, "CAMFLEET_WEBHOOK_SECRET": SECRET}, "not of the form whsec_"),
        (("jobs",), {**AWAY, "CAMFLEET_SIGNING_KEY": SECRET}, "less than 32 characters"),
    ],
)
def test_a_command_shows_no_secret(words, environ, reason):
    text = said(*CAMFLEET, *words, environ=environ)
    assert reason in text
    assert SECRET not in text


def test_a_wrong_password_is_not_shown(settings):
    redis = settings.redis_url.rpartition("@")[2]
    environ = {**AWAY, "CAMFLEET_REDIS_URL": f"redis://:{SECRET}@{redis}"}
    text = said(*CAMFLEET, "jobs", environ=environ)
    assert "refuses the password" in text
    assert SECRET not in text


@pytest.mark.parametrize("environ", [AWAY, SENTINELS])
@pytest.mark.parametrize("words", [("report",), ("inspect", "conf")])
def test_celerys_own_commands_show_no_secret(words, environ):
    text = said(*CELERY, *words, environ=environ)
    assert text
    assert SECRET not in text


@pytest.mark.parametrize("environ", [AWAY, SENTINELS])
def test_a_worker_logs_no_secret(environ, tmp_path):
    log = tmp_path / "log"
    with (
        log.open("w") as output,
        start(*CELERY, "worker", "--loglevel", "DEBUG", environ=environ, stdout=output) as running,
    ):
        wait_until(lambda: "127.0.0.1:1" in log.read_text(), 60)
        running.terminate()
    assert SECRET not in log.read_text()
