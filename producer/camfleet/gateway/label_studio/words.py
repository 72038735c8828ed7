"""What Label Studio says to a backend, and what it's answered. It sends more than is read here."""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

MOST_CONFIG = 2**20  # characters of a label config


class Setup(Struct):
    """A project that connects itself; the token that comes with it isn't even read."""

    schema: str = ""  # the label config


class Ready(Struct):
    model_version: str


class Health(Struct):
    """Whether the backend's address can be used, and if not, why."""

    status: Literal["UP", "DOWN"] = "UP"
    model_class: str = "camfleet"
    error: str | UnsetType = UNSET


class Task(Struct):
    id: int | None = None
    data: dict[str, Any] = {}


class Selection(Struct):
    """Tasks that predictions are wanted for."""

    tasks: list[Task] = []
    project: str | int = ""  # the number of the project, a dot, and when it was made
    label_config: str = ""

    @property
    def project_id(self) -> int | None:
        number = str(self.project).partition(".")[0]
        return int(number) if number.isascii() and number.isdecimal() and len(number) < 10 else None


class Predicted(Struct):
    """For each task its prediction, or none: an empty list."""

    results: list[Any]


class Heard(Struct):
    status: str = "ignored"
