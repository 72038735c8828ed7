"""The panels of the dashboard, row by row."""

FLEETS = 'fleet=~"$fleet"'
FAILED = 'status="failed"'
INTERACTIVE = 'queue=~"camfleet[.]interactive.*"'

Panel = tuple[str, str, dict[str, str], str]  # title, unit, expressions by legends, what it says


def fleet(metric: str, *matchers: str) -> str:
    """Return a metric of the fleets that were chosen, also of one without such a label."""
    return f"{metric}{{{', '.join((*matchers, FLEETS))}}}"


def rate(counter: str, *matchers: str) -> str:
    """Return how fast a counter of these fleets grows, a second."""
    return f"rate({fleet(counter, *matchers)}[$__rate_interval])"


def ours(expression: str) -> str:
    """Return what holds for any process for workers and gateways only."""
    own = "camfleet_chunks_in_work|camfleet_gateway_connections"
    return f'{expression} and on (instance) {{__name__=~"{own}", {FLEETS}}}'


def whole(metric: str, by: str = "") -> str:
    """Return what each worker says alike of its whole fleet: the sum over fleets."""
    most = f"max by (fleet{by and ', '}{by}) ({fleet(metric)})"
    return f"sum by ({by}) ({most})" if by else f"sum({most})"


def quantile(part: float, histogram: str, by: str) -> str:
    """Return what this part of a histogram's values lies below."""
    buckets = rate(f"{histogram}_bucket")
    return f"histogram_quantile({part}, sum by (le, {by}) ({buckets}))"


