"""Jobs on this machine, a few at a time where the processor has cores to spare."""

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event

import jax


def default_workers(devices: int) -> int:
    """How many jobs to run at once: one a core on a single CPU device, else one.

    Args:
      devices: that one run is spread over. Two programs with collectives must not run at the same time.

    Returns:
      1 to 4.
    """
    if jax.default_backend() != "cpu" or devices > 1:
        return 1
    return max(1, min(4, len(os.sched_getaffinity(0))))


def run_jobs(jobs: Sequence[Callable[[], None]], workers: int, stop: Event) -> None:
    """Run all jobs; the first failure ends the others at their next boundary.

    Args:
      jobs: what to do, in the order in which they are begun.
      workers: jobs at once.
      stop: set when a job fails or the caller is interrupted; jobs must heed it.

    Raises:
      Exception: what the first failing job raised.
    """
    with ThreadPoolExecutor(max_workers=workers) as pool:
        futures = [pool.submit(job) for job in jobs]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            if not all(future.done() and not future.exception() for future in futures):
                stop.set()
                for future in futures:
                    future.cancel()
    failures = [future.exception() for future in futures if not future.cancelled()]
    # The failure itself before the jobs that only heeded it.
    for error in sorted((e for e in failures if e), key=lambda e: type(e).__name__ == "Stopped"):
        raise error


def keep_programs(folder: Path) -> None:
    """Have JAX keep what it compiles, for later processes.

    Args:
      folder: of this process alone, as JAX does not write the files of its cache at one stroke.
    """
    # A program that cannot be kept, or is damaged, is compiled again: nothing the user has to do.
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache")
    jax.config.update("jax_compilation_cache_dir", str(folder.absolute()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
