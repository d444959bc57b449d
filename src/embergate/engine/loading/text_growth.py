"""By how much a chain of normalizers may lengthen a text at most: reckoned from its end, for each character that it names."""

from __future__ import annotations

from typing import Final

# ALBERT's has 2,904: NFKD, then a map of SentencePiece, then a mark before each word. No text gets near it.
MAX_GROWTH: Final = 4096
# Beyond this it is only said to be more.
FAR_TOO_MUCH: Final = 1 << 40


class TextGrowth:
    """How many bytes a byte that enters the chain becomes at most. Steps are told from the last to the first."""

    def __init__(self) -> None:
        """Begin behind the last step."""
        self._other = 1.0  # a byte of any character that no step names
        self._bytes_of: dict[str, float] = {}  # a whole character that some step names

    def most(self) -> int:
        """Return the most that any text is multiplied by, rounded up."""
        named = max((size / len(_utf8(character)) for character, size in self._bytes_of.items()), default=0.0)
        return int(-(-max(self._other, named) // 1))

    def times(self, factor: int) -> None:
        """Tell of a step that may make `factor` bytes of any byte, and whichever characters."""
        if factor > 1:
            self._other = float(min(self.most() * factor, FAR_TOO_MUCH))
            self._bytes_of.clear()

    def replace(self, literal: str, content: str) -> None:
        """Tell of a step that puts `content` for each `literal`; what that becomes counts for the literal's own bytes."""
        share = self._size_of(content) / len(_utf8(literal))
        for character in set(literal):
            kept = self._bytes_of.get(character, self._other * len(_utf8(character)))
            self._bytes_of[character] = min(max(kept, share * len(_utf8(character))), FAR_TOO_MUCH)

    def replace_all(self, content: str) -> None:
        """Tell of a step that puts `content` for what a pattern finds, a byte at least."""
        size = self._size_of(content)
        self._other = max(self._other, size)
        self._bytes_of = {character: max(known, size) for character, known in self._bytes_of.items()}

    def prepend(self, content: str) -> None:
        """Tell of a step that puts `content` before each piece of a text, of a byte at least."""
        size = self._size_of(content)
        self._other += size
        self._bytes_of = {character: known + size for character, known in self._bytes_of.items()}

    def _size_of(self, text: str) -> float:
        sizes = (self._bytes_of.get(character, self._other * len(_utf8(character))) for character in text)
        return min(sum(sizes), FAR_TOO_MUCH)


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
