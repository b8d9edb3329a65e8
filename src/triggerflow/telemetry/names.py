"""The names of attributes and metrics.

Those that begin with `gen_ai.` are from the OpenTelemetry semantic conventions 0.66b2, where they are incubating: any
version of that package may move or drop them. So they are constants here, and a test compares them with the package.
"""

SEMCONV_VERSION = "0.66b2"

OPERATION_NAME = "gen_ai.operation.name"
WORKFLOW_NAME = "gen_ai.workflow.name"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_ID = "gen_ai.response.id"
FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
INVOKE_WORKFLOW = "invoke_workflow"
CHAT = "chat"
#: Stable names of the semantic conventions.
ERROR_TYPE = "error.type"
EXCEPTION_TYPE = "exception.type"

EXECUTION = "triggerflow.execution.id"
DEFINITION = "triggerflow.definition"
STATUS = "triggerflow.status"
#: the number of retries of the whole execution before this span
RETRIES = "triggerflow.retries"
OPERATOR = "triggerflow.operator"
CHUNK = "triggerflow.chunk"
RUN = "triggerflow.run"
ATTEMPT = "triggerflow.attempt"
#: completed, failed, fallback, asked, cancelled, lost or interrupted; for questions and signals see docs
OUTCOME = "triggerflow.outcome"
#: seconds for which a run has waited for a permit, or for a process
QUEUED = "triggerflow.queue.seconds"
RETRY_DELAY = "triggerflow.retry.delay"
LOSSES = "triggerflow.losses"
SIGNAL = "triggerflow.signal"
DELAY = "triggerflow.delay"
QUESTION = "triggerflow.question.id"
QUESTION_TYPE = "triggerflow.question.type"
#: the number of the frame with which a span begins
FRAME = "triggerflow.frame"
#: set if earlier frames were deleted, so that the span began before its start time
TRIMMED = "triggerflow.trimmed"
#: how many events of a span were left out
DROPPED = "triggerflow.events.dropped"
#: the kind of span that a link leads to: cause, attempt, question, caller, original or retried
LINK = "triggerflow.link"
# With `capture_values` only:
INPUT = "triggerflow.input"
OUTPUT = "triggerflow.output"
MESSAGE = "exception.message"

#: Metrics.
STARTED = "triggerflow.executions.started"
ENDED = "triggerflow.executions.ended"
EXECUTIONS = "triggerflow.executions"
CHUNK_SECONDS = "triggerflow.chunk.duration"
QUEUE_SECONDS = "triggerflow.queue.duration"
QUESTIONS = "triggerflow.questions.open"
OLDEST_QUESTION = "triggerflow.questions.oldest.age"
LATENESS = "triggerflow.timers.lateness"
OVERDUE = "triggerflow.timers.overdue"
