"""What the server counts, in Prometheus' text format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from hortus.serving.engine import Engine

__all__ = ["Metrics"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Counters of one server; each server has a registry of its own.

    >>> metrics = Metrics()
    >>> metrics.finished("stop", new_tokens=3, seconds=0.1)
    >>> b'hortus_texts_total{reason="stop"} 1.0' in metrics.text()
    True
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._texts = Counter("hortus_texts", "Texts that ended, by reason", ["reason"], registry=registry)
        self._refused = Counter("hortus_refused", "Requests refused by a full queue", registry=registry)
        self._answers = Counter("hortus_answers", "HTTP answers", ["path", "status"], registry=registry)
        self._new = Counter("hortus_new_tokens", "Tokens written", registry=registry)
        self._prompt = Counter("hortus_prompt_tokens", "Tokens of prompts", registry=registry)
        self._reused = Counter("hortus_reused_tokens", "Prompt tokens found in the cache", registry=registry)
        self._first = Histogram(
            "hortus_first_token_seconds", "Time to the first token", buckets=_SECONDS, registry=registry
        )
        self._next = Histogram(
            "hortus_next_token_seconds", "Time between tokens", buckets=_SECONDS, registry=registry
        )
        self._whole = Histogram(
            "hortus_text_seconds", "Time of a whole text", buckets=_SECONDS, registry=registry
        )

    def watch(self, engine: Engine) -> None:
        """Report the engine's state whenever the metrics are read."""
        pool = engine.pool
        for name, meaning, read in (
            ("running_texts", "Texts being written", lambda: len(engine.running)),
            ("waiting_texts", "Texts waiting", lambda: len(engine.waiting)),
            ("cache_blocks", "Cache blocks", lambda: pool.num_blocks),
            ("cache_blocks_held", "Cache blocks held by texts", lambda: pool.held),
            ("cache_blocks_remembered", "Cache blocks kept for reuse", lambda: pool.remembered),
        ):
            Gauge(f"hortus_{name}", meaning, registry=self.registry).set_function(read)

    def admitted(self, prompt_tokens: int, reused_tokens: int) -> None:
        """A text got its cache blocks."""
        self._prompt.inc(prompt_tokens)
        self._reused.inc(reused_tokens)

    def token(self, seconds: float, *, first: bool) -> None:
        """A token was chosen, so long after the one before it or, the first one, after the request."""
        (self._first if first else self._next).observe(seconds)

    def finished(self, reason: str, new_tokens: int, seconds: float) -> None:
        """A text ended."""
        self._texts.labels(reason).inc()
        self._new.inc(new_tokens)
        self._whole.observe(seconds)

    def refused(self) -> None:
        """A request found the queue full."""
        self._refused.inc()

    def answered(self, path: str, status: int) -> None:
        """An HTTP answer began."""
        self._answers.labels(path, str(status)).inc()

    def text(self) -> bytes:
        """Everything, as /metrics gives it."""
        return generate_latest(self.registry)
