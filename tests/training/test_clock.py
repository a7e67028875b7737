import time

from multirate.training.clock import Clock


def test_processor_time_counts_work_and_not_waiting() -> None:
    clock = Clock()
    time.sleep(0.05)
    waited = clock.line()
    assert waited["seconds"] >= 0.05
    assert waited["cpu_seconds"] < 0.04
    while clock.cpu_seconds < 0.05:
        sum(range(1000))
    assert clock.seconds >= clock.cpu_seconds - waited["cpu_seconds"] + 0.05


def test_both_go_on_where_a_stopped_run_was() -> None:
    clock = Clock()
    clock.go_on(100.0, 50.0)
    assert 100.0 <= clock.seconds < 101.0
    assert 50.0 <= clock.cpu_seconds < 51.0
