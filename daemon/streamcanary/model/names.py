"""Names of all spans, metrics and attributes, in one table.

Standard names are those of the OpenTelemetry semantic conventions (GenAI, HTTP, resource). They are literals here,
because the GenAI constants of the semconv package move between releases while their values stay.
"""

from typing import Final, Literal, NamedTuple

INSTRUMENTATION_SCOPE: Final = "streamcanary"
"""The instrumentation scope of every tracer and meter; its version is that of the package.

It has no schema URL: the names are those of two conventions, which are released apart (GenAI, and HTTP with the rest).
"""

# Spans
RUN_SPAN: Final = "streamcanary.run"
ATTEMPT_SPAN: Final = "POST"

# Span events
RETRY_SCHEDULED_EVENT: Final = "streamcanary.retry.scheduled"
FIRST_TOKEN_EVENT: Final = "streamcanary.first_token"
MODEL_CHANGED_EVENT: Final = "streamcanary.model.changed"
RETIREMENT_EVENT: Final = "streamcanary.model.retirement"

# Log events. A message of the log is the name of an event: "alert fired"
ALERT_FIRED_EVENT: Final = "streamcanary.alert.fired"
ALERT_RESOLVED_EVENT: Final = "streamcanary.alert.resolved"
NOTIFICATION_FAILED_EVENT: Final = "streamcanary.notification.failed"

# Attributes of streamcanary
RUN_ID: Final = "streamcanary.run.id"
RUN_CANARY: Final = "streamcanary.canary"
RUN_TARGET: Final = "streamcanary.target"
RUN_OUTCOME: Final = "streamcanary.outcome"
RUN_REASON: Final = "streamcanary.reason"
RUN_SCHEDULE_LAG: Final = "streamcanary.schedule.lag"
CALL_ATTEMPTS: Final = "streamcanary.attempts"
CALL_DEGRADED: Final = "streamcanary.degraded"
CALL_CHUNKS: Final = "streamcanary.chunks"
CALL_MAX_GAP: Final = "streamcanary.max_gap"
CALL_MEDIAN_GAP: Final = "streamcanary.median_gap"
ATTEMPT_PHASE: Final = "streamcanary.phase"
ATTEMPT_FAULT: Final = "streamcanary.fault"
ATTEMPT_BLAME: Final = "streamcanary.blame"
ATTEMPT_DELAY: Final = "streamcanary.retry.delay"
ATTEMPT_ROUTE: Final = "streamcanary.route"
ATTEMPT_CONNECTION: Final = "streamcanary.connection"
CERTIFICATE_EXPIRY_TIME: Final = "streamcanary.tls.certificate.expiry"
PHASE_DNS: Final = "streamcanary.phase.dns.duration"
PHASE_CONNECT: Final = "streamcanary.phase.connect.duration"
PHASE_TLS: Final = "streamcanary.phase.tls.duration"
PHASE_HEADERS: Final = "streamcanary.phase.headers.duration"
PHASE_FIRST_TOKEN: Final = "streamcanary.phase.first_token.duration"
PHASE_STREAMING: Final = "streamcanary.phase.streaming.duration"
REQUESTS_REMAINING: Final = "streamcanary.ratelimit.requests.remaining"
REQUESTS_LIMIT: Final = "streamcanary.ratelimit.requests.limit"
TOKENS_REMAINING: Final = "streamcanary.ratelimit.tokens.remaining"
TOKENS_LIMIT: Final = "streamcanary.ratelimit.tokens.limit"
REQUESTS_RESET: Final = "streamcanary.ratelimit.requests.reset"
TOKENS_RESET: Final = "streamcanary.ratelimit.tokens.reset"
ATTEMPT_OUTPUT_SPEED: Final = "streamcanary.output.speed"
ATTEMPT_OUTPUT_ESTIMATED: Final = "streamcanary.output.estimated"
CHANGE_TYPE: Final = "streamcanary.change.type"
CHANGE_PREVIOUS: Final = "streamcanary.change.previous"
CHANGE_CURRENT: Final = "streamcanary.change.current"
DEPRECATION_TIME: Final = "streamcanary.deprecation"
SUNSET_TIME: Final = "streamcanary.sunset"
DEPRECATED: Final = "streamcanary.deprecated"

# Standard attributes
SYNTHETIC_TYPE: Final = "user_agent.synthetic.type"
ERROR_TYPE: Final = "error.type"
OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
RESPONSE_ID: Final = "gen_ai.response.id"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
RESPONSE_TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
USAGE_INPUT: Final = "gen_ai.usage.input_tokens"
USAGE_OUTPUT: Final = "gen_ai.usage.output_tokens"
SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
TOKEN_TYPE: Final = "gen_ai.token.type"
OPENAI_FINGERPRINT: Final = "openai.response.system_fingerprint"
OPENAI_TIER: Final = "openai.response.service_tier"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
HTTP_METHOD: Final = "http.request.method"
HTTP_STATUS: Final = "http.response.status_code"
HTTP_RESEND_COUNT: Final = "http.request.resend_count"
HTTP_REQUEST_ID: Final = "http.response.header.x-request-id"
URL_FULL: Final = "url.full"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"

