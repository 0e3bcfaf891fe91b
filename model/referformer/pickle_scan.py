"""List what a pickle looks up, from its opcodes, without executing any; and refuse pickles that are bombs.

The stack and the memo of the unpickler are followed exactly, by the effects that the standard library documents for
each opcode, so that no detour hides a name. Values are words, numbers and tuples of these; any other is None.
"""

import pickletools
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

MAX_OPERATIONS = 2**19  # each may make an object of hundreds of bytes; published files need about a fifth of them
MAX_DEPTH = 200  # of values in values; the hash of a deep tuple would end the process
CHANGED = {"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"}  # of these, the first operand stays


class _Value(NamedTuple):
    depth: int
    content: Any


MARK = _Value(0, object())


BYTES = {  # of a number in a storage of this type
    f"torch {name}Storage": size
    for size, names in {
        8: ("Double", "Long"),
        4: ("Float", "Int"),
        2: ("Half", "BFloat16", "Short"),
        1: ("Char", "Byte", "Bool"),
    }.items()
    for name in names
}


def scan(file: BinaryIO, most_numbers: int, size_of: Callable[[str], int] | None = None) -> set[str]:
    """Return `module.name` of everything that one pickle looks up, and read to its end.

    most_numbers: limit for the length of a storage that the pickle names. size_of: returns the bytes of the record of a
    storage by its key, where each has its own; raises RuntimeError if there is none. Raises ValueError if the bytes are
    not a pickle, or exceed a limit.
    """
    names = set[str]()
    stack: list[_Value] = []
    memo: dict[int, _Value] = {}
    operations: Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]] = pickletools.genops(file)
    for count, (opcode, arg, _) in enumerate(operations):
        if count > MAX_OPERATIONS:
            raise ValueError(f"more than {MAX_OPERATIONS} operations")
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if opcode.name == "MEMOIZE" else arg] = _pop(stack, 1, keep=True)[0]
            continue
        taken = _take(opcode, stack)
        if opcode.name in ("GLOBAL", "INST"):
            names.add(arg.replace(" ", ".", 1))
        elif opcode.name == "STACK_GLOBAL":
            names.add(".".join(value.content if isinstance(value.content, str) else "?" for value in taken))
        elif opcode.name.startswith("EXT"):
            names.add(f"copyreg extension {arg}")
        elif opcode.name == "BINPERSID":
            _check_storage(taken[0].content, most_numbers, size_of)
        if opcode.name == "MARK":
            stack.append(MARK)
        elif opcode.name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo.get(arg, _Value(0, None)))
        else:
            stack += [_result(opcode.name, arg, taken)] * len(opcode.stack_after)
    return names


def _take(opcode: pickletools.OpcodeInfo, stack: list[_Value]) -> list[_Value]:
    """Remove from the stack what an opcode consumes."""
    before = opcode.stack_before
    if pickletools.markobject not in before:
        return _pop(stack, len(before))
    # From the end: what is passed over is removed, so that all searches together take linear time.
    mark = next((place for place in reversed(range(len(stack))) if stack[place] is MARK), None)
    if mark is None:
        raise ValueError("no mark on the stack")
    sliced = stack[mark + 1 :]
    del stack[mark:]
    return _pop(stack, before.index(pickletools.markobject)) + sliced


def _pop(stack: list[_Value], count: int, *, keep: bool = False) -> list[_Value]:
    if count > len(stack):
        raise ValueError("the stack is empty")
    found = stack[len(stack) - count :]
    if not keep:
        del stack[len(stack) - count :]
    return found


def _result(name: str, arg: object, taken: list[_Value]) -> _Value:
    """Return what an opcode leaves on the stack."""
    if name == "DUP":
        return taken[0]
    inner = 1 + max((value.depth for value in taken[name in CHANGED :]), default=0)
    depth = max(inner, taken[0].depth) if name in CHANGED else inner
    if depth > MAX_DEPTH:
        raise ValueError(f"values are more than {MAX_DEPTH} deep")
    if name.startswith("TUPLE"):
        return _Value(depth, tuple(value.content for value in taken))
    return _Value(depth, arg if isinstance(arg, str | int) else None)


def _check_storage(content: Any, most_numbers: int, size_of: Callable[[str], int] | None) -> None:
    """Raise ValueError if a storage, ('storage', type, key, device, numbers, ...), exceeds its file or its record.

    torch maps a storage from where its record begins, and would read on into the records behind a shorter one.
    """
    values: tuple[Any, ...] = content if isinstance(content, tuple) and len(content) > 4 else (None,) * 5
    _, kind, key, _, numbers = values[:5]
    if not isinstance(numbers, int) or not 0 <= numbers <= most_numbers:
        raise ValueError(f"a storage of {numbers} numbers in a file of {most_numbers} bytes")
    if size_of is None:
        return
    if kind in BYTES and numbers * BYTES[kind] > (size := size_of(str(key))):
        raise ValueError(f"a storage of {numbers} numbers in a record of {size} bytes")
