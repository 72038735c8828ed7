"""The right to write a job's objects, which one producer has at a time."""


class Claim:
    """Passed to whatever writes a job. This one can't be lost: for callers who hold none."""

    def renew(self) -> None:
        """Keep the claim; raise `InvalidRequest` where another producer has it by now."""


UNCLAIMED = Claim()