ROWS: dict[str, list[Panel]] = {
    "Fleet": [
        (
            "Workers",
            "none",
            {
                "alive": f"count({fleet('camfleet_chunks_in_work')})",
                "reach Redis": f"sum({fleet('camfleet_broker_up')})",
                "only wait": f"sum({fleet('camfleet_worker_waits')})",
                "take no work": f"sum({fleet('camfleet_worker_in_trouble')})",
            },
            "Workers that answer Prometheus, and how many of them are well",
        ),
        (
            "Images",
            "cps",
            {"{{kind}}, {{status}}": f"sum by (kind, status) ({rate('camfleet_images_total')})"},
            "Images explained a second; one that runs twice counts twice",
        ),
        (
            "Chunks",
            "none",
            {
                "to run": whole("camfleet_chunks_to_run"),
                "in work": whole("camfleet_leases"),
                "of dead workers": whole("camfleet_leases_overdue"),
            },
            "Chunks of all jobs",
        ),
        (
            "Messages that wait",
            "none",
            {"{{queue}}": whole("camfleet_queue_depth", "queue")},
            "A few for each job, however large it is",
        ),
        (
            "Age of the message that waits longest",
            "s",
            {"{{queue}}": f"max by (queue) ({fleet('camfleet_queue_oldest_seconds')})"},
            "In interactive queues people wait",
        ),
        (
            "Interactive requests",
            "none",
            {
                "in work": f"sum({fleet('camfleet_requests_in_work')})",
                "of them for an image that takes long": f"sum({fleet('camfleet_requests_aside')})",
                "wait": "sum(max by (fleet, queue)"
                f" ({fleet('camfleet_queue_depth', INTERACTIVE)}))",
            },
            "Somebody waits for each of them",
        ),
        (
            "Chunks that ended",
            "cpm",
            {"{{outcome}}": f"60 * sum by (outcome) ({rate('camfleet_chunks_total')})"},
            "A minute; failed ones met a bug, or a model that breaks",
        ),
    ],
    "Images": [
        (
            "Images by model",
            "cps",
            {"{{model}}": f"sum by (model) ({rate('camfleet_images_total')})"},
            "Images explained a second",
        ),
        (
            "Images that fail",
            "percentunit",
            {
                "{{model}}": f"sum by (model) ({rate('camfleet_images_total', FAILED)})"
                f" / sum by (model) ({rate('camfleet_images_total')})"
            },
            "Their part of a model's images",
        ),
        (
            "Seconds of an image, median",
            "s",
            {"{{stage}}": quantile(0.5, "camfleet_stage_seconds", "stage")},
            "Of `explain` it's an image's part of its batch",
        ),
        (
            "Seconds of an image, slowest 5 %",
            "s",
            {"{{stage}}": quantile(0.95, "camfleet_stage_seconds", "stage")},
            "Of `explain` it's an image's part of its batch",
        ),
        (
            "Images in a forward pass",
            "none",
            {
                "mean": f"sum({rate('camfleet_batch_size_sum')})"
                f" / sum({rate('camfleet_batch_size_count')})"
            },
            "Full batches are fast",
        ),
        (
            "Bytes",
            "Bps",
            {
                "images read": f"sum({rate('camfleet_fetched_bytes_total')})",
                "pictures written": f"sum({rate('camfleet_picture_bytes_total')})",
            },
            "A second",
        ),
    ],
    "Workers": [
        (
            "Chunks in work",
            "none",
            {"{{instance}}": f"sum by (instance) ({fleet('camfleet_chunks_in_work')})"},
            "Of each worker",
        ),
        (
            "Memory",
            "bytes",
            {"{{instance}}": f"{ours('process_resident_memory_bytes')}"},
            "Resident memory of each worker and gateway",
        ),
        (
            "CPU",
            "none",
            {"{{instance}}": f"{ours('rate(process_cpu_seconds_total[$__rate_interval])')}"},
            "Cores of each worker and gateway",
        ),
        (
            "Models in memory",
            "bytes",
            {"{{instance}}": f"sum by (instance) ({fleet('camfleet_model_cache_bytes')})"},
            "Of each worker, with what running them takes",
        ),
        (
            "Models found in memory",
            "percentunit",
            {
                "found": f"sum({rate('camfleet_model_cache_hits_total')})"
                f" / (sum({rate('camfleet_model_cache_hits_total')})"
                f" + sum({rate('camfleet_model_cache_misses_total')}))"
            },
            "Of all look-ups",
        ),
        (
            "Models thrown out of memory",
            "cpm",
            {
                "{{instance}}": "60 * sum by (instance)"
                f" ({rate('camfleet_model_cache_evictions_total')})"
            },
            "A minute; many mean that they don't fit",
        ),
    ],
    "Reviews, and what follows a job's end": [
        (
            "How far maps moved",
            "none",
            {
                "{{review}}, {{model}}": f"max by (review, model)"
                f" ({fleet('camfleet_review_movement')})"
            },
            "Of the version that was reviewed last",
        ),
        (
            "Suspicious places that are new",
            "none",
            {
                "{{review}}, {{model}}": f"max by (review, model)"
                f" ({fleet('camfleet_review_places')})"
            },
            "At which only the version that was reviewed last looks",
        ),
        (
            "Latest verdicts",
            "none",
            {
                "{{review}}: {{verdict}}": f"max by (review, verdict)"
                f" ({fleet('camfleet_review_verdict')})"
            },
            "1 for the verdict that holds",
        ),
        (
            "Reviews that are late",
            "s",
            {"{{review}}": f"max by (review) ({fleet('camfleet_review_late_seconds')})"},
            "Due, and not taken by any worker",
        ),
        (
            "Age of verdicts",
            "s",
            {"{{review}}": f"max by (review) ({fleet('camfleet_review_age_seconds')})"},
            "Since the latest",
        ),
        (
            "Reports, studies and reviews",
            "none",
            {
                "{{kind}} {{outcome}}": f"sum by (kind, outcome)"
                f" ({fleet('camfleet_follow_ups_total')})"
            },
            "Since the workers started",
        ),
        (
            "Seconds of these, slowest 5 %",
            "s",
            {"{{kind}}": quantile(0.95, "camfleet_follow_up_seconds", "kind")},
            "Of the attempt that ended each",
        ),
    ],
    "What people ask for": [
        (
            "Requests answered",
            "reqps",
            {"{{kind}} {{outcome}}": f"sum by (kind, outcome) ({rate('camfleet_requests_total')})"},
            "A second; what failed was answered with an error",
        ),
        (
            "Seconds of a request, slowest 5 %",
            "s",
            {"{{kind}}": quantile(0.95, "camfleet_request_seconds", "kind")},
            "At its worker, without the time in the queue",
        ),
        (
            "Indexes, reports, comparisons and exports",
            "none",
            {"{{kind}} {{outcome}}": f"sum by (kind, outcome) ({fleet('camfleet_errands_total')})"},
            "Asked for after a job's end, since the workers started",
        ),
        (
            "Seconds of these, slowest 5 %",
            "s",
            {"{{kind}}": quantile(0.95, "camfleet_errand_seconds", "kind")},
            "Of the attempt that ended each",
        ),
        (
            "What is due and waits",
            "none",
            {"{{what}}": whole("camfleet_due", "what")},
            "Callbacks, what follows a job's end, and what was asked for later",
        ),
        (
            "Age of what is due longest",
            "s",
            {"{{what}}": f"max by (what) ({fleet('camfleet_due_oldest_seconds')})"},
            "Nobody has it in work",
        ),
    ],
    "Gateways": [
        (
            "Requests",
            "reqps",
            {"{{status}}": f"sum by (status) ({rate('camfleet_gateway_requests_total')})"},
            "A second, by the status of the answer",
        ),
        (
            "Seconds until an answer began, slowest 5 %",
            "s",
            {"{{route}}": quantile(0.95, "camfleet_gateway_answer_seconds", "route")},
            "With what the caller preferred to wait",
        ),
        (
            "Answers that are errors",
            "reqps",
            {"{{code}}": f"sum by (code) ({rate('camfleet_gateway_problems_total')})"},
            "A second, by their code",
        ),
        (
            "Connections",
            "none",
            {"{{instance}}": f"sum by (instance) ({fleet('camfleet_gateway_connections')})"},
            "Of 2,500 for each gateway",
        ),
        (
            "Requests in work",
            "none",
            {"{{instance}}": f"sum by (instance) ({fleet('camfleet_gateway_requests_in_work')})"},
            "Streams too",
        ),
        (
            "Streams of events",
            "none",
            {
                "streams": f"sum({fleet('camfleet_gateway_followers')})",
                "jobs": f"sum({fleet('camfleet_gateway_followed_jobs')})",
            },
            "And the jobs that they follow",
        ),
    ],
}
