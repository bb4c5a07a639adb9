"""Find a literal of (key, value) entries by the name it is assigned to, and edit single entries of it."""

import ast
from collections.abc import Callable, Mapping

from codegen.edits.splice import line_starts, splice
from codegen.errors import Location, Problem, SpecError
from codegen.frozen import Frozen

_WIDTH = 120


class Entry(Frozen):
    """One entry. `start` and `end` are byte offsets; `value` holds its leading strings, () if it is something else."""

    key: str
    value: tuple[str, ...]
    start: int
    end: int
    location: Location


class Literal(Frozen):
    """The literal `name = OrderedDict([...])` or `name = {...}` of one file, each entry on its own lines."""

    name: str
    data: bytes
    pairs: bool  # a list of pairs; else a dict
    entries: tuple[Entry, ...]
    span: tuple[int, int]  # from behind the opening bracket to before the closing one
    indent: int  # of entries
    newline: bytes


def find(data: bytes, path: str, name: str, *, pairs: bool) -> Literal:
    """Locate the literal.

    Raises:
        SpecError: the file does not parse, or the literal is missing, there twice or of another shape.
    """
    try:
        data.decode()
        tree = ast.parse(data)
    except (SyntaxError, ValueError) as error:
        line, column = (getattr(error, "lineno", None) or 1, getattr(error, "offset", None) or 1)
        raise _refusal(path, line, column, name, f"the file does not parse ({error})", "correct it") from error
    return _Finder(data, path, name, pairs).find(tree)


def edit(literal: Literal, wanted: Mapping[str, tuple[str, str]], drop: Callable[[Entry], bool]) -> bytes:
    """The file's content with every wanted entry set, at its sorted place if it is new, and others dropped by `drop`.

    An entry whose first two strings are as wanted stays byte for byte, whatever follows them.
    """
    replacements: list[tuple[int, int, bytes]] = []
    kept: list[Entry] = []
    for entry in literal.entries:
        value = wanted.get(entry.key)
        if value is None and drop(entry):
            replacements.append(_removal(literal, entry))
            continue
        kept.append(entry)
        if value is not None and entry.value[:2] != value:
            text = _format(literal, entry.key, value)
            replacements.append((entry.start, entry.end, text.encode()))
    new = sorted(set(wanted) - {entry.key for entry in literal.entries})
    return splice(literal.data, [*replacements, *_insertions(literal, kept, {key: wanted[key] for key in new})])


class _Finder:
    def __init__(self, data: bytes, path: str, name: str, pairs: bool) -> None:
        self.data, self.path, self.name, self.pairs = data, path, name, pairs
        self.starts = line_starts(data)
        self.shape = f"{name} = OrderedDict([...])" if pairs else f"{name} = {{...}}"

    def find(self, tree: ast.Module) -> Literal:
        found = [node for node in tree.body if self.name in _assigned(node)]
        if not found:
            raise _refusal(self.path, 1, 1, self.name, "is not assigned in this file", f"add `{self.shape}`")
        if len(found) > 1:
            raise self.refuse(found[1], "is assigned twice", "keep one assignment")
        value = found[0].value if isinstance(found[0], ast.Assign | ast.AnnAssign) else None
        container = self.container(value)
        if container is None:
            raise self.refuse(value or found[0], "has a shape that cannot be edited", f"write it as `{self.shape}`")
        return self.literal(found[0], container)

    def container(self, value: ast.expr | None) -> ast.List | ast.Dict | None:
        if not self.pairs:
            return value if isinstance(value, ast.Dict) else None
        if not isinstance(value, ast.Call) or len(value.args) != 1 or value.keywords:
            return None
        called = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", None)
        argument = value.args[0]
        return argument if called == "OrderedDict" and isinstance(argument, ast.List) else None

    def literal(self, statement: ast.stmt, container: ast.List | ast.Dict) -> Literal:
        entries = self.entries(container)
        span = (self.offset(container.lineno, container.col_offset) + 1, self.end(container) - 1)
        self.check_lines(container, entries)
        newline = b"\r\n" if b"\r\n" in self.data[: self.starts[1]] else b"\n"
        indent = statement.col_offset + (8 if self.pairs else 4)
        if entries:
            indent = entries[0].location.column - 1
        return Literal(self.name, self.data, self.pairs, tuple(entries), span, indent, newline)

    def entries(self, container: ast.List | ast.Dict) -> list[Entry]:
        if isinstance(container, ast.Dict):
            nodes = [
                self.pair(key, value, key or value, value)
                for key, value in zip(container.keys, container.values, strict=True)
            ]
        else:
            nodes = [self.element(element) for element in container.elts]
        seen: set[str] = set()
        for entry in nodes:
            if entry.key in seen:
                where = entry.location
                raise _refusal(self.path, where.line, where.column, self.name, f"has {entry.key!r} twice", "keep one")
            seen.add(entry.key)
        return nodes

    def element(self, node: ast.expr) -> Entry:
        if isinstance(node, ast.Tuple) and len(node.elts) == 2:
            return self.pair(node.elts[0], node.elts[1], node, node)
        raise self.refuse(node, "has an entry that is no (key, value) pair", "write it as a pair")

    def pair(self, key: ast.expr | None, value: ast.expr, first: ast.expr, last: ast.expr) -> Entry:
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
            raise self.refuse(first, "has an entry whose key is not a string", "write the key as a string literal")
        strings: list[str] = []
        for item in value.elts if isinstance(value, ast.Tuple) else []:
            if not isinstance(item, ast.Constant) or not isinstance(item.value, str):
                break
            strings.append(item.value)
        start, end = self.offset(first.lineno, first.col_offset), self.end(last)
        return Entry(key.value, tuple(strings), start, end, Location(self.path, first.lineno, first.col_offset + 1))

    def check_lines(self, container: ast.List | ast.Dict, entries: list[Entry]) -> None:
        """Every entry starts a line, and so does the closing bracket: only then can whole lines come and go."""
        cure = "put every entry on lines of its own (with a comma after the last, black does it)"
        for entry in entries:
            if self.data[self.starts[entry.location.line - 1] : entry.start].strip():
                where = entry.location
                raise _refusal(self.path, where.line, where.column, self.name, "has entries that share a line", cure)
        closing = self.end(container) - 1
        line = container.end_lineno or container.lineno
        if entries and self.data[self.starts[line - 1] : closing].strip():
            raise self.refuse(container, "has an entry on the line of its closing bracket", cure)

    def offset(self, line: int, column: int) -> int:
        bom = 3 if line == 1 and self.data.startswith(b"\xef\xbb\xbf") else 0
        return self.starts[line - 1] + column + bom

    def end(self, node: ast.expr) -> int:
        assert node.end_lineno is not None and node.end_col_offset is not None  # ast.parse sets them
        return self.offset(node.end_lineno, node.end_col_offset)

    def refuse(self, node: ast.stmt | ast.expr, message: str, cure: str) -> SpecError:
        return _refusal(self.path, node.lineno, node.col_offset + 1, self.name, message, cure)


