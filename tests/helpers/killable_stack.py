"""A local stack whose servers may be killed and started again, on the same ports and data."""

import os
import shutil
from functools import partial

from redis import Redis

from camfleet.local import process, servers
from camfleet.local.folder import Credentials
from camfleet.local.stack import BUCKET, LocalStack
from helpers.waiting import wait_until

_SECONDS = 60


class OwnStack(LocalStack):
    """Valkey and SeaweedFS, without a worker; the credentials are those of another stack.

    boto3 takes credentials from the environment, and a test process has one environment only.
    """

    def __init__(self, data, other):
        super().__init__(data, worker=False)
        data.mkdir(parents=True)
        shutil.copy(other.data / "credentials.json", data)

    def kill(self, name):
        """End a server as a crash does: `valkey` or `seaweedfs`."""
        process.kill(self.processes[name])

    def lose(self, name):
        """Lose all data of a server that was killed."""
        folder = self.data / {"valkey": "valkey", "seaweedfs": "s3"}[name]
        shutil.rmtree(folder)
        folder.mkdir()

    def start_again(self, name):
        """Start a server that was killed; return when it answers."""
        {"valkey": self._valkey_again, "seaweedfs": self._seaweedfs_again}[name]()

    def redis(self):
        return Redis.from_url(self.settings.redis_url, decode_responses=True)

    def _valkey_again(self):
        self._again("valkey", servers.valkey_command(servers.find_valkey()), "valkey")
        wait_until(partial(_proves, servers.ping_valkey, self.settings), _SECONDS)

    def _seaweedfs_again(self):
        command = servers.weed_command(servers.find_weed(), self._ports)
        (self.data / "s3" / "mini.options").unlink(missing_ok=True)
        self._again("seaweedfs", command, "s3")
        credentials = Credentials.of(self.data)
        with servers.s3_client(self.settings, credentials, _SECONDS) as client:
            wait_until(partial(_proves, servers.prove_bucket, client, BUCKET), _SECONDS)

    def _again(self, name, command, folder):
        self.processes[name] = process.spawn(
            command,
            log=self.data / "logs" / f"{name}.log",
            cwd=self.data / folder,
            environ={"PATH": os.defpath, "HOME": str(self.data)},
        )


def _proves(proof, *args):
    try:
        proof(*args)
    except servers.NotYet:
        return False
    return True
