"""Handlers of signals that wait for a lock of the thread that they interrupt."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from snas import __main__, signals

NUMBER = signal.SIGUSR1


@pytest.fixture(autouse=True)
def restored():
    """Leave the signal as it was."""
    before = signal.getsignal(NUMBER)
    yield
    signal.signal(NUMBER, before)


def test_a_handler_that_wants_a_held_lock_runs_when_it_is_free():
    lock, handled = threading.Lock(), threading.Event()

    def handler(number, frame):
        with lock:
            handled.set()

    signal.signal(NUMBER, handler)
    signals.handle_beside(NUMBER)
    with lock:
        os.kill(os.getpid(), NUMBER)
        assert not handled.wait(0.2)
    assert handled.wait(60)


@pytest.mark.parametrize("nothing", [signal.SIG_IGN, signal.SIG_DFL])
def test_a_signal_without_a_handler_stays_as_it_is(nothing):
    signal.signal(NUMBER, nothing)
    signals.handle_beside(NUMBER)
    assert signal.getsignal(NUMBER) is nothing


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_told_to_end_takes_its_processes_with_it(number, monkeypatch, capsys):
    """As the measurement of ``snas search`` does, which has processes of its own."""
    killed = []

    def measuring(arguments):
        try:
            os.kill(os.getpid(), number)
            threading.Event().wait(60)
        except BaseException:
            killed.append(True)
            raise

    monkeypatch.setattr(__main__, "_run", measuring)
    before = signal.getsignal(signal.SIGTERM)
    ctrl_c = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background has it ignored
    try:
        assert __main__.main([]) == 128 + number
    finally:
        signal.signal(signal.SIGINT, ctrl_c)
    assert (killed, capsys.readouterr().err) == ([True], "snas: stopped\n")
    assert signal.getsignal(signal.SIGTERM) == before
