"""Credentials of boto3 that come to an end in time: who gives them is never waited for for ever.

botocore waits for a program of `credential_process` without any limit, and for an answer of STS, or
of the metadata server of a machine or a container, as long as a byte comes now and then. It keeps
all of an answer in memory.
"""

import subprocess
import threading
import time
from functools import partial
from typing import Any

from camfleet.storage.bounded import bound, bound_http

_MOST = 2**20  # bytes of an answer with keys, which has a few thousand


def bound_session(session: Any, seconds: float, longest: float) -> None:
    """Let clients and programs that a session of botocore starts by itself come to an end.

    An answer of the store may take `longest`, that of any other service or of a metadata server
    `seconds` and a mebibyte, and a program four times as long.
    """
    make = session.create_client

    def create_client(service_name: str, *args: Any, **kwargs: Any) -> Any:
        client = make(service_name, *args, **kwargs)
        if service_name == "s3":
            bound(client, longest)
        else:
            bound(client, seconds, _MOST)
        return client

    session.create_client = create_client
    session.lazy_register_component(
        "credential_provider", partial(_resolver, session, _Programs(4 * seconds), seconds)
    )


def _resolver(session: Any, programs: "_Programs", seconds: float) -> Any:
    """Return where credentials are looked for: as botocore has it, but for what has no limits."""
    from botocore.credentials import ContainerProvider, InstanceMetadataProvider, ProcessProvider

    def make(profile_name: str) -> Any:
        return ProcessProvider(profile_name, lambda: session.full_config, programs.start)

    found = session._create_credential_resolver()  # noqa: SLF001  # no public way
    for provider in found.providers:
        if isinstance(provider, ProcessProvider):
            provider._popen = programs.start  # noqa: SLF001
        if isinstance(provider, ContainerProvider):  # also where a profile names it as its source
            bound_http(provider._fetcher._session, seconds, _MOST)  # noqa: SLF001
        if isinstance(provider, InstanceMetadataProvider):
            bound_http(provider._role_fetcher._session, seconds, _MOST)  # noqa: SLF001
        builder = getattr(provider, "_profile_provider_builder", None)  # of a role's own source
        if builder is not None:
            builder._create_process_provider = make  # noqa: SLF001
    return found


class _Programs:
    """Starts programs, which get `seconds`. Safe to share by threads.

    All that need keys wait for the same one. So once it took too long, who waited meanwhile is told
    so, and none is started for a quarter of that time.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._not_before = 0.0
        self._lock = threading.Lock()

    def start(self, words: list[str], **how: Any) -> "subprocess.Popen[bytes]":
        programs = self

        class Program(subprocess.Popen[bytes]):
            def communicate(self, *_: Any) -> tuple[bytes, bytes]:
                return programs.wait(self)

        with self._lock:
            waits = time.monotonic() < self._not_before
        if waits:
            raise self._too_slow()
        return Program(words, **how)

    def wait(self, program: "subprocess.Popen[bytes]") -> tuple[bytes, bytes]:
        """Return what a program prints; end one that takes too long."""
        try:
            return subprocess.Popen.communicate(program, timeout=self._seconds)
        except subprocess.TimeoutExpired:
            program.kill()
            for pipe in (program.stdout, program.stderr):  # which its children may hold open
                if pipe:
                    pipe.close()
            program.wait()
            with self._lock:
                self._not_before = time.monotonic() + self._seconds / 4
            raise self._too_slow() from None

    def _too_slow(self) -> Exception:
        from botocore.exceptions import CredentialRetrievalError

        class ProgramTooSlow(CredentialRetrievalError):  # type: ignore[misc]  # untyped
            fmt = "the program of credential_process gives no keys within {seconds:g} s"

        error: Exception = ProgramTooSlow(provider="custom-process", seconds=self._seconds)
        return error
