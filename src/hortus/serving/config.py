"""Settings of the server: where it listens, what it admits, how long anything may take."""

from __future__ import annotations

from dataclasses import dataclass

from hortus.errors import ConfigError

__all__ = ["ServingConfig"]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, kw_only=True)
class ServingConfig:
    """How a model is served.

    Raises:
        ConfigError: a value outside its range, or an address that others reach without a token.

    >>> ServingConfig(cache_megabytes=64).num_blocks(bytes_per_position=4096)
    1024
    """

    host: str = "127.0.0.1"
    """Address to listen on; any but this machine's own needs a token."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    token: str | None = None
    """Bearer token that every request must carry; none by default."""
    name: str | None = None
    """The model's name in the API; the folder's by default."""
    cache_megabytes: int = 1024
    """Memory for keys and values of all texts together, in MiB."""
    block_size: int = 16
    """Positions of a cache block, the unit of sharing and accounting."""
    max_running: int = 32
    """Texts that are written at the same time."""
    step_seconds: float = 0.02
    """A step that others wait for takes up prompt tokens for about so long."""
    max_queued: int = 256
    """Texts that may wait; above it requests get 429."""
    max_new_tokens: int = 2048
    """Most new tokens that a request may ask for."""
    max_choices: int = 16
    """Most texts of one request: prompts times n."""
    max_texts: int = 256
    """Most texts of one embedding request."""
    max_body_bytes: int = 2**20
    """Largest request body."""
    request_seconds: float = 300.0
    """After this a text ends with what it has, waiting time included."""
    grace_seconds: float = 30.0
    """How long running texts may go on once the server is asked to stop."""

    def __post_init__(self) -> None:
        above = (
            "cache_megabytes",
            "block_size",
            "max_running",
            "step_seconds",
            "max_queued",
            "max_new_tokens",
        )
        for name in (*above, "max_choices", "max_texts", "max_body_bytes", "request_seconds", "step_seconds"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name)!r}", allowed="above 0")
        if self.grace_seconds < 0:
            raise ConfigError(f"grace_seconds={self.grace_seconds}", allowed="0 or more")
        if not 0 <= self.port < 65536:
            raise ConfigError(f"port={self.port}", allowed="0 to 65535")
        if self.max_running > 64:
            raise ConfigError(f"max_running={self.max_running}", allowed="1 to 64")
        if self.token is not None and len(self.token) < 8:
            raise ConfigError("the token is shorter than 8 characters", do="use a long random one")
        if self.host not in _LOOPBACK and self.token is None:
            raise ConfigError(
                f"host={self.host!r} lets other machines in without a token",
                allowed=", ".join(_LOOPBACK),
                do="give a token, or HORTUS_TOKEN in the environment",
            )

    def num_blocks(self, bytes_per_position: int) -> int:
        """Blocks that fit the cache's memory, at least one."""
        return max(1, self.cache_megabytes * 2**20 // (bytes_per_position * self.block_size))