def _assigned(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Assign):
        targets: list[ast.expr] = node.targets
    elif isinstance(node, ast.AnnAssign | ast.AugAssign):
        targets = [node.target]
    else:
        return []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _refusal(path: str, line: int, column: int, name: str, message: str, cure: str) -> SpecError:
    return SpecError([Problem(Location(path, line, column), name, message, cure)])


def _removal(literal: Literal, entry: Entry) -> tuple[int, int, bytes]:
    """The entry's lines, with the comma and the comment behind it."""
    start = literal.data.rfind(b"\n", 0, entry.start) + 1
    end = literal.data.find(b"\n", entry.end) + 1
    return start, end or len(literal.data), b""


def _insertions(
    literal: Literal, kept: list[Entry], new: Mapping[str, tuple[str, str]]
) -> list[tuple[int, int, bytes]]:
    if not new:
        return []
    if not literal.entries and literal.data[slice(*literal.span)].strip() == b"":
        return [_first_entries(literal, new)]
    result: list[tuple[int, int, bytes]] = []
    for key, value in new.items():
        line = b" " * literal.indent + _format(literal, key, value).encode() + b"," + literal.newline
        before = [entry for entry in kept if entry.key < key]
        follower = next((entry for entry in kept if entry.key > key), None)
        last = before[-1] if follower is None and before else None
        at = _line_after(literal, last) if follower is None else _place_before(literal, kept, follower)
        result.append((at, at, line))
    return [*_missing_comma(literal, kept, result), *result]


def _place_before(literal: Literal, kept: list[Entry], follower: Entry) -> int:
    """Behind the entry that stands before `follower`, so that comments above `follower` stay with it."""
    position = kept.index(follower)
    return _line_after(literal, kept[position - 1] if position else None)


def _line_after(literal: Literal, entry: Entry | None) -> int:
    """The start of the line behind an entry, or behind the opening bracket."""
    at = literal.span[0] if entry is None else entry.end
    return literal.data.find(b"\n", at) + 1


def _missing_comma(
    literal: Literal, kept: list[Entry], insertions: list[tuple[int, int, bytes]]
) -> list[tuple[int, int, bytes]]:
    """A comma behind the last kept entry, if it has none and something follows it now."""
    if not kept or not any(at >= kept[-1].end for at, _, _ in insertions):
        return []
    rest = literal.data[kept[-1].end : literal.span[1]]
    has_comma = any(line.split(b"#")[0].strip().startswith(b",") for line in rest.splitlines())
    return [] if has_comma else [(kept[-1].end, kept[-1].end, b",")]


def _first_entries(literal: Literal, new: Mapping[str, tuple[str, str]]) -> tuple[int, int, bytes]:
    """Fill a literal that was empty, laid out as black does: a list moves to lines of its own inside its call."""
    newline, (start, end) = literal.newline, literal.span
    outer = b" " * (literal.indent - 4)
    lines = b"".join(b" " * literal.indent + _format(literal, key, new[key]).encode() + b"," + newline for key in new)
    if literal.pairs and literal.data[:start].endswith(b"(["):
        closing = newline + outer[4:] if literal.data[end + 1 :].startswith(b")") else b""
        return start - 1, end + 1, newline + outer + b"[" + newline + lines + outer + b"]" + closing
    return start, end, newline + lines + outer


def _format(literal: Literal, key: str, value: tuple[str, str]) -> str:
    """One entry without its comma, broken over lines as black does where it is too long."""
    module, name = value
    indent, newline = literal.indent, literal.newline.decode()
    pair = f'("{module}", "{name}")'
    one_line = f'("{key}", {pair})' if literal.pairs else f'"{key}": {pair}'
    if indent + len(one_line) + 1 <= _WIDTH:
        return one_line
    deep = " " * (indent + 4)
    if not literal.pairs:
        return newline.join([f'"{key}": (', f'{deep}"{module}",', f'{deep}"{name}",', " " * indent + ")"])
    if indent + 4 + len(pair) + 1 > _WIDTH:
        pair = newline.join(["(", f'{deep}    "{module}",', f'{deep}    "{name}",', f"{deep})"])
    return newline.join(["(", f'{deep}"{key}",', f"{deep}{pair},", " " * indent + ")"])
