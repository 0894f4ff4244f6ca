"""Stop strings in text that arrives in pieces."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["StopScanner"]


class StopScanner:
    """Passes text on until a stop string is complete, wherever the pieces were cut.

    Text that may yet become a stop string is held back. The first stop string to be *completed* wins, the
    longest among those that end together, so the result does not depend on how the text was cut.

    >>> scanner = StopScanner(["END"])
    >>> [scanner.push(piece) for piece in ("one E", "N", "T E", "ND two")], scanner.stopped
    (['one ', '', 'ENT ', ''], True)
    """

    def __init__(self, stops: Sequence[str]):
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False

    def push(self, piece: str) -> str:
        """The text that is now certain; "" after a stop."""
        if self.stopped:
            return ""
        self._held += piece
        found = [(start + len(stop), start) for stop in self._stops if (start := self._held.find(stop)) >= 0]
        if found:
            _, start = min(found)
            self.stopped = True
            certain, self._held = self._held[:start], ""
            return certain
        keep = self._undecided()
        certain, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return certain

    def finish(self) -> str:
        """What was held back, once no more text can come."""
        rest, self._held = self._held, ""
        return rest

    def _undecided(self) -> int:
        """Length of the longest end of the held text that begins a stop string."""
        longest = max((len(stop) - 1 for stop in self._stops), default=0)
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stops):
                return length
        return 0
