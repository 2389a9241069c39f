from tlx.runners.queue import TRIES, Job, Queue

FIRST, SECOND = Job("a", "one", 3), Job("b", "two", 2)


def test_jobs_come_in_order_and_a_lost_one_comes_next() -> None:
    queue = Queue([FIRST, SECOND])
    assert queue.take() == FIRST and len(queue) == 1
    assert queue.put_back(FIRST, "node died")
    assert [queue.take(), queue.take(), queue.take()] == [FIRST, SECOND, None]
    assert queue.failures == {}


def test_a_job_that_kills_every_worker_is_given_up_and_the_others_go_on() -> None:
    queue = Queue([FIRST, SECOND])
    for attempt in range(1, TRIES + 1):
        job = queue.take()
        assert job == FIRST
        assert queue.put_back(job, f"killed {attempt}") == (attempt < TRIES)
    assert queue.failures == {"one": "tried 5 times, at last: killed 5"}
    assert queue.take() == SECOND


def test_what_no_worker_can_do_fails_at_once() -> None:
    queue = Queue([FIRST, SECOND])
    queue.fail(FIRST, "config.x: wrong")
    assert queue.failures == {"one": "config.x: wrong"}
    queue.clear()
    assert queue.take() is None and not len(queue)