# Attributes of the resource
SERVICE_NAME: Final = "service.name"
SERVICE_NAMESPACE: Final = "service.namespace"
SERVICE_VERSION: Final = "service.version"
SERVICE_INSTANCE_ID: Final = "service.instance.id"
K8S_NAMESPACE: Final = "k8s.namespace.name"
K8S_POD: Final = "k8s.pod.name"
K8S_POD_UID: Final = "k8s.pod.uid"
K8S_NODE: Final = "k8s.node.name"
K8S_CONTAINER: Final = "k8s.container.name"
CLOUD_REGION: Final = "cloud.region"

# Labels of the metrics of streamcanary; short, because people type them in queries
CANARY: Final = "canary"
TARGET: Final = "target"
PROVIDER_LABEL: Final = "provider"
OUTCOME: Final = "outcome"
ROUTE: Final = "route"
PHASE: Final = "phase"
CONNECTION: Final = "connection"
BLAME: Final = "blame"
REASON: Final = "reason"
RESULT: Final = "result"
TYPE: Final = "type"
RESPONSE_MODEL_LABEL: Final = "response_model"
FINGERPRINT_LABEL: Final = "system_fingerprint"
TIER_LABEL: Final = "service_tier"
RECEIVER: Final = "receiver"
SIGNAL: Final = "signal"
ALERT: Final = "alert"
SEVERITY: Final = "severity"
SCOPE: Final = "scope"
SCOPE_VALUE: Final = "scope_value"
VERSION: Final = "version"
PYTHON_VERSION: Final = "python_version"
REGION_LABEL: Final = "region"
CPU_MODE: Final = "cpu.mode"


Kind = Literal["counter", "updowncounter", "histogram", "gauge"]


class Metric(NamedTuple):
    """One instrument: name, kind, unit (UCUM), description, and the buckets of a histogram."""

    name: str
    kind: Kind
    unit: str
    description: str
    buckets: tuple[float, ...] | None = None


