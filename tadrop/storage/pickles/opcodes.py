"""The opcodes of pickles, and the run of a program of them.

All up to protocol 5 are known, but for extension codes and buffers out of band, which
no torch file has.
"""

from collections.abc import Callable
from typing import Any

from tadrop.storage.pickles.machine import (
    Buffer,
    Machine,
    Persistent,
    refuse_persistent,
)
from tadrop.storage.pickles.nodes import UnreadableError

LARGEST = 1 << 28  # bytes of one program

Action = Callable[[Machine], object]


def _of(action: Callable[[Machine, int], None], number: int) -> Action:
    """The action with a number that its opcode stands for."""

    def with_number(machine: Machine) -> None:
        action(machine, number)

    return with_number


STOP = ord(".")
NAMED: dict[bytes, Action] = {
    b"N": Machine.push_none,
    b"\x88": Machine.push_true,
    b"\x89": Machine.push_false,
    b"K": Machine.push_byte,
    b"M": Machine.push_two_bytes,
    b"J": Machine.push_int,
    b"\x8a": Machine.push_long,
    b"\x8b": Machine.push_longer,
    b"G": Machine.push_float,
    b"I": Machine.push_int_line,
    b"L": Machine.push_int_line,
    b"F": Machine.push_float_line,
    b"V": Machine.push_text_line,
    b"S": Machine.push_quoted_line,
    b"\x8c": _of(Machine.push_text, 1),
    b"X": _of(Machine.push_text, 4),
    b"\x8d": _of(Machine.push_text, 8),
    b"U": _of(Machine.push_text, 1),
    b"T": _of(Machine.push_text, 4),
    b"C": _of(Machine.push_bytes, 1),
    b"B": _of(Machine.push_bytes, 4),
    b"\x8e": _of(Machine.push_bytes, 8),
    b"\x96": _of(Machine.push_bytes, 8),
    b"(": Machine.mark,
    b")": Machine.empty_tuple,
    b"\x85": _of(Machine.tuple_of, 1),
    b"\x86": _of(Machine.tuple_of, 2),
    b"\x87": _of(Machine.tuple_of, 3),
    b"t": Machine.tuple_to_mark,
    b"]": Machine.empty_list,
    b"l": Machine.list_to_mark,
    b"}": Machine.empty_dictionary,
    b"d": Machine.dictionary_to_mark,
    b"\x8f": Machine.empty_set,
    b"\x91": Machine.frozen_set,
    b"\x90": Machine.extend,
    b"a": Machine.append,
    b"e": Machine.extend,
    b"s": Machine.set_item,
    b"u": Machine.set_items,
    b"c": Machine.push_global,
    b"\x93": Machine.push_stacked_global,
    b"R": Machine.call,
    b"\x81": Machine.call,
    b"\x92": Machine.call_with_keywords,
    b"i": Machine.call_of_line,
    b"o": Machine.call_to_mark,
    b"b": Machine.build,
    b"Q": Machine.push_persistent,
    b"0": Machine.pop,
    b"1": Machine.to_mark,
    b"2": Machine.copy_top,
    b"p": Machine.remember_line,
    b"q": _of(Machine.remember, 1),
    b"r": _of(Machine.remember, 4),
    b"\x94": Machine.remember_next,
    b"g": Machine.recall_line,
    b"h": _of(Machine.recall, 1),
    b"j": _of(Machine.recall, 4),
    b"\x80": _of(Machine.skip, 1),
    b"\x95": _of(Machine.skip, 8),
}
ACTIONS: dict[int, Action] = {opcode[0]: action for opcode, action in NAMED.items()}


def run(
    data: Buffer,
    start: int = 0,
    persistent: Persistent = refuse_persistent,
) -> tuple[Any, int]:
    """What the program at `start` makes, and the position after its end.

    persistent: what stands for a persistent id
    Raises UnreadableError, or whatever a damaged program leads to.
    """
    end = min(len(data), start + LARGEST)
    machine = Machine(data, start, end, persistent)
    while machine.position < end:
        code = data[machine.position]
        machine.position += 1
        if code == STOP:
            return machine.stack.pop(), machine.position
        action = ACTIONS.get(code)
        if action is None:
            raise UnreadableError(f"an opcode that no torch file has ({code:#04x})")
        action(machine)
    raise UnreadableError("its pickle has no end")
