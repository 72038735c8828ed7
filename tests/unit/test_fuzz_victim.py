"""The watch itself: whatever an input may not do is seen."""

import pytest
from tests.fuzz.victim import Limits, victim


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def attacked(kept):
    with victim("orders", Limits(seconds=0.2, mib=20), hang=4, kept=kept) as made:
        yield made


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ("import os; os.abort()", "dies with -6"),
        ("import os; os._exit(3)", "dies with 3"),
        ("import ctypes; ctypes.string_at(1)", "dies with -11"),
        ("import time; time.sleep(60)", r"hangs\n(.*\n)*.*in run"),
        ("end = time.process_time() + 0.3\nwhile time.process_time() < end: pass", "it takes 0"),
        ("kept = bytearray(b'a') * (50 * 2**20)", "MiB, 20 allowed"),
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit", "SystemExit"),
        ("raise InternalError('a bug')", "InternalError: a bug"),
        ("raise InvalidRequest('')", "the error says nothing"),
        (r"raise InvalidRequest('\ud800')", "the message can't be sent"),
        ("open('OUTSIDE/a', 'w')", "writes '.*/a'"),
        ("os.rename('OUTSIDE/a', 'OUTSIDE/b')", "os.rename"),
        ("os.symlink('/etc', 'OUTSIDE/c')", "os.symlink"),
        ("os.system('true')", "os.system"),
        ("subprocess.run(['true'])", "subprocess.Popen"),
        ("socket.create_connection(('127.0.0.1', 9))", "socket.connect"),
    ],
)
def test_what_an_input_may_not_do_is_seen(order, said, attacked, tmp_path):
    with pytest.raises(AssertionError, match=said):
        attacked.attack(order.replace("OUTSIDE", str(tmp_path)).encode())


def test_what_does_harm_is_kept(attacked, kept):
    with pytest.raises(AssertionError, match=r"the input is kept in .*orders\.input"):
        attacked.attack(b"1 / 0")
    assert (kept / "orders.input").read_bytes() == b"1 / 0"


def test_after_a_death_the_next_input_meets_another_victim(attacked):
    with pytest.raises(AssertionError, match="dies"):
        attacked.attack(b"import os; os.abort()")
    assert attacked.attack(b"1 + 1").taken


def test_a_refusal_is_no_harm(attacked):
    assert attacked.attack(b"raise InvalidRequest('why')").said == "InvalidRequest: why"
    assert attacked.attack(b"open(folder / 'inside', 'w').close()").taken
