"""Who gets a copy of a post, and how: a pure planner.

Small conversations are served by the gateway that posts, mid ones by workers, mega ones by nobody: their
members hear that there is news, and pull.
"""

from whisperkit.fanout.limits import Limits, needs_mode_row, next_strategy
from whisperkit.fanout.planner import (
    SHARED_ENTRY_BYTES,
    Append,
    Cost,
    Enqueue,
    Hint,
    Notify,
    Plan,
    PlanStep,
    cost_bound,
    deliver,
    iter_plan,
    plan,
)
from whisperkit.strategy import Strategy

__all__ = [
    "SHARED_ENTRY_BYTES",
    "Append",
    "Cost",
    "Enqueue",
    "Hint",
    "Limits",
    "Notify",
    "Plan",
    "PlanStep",
    "Strategy",
    "cost_bound",
    "deliver",
    "iter_plan",
    "needs_mode_row",
    "next_strategy",
    "plan",
]