SECONDS_BUCKETS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""The buckets that the GenAI conventions recommend for durations."""
PHASE_BUCKETS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0)
"""From a handshake in the same data centre to the longest answer; a factor of 2.5 keeps percentiles near the values."""
GAP_BUCKETS: Final = tuple(0.0005 * 2**power for power in range(14))
"""From 0.5 ms to 4.096 s: a model that writes 200 tokens a second has a median gap of 5 ms."""
TOKEN_BUCKETS: Final = tuple(float(4**power) for power in range(14))
"""The buckets that the GenAI conventions recommend for token counts: 4⁰ to 4¹³."""
SPEED_BUCKETS: Final = tuple(
    map(float, (1, 2, 5, 10, 20, 30, 40, 60, 80, 100, 150, 200, 300, 500, 700, 1000, 2000, 5000))
)
"""Tokens a second: people read about five, most models write 20 to 200, special hardware up to 3,000."""

OPERATION_DURATION = Metric(
    "gen_ai.client.operation.duration",
    "histogram",
    "s",
    "Duration of a call, including all its attempts",
    SECONDS_BUCKETS,
)
TIME_TO_FIRST_CHUNK = Metric(
    "gen_ai.client.operation.time_to_first_chunk",
    "histogram",
    "s",
    "From the start of the answering attempt to its first token",
    SECONDS_BUCKETS,
)
TIME_PER_OUTPUT_CHUNK = Metric(
    "gen_ai.client.operation.time_per_output_chunk",
    "histogram",
    "s",
    "Time between two chunks of the answer after the first; off by default",
    SECONDS_BUCKETS,
)
TOKEN_USAGE = Metric("gen_ai.client.token.usage", "histogram", "{token}", "Tokens used by a call", TOKEN_BUCKETS)

RUNS = Metric("streamcanary.runs", "counter", "{run}", "Canary runs by outcome")
FAILURES = Metric("streamcanary.failures", "counter", "{run}", "Canary runs with a fault, by kind of fault")
ATTEMPTS = Metric("streamcanary.attempts", "counter", "{attempt}", "Attempts, including those that a retry recovers")
ATTEMPT_DURATION = Metric("streamcanary.attempt.duration", "histogram", "s", "Duration of one attempt", SECONDS_BUCKETS)
PHASE_DURATION = Metric(
    "streamcanary.attempt.phase.duration",
    "histogram",
    "s",
    "Duration of each phase of an attempt",
    PHASE_BUCKETS,
)
CONNECTIONS = Metric(
    "streamcanary.connections", "counter", "{attempt}", "Attempts that had a connection: a new or a reused one"
)
MAX_GAP = Metric(
    "streamcanary.stream.max_gap", "histogram", "s", "Longest time between two tokens of an attempt", SECONDS_BUCKETS
)
MEDIAN_GAP = Metric(
    "streamcanary.stream.median_gap", "histogram", "s", "Median time between two tokens of an attempt", GAP_BUCKETS
)
OUTPUT_SPEED = Metric(
    "streamcanary.output.speed",
    "histogram",
    "{token}/s",
    "Output speed of an answer after its first token",
    SPEED_BUCKETS,
)
RETRY_DELAY = Metric("streamcanary.retry.delay", "histogram", "s", "Wait before a further attempt", SECONDS_BUCKETS)
FIRST_TOKEN_TIME = Metric(
    "streamcanary.first_token", "histogram", "s", "From the start of an attempt to its first token", SECONDS_BUCKETS
)
SCHEDULE_LAG = Metric(
    "streamcanary.schedule.lag", "histogram", "s", "Time from when a run was due to its start", SECONDS_BUCKETS
)
SCHEDULE_SHED = Metric(
    "streamcanary.schedule.shed",
    "gauge",
    "1",
    "Share of due runs, 0 to 1, that are skipped because the daemon is behind schedule",
)
EVENT_LOOP_LAG = Metric(
    "streamcanary.event_loop.lag",
    "histogram",
    "s",
    "Longest delay of the event loop in each second; 0 if none was over 50 ms",
    SECONDS_BUCKETS,
)
RUNS_MISSED = Metric("streamcanary.runs.missed", "counter", "{run}", "Runs that were due and did not start")
LAST_RUN = Metric("streamcanary.last_run.time", "gauge", "s", "When a run last ended, seconds since the epoch")
LAST_SUCCESS = Metric("streamcanary.last_success.time", "gauge", "s", "When a run last ended ok or slow")
LAST_FAILURE = Metric("streamcanary.last_failure.time", "gauge", "s", "When a run last ended failed or failed_over")
CANARY_INTERVAL = Metric("streamcanary.canary.interval", "gauge", "s", "Time between two runs, with cron their mean")
FLEET_MEMBERS = Metric(
    "streamcanary.fleet.members",
    "gauge",
    "{member}",
    "Members of the fleet as configured; only of daemons with a fleet",
)
CERTIFICATE_EXPIRY = Metric(
    CERTIFICATE_EXPIRY_TIME, "gauge", "s", "When the first certificate of the endpoint expires, seconds since the epoch"
)
CANARY_INFO = Metric(
    "streamcanary.canary.info", "gauge", "{canary}", "Always 1; has the user's labels of the canary, for joins"
)
RATE_LIMIT_REMAINING = Metric(
    "streamcanary.ratelimit.remaining", "gauge", "{unit}", "Requests or tokens left of a rate limit, at the last run"
)
RATE_LIMIT_LIMIT = Metric(
    "streamcanary.ratelimit.limit", "gauge", "{unit}", "Requests or tokens of a rate limit, at the last run"
)
RATE_LIMIT_RESET = Metric(
    "streamcanary.ratelimit.reset", "gauge", "s", "Time until a rate limit is reset, counted from the last run"
)
RATE_LIMIT_HEADROOM = Metric(
    "streamcanary.ratelimit.headroom", "gauge", "1", "Part of a rate limit that is left, 0 to 1, at the last run"
)
MODEL_INFO = Metric(
    "streamcanary.model.info", "gauge", "{model}", "Always 1; what answered the last run, as the provider names it"
)
MODEL_CHANGES = Metric(
    "streamcanary.model.changes", "counter", "{change}", "Changes of what answers, from one run to the next"
)
MODEL_DEPRECATED = Metric(
    "streamcanary.model.deprecated", "gauge", "{model}", "1 if the provider announces that what answers is deprecated"
)
MODEL_DEPRECATION = Metric(
    "streamcanary.model.deprecation", "gauge", "s", "Since when what answers is deprecated, seconds since the epoch"
)
MODEL_SUNSET = Metric(
    "streamcanary.model.sunset", "gauge", "s", "When the provider will retire what answers, seconds since the epoch"
)
ALERT_ACTIVE = Metric("streamcanary.alert.active", "gauge", "{alert}", "1 while the alert is firing, else 0")
ALERT_BASE_RATE = Metric(
    "streamcanary.alert.base_rate",
    "gauge",
    "1",
    "Learned rate of bad runs outside incidents; 0 if unknown",
)
NOTIFICATIONS = Metric(
    "streamcanary.notifications", "counter", "{notification}", "Notifications by receiver and outcome"
)
NOTIFICATION_QUEUE_SIZE = Metric(
    "streamcanary.notification_queue.size",
    "gauge",
    "{notification}",
    "Notifications that wait for the receiver, or that it has refused",
)
NOTIFICATION_QUEUE_AGE = Metric(
    "streamcanary.notification_queue.age", "gauge", "s", "Age of the oldest of these notifications; 0 if there is none"
)
STREAMS_ACTIVE = Metric("streamcanary.streams.active", "updowncounter", "{stream}", "Open streams")
TOKENS = Metric(
    "streamcanary.tokens", "counter", "{token}", "Tokens used by canaries; estimated where the provider reports none"
)
SPEND = Metric("streamcanary.spend", "counter", "{USD}", "Spend of canaries in USD, where prices are known")
TELEMETRY_LOST = Metric(
    "streamcanary.telemetry.lost", "counter", "{item}", "Spans, data points and log records that OTLP did not deliver"
)
CONFIG_RELOADS = Metric("streamcanary.config.reloads", "counter", "{reload}", "Reloads of the configuration by result")
CONFIG_RELOAD_SUCCESSFUL = Metric(
    "streamcanary.config.last_reload.successful",
    "gauge",
    "{reload}",
    "1 if the daemon runs with the configuration in the file, 0 if that cannot be applied",
)
CONFIG_RELOAD_SUCCESS_TIME = Metric(
    "streamcanary.config.last_reload.success.time",
    "gauge",
    "s",
    "When the configuration was last loaded with success, seconds since the epoch",
)
CONFIG_OBJECTS = Metric("streamcanary.config.objects", "gauge", "{object}", "Configured objects by type")
REPLICA_SHARDS = Metric(
    "streamcanary.replica.shards", "gauge", "{shard}", "Shards of canaries that this replica owns; only with store.url"
)
REPLICA_ALERTS_OWNER = Metric(
    "streamcanary.replica.alerts_owner",
    "gauge",
    "{replica}",
    "1 if this replica evaluates rules and sends notifications, else 0; only with store.url",
)
REPLICA_STANDBY = Metric(
    "streamcanary.replica.standby",
    "gauge",
    "{replica}",
    "1 if this replica owns nothing, because another configuration is the current one, else 0; only with store.url",
)
REPLICA_TAKEOVERS = Metric(
    "streamcanary.replica.takeovers", "counter", "{lease}", "Shards and alerts that this replica has taken, by reason"
)
REPLICA_LEASES_LOST = Metric(
    "streamcanary.replica.leases.lost", "counter", "{lease}", "Leases that this replica has lost, by reason"
)
REPLICA_RENEWAL_DURATION = Metric(
    "streamcanary.replica.renewal.duration",
    "histogram",
    "s",
    "Time that the database took to renew the leases of this replica",
    PHASE_BUCKETS,
)
REPLICA_PENDING_INPUTS = Metric(
    "streamcanary.replica.pending_inputs",
    "gauge",
    "{input}",
    "Runs and silences of all replicas that wait for the owner of alerts at its last read, else 0; only with store.url",
)
REPLICA_ROWS_REJECTED = Metric(
    "streamcanary.replica.rows_rejected",
    "counter",
    "{row}",
    "Changed rows of alerts that the database rejects, and that only this replica knows; only with store.url",
)
REPLICA_ALERTS_RESTORED = Metric(
    "streamcanary.replica.alerts_restored",
    "counter",
    "{restore}",
    "Times that the database had older alerts than this replica, which has written its own again; only with store.url",
)
RUNS_DROPPED = Metric(
    "streamcanary.runs.dropped",
    "counter",
    "{run}",
    "Runs that ended and were not recorded: their lease was lost, or the database rejects them; only with store.url",
)
WEB_LISTENING = Metric(
    "streamcanary.web.listening", "gauge", "{server}", "1 if the web server accepts connections, 0 if its port is taken"
)
BUILD_INFO = Metric(
    "streamcanary.build.info", "gauge", "{build}", "Always 1; has the versions of the daemon and Python"
)

PROCESS_CPU_TIME = Metric("process.cpu.time", "counter", "s", "CPU time of the daemon")
PROCESS_MEMORY_USAGE = Metric("process.memory.usage", "updowncounter", "By", "Physical memory of the daemon")
PROCESS_FILE_DESCRIPTORS = Metric(
    "process.unix.file_descriptor.count", "updowncounter", "{file_descriptor}", "Open file descriptors of the daemon"
)
PROCESS_THREADS = Metric("process.thread.count", "updowncounter", "{thread}", "Threads of the daemon")
PROCESS_UPTIME = Metric("process.uptime", "gauge", "s", "Time since the daemon started")
