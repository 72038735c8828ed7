"""The worker's application, of a worker that says it computes in bf16 wherever OpenVINO does.

CPUs without the instructions compute in float32 then, so tests of who takes what run anywhere.
"""

from camfleet_worker.models import openvino_engine, precision

precision.computed_here = lambda settings: ("bf16",) if openvino_engine.is_wanted(settings) else ()

from camfleet_worker.celery import app  # noqa: E402, F401  # Celery looks for it here
