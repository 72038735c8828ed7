#!/bin/sh
# What a GPU brings: compile and start times, parity, images/s at batches of 1 to 256, several
# processes, memory. Needs no network, ends within ten minutes, and prints a JSON object a line.
#
#   benchmarks/gpu.sh                       with python3, which has camfleet[worker-jax] and jax[cuda13]
#   WHEELS=folder benchmarks/gpu.sh         what python3 lacks comes from wheels in that folder
#   DRY=1 benchmarks/gpu.sh                 on the CPU with a small model: shows that it works
#
# PYTHON=, MODELS=MobileNetV2,ResNet50, BATCHES=1,16,256, PROCESSES=1,2 and IMAGES= change what's run.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
if [ -n "${WHEELS:-}" ]; then
    extra=$(mktemp -d)
    trap 'rm -rf "$extra"' EXIT
    "$python" -m pip install --quiet --no-index --no-deps --target "$extra" "$WHEELS"/*.whl
    export PYTHONPATH="$extra:producer:worker${PYTHONPATH:+:$PYTHONPATH}"
fi
export KERAS_BACKEND=jax CAMFLEET_ENGINE=jax XLA_PYTHON_CLIENT_PREALLOCATE=false
if [ -n "${DRY:-}" ]; then
    export JAX_PLATFORMS=cpu
    MODELS=${MODELS:-Small} BATCHES=${BATCHES:-1,4,16} PROCESSES=${PROCESSES:-1,2} IMAGES=${IMAGES:-64}
    export MODELS BATCHES PROCESSES IMAGES
fi
timeout "${SECONDS_AT_MOST:-600}" "$python" -m benchmarks.gpu
