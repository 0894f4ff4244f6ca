"""The queue in front of the engine: bounded, and fair between clients."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["FairQueue"]

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """Clients take turns; each client's own items keep their order.

    >>> queue = FairQueue()
    >>> for client, item in (("a", 1), ("a", 2), ("a", 3), ("b", 4)): queue.push(client, item)
    >>> [queue.pop() for _ in range(len(queue))]
    [1, 4, 2, 3]
    """

    def __init__(self) -> None:
        self._clients: OrderedDict[str, deque[Item]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._clients.values()))

    def __iter__(self) -> Iterator[Item]:
        return (item for items in self._clients.values() for item in items)

    def push(self, client: str, item: Item) -> None:
        """Add an item at the end of its client's own queue."""
        self._clients.setdefault(client, deque()).append(item)

    def peek(self) -> Item:
        """The next item, which stays; it keeps its turn until it is popped."""
        return next(iter(self._clients.values()))[0]

    def pop(self) -> Item:
        """Take the next item; its client goes to the end of the line."""
        client, items = self._clients.popitem(last=False)
        item = items.popleft()
        if items:
            self._clients[client] = items
        return item

    def remove(self, client: str, item: Item) -> None:
        """Take an item out, wherever it stands."""
        items = self._clients[client]
        items.remove(item)
        if not items:
            del self._clients[client]
