"""What people say of a report's findings: kept beside the report, whoever writes that anew."""

from typing import Annotated, Literal

from msgspec import Meta

from camfleet.contract.codec import Document, Wire
from camfleet.contract.outputs import Name
from camfleet.contract.times import Seconds

FINDING_ID = r"^[0-9a-f]{16}\Z"
MOST_DECISIONS = 10_000  # of a job
Verdict = Literal["confirmed", "dismissed", "open"]


class Decision(Wire, frozen=True, kw_only=True):
    """What somebody said of a finding; `open` takes back what was said before."""

    finding: Annotated[str, Meta(pattern=FINDING_ID)]
    verdict: Verdict
    by: Annotated[str, Meta(max_length=100)]
    at: Seconds
    note: Annotated[str, Meta(max_length=1000)] = ""


class Findings(Document, frozen=True, kw_only=True):
    """`findings.json`: all that was said, in order."""

    job_id: Name
    decisions: Annotated[tuple[Decision, ...], Meta(max_length=MOST_DECISIONS)]
