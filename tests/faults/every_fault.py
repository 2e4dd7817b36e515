"""All faults, in the order in which they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faults import model_faults, stops, store_faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from faults.injections import Fault

FAULTS: dict[str, Callable[[Fault], None]] = {
    "out_of_memory": model_faults.out_of_memory,
    "disk_full": store_faults.disk_full,
    "output_disk_full": store_faults.output_disk_full,
    "store_corrupted": store_faults.store_corrupted,
    "power_lost": store_faults.power_lost,
    "clock_set_back": store_faults.clock_set_back,
    "two_processes": store_faults.two_processes,
    "model_swapped_between_runs": model_faults.swapped_between_runs,
    "model_swapped_during_a_run": model_faults.swapped_during_a_run,
    "nan_model": model_faults.nan_model,
    "scorer_raises": model_faults.scorer_raises,
    "model_raises": model_faults.model_raises,
    "stop_signals": stops.stop_signals,
    "time_budget": stops.time_budget,
}
