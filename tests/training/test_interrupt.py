import signal
import threading
import time

import pytest

from multirate.errors import Terminated
from multirate.training.interrupt import deferred_interrupt, terminable, wanted_while

KINDS = [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
every_signal = pytest.mark.parametrize(("number", "kind"), KINDS, ids=["int", "term"])


@pytest.fixture
def mine(monkeypatch):
    """A handler of somebody else's for both signals, for as long as a test runs."""

    def handler(number, frame):
        raise AssertionError(f"signal {number} came to somebody else")

    before = {number: signal.signal(number, handler) for number, _ in KINDS}
    yield handler
    for number, old in before.items():
        signal.signal(number, old)


@every_signal
@pytest.mark.parametrize("again", [number for number, _ in KINDS])
def test_the_first_signal_waits_and_the_second_acts(number, kind, again):
    before = [signal.getsignal(one) for one, _ in KINDS]
    called = []
    with deferred_interrupt(lambda: called.append(1)) as stop_if_asked:
        stop_if_asked()
        signal.raise_signal(number)
        assert called == [1]
        with pytest.raises(kind) as caught:
            stop_if_asked()
        assert type(caught.value) is kind
        with pytest.raises(dict(KINDS)[again]):
            signal.raise_signal(again)
    assert called == [1]
    assert [signal.getsignal(one) for one, _ in KINDS] == before


def test_sigterm_raises_within_its_block_and_kills_outside():
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with pytest.raises(Terminated), terminable():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_deferral_takes_the_place_of_the_command_lines_handler():
    with terminable(), deferred_interrupt() as stop_if_asked:
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Terminated):
            stop_if_asked()


def test_a_sigterm_that_is_somebody_elses_is_left_to_them(mine):
    with terminable(), deferred_interrupt():
        assert signal.getsignal(signal.SIGTERM) is mine
        assert signal.getsignal(signal.SIGINT) is not mine


@every_signal
def test_what_is_ignored_stays_ignored(number, kind):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with deferred_interrupt() as stop_if_asked:
            signal.raise_signal(number)
            stop_if_asked()
    finally:
        signal.signal(number, before)


def test_another_thread_leaves_signals_alone():
    seen = []

    def run():
        with terminable(), deferred_interrupt() as stop_if_asked:
            stop_if_asked()
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]


def test_unwanted_work_stops_once_where_it_may():
    wanted = [True]
    with wanted_while(lambda: wanted[0]):
        signal.raise_signal(signal.SIGINT)  # the parent's
        with deferred_interrupt() as stop_if_asked:
            wanted[0] = False
            limit = time.monotonic() + 20
            with pytest.raises(Terminated):
                while time.monotonic() < limit:
                    stop_if_asked()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_unwanted_work_that_got_a_signal_is_not_asked_again():
    wanted = [True]
    with wanted_while(lambda: wanted[0]), deferred_interrupt() as stop_if_asked:
        signal.raise_signal(signal.SIGTERM)
        wanted[0] = False
        time.sleep(0.5)
        with pytest.raises(Terminated):
            stop_if_asked()
