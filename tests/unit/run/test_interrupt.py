import signal

import pytest

from stages.run.interrupt import defer_interrupt


@pytest.fixture(autouse=True)
def _as_a_stage_starts():
    """As by `run_stage`: what a shell starts in the background ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_the_first_interrupt_is_noted_and_held_back(name):
    with defer_interrupt() as is_interrupted:
        assert not is_interrupted()
        signal.raise_signal(name)
        assert is_interrupted()


def test_a_second_interrupt_acts_at_once():
    with defer_interrupt():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_afterwards_interrupts_are_as_before():
    before = signal.getsignal(signal.SIGINT)
    with defer_interrupt():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_in_a_launched_process_sigterm_acts_at_once(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    before = signal.getsignal(signal.SIGTERM)
    with defer_interrupt():
        assert signal.getsignal(signal.SIGTERM) is before
