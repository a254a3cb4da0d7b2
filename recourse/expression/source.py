"""The text of an expression as Python's parser reads it, and where each part of it stands."""

from __future__ import annotations

import ast
import keyword
import re
import warnings
from collections.abc import Collection

LONGEST = 10_000  # characters
DEEPEST = 100  # nested operations; a sum of terms nests once for each
LARGEST = 2_000  # operations, names and constants

_HINTS = (  # what other languages write, outside of quotes
    (r"&&?", "Write and."),
    (r"\|\|?", "Write or."),
    (r"!(?!=)", "Write not."),
    (r":=|=>|=<|(?<![=<>!])=(?!=)", "Write ==, <= or >= to compare."),
    (r"<>", "Write != for unequal."),
    (r"≤", "Write <=."),
    (r"≥", "Write >=."),
    (r"≠", "Write !=."),
)


class Refused(Exception):
    """What the language does not have, with where it begins."""

    def __init__(self, message: str, offset: int | None = None, *, unknown_name: bool = False) -> None:
        super().__init__(message)
        self.offset = offset
        self.unknown_name = unknown_name


class Source:
    """An expression's text, parsed.

    A name in backticks is any text; the parser sees a plain name of the same length in its place, so that what it says
    about columns stays true.
    """

    def __init__(self, text: str, names: Collection[str]) -> None:
        self.text = text
        self.names = names
        if not text.strip():
            raise Refused("is empty. Write an expression, such as income > 1000.")
        if len(text) > LONGEST:
            raise Refused(f"has {len(text)} characters, more than {LONGEST}. Split it.")
        source, self._bare = _plainly_named(text)
        self._indent = len(source) - len(source.lstrip())
        try:
            self._bytes = None if source.isascii() else source.strip().encode()
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # "\d" in a text, 1or 2
                self.tree = ast.parse(source.strip(), mode="eval").body
        except SyntaxError as error:
            raise self._not_python(error) from None
        except (ValueError, MemoryError, RecursionError):
            raise Refused("is nested too deeply, or has characters that no text has.") from None
        _measure(self.tree)

    def begin(self, node: ast.AST) -> int:
        """Return where a part begins in the text."""
        return self._offset(node.col_offset)  # type: ignore[attr-defined]

    def end(self, node: ast.AST) -> int:
        """Return where a part ends in the text."""
        return self._offset(node.end_col_offset)  # type: ignore[attr-defined]

    def written(self, node: ast.AST) -> str:
        """Return a part as it is written."""
        return self.text[self.begin(node) : self.end(node)]

    def fault(self, node: ast.AST, message: str) -> Refused:
        """Return an error about a part."""
        return Refused(message, self.begin(node))

    def name(self, node: ast.AST, written: str) -> tuple[str, bool]:
        """Return a name as it is written (the parser itself would change some letters), and whether in backticks."""
        if "`" not in written:
            return written, False
        if written.count("`") != 2 or written[0] != "`" or written[-1] != "`":
            raise self.fault(node, f"{written} is not one name. Put an operator between its parts.")
        return written[1:-1], True

    def hint_at_backticks(self) -> str:
        """Name a feature that stands in the text without the backticks that it needs."""
        for name in self.names:
            plain = name.isidentifier() and not keyword.iskeyword(name)
            if not plain and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", self._bare):
                return f" The feature {name!r} is written in backticks: `{name}`."
        return ""

    def _offset(self, column: int) -> int:
        """Return a place in the text for one in the parser's bytes."""
        return self._indent + (column if self._bytes is None else len(self._bytes[:column].decode()))

    def _not_python(self, error: SyntaxError) -> Refused:
        for pattern, hint in _HINTS:
            found = re.search(pattern, self._bare)
            if found:
                return Refused(f"{found[0]} is not part of the language. {hint}", found.start())
        offset = None if error.offset is None else self._indent + max(error.offset - 1, 0)
        if "integer string conversion" in error.msg:
            return Refused("a number has too many digits.", offset)
        return Refused(f"is not an expression: {error.msg}.{self.hint_at_backticks()}", offset)


def _plainly_named(text: str) -> tuple[str, str]:
    """Return the text with a plain name for each in backticks, and the same without what stands in quotes."""
    source, bare, at = list[str](), list[str](), 0
    while at < len(text):
        character, end = text[at], at + 1
        blank = False
        if character in "'\"":
            while end < len(text) and text[end] != character:
                end += 2 if text[end] == "\\" else 1
            end, blank = min(end + 1, len(text)), True
            source.append(text[at:end])
        elif character == "`":
            end, blank = text.find("`", at + 1) + 1, True
            if end == 0:
                raise Refused("the backtick ` is not closed.", at)
            if end - at == 2:
                raise Refused("there is no name between the backticks.", at)
            source.append("_" * (end - at))
        elif character == "#":
            raise Refused("# has no meaning. Put remarks outside of the quotes.", at)
        else:
            source.append(" " if character.isspace() else character)
        bare.append(" " * (end - at) if blank else source[-1])
        at = end
    return "".join(source), "".join(bare)


def _measure(tree: ast.expr) -> None:
    """Refuse what is too deep or too large to be walked through."""
    level: list[ast.AST] = [tree]
    total = depth = 0
    while level:
        depth, total = depth + 1, total + len(level)
        if depth > DEEPEST or total > LARGEST:
            size = "large" if total > LARGEST else "deep"
            limits = f"at most {LARGEST} names and operations, nested at most {DEEPEST} deep"
            raise Refused(f"is too {size}: {limits}. Put a part of it into a derived feature.")
        level = [child for node in level for child in ast.iter_child_nodes(node)]
