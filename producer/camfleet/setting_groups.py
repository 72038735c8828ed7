"""The settings by who reads them, each with what docs/settings.md says of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from camfleet import variables


def _setting(
    doc: str,
    default: Any = None,
    *,
    required: bool = False,
    least: int = 1,
    secret: bool = False,
    choices: tuple[str, ...] = (),
    part: Callable[[str], Any] = str,
) -> Any:
    metadata = {"doc": doc, "required": required, "least": least, "choices": choices, "part": part}
    return field(default=default, repr=not secret, metadata=metadata)


# ruff: noqa: RUF009  # _setting is dataclasses.field with our metadata


@dataclass(frozen=True, kw_only=True)
class ConnectionSettings:
    """Read by producers and workers; give both the same values."""

    redis_url: str = _setting(
        "Redis or Valkey: broker, results and progress", "", required=True, secret=True
    )
    sentinel_master: str = _setting(
        "name of the primary that sentinels watch, where CAMFLEET_REDIS_URL begins with "
        "`sentinel://`: `mymaster`",
        "",
    )
    sentinel_user: str = _setting("user at the sentinels themselves, if they have users", "")
    sentinel_password: str = _setting(
        "password of the sentinels themselves; that of Redis stands in CAMFLEET_REDIS_URL",
        "",
        secret=True,
    )
    key_prefix: str = _setting(
        "text before every key in Redis, Celery's too, where others use the same database; ends "
        "with one of `:_-.`: `prod:`",
        "",
    )
    bucket: str = _setting("bucket for models, jobs and heatmaps", "", required=True)
    s3_endpoint: str = _setting("S3 endpoint URL; empty for Amazon's own", "")
    s3_region: str = _setting("S3 region", "us-east-1")
    s3_addressing: str = _setting(
        "where requests name the bucket: `path` (`https://s3.example/bucket`), `virtual` "
        "(`https://bucket.s3.example`), or `auto`: virtual at Amazon's own endpoint, else path",
        "auto",
        choices=("auto", "path", "virtual"),
    )
    ca_file: str = _setting(
        "PEM file of certificate authorities to trust besides the system's, for Redis "
        "(`rediss://`) and CAMFLEET_S3_ENDPOINT (`https://`)",
        "",
    )
    visibility_timeout: int = _setting(
        "seconds after which Redis hands an unfinished message to another worker; longer than "
        "the longest chunk takes",
        3600,
    )
    answer_expires: int = _setting("seconds that Redis keeps an interactive answer", 3600)
    job_expires: int = _setting(
        "seconds that Redis keeps a job's progress after the job's end", 2592000
    )
    fault_dir: str = _setting("folder of the fault suite's switches; empty for none", "")
    label_studio_url: str = _setting(
        "address of Label Studio with its path prefix, if any: `https://labels.example/prefix`; "
        "empty for none",
        "",
    )
    label_studio_token: str = _setting(
        "access token of a user of Label Studio, by which workers read images of tasks and write "
        "predictions back, and `camfleet push` pushes",
        "",
        secret=True,
    )


@dataclass(frozen=True, kw_only=True)
class ProducerSettings:
    """Read by producers only."""

    chunk_size: int = _setting("images per chunk of a job, one message each", 256)
    user: str = _setting(
        "who you are, as the history of models keeps it; empty for the name of your login", ""
    )
    label_studio_origins: str = _setting(
        "web servers that images of Label Studio's tasks may come from besides "
        "CAMFLEET_LABEL_STUDIO_URL, separated by commas: `https://bucket.s3.example`",
        "",
    )


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """Read by workers only."""

    lease_seconds: float = _setting(
        "seconds after which a chunk whose worker has died runs again", 30.0
    )
    stop_seconds: float = _setting(
        "seconds that a worker keeps working after SIGTERM; unfinished chunks then go back to "
        "the queue",
        8.0,
        least=0,
    )
    stop_after_failed: int = _setting(
        "failed chunks in a row after which a worker takes no more work", 5
    )
    file_roots: tuple[Path, ...] = _setting(
        "folders that workers may read images from, separated by `:`; empty for no local files",
        (),
        part=lambda text: Path(text).resolve(),
    )
    s3_roots: tuple[str, ...] = _setting(
        "buckets and prefixes (`bucket`, `bucket/prefix/`) that workers may read images from "
        "besides CAMFLEET_BUCKET, separated by `:`; `*` for all that their credentials open",
        (),
        part=variables.s3_root,
    )
    az_roots: tuple[str, ...] = _setting(
        "containers and prefixes (`container`, `container/prefix/`) of Azure's account "
        "AZURE_STORAGE_ACCOUNT_NAME that workers may read `az://` images from, separated by `:`; "
        "`*` for all; empty for none",
        (),
        part=variables.az_root,
    )
    gs_roots: tuple[str, ...] = _setting(
        "buckets and prefixes (`bucket`, `bucket/prefix/`) of Google Cloud Storage that workers "
        "may read `gs://` images from, separated by `:`; `*` for all; empty for none",
        (),
        part=variables.gs_root,
    )
    machine_identity: bool = _setting(
        "let workers read `az://` and `gs://` images as the machine that they run on, where no "
        "other credentials are named: Azure's managed identity, Google's metadata server",
        default=False,
    )
    report_roots: tuple[str, ...] = _setting(
        "buckets and prefixes (`bucket`, `bucket/prefix/`) that workers may write reports to "
        "besides the jobs' own folders, separated by `:`",
        (),
        part=variables.report_root,
    )
    allow_private_hosts: bool = _setting(
        "let workers fetch http(s) images from private and loopback addresses, and send "
        "callbacks there",
        default=False,
    )
    webhook_secret: str = _setting(
        "`whsec_...`, which workers sign callbacks with; without it they send none",
        "",
        secret=True,
    )
    signing_key: str = _setting(
        "secret of 32 characters or more, which workers sign converted models with; several, "
        "separated by commas, are all accepted, and the first signs",
        "",
        secret=True,
    )
    webhook_retry_seconds: float = _setting(
        "seconds before a callback's second attempt; later pauses are multiples of it", 5.0
    )
    max_image_bytes: int = _setting("largest image file, in bytes", 64 * 2**20)
    max_image_pixels: int = _setting("most pixels of an image, by its header", 100_000_000)
    decode_seconds: float = _setting("seconds of computing that decoding one image may take", 20.0)
    decode_memory: int = _setting(
        "bytes of memory that all images together may take which are decoded in processes apart",
        4 * 2**30,
    )
    fetch_timeout: float = _setting("seconds for one image to arrive", 20.0)
    model_dir: Path = _setting(
        "folder where workers keep downloaded model files", Path("~/.cache/camfleet/models")
    )
    allow_custom_code: bool = _setting(
        "let workers run the code that a model card names (`custom_code`)", default=False
    )
    model_load_memory: int = _setting(
        "bytes of memory that the process which loads and converts a model may take", 12 * 2**30
    )
    model_load_seconds: float = _setting(
        "seconds that the process which loads and converts a model may take", 600.0
    )
    model_run_memory: int = _setting(
        "bytes of memory that running one model may take in a worker, besides its weights; 0 for "
        "a quarter of the machine's or container's",
        0,
        least=0,
    )
    model_cache_bytes: int = _setting(
        "bytes that the models which one process keeps may take: weights, and what running takes",
        4 * 2**30,
    )
    batch_size: int = _setting("images per forward pass in a job", 16)
    concurrency: int = _setting("chunks that one worker process runs side by side", 4)
    first_concurrency: int = _setting(
        "chunks that one worker process runs in addition, each the first of its job, so that no "
        "job waits for others' chunks to begin",
        1,
        least=0,
    )
    interactive_concurrency: int = _setting(
        "interactive requests that one worker process runs side by side", 16
    )
    io_threads: int = _setting("threads that download and upload", 8)
    cpu_threads: int = _setting(
        "threads that models compute with, and as many that decode and render; 0 for one per core",
        0,
        least=0,
    )
    engine: str = _setting(
        "what models compute in: `openvino`, `tensorflow`, `jax`, or `auto`, which is OpenVINO "
        "where it's installed and there's no GPU, and JAX on a GPU that it's installed for",
        "auto",
        choices=("auto", "tensorflow", "openvino", "jax"),
    )
    mixed_precision: bool = _setting(
        "let GPUs compute partly in float16 (not measured)", default=False
    )
    xla: bool = _setting("let XLA compile models for GPUs (not measured)", default=False)


@dataclass(frozen=True, kw_only=True)
class WatchingSettings:
    """Read by workers, for whoever watches them."""

    log_format: str = _setting(
        "form of a worker's log lines: `text` or `json`", "text", choices=("text", "json")
    )
    metrics_port: int = _setting(
        "port where a worker answers Prometheus, one for each worker of a machine; 0 for none",
        0,
        least=0,
    )
    metrics_host: str = _setting("address that the metrics port listens on", "127.0.0.1")


@dataclass(frozen=True, kw_only=True)
class GatewaySettings:
    """Read by HTTP gateways only: what each token may do, unless it says otherwise."""

    token_requests: int = _setting(
        "images of one token that are explained or uploaded at a time", 128
    )
    token_jobs: int = _setting("jobs of one token that haven't ended", 100)
    token_images: int = _setting(
        "images of one token's jobs, times models, still to explain", 20_000_000
    )
    token_bytes: int = _setting(
        "bytes of images and manifests that one token uploads within 24 hours", 200 * 2**30
    )


GROUPS: dict[str, type] = {
    "connection": ConnectionSettings,
    "producer": ProducerSettings,
    "worker": WorkerSettings,
    "watching": WatchingSettings,
    "gateway": GatewaySettings,
}
