"""The device of this process, for engines that run whole batches: they take turns on it."""

from camfleet_worker.process.priority import PrioritySemaphore

DEVICE = PrioritySemaphore()
