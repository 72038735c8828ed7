"""Which words of a command are keys."""

import pytest

from camfleet import ConfigurationError, Settings
from camfleet.broker.prefixed import prefixed


@pytest.mark.parametrize(
    ("command", "sent"),
    [
        ("GET a", "GET p:a"),
        ("HSET a a a", "HSET p:a a a"),
        ("DEL a b", "DEL p:a p:b"),
        ("EVALSHA f00 2 a b c", "EVALSHA f00 2 p:a p:b c"),
        ("EVALSHA f00 0 a", "EVALSHA f00 0 a"),
        ("SCAN 0 MATCH a* COUNT 9", "SCAN 0 MATCH p:a* COUNT 9"),
        ("XREAD COUNT 1 BLOCK 9 STREAMS a b 0 1", "XREAD COUNT 1 BLOCK 9 STREAMS p:a p:b 0 1"),
        ("INFO server", "INFO server"),
    ],
)
def test_keys_get_the_prefix_and_nothing_else_does(command, sent):
    assert prefixed("p:", command.split()) == sent.split()


def test_words_may_be_bytes_as_redis_py_writes_them():
    assert prefixed("p:", ["SCAN", 0, b"MATCH", "a*"]) == ["SCAN", 0, b"MATCH", "p:a*"]


def test_a_command_of_several_words_stays_one_word():
    assert prefixed("p:", ["CLIENT LIST"]) == ["CLIENT LIST"]


@pytest.mark.parametrize("command", ["RENAME a b", "FLUSHALL", "KEYS *"])
def test_a_command_whose_keys_are_not_known_is_not_sent(command):
    with pytest.raises(TypeError, match=command.split()[0]):
        prefixed("p:", command.split())


@pytest.mark.parametrize("prefix", ["", "prod:", "a-b.c_", ":", "a" * 99 + ":"])
def test_a_good_prefix_is_taken(prefix):
    assert Settings(key_prefix=prefix).key_prefix == prefix


@pytest.mark.parametrize("prefix", ["prod", "a b:", "{a}:", "a*:", "*:", "a" * 100 + ":", "ä:"])
def test_a_prefix_that_celery_or_patterns_read_otherwise_is_refused(prefix):
    with pytest.raises(ConfigurationError, match="CAMFLEET_KEY_PREFIX"):
        Settings(key_prefix=prefix)
