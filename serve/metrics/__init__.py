"""What Prometheus is told: `replica` of one process, `store` of what all share, `page` of all on one page."""

from .counted import Counted
from .page import deployment_page
from .replica import ReplicaMetrics
from .stopwatch import Stopwatch
from .store import StoreCollector

__all__ = ["Counted", "ReplicaMetrics", "Stopwatch", "StoreCollector", "deployment_page"]
