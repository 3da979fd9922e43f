"""Pickles read as data: an interpreter of the pickle format that can build values, and call nothing.

Python's own ``pickle`` imports and calls whatever a file asks for.  :func:`load` interprets the format's opcodes itself
and knows only numbers, strings, bytes, tuples, lists, sets and dictionaries; a name (``module.attribute``) is accepted
only from a list that maps it to a function of this project, and everything else is refused by its name.  A file cannot
make it use more time or memory than a multiple of its own size: every opcode is one bounded step, lengths are compared
with what is there before anything is allocated, what is copied is a number or moves (so that nothing grows by being named
again), integers end at 64 bits, keys are flat and have at most one large integer (so that no hash collides or recurses at will),
and :class:`Limits` bounds steps and containers.

Protocols 2 to 5, as written by Python and NumPy; https://docs.python.org/3/library/pickletools.html names the opcodes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from snas import InputError

Names = Mapping[tuple[str, str], Callable[..., Any]]
"""What a pickle may name: ``(module, attribute)`` → our function of the arguments that the pickle passes."""


@dataclass(frozen=True)
class Limits:
    """How much a pickle may do: opcodes, and dictionaries, lists, sets and tuples built."""

    steps: int = 1_000_000
    containers: int = 50_000


class DType:
    """A NumPy scalar type by its name (``f8``, ``i4``, ...), little-endian unless its state says otherwise."""

    FORMATS: Mapping[str, str] = {
        **{"f2": "e", "f4": "f", "f8": "d", "b1": "?"},
        **{"i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q"},
    }

    def __init__(self, name: str, align: bool = False, copy: bool = True) -> None:
        if name not in self.FORMATS:
            raise TypeError("only plain numbers are read")
        self.format = self.FORMATS[name]
        self.order = "<"

    def update(self, state: tuple[Any, ...]) -> None:
        """Take the byte order from the state that NumPy pickles: ``(version, order, ...)``."""
        if len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise TypeError("its byte order is not readable")
        self.order = ">" if state[1] == ">" else "<"


def _scalar(dtype: DType, content: bytes) -> float | int | bool:
    if not isinstance(dtype, DType) or not isinstance(content, bytes):
        raise TypeError("a number's type and bytes are expected")
    value: float | int | bool = struct.unpack(dtype.order + dtype.format, content)[0]
    return value


LONGEST_NUMBER = 16
"""Bytes of a number, at most; ``_codecs.encode`` copies, and only numbers need it."""


def _encode(text: str, encoding: str) -> bytes:
    """Bytes of a number as protocol 2 writes them: a latin-1 string."""
    if not isinstance(text, str) or encoding != "latin1":
        raise TypeError("only latin1 is read")
    if len(text) > LONGEST_NUMBER:
        raise TypeError(f"{len(text)} bytes are more than a number has")
    return text.encode("latin-1")


def record() -> dict[str, Any]:
    """An instance of a foreign class as the dictionary of its attributes."""
    return {}


NUMBERS: Names = {
    ("collections", "OrderedDict"): record,
    ("numpy", "dtype"): DType,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("_codecs", "encode"): _encode,
}
"""Ordered dictionaries and NumPy's single numbers, as plain dictionaries and Python numbers."""


def load(
    data: Any,
    label: str,
    *,
    names: Names = NUMBERS,
    limits: Limits | None = None,
    on_item: Callable[[Any, Any], None] | None = None,
) -> Any:
    """Return what the pickle in ``data`` (bytes or a buffer such as ``mmap``) holds; ``label`` names it in errors.

    ``on_item`` is called with each (key, value) of the outermost dictionary instead of keeping them, so that a large
    file is read in small memory; what it was given is emptied afterwards.

    Raises :class:`InputError` where the pickle is truncated, names anything that is not on the list, or is not data.

    >>> import pickle
    >>> load(pickle.dumps({"a": (1, 2.5)}), "example")
    {'a': (1, 2.5)}
    """
    value = _Reader(data, label, names, limits or Limits(), on_item).run()
    if (
        on_item is not None and type(value) is dict
    ):  # an ordered dictionary, or one that was filled in another way
        for key, item in value.items():
            on_item(key, item)
    return value


@dataclass(frozen=True)
class _Named:
    label: str
    function: Callable[..., Any]


class _Refused(Exception):
    """Why a pickle is refused, without the file's name."""


