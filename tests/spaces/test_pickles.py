"""The reader of pickles as data: equal to Python's on data, and unable to do anything else."""

import os
import pickle
import pickletools
import struct
import sys
import tracemalloc
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snas import InputError
from snas.spaces import pickles

NUMBERS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
)
KEYS = st.one_of(st.text(), st.integers(-(2**63), 2**63 - 1), st.tuples(st.text(), st.integers(0, 999)))
DATA = st.recursive(
    NUMBERS,
    lambda inner: st.one_of(
        st.lists(inner), st.tuples(inner, inner), st.dictionaries(KEYS, inner), st.sets(st.integers(0, 99))
    ),
    max_leaves=30,
)


@settings(max_examples=100, deadline=None)
@given(value=DATA, protocol=st.sampled_from([2, 3, 4, 5]))
def test_it_reads_data_as_python_does(value, protocol):
    if protocol < 4:  # there sets, and in protocol 2 bytes, are calls of names that are not on the list
        value = _without_sets_and_bytes(value)
    assert pickles.load(pickle.dumps(value, protocol), "data") == value


def _without_sets_and_bytes(value):
    if isinstance(value, set):
        return sorted(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: _without_sets_and_bytes(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_without_sets_and_bytes(item) for item in value)
    return value


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_numpy_numbers_and_ordered_dictionaries_become_plain_ones(protocol):
    numbers = [np.float64(0.1), np.float32(2.5), np.int64(-3), np.uint8(255), np.bool_(True), np.float16(0.5)]
    value = OrderedDict(a=[*numbers, np.dtype(">f8").type(7.25)], b=OrderedDict({3: np.float64(1)}))
    found = pickles.load(pickle.dumps(value, protocol), "numbers")
    assert found == {"a": [*(number.item() for number in numbers), 7.25], "b": {3: 1.0}}
    assert type(found) is dict
    assert type(found["a"][0]) is float


def test_shared_and_optimised_values_are_read():
    curve = [1.0, 2.0]
    for protocol in (2, 4):
        plain = pickle.dumps({"a": curve, "b": curve, "c": ("x", curve)}, protocol)
        for content in (plain, pickletools.optimize(plain)):
            found = pickles.load(content, "shared")
            assert found == {"a": curve, "b": curve, "c": ("x", curve)}
            assert found["a"] is found["b"]


def test_big_dictionaries_are_streamed_and_emptied():
    value = {i: {"curve": [float(i)] * 5} for i in range(2500)}
    seen, kept = {}, []

    def take(key, item):
        seen[key] = list(item["curve"])
        kept.append(item)

    assert pickles.load(pickle.dumps(value), "stream", on_item=take) == {}
    assert seen == {i: [float(i)] * 5 for i in range(2500)}
    assert not any(kept)


class Evil:
    """What a pickle can ask for: a call on load."""

    def __init__(self, function, argument):
        self.call = function, (argument,)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("function", "argument", "name"),
    [
        (os.system, "touch {}", "system"),
        (eval, "open({!r}, 'w')", "eval"),
        (exec, "open({!r}, 'w')", "exec"),
        (Path, "{}", "pathlib"),
        (os.mkdir, "{}", "mkdir"),
        (getattr, "{}", "getattr"),
        (np.load, "{}", "numpy.load"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_calls_are_refused_by_name_and_not_made(tmp_path, function, argument, name, protocol):
    marker = tmp_path / "marker"
    content = pickle.dumps({"x": [Evil(function, argument.format(str(marker)))]}, protocol)
    with pytest.raises(InputError, match="not on the list of what may be built") as refusal:
        pickles.load(content, "evil.pickle")
    assert name in str(refusal.value)
    assert not marker.exists()


def test_a_listed_name_reaches_only_our_function():
    attribute = b"OrderedDict.__init__.__globals__"
    dotted = b"\x80\x04\x8c\x0bcollections\x8c" + bytes([len(attribute)]) + attribute + b"\x93."
    with pytest.raises(InputError, match="not on the list"):
        pickles.load(dotted, "dotted")
    with pytest.raises(InputError, match=r"wrong arguments to numpy\.dtype"):
        pickles.load(b"\x80\x04\x8c\x05numpy\x8c\x05dtype\x93\x8c\x02O8\x85R.", "object")


def text(value):
    """Return the opcodes of a text."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "truncated or damaged at byte 0 of 0"),
        (b"\x80\x04", "truncated or damaged"),
        (b"\x80\x04K", "truncated or damaged"),
        (b"\x80\x00.", "protocol 0"),
        (b"\x80\x09.", "protocol 9"),
        (b"\x80\x02cos\nsystem\n.", "os.system"),
        (b"\x80\x02ios\nsystem\n.", "INST"),
        (b"\x80\x02(oQ.", "OBJ"),
        (b"\x80\x02X\x01\x00\x00\x00aQ.", "BINPERSID"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (b"\x80\x04}\x92.", "NEWOBJ_EX"),
        (b"(lp0\n.", "opcode 0x6c"),
        (b"\x80\x04\x8a\xff" + b"\x01" * 255 + b".", "more than 64 bits"),
        (b"\x80\x04\x8b\xff\xff\xff\x7f.", "opcode 0x8b"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".", "truncated"),
        (b"\x80\x04\x8d" + struct.pack("<Q", 2**63 - 1) + b".", "truncated"),
        (b"\x80\x02T" + struct.pack("<i", -5) + b".", "negative length"),
        (b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b".", "truncated"),
        (b"\x80\x02Nr" + struct.pack("<I", 2**32 - 1) + b".", "its memo before"),
        (b"\x80\x04h\x05.", "truncated or damaged"),
        (b"\x80\x04}(K\x01u.", "a key without a value"),
        (b"\x80\x04}}K\x01s.", "key of type dict"),
        (b"\x80\x04}G\x3f\xf0\x00\x00\x00\x00\x00\x00K\x01s.", "key of type float"),
        (b"\x80\x04})\x85K\x01s.", "key of type tuple"),
        (b"\x80\x04}M\x00\x01M\x01\x01\x86Ns.", "a key of several large integers"),
        (b"\x80\x04}\x94h\x00b.", "a state for what has none"),
        (
            b"\x80\x02c_codecs\nencode\n" + text("a" * 17) + text("latin1") + b"\x86R.",
            "17 bytes are more than a number has",
        ),
        (b"\x80\x04]K\x01a.K", None),
        (b"\x80\x04K\x01K\x02.", "leaves values over"),
        (b"\x80\x04(K\x01.", "leaves values over"),
        (b"\x80\x04K\x01K\x02a.", "a list is expected, not a int"),
        (b"\x80\x04K\x01}b.", "a state for what has none"),
        (b"\x80\x04K\x01)R.", "calls what is not a name"),
        (b"\x80\x04\x8c\x01\xff.", "not UTF-8"),
    ],
)
def test_what_is_not_data_is_refused_in_one_sentence(content, sentence):
    if sentence is None:
        assert pickles.load(content, "x.pickle") == [1]
        return
    with pytest.raises(InputError) as refusal:
        pickles.load(content, "x.pickle")
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).startswith("x.pickle: ")


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04" + b"\x8f" * 3_000_000,  # sets of 216 bytes for one byte each
        b"\x80\x04" + b")" + b"\x85" * 3_000_000 + b".",  # a tuple deeper than any C stack when hashed
        b"\x80\x04" + b"(" * 3_000_000,
        b"\x80\x04N" + b"\x94" * 3_000_000,
        b"\x80\x04]" + b"\x94h\x00a" * 1_000_000 + b".",
    ],
)
def test_steps_and_memory_are_bounded(content):
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="more than"):
            pickles.load(content, "bomb", limits=pickles.Limits(steps=100_000, containers=10_000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 << 20


NAMED = b"ccollections\nOrderedDict\nq\x000"
"""Memo 0: a class whose instances are dictionaries."""
STATE = b"}q\x01(" + b"".join(b"J" + struct.pack("<i", i) + b"N" for i in range(5_000)) + b"u0"
"""Memo 1: a dictionary of 5,000 entries."""


def test_a_state_moves_and_is_not_copied():
    """What 400 objects are given is there once, and is not given on for ever."""
    given = b"\x80\x02]" + NAMED + STATE + b"(" + b"h\x00)Rh\x01b" * 400 + b"e."
    assert [len(each) for each in pickles.load(given, "x")] == [5_000, *[0] * 399]
    on = b"\x80\x02" + NAMED + STATE + b"h\x01"
    for name in range(2, 120):
        on += b"h\x00)Rq" + bytes([name]) + b"h" + bytes([name - 1]) + b"b0"
    with pytest.raises(InputError, match="states that are given from one object to the next"):
        pickles.load(on + b".", "x")


EVENTS: list[str] = []
_watching = False


def _watch(event, arguments):
    if _watching and not event.startswith(("object.", "gc.")):
        EVENTS.append(event)


@pytest.fixture(scope="module")
def _audited():
    sys.addaudithook(_watch)


def _load_watched(content):
    """Load under an audit hook: no import, call, file or process may happen."""
    global _watching
    EVENTS.clear()
    _watching = True
    try:
        value = pickles.load(content, "mutated", limits=pickles.Limits(steps=20_000, containers=2000))
    except InputError as refusal:
        value = refusal
    finally:
        _watching = False
    assert EVENTS == []
    return value


@pytest.mark.usefixtures("_audited")
@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_mutated_pickles_do_nothing_and_are_read_or_refused(data):
    value = {
        "r": OrderedDict({("cifar10", 777): [np.float64(1.5), {"loss@0": 2.0, "n": 300}], "s": {1, 2}}),
        "e": Evil(os.system, "false") if data.draw(st.booleans()) else "text" * 50,
    }
    content = bytearray(pickle.dumps(value, data.draw(st.sampled_from([2, 4]))))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
        content = content or bytearray(b".")
    _load_watched(bytes(content))


@pytest.mark.usefixtures("_audited")
@settings(max_examples=300, deadline=None)
@given(opcodes=st.binary(max_size=60))
def test_random_opcodes_do_nothing_and_are_read_or_refused(opcodes):
    _load_watched(b"\x80\x04" + opcodes + b".")
