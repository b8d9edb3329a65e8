"""OpenTelemetry spans and metrics as a projection of the journal; see docs/guide/telemetry.md."""

from ..run.tracing import carrying
from ..run.tracing import current as current_traceparent

try:
    import opentelemetry.sdk.trace as _sdk
except ImportError as error:
    raise ImportError(
        "triggerflow.telemetry needs the OpenTelemetry SDK: pip install 'triggerflow-engine[otel]'"
    ) from error

from .exporting import export, export_all
from .live import Telemetry
from .propagation import propagate
from .sdk import ExportFailed, as_tree

del _sdk

__all__ = [
    "ExportFailed",
    "Telemetry",
    "as_tree",
    "carrying",
    "current_traceparent",
    "export",
    "export_all",
    "propagate",
]
