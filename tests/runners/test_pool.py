"""The pool of workers without a cluster: a stand-in for Ray whose actors live in this process and die when told to."""

import json
import sys
from collections.abc import Callable
from threading import Event
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tlx.errors import TlxError
from tlx.progress import Silent
from tlx.runners.queue import Job
from tlx.runners.ray import run_on_ray
from tlx.runners.room import Needs

JOBS = [Job("a", "one", 3), Job("b", "two", 2), Job("c", "three", 1)]


class RayError(Exception):
    """What Ray raises where an actor is gone."""


class Lines(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def line(self, text: str) -> None:
        self.said.append(text)


class Call:
    """What `actor.method.remote()` gives; it is carried out when it is asked for."""

    def __init__(self, method: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.method, self.arguments = method, arguments


@pytest.fixture(autouse=True)
def ray(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    made: Any = ModuleType("ray")

    def actor(kind: type, *arguments: Any) -> Any:
        one = kind(*arguments)
        methods = ("plan", "run", "stop")
        remote = {name: lambda *given, name=name: Call(getattr(one, name), given) for name in methods}
        return SimpleNamespace(**{name: SimpleNamespace(remote=call) for name, call in remote.items()})

    made.is_initialized = lambda: True
    made.nodes = lambda: [{"Alive": True, "Resources": {"CPU": 8.0}}, {"Alive": False, "Resources": {"CPU": 8.0}}]
    made.remote = lambda **options: lambda kind: SimpleNamespace(remote=lambda *given: actor(kind, *given))
    made.wait = lambda calls, num_returns, timeout: (calls[:1], calls[1:])
    made.get = lambda call: call.method(*call.arguments)
    made.kill = lambda actor: None
    made.exceptions = SimpleNamespace(RayError=RayError)
    monkeypatch.setitem(sys.modules, "ray", made)
    return made  # type: ignore[no-any-return]


class Good:
    """A worker that does what it is asked to."""

    def __init__(self, order: str, place: int) -> None:
        self.order, self.place = order, place

    def plan(self) -> str:
        return json.dumps({"host": f"host{self.place}", "agree": self.order})

    def run(self, job: str) -> str:
        return json.dumps({"lines": [f"{job} at {self.place}"]})

    def stop(self) -> None:
        pass


def ran(worker: type, stop: Event | None = None) -> tuple[list[str], dict[str, str], list[str]]:
    """Jobs done, failures, and lines for the user."""
    done: list[str] = []
    lines = Lines()
    failures = run_on_ray(
        "", Needs(), worker, "order", lambda plan: JOBS, lambda job: done.append(job.id), lines, stop or Event()
    )
    return done, failures, lines.said


def test_jobs_go_to_all_workers_in_order() -> None:
    assert ran(Good) == (["a", "b", "c"], {}, ["a at 0", "b at 1", "c at 0"])


def test_a_job_that_kills_its_workers_fails_and_the_others_are_done() -> None:
    class Deadly(Good):
        def run(self, job: str) -> str:
            if job == "b":
                raise RayError("The actor died.\nits node, too")
            return super().run(job)

    done, failures, lines = ran(Deadly)
    reason = "tried 5 times, at last: The actor died."
    assert (sorted(done), failures) == (["a", "c"], {"two": reason})
    assert lines.count("lost the worker of two; another goes on from its last save") == 4
    assert lines.count(f"failed: two: {reason}") == 1


def test_an_error_is_tried_again_only_where_that_may_help() -> None:
    tries: list[str] = []

    class Failing(Good):
        def run(self, job: str) -> str:
            tries.append(job)
            if job == "c":
                return super().run(job)
            return json.dumps({"lines": [], "error": f"{job} is wrong", "again": job == "a"})

    done, failures, lines = ran(Failing)
    assert done == ["c"]
    assert failures == {"one": "tried 5 times, at last: a is wrong", "two": "b is wrong"}
    assert (tries.count("a"), tries.count("b")) == (5, 1)
    assert "failed: two: b is wrong" in lines


def test_a_worker_that_would_do_other_units_is_left_out() -> None:
    class Odd(Good):
        def plan(self) -> str:
            return json.dumps({"host": f"host{self.place}", "agree": self.place})

    done, failures, lines = ran(Odd)
    assert (done, failures) == (["a", "b", "c"], {})
    fewer = "one worker fewer: host1 would run the study in other units: other devices, data or tlx than the first"
    assert fewer in lines and "b at 0" in lines


def test_what_is_wrong_with_the_study_is_said_once() -> None:
    class Refusing(Good):
        def plan(self) -> str:
            return json.dumps({"error": "config.budgets[0]: too many"})

    with pytest.raises(TlxError, match=r"^config\.budgets\[0\]: too many$"):
        ran(Refusing)


def test_workers_that_never_start_are_not_started_for_ever() -> None:
    starts: list[int] = []

    class Stillborn(Good):
        def plan(self) -> str:
            starts.append(self.place)
            raise RayError("No module named 'tlx'")

    with pytest.raises(TlxError, match="^--runner: no worker could start: No module named 'tlx'$"):
        ran(Stillborn)
    assert sorted(starts) == [0, 0, 0, 1, 1, 1]


def test_a_stop_is_passed_on_and_nothing_more_is_given_out() -> None:
    stop = Event()

    class Stopping(Good):
        def run(self, job: str) -> str:
            stop.set()
            return json.dumps({"lines": [], "stopped": True})

    assert ran(Stopping, stop) == ([], {}, [])