class _Reader:
    def __init__(
        self,
        data: Any,
        label: str,
        names: Names,
        limits: Limits,
        on_item: Callable[[Any, Any], None] | None,
    ) -> None:
        self.data, self.label, self.names, self.limits, self.on_item = data, label, names, limits, on_item
        self.position = 0
        self.containers = 0
        self.moved = 0
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # the stacks below each open mark
        self.memo: list[Any] = []
        self.root: dict[Any, Any] | None = None

    def run(self) -> Any:
        try:
            return self._interpret()
        except _Refused as error:
            raise InputError(f"{self.label}: {error}") from None
        except (IndexError, struct.error):
            at = f"byte {self.position} of {len(self.data)}"
            raise InputError(f"{self.label}: the pickle is truncated or damaged at {at}") from None

    def _interpret(self) -> Any:
        """Run the opcodes to STOP.  The four most frequent ones stand in line: they are nine of ten."""
        data, memo, unpack = self.data, self.memo, struct.Struct(">d").unpack_from
        handlers = _HANDLERS
        for _ in range(self.limits.steps):
            position = self.position
            opcode = data[position]
            self.position = position + 1
            if opcode == 0x47:  # BINFLOAT
                self.stack.append(unpack(data, position + 1)[0])
                self.position = position + 9
            elif opcode == 0x94:  # MEMOIZE
                memo.append(self.stack[-1])
            elif opcode == 0x8C:  # SHORT_BINUNICODE
                end = position + 2 + data[position + 1]
                self._text(position + 2, end)
            elif opcode == 0x4B:  # BININT1
                self.stack.append(data[position + 1])
                self.position = position + 2
            elif opcode == 0x2E:  # STOP
                if len(self.stack) != 1 or self.outer:
                    raise _Refused("the pickle is damaged (its end leaves values over)")
                return self.stack[0]
            else:
                handler = handlers[opcode]
                if handler is None:
                    raise _Refused(f"the pickle uses opcode 0x{opcode:02x}, which is not read as data")
                handler(self)
        raise _Refused(f"the pickle has more than {self.limits.steps} steps")

    # What opcodes need ------------------------------------------------------------------------------------------
    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes; refuse where the file announces more than it has."""
        start, end = self.position, self.position + count
        if end > len(self.data):
            raise _Refused(f"the pickle is truncated (byte {start} announces {count} bytes more)")
        self.position = end
        return bytes(self.data[start:end])

    def number(self, layout: str) -> int:
        return int(struct.unpack(layout, self.take(struct.calcsize(layout)))[0])

    def _text(self, start: int, end: int) -> None:
        if end > len(self.data):
            raise _Refused(f"the pickle is truncated (byte {start} announces {end - start} bytes more)")
        try:
            self.stack.append(str(self.data[start:end], "utf-8", "surrogatepass"))
        except UnicodeDecodeError:
            raise _Refused(f"the pickle is damaged (text at byte {start} is not UTF-8)") from None
        self.position = end

    def container(self, value: Any) -> None:
        self.containers += 1
        if self.containers > self.limits.containers:
            raise _Refused(f"the pickle builds more than {self.limits.containers} containers")
        self.stack.append(value)

    def above_mark(self) -> list[Any]:
        """Return the values above the innermost mark and take both away."""
        values = self.stack
        self.stack = self.outer.pop()
        return values

    def top(self, kind: type) -> Any:
        value = self.stack[-1]
        if type(value) is not kind:
            raise _Refused(
                f"the pickle is damaged (a {kind.__name__} is expected, not a {type(value).__name__})"
            )
        return value

    def set_items(self, target: dict[Any, Any], items: list[Any]) -> None:
        keys, values = items[::2], items[1::2]
        if len(keys) != len(values):
            raise _Refused("the pickle is damaged (a key without a value)")
        for key in keys:
            _check_key(key)
        if target is self.root and self.on_item is not None and not self.outer:
            for key, value in zip(keys, values, strict=True):
                self.on_item(key, value)
                _empty(value)
        else:
            target.update(zip(keys, values, strict=True))

    def find(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise _Refused("the pickle is damaged (a name that is not text)")
        function = self.names.get((module, name))
        label = f"{module}.{name}"[:80]
        if function is None:
            known = ", ".join(sorted({f"{m}.{n}" for m, n in self.names}))
            raise _Refused(
                f"the pickle asks for {label!r}, which is not on the list of what may be built ({known}); "
                "nothing of it was run"
            )
        self.stack.append(_Named(label, function))

    def call(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, _Named) or type(arguments) is not tuple:
            raise _Refused("the pickle is damaged (it calls what is not a name)")
        try:
            return function.function(*arguments)
        except (TypeError, ValueError, struct.error) as error:
            raise _Refused(f"the pickle passes wrong arguments to {function.label}: {error}") from None

    # Opcodes ----------------------------------------------------------------------------------------------------
    def constant(self, value: Any) -> None:
        self.stack.append(value)

    def protocol(self) -> None:
        version = self.number("<B")
        if not 2 <= version <= 5:
            raise _Refused(f"the pickle has protocol {version}; 2 to 5 are read")

    def frame(self) -> None:
        length = self.number("<Q")
        if self.position + length > len(self.data):
            raise _Refused(f"the pickle is truncated (byte {self.position} announces {length} bytes more)")

    def integer(self, layout: str) -> None:
        self.stack.append(self.number(layout))

    def long_integer(self) -> None:
        length = self.number("<B")
        if length > 9:  # an unsigned number of 64 bits has a ninth byte for its sign
            raise _Refused("the pickle has an integer of more than 64 bits")
        self.stack.append(int.from_bytes(self.take(length), "little", signed=True))

    def text(self, layout: str) -> None:
        length = self.number(layout)
        self._text(self.position, self.position + length)

    def content(self, layout: str) -> None:
        length = self.number(layout)
        if length < 0:
            raise _Refused("the pickle is damaged (a negative length)")
        self.stack.append(self.take(length))

    def old_string(self, layout: str) -> None:
        self.content(layout)
        self.stack.append(self.stack.pop().decode("latin-1"))

    def mark(self) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def empty_dict(self) -> None:
        self.container({})
        if self.root is None and len(self.stack) == 1 and not self.outer:
            self.root = self.stack[-1]

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise IndexError
        values = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        self.container(values)

    def tuple_above_mark(self) -> None:
        values = self.above_mark()
        self.container(tuple(values))

    def append(self) -> None:
        value = self.stack.pop()
        self.top(list).append(value)

    def appends(self) -> None:
        values = self.above_mark()
        self.top(list).extend(values)

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items(self.top(dict), [key, value])

    def set_items_above_mark(self) -> None:
        items = self.above_mark()
        self.set_items(self.top(dict), items)

    def add_items(self) -> None:
        values = self.above_mark()
        for value in values:
            _check_key(value)
        self.top(set).update(values)

    def get(self, layout: str) -> None:
        self.stack.append(self.memo[self.number(layout)])

    def put(self, layout: str) -> None:
        index, memo = self.number(layout), self.memo
        if index == len(memo) + 1:  # Python 2 counts from one
            memo.append(None)
        if index > len(memo):
            raise _Refused(f"the pickle is damaged (entry {index} of its memo before entry {len(memo)})")
        memo[index : index + 1] = [self.stack[-1]]

    def name_in_line(self) -> None:
        """GLOBAL: two lines of text."""
        lines = []
        for _ in range(2):
            end = self.data.find(b"\n", self.position, self.position + 512)
            if end < 0:
                raise _Refused("the pickle is damaged (a name without an end)")
            lines.append(self.take(end + 1 - self.position)[:-1].decode("utf-8", "replace"))
        self.find(*lines)

    def name_on_stack(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.find(module, name)

    def reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        self.container(self.call(function, arguments))

    def new_object(self) -> None:
        self.reduce()

    def build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, DType) and type(state) is tuple:
            try:
                target.update(state)
            except TypeError as error:
                raise _Refused(f"the pickle has a number type that is not read: {error}") from None
        elif type(target) is dict and type(state) is dict and target is not state:
            self.moved += len(state)  # each entry once, and it took more than a byte of the file
            if self.moved > len(self.data):
                raise _Refused("the pickle is damaged (states that are given from one object to the next)")
            target.update(state)
            state.clear()
        else:
            raise _Refused("the pickle is damaged (a state for what has none)")

    def pop(self) -> None:
        self.stack.pop()

    def pop_mark(self) -> None:
        self.above_mark()

    def forbidden(self, what: str) -> NoReturn:
        raise _Refused(f"the pickle uses {what}, which is not data; nothing of it was run")


def _check_key(key: Any) -> None:
    """Keys are text, integers, or flat tuples of them: their hashes neither collide at will nor recurse.

    Text is hashed with a secret of the process; a tuple of two large integers is not, and can be made to collide.
    """
    kind = type(key)
    if kind is str or kind is int:
        return
    if kind is not tuple or len(key) > 16 or any(type(part) not in (str, int) for part in key):
        raise _Refused(
            f"the pickle has a key of type {kind.__name__}; text, integers and flat tuples are read"
        )
    if sum(type(part) is int and not 0 <= part < 256 for part in key) > 1:
        raise _Refused(
            "the pickle has a key of several large integers; one, and others from 0 to 255, are read"
        )


def _empty(value: Any) -> None:
    """Empty a value that has been used: the memo still holds its containers, but no longer what was in them."""
    pending = [value]
    for _ in range(3):  # architecture → data set → quantity → curve
        below: list[Any] = []
        for item in pending:
            if type(item) is dict:
                below.extend(item.values())
                item.clear()
            elif type(item) is list:
                item.clear()
        pending = below


def _table() -> list[Callable[[_Reader], None] | None]:
    reader = _Reader
    table: list[Callable[[_Reader], None] | None] = [None] * 256

    def put(opcode: int, method: Callable[..., None], *arguments: Any) -> None:
        table[opcode] = (lambda r: method(r, *arguments)) if arguments else method

    put(0x80, reader.protocol)
    put(0x95, reader.frame)
    for opcode, value in ((0x4E, None), (0x88, True), (0x89, False)):
        put(opcode, reader.constant, value)
    for opcode, layout in ((0x4A, "<i"), (0x4D, "<H")):  # BININT, BININT2
        put(opcode, reader.integer, layout)
    put(0x8A, reader.long_integer)
    for opcode, layout in ((0x58, "<I"), (0x8D, "<Q")):  # BINUNICODE, BINUNICODE8
        put(opcode, reader.text, layout)
    for opcode, layout in ((0x43, "<B"), (0x42, "<I"), (0x8E, "<Q")):  # SHORT_BINBYTES, BINBYTES, BINBYTES8
        put(opcode, reader.content, layout)
    for opcode, layout in ((0x55, "<B"), (0x54, "<i")):  # SHORT_BINSTRING, BINSTRING
        put(opcode, reader.old_string, layout)
    put(0x28, reader.mark)
    put(0x7D, reader.empty_dict)
    put(0x5D, lambda r: r.container([]))
    put(0x29, lambda r: r.container(()))
    put(0x8F, lambda r: r.container(set()))
    for count, opcode in enumerate((0x85, 0x86, 0x87), start=1):
        put(opcode, reader.tuple_of, count)
    put(0x74, reader.tuple_above_mark)
    put(0x61, reader.append)
    put(0x65, reader.appends)
    put(0x73, reader.set_item)
    put(0x75, reader.set_items_above_mark)
    put(0x90, reader.add_items)
    for opcode, layout in ((0x68, "<B"), (0x6A, "<I")):  # BINGET, LONG_BINGET
        put(opcode, reader.get, layout)
    for opcode, layout in ((0x71, "<B"), (0x72, "<I")):  # BINPUT, LONG_BINPUT
        put(opcode, reader.put, layout)
    put(0x63, reader.name_in_line)
    put(0x93, reader.name_on_stack)
    put(0x52, reader.reduce)
    put(0x81, reader.new_object)
    put(0x62, reader.build)
    put(0x30, reader.pop)
    put(0x31, reader.pop_mark)
    for opcode, what in (
        (0x69, "INST (an instance of a class)"),
        (0x6F, "OBJ (an instance of a class)"),
        (0x92, "NEWOBJ_EX (a call with keywords)"),
        (0x50, "PERSID (an object outside the file)"),
        (0x51, "BINPERSID (an object outside the file)"),
        (0x82, "EXT1 (a registered extension)"),
        (0x83, "EXT2 (a registered extension)"),
        (0x84, "EXT4 (a registered extension)"),
        (0x97, "NEXT_BUFFER (a buffer outside the file)"),
    ):
        put(opcode, reader.forbidden, what)
    return table


_HANDLERS = _table()
