"""The worker's log lines: one record each, with its place, and none that can be forged."""

import json
import logging
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from camfleet.prefetch import map_ahead
from camfleet_worker.process import logs

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
HEAD = re.compile(rf"{TIME} (?P<level>\w+) (?P<logger>\S+) (?P<place>job=.*)")

logger = logging.getLogger("camfleet_worker.chunks.runner")


def record(message, *values, error=None):
    trace = (type(error), error, error.__traceback__) if error else None
    return logger.makeRecord(logger.name, logging.INFO, __file__, 1, message, values, trace)


def text(message, *values, error=None):
    return logs.TextFormatter().format(record(message, *values, error=error))


def parsed(message, *values, error=None):
    return json.loads(logs.JsonFormatter().format(record(message, *values, error=error)))


def raised(message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # any will do
        raise ValueError(message)
    return caught.value


def test_a_line_of_text_says_when_how_bad_who_where_and_what():
    with logs.context(job="X", chunk="0:3"):
        found = HEAD.fullmatch(text("%d rows", 4))
    assert found.groups() == (
        "INFO",
        "camfleet_worker.chunks.runner",
        "job=X chunk=0:3 image=- 4 rows",
    )


def test_a_line_of_json_has_every_field():
    with logs.context(image="s3://b/ä.png"):
        line = parsed("%s failed", "it")
    assert re.fullmatch(TIME, line.pop("time"))
    assert isinstance(line.pop("process"), int)
    assert line == {
        "level": "INFO",
        "logger": "camfleet_worker.chunks.runner",
        "thread": "MainThread",
        "message": "it failed",
        "job": None,
        "chunk": None,
        "image": "s3://b/ä.png",
        "exception": None,
    }


def test_every_line_of_a_trace_says_where():
    with logs.context(job="X"):
        first, *trace = text("broke", error=raised("bad\nINFO all is well")).splitlines()
    assert first.endswith("job=X chunk=- image=- broke")
    assert [HEAD.fullmatch(line)["place"] for line in trace][-2:] == [
        "job=X chunk=- image=- | ValueError: bad",
        "job=X chunk=- image=- | INFO all is well",
    ]
    with logs.context(job="X"):
        assert parsed("broke", error=raised("bad\nnews"))["exception"].endswith("bad\nnews")


@given(st.text(), st.text())
def test_no_message_and_no_image_makes_a_second_line(message, image):
    with logs.context(image=image):
        assert len(text("%s", message + ".").splitlines()) == 1
        assert len(logs.JsonFormatter().format(record("%s", message)).splitlines()) == 1
        assert parsed("%s", message + ".")["message"] == message + "."


@given(st.text().filter(lambda image: "//" not in image))
def test_an_image_is_one_field_whatever_its_name(image):
    with logs.context(image=image):
        rest = text("said").partition(" image=")[2]
    quoted = json.JSONDecoder().raw_decode(rest) if rest.startswith('"') else None
    value, end = quoted or (rest.split(" ")[0], len(rest.split(" ")[0]))
    assert rest[end:] == " said"
    assert value == image


def test_what_steers_a_terminal_is_written_out():
    assert text("a\x1b[2J\r\u2028b").endswith(r"a\u001b[2J\r\u2028b")
    assert text("a\u202eb\u200bc\udcff").endswith(r"a\u202eb\u200bc\udcff")
    assert parsed("a\x9b\u202eb")["message"] == "a\x9b\u202eb"
    assert logs.JsonFormatter().format(record("a\x9b\u202eb")).isascii()
    with logs.context(image="s3://b/\u202egnp.jpg"):
        assert " image=s3://b/" not in text("x")
        assert r'image="s3://b/\u202egnp.jpg" x' in text("x")


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("redis://:geheim@host:6379/0", "redis://**@host:6379/0"),
        ("https://user:geheim@host/a.png", "https://**@host/a.png"),
        ("s3://b/a.png?X-Amz-Signature=geheim&x=1", "s3://b/a.png?X-Amz-Signature=**&x=1"),
        ("https://h/a?url=https%3A%2F%2Fo%2F%3Fsig%3Dgeheim", "https://h/a?url=**"),
        ("https://h/a.png?v=1&sig=geheim failed", "https://h/a.png?v=1&sig=** failed"),
        ("mail@host, a//b", "mail@host, a//b"),
    ],
)
def test_passwords_and_signatures_stay_out(said, written):
    assert text("%s", said).endswith(f" {written}")
    assert parsed("%s", said)["message"] == written
    with logs.context(image=said):
        assert written in text("x")
        assert parsed("x", error=raised(said))["image"] == written
        assert parsed("x", error=raised(said))["exception"].endswith(f"ValueError: {written}")


def test_places_nest_and_end():
    with logs.context(job="X", chunk="0:1"):
        with logs.context(image="a.png"):
            assert logs.place() == logs.Place("X", "0:1", "a.png")
        assert logs.place() == logs.Place("X", "0:1")
    assert logs.place() == logs.Place()


def test_work_ahead_in_other_threads_knows_its_place():
    def work(number):
        with logs.context(image=str(number)):
            return logs.place()

    with ThreadPoolExecutor(3) as pool:
        with logs.context(job="X"):
            first = map_ahead(pool, work, range(20), 4)
            found = [next(first)]
        with logs.context(job="Y"):
            found += map_ahead(pool, work, range(1, 3), 4)
        first.close()
        assert pool.submit(logs.place).result() == logs.Place()
    assert found == [logs.Place(job, None, str(n)) for n, job in enumerate("XYY")]


def test_a_log_file_gets_the_lines_of_all_loggers_from_a_level_on(tmp_path):
    code = (
        "import logging, sys; from camfleet_worker.process import logs; "
        "logs.setup('text', logging.WARNING, sys.argv[1]); "
        "logging.getLogger('a.b').warning('away: %s', chr(0xdcff)); logging.info('unasked')"
    )
    path = tmp_path / "worker.log"
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, check=True, timeout=60
    )
    assert (done.stdout, done.stderr) == (b"", b"")
    (line,) = path.read_text().splitlines()
    assert line.endswith(r" WARNING a.b job=- chunk=- image=- away: \udcff")
