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


def test_a_handler_beside_is_told_what_came_and_keeps_no_process_at_its_end():
    told, handled = [], threading.Event()

    def handler(number, frame):
        told.extend([number, frame is None or frame.f_code is not None, threading.current_thread().daemon])
        handled.set()

    signal.signal(NUMBER, handler)
    signals.handle_beside(NUMBER)
    os.kill(os.getpid(), NUMBER)
    assert handled.wait(60)
    assert told == [NUMBER, True, True]


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


def test_handlers_wait_for_the_end_of_what_must_not_be_interrupted():
    handled = []

    def handler(number, frame):
        handled.append(number)
        raise KeyboardInterrupt

    def told():
        with signals.postponed():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            handled.append("ended")

    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with pytest.raises(KeyboardInterrupt):
            told()
        assert handled == ["ended", signal.SIGTERM]
        assert {signal.getsignal(number) for number in before} == {handler}
    finally:
        for number, other in before.items():
            signal.signal(number, other)


@pytest.fixture
def handled():
    """Return what came of Ctrl-C and SIGTERM, which are handled here."""
    came = []
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in numbers}
    yield came
    for number, other in before.items():
        signal.signal(number, other)


def test_what_came_meanwhile_is_handled_once_each_and_in_its_order(handled):
    with signals.postponed():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert handled == []
    assert handled == [signal.SIGTERM, signal.SIGINT]
    os.kill(os.getpid(), signal.SIGINT)
    assert len(handled) == 3, "at once, as before"


def test_what_came_before_an_error_is_handled_all_the_same(handled):
    def fail():
        with signals.postponed():
            os.kill(os.getpid(), signal.SIGTERM)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert handled == [signal.SIGTERM]


def test_another_thread_postpones_nothing_and_goes_on(handled):
    """Nothing can be set there."""
    entered = []

    def elsewhere():
        with signals.postponed():
            entered.append(True)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert entered


def test_what_has_no_handler_is_not_given_one_meanwhile():
    """A process that is started meanwhile ignores what this one ignores."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with signals.postponed():
            assert {signal.getsignal(number) for number in before} == {signal.SIG_IGN}
    finally:
        for number, other in before.items():
            signal.signal(number, other)


def test_a_command_that_is_told_to_end_twice_ends_what_it_has_begun_to_end(monkeypatch, capsys):
    killed = []

    def measuring(arguments):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except BaseException:
            os.kill(os.getpid(), signal.SIGTERM)
            killed.append(True)
            raise

    monkeypatch.setattr(__main__, "_run", measuring)
    before = signal.getsignal(signal.SIGTERM)
    assert __main__.main([]) == 128 + signal.SIGTERM
    assert (killed, capsys.readouterr().err) == ([True], "snas: stopped\n")
    assert signal.getsignal(signal.SIGTERM) == before
