"""What an error says behind the status, for programs that show nothing else."""

import h11
import pytest

from camfleet.errors import InvalidRequest
from camfleet.gateway.problems import REASON, answer_to, with_reason


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("the model has no class 'rose'", "the model has no class 'rose'"),
        ("x" * 499 + " and more", "x" * 499),  # which is cut off at a blank
        (" \n\tline one\r\nline two\x00\x7f ", "line one line two"),
        ("caf\u00e9 \U0001f339", "caf? ?"),
        ("\n", ""),
    ],
)
def test_any_message_is_one_that_http_can_say(message, told):
    error = InvalidRequest(message)
    answer = with_reason(answer_to(error), error)
    assert answer.headers[REASON] == told
    h11.Response(status_code=answer.status_code, headers=answer.raw_headers, reason=told)
