"""The machine that pickles are programs for, with every way out of it taken away.

It makes inert nodes (see nodes) and calls nothing: no class is looked up, no function
runs, no object of Python's or torch's is handed to the program. Its memory grows with
the program's length, at most some 100 bytes for a byte, and its time does too: numbers
and names are short, keys are never hashed, an index into the memo takes no room.
"""

import codecs
import mmap
import struct
from collections.abc import Callable
from typing import Any

from tadrop.storage.pickles.changes import (
    extend,
    made,
    named_global,
    paired,
    set_items,
    set_state,
)
from tadrop.storage.pickles.nodes import (
    LONGEST,
    Dictionary,
    Group,
    Made,
    UnreadableError,
)

DIGITS = 255  # bytes of an integer

Persistent = Callable[[Any], Any]  # what stands for a persistent id
Buffer = bytes | mmap.mmap


def refuse_persistent(identity: Any) -> Any:
    """For programs that have no business with persistent ids."""
    raise UnreadableError("a persistent id where there can be none")


class Machine:
    """The state of a program that runs: its stack, its marks and its memo."""

    def __init__(
        self, data: Buffer, start: int, end: int, persistent: Persistent
    ) -> None:
        self.data = data
        self.position = start
        self.end = end
        self.persistent = persistent
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # the stacks below the open marks
        self.memo: dict[int, Any] = {}

    # What is read of the program.

    def take(self, count: int) -> bytes:
        """The next bytes; a program that ends before them is refused."""
        first = self.position
        last = first + count
        if last > self.end:
            raise UnreadableError("its pickle ends within a value")
        self.position = last
        return self.data[first:last]

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "little")

    def line(self) -> str:
        last = self.data.find(b"\n", self.position, self.position + LONGEST)
        if last < 0 or last >= self.end:
            raise UnreadableError(
                f"a line of its pickle is over {LONGEST} characters long"
            )
        text = self.take(last - self.position)
        self.position += 1
        return text.decode("utf-8")

    # Values.

    def push_none(self) -> None:
        self.stack.append(None)

    def push_true(self) -> None:
        self.stack.append(True)

    def push_false(self) -> None:
        self.stack.append(False)

    def push_byte(self) -> None:
        self.stack.append(self.number(1))

    def push_two_bytes(self) -> None:
        self.stack.append(self.number(2))

    def push_int(self) -> None:
        self.stack.append(int.from_bytes(self.take(4), "little", signed=True))

    def push_long(self) -> None:
        digits = self.take(self.number(1))
        self.stack.append(int.from_bytes(digits, "little", signed=True))

    def push_longer(self) -> None:
        count = self.number(4)
        if count > DIGITS:
            raise UnreadableError(f"a number of {count} bytes in its pickle")
        self.stack.append(int.from_bytes(self.take(count), "little", signed=True))

    def push_float(self) -> None:
        self.stack.append(struct.unpack(">d", self.take(8))[0])

    def push_int_line(self) -> None:
        line = self.line()
        if line in ("00", "01"):
            self.stack.append(line == "01")
        else:
            self.stack.append(int(line.removesuffix("L")))

    def push_float_line(self) -> None:
        self.stack.append(float(self.line()))

    def push_text_line(self) -> None:
        self.stack.append(self.line().encode().decode("raw-unicode-escape"))

    def push_quoted_line(self) -> None:
        quoted = self.line().strip()
        if len(quoted) < 2 or quoted[0] != quoted[-1] or quoted[0] not in "'\"":
            raise UnreadableError("a text of its pickle has no quotes")
        escaped = codecs.escape_decode(quoted[1:-1].encode())[0]
        self.stack.append(escaped.decode("utf-8", "surrogateescape"))

    def push_text(self, width: int) -> None:
        text = self.take(self.number(width))
        self.stack.append(text.decode("utf-8", "surrogateescape"))

    def push_bytes(self, width: int) -> None:
        self.stack.append(self.take(self.number(width)))

    # Containers.

    def mark(self) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def to_mark(self) -> list[Any]:
        """What was pushed since the last mark, which is taken away."""
        values = self.stack
        self.stack = self.outer.pop()
        return values

    def empty_tuple(self) -> None:
        self.stack.append(())

    def tuple_of(self, count: int) -> None:
        values = self.stack[-count:]
        if len(values) < count:
            raise UnreadableError("its pickle takes more than it has")
        del self.stack[-count:]
        self.stack.append(tuple(values))

    def tuple_to_mark(self) -> None:
        values = tuple(self.to_mark())
        self.stack.append(values)

    def empty_list(self) -> None:
        self.stack.append([])

    def list_to_mark(self) -> None:
        values = self.to_mark()
        self.stack.append(values)

    def empty_dictionary(self) -> None:
        self.stack.append(Dictionary())

    def dictionary_to_mark(self) -> None:
        values = self.to_mark()
        node = Dictionary()
        node.pairs = paired(values)
        self.stack.append(node)

    def empty_set(self) -> None:
        self.stack.append(Group())

    def frozen_set(self) -> None:
        node = Group()
        node.members = self.to_mark()
        self.stack.append(node)

    def append(self) -> None:
        value = self.stack.pop()
        extend(self.stack[-1], [value])

    def extend(self) -> None:
        values = self.to_mark()
        extend(self.stack[-1], values)

    def set_item(self) -> None:
        value = self.stack.pop()
        key = self.stack.pop()
        set_items(self.stack[-1], [(key, value)])

    def set_items(self) -> None:
        values = self.to_mark()
        set_items(self.stack[-1], paired(values))

    # Names and objects, none of which is looked up or made.

    def push_global(self) -> None:
        module = self.line()
        self.stack.append(named_global(module, self.line()))

    def push_stacked_global(self) -> None:
        name = self.stack.pop()
        self.stack.append(named_global(self.stack.pop(), name))

    def call(self) -> None:
        arguments = self.stack.pop()
        self.stack.append(made(self.stack.pop(), arguments))

    def call_with_keywords(self) -> None:
        keywords = self.stack.pop()
        self.call()
        set_state(self.stack[-1], keywords)

    def call_of_line(self) -> None:
        maker = named_global(self.line(), self.line())
        arguments = tuple(self.to_mark())
        self.stack.append(Made(maker, arguments))

    def call_to_mark(self) -> None:
        values = self.to_mark()
        self.stack.append(made(values[0], tuple(values[1:])))

    def build(self) -> None:
        state = self.stack.pop()
        set_state(self.stack[-1], state)

    def push_persistent(self) -> None:
        identity = self.stack.pop()
        self.stack.append(self.persistent(identity))

    # The stack and the memo.

    def pop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.to_mark()

    def copy_top(self) -> None:
        self.stack.append(self.stack[-1])

    def remember(self, width: int) -> None:
        self.memo[self.number(width)] = self.stack[-1]

    def remember_line(self) -> None:
        self.memo[int(self.line())] = self.stack[-1]

    def remember_next(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def recall(self, width: int) -> None:
        self.stack.append(self.memo[self.number(width)])

    def recall_line(self) -> None:
        self.stack.append(self.memo[int(self.line())])

    def skip(self, width: int) -> None:
        """Protocol numbers and frames say nothing that is needed."""
        self.take(width)
