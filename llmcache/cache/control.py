"""What one call may do with the cache: two bits and a mode, in one table.

arguments                  reads  calls the provider  writes
cache_response=False       no     yes                 no
cache_response=True        yes    on a miss           on a miss
+ regen_cache=True         no     yes                 as a further sample of the same request
+ rewrite_cache=True       no     yes                 replaces what plain hits return
mode="offline"             yes    never               no
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..backends.base import check_collection
from ..errors import InvalidRequestError
from ..keys.canonical import locate
from ..options import Replay

__all__ = ["CachePolicy", "Control"]

_MAX_SAMPLES: Final = 1_000
_PACES: Final[tuple[Replay, ...]] = ("instant", "recorded")


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """Defaults for every call; see `ControlOptions` for those a call may override.

    - `ttl`: seconds an answer stays fresh; `None` is for ever.
    - `store_request`: keep the canonical request with the answer, so that `explain`
      and `export` can show it. Without, only digests of its parts are kept; so it is
      for a request with a credential in a URL.
    - `store_truncated`: store answers that were cut by their length limit.
    - `store_refusals`: store what a model refused to answer, or a content filter cut.
    - `store_paused`: store turns in which the model wants to be asked to go on
      (Anthropic's `pause_turn`).
    - `drain_streams`: when everybody stops reading a stream early, read on behind
      and store it, instead of closing it.
    """

    ttl: float | None = None
    max_age: float | None = None
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0
    store_request: bool = True
    store_truncated: bool = False
    store_refusals: bool = False
    store_paused: bool = False
    drain_streams: bool = False

    def __post_init__(self) -> None:
        for name in ("ttl", "max_age", "stale_while_revalidate", "stale_if_error"):
            _seconds(name, getattr(self, name))


@dataclass(frozen=True, slots=True)
class Control:
    """One call's row of the table, with the numbers that go with it."""

    collection: str
    reads: bool
    calls: bool
    writes: bool
    adds_sample: bool = False
    replaces: bool = False
    sample: int = 0
    samples: int | None = None
    ttl: float | None = None
    max_age: float | None = None
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0
    store_truncated: bool = False
    store_refusals: bool = False
    store_paused: bool = False
    tags: tuple[str, ...] = ()
    replay: Replay = "instant"

    @property
    def has_grace(self) -> bool:
        """Whether an answer past its time may still serve."""
        return self.stale_while_revalidate > 0 or self.stale_if_error > 0

    @property
    def is_plain(self) -> bool:
        """Whether the call may share an answer in flight with its equals."""
        return self.reads and self.writes

    @classmethod
    def of(cls, options: Mapping[str, Any], policy: CachePolicy, collection: str) -> Control:
        """Return the control that a call's options ask for.

        Raises:
            InvalidRequestError: an option out of range, or two that exclude each other.
            ConfigurationError: a collection name that cannot be one.
        """
        cached = bool(options.get("cache_response", False))
        mode = options.get("mode") or "auto"
        if mode not in ("auto", "offline"):
            raise InvalidRequestError("mode", f"must be 'auto' or 'offline', not {mode!r}")
        offline = mode == "offline"
        regen = cached and bool(options.get("regen_cache"))
        rewrite = cached and bool(options.get("rewrite_cache"))
        samples = options.get("samples")
        _check_combination(offline=offline, regen=regen, rewrite=rewrite, samples=samples)
        return cls(
            collection=check_collection(_default(options, "cache_collection", collection)),
            reads=offline or (cached and not regen and not rewrite),
            calls=not offline,
            writes=cached and not offline,
            adds_sample=regen,
            replaces=rewrite,
            sample=_whole("sample", options.get("sample") or 0, 0),
            samples=None if samples is None else _whole("samples", samples, 1),
            ttl=_option(options, "ttl", policy.ttl),
            max_age=_option(options, "max_age", policy.max_age),
            stale_while_revalidate=_option(
                options, "stale_while_revalidate", policy.stale_while_revalidate
            )
            or 0.0,
            stale_if_error=_option(options, "stale_if_error", policy.stale_if_error) or 0.0,
            store_truncated=bool(_default(options, "store_truncated", policy.store_truncated)),
            store_refusals=bool(_default(options, "store_refusals", policy.store_refusals)),
            store_paused=bool(_default(options, "store_paused", policy.store_paused)),
            tags=_tags(options.get("tags") or ()),
            replay=_replay(_default(options, "replay", "instant")),
        )


def _check_combination(*, offline: bool, regen: bool, rewrite: bool, samples: object) -> None:
    if regen and rewrite:
        raise InvalidRequestError("regen_cache", "excludes rewrite_cache: add a sample or replace")
    if offline and (regen or rewrite):
        name = "regen_cache" if regen else "rewrite_cache"
        raise InvalidRequestError(name, "needs a call, which mode='offline' forbids")
    if samples is not None and (regen or rewrite):
        raise InvalidRequestError("samples", "tops up what is missing; leave regen and rewrite out")


def _default(options: Mapping[str, Any], name: str, default: Any) -> Any:
    value = options.get(name)
    return default if value is None else value


def _option(options: Mapping[str, Any], name: str, default: float | None) -> float | None:
    value = options.get(name)
    return default if value is None else _seconds(name, value)


def _seconds(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise InvalidRequestError(name, f"must be a number of seconds, not {value!r}")
    try:
        return float(value)
    except OverflowError:
        raise InvalidRequestError(name, "is above every float; inf is for ever") from None


def _whole(name: str, value: Any, least: int) -> int:
    if type(value) is not int or not least <= value <= _MAX_SAMPLES:
        reason = f"must be a whole number from {least} to {_MAX_SAMPLES}, not {value!r}"
        raise InvalidRequestError(name, reason)
    return value


def _tags(tags: Any) -> tuple[str, ...]:
    found = None if isinstance(tags, str) or not isinstance(tags, Iterable) else tuple(tags)
    if found is None or not all(isinstance(tag, str) and tag for tag in found):
        raise InvalidRequestError("tags", "must be a list of non-empty strings")
    wrong = locate(found, "tags")
    if wrong is not None:
        raise wrong
    return found


def _replay(replay: Any) -> Replay:
    for chosen in _PACES:
        if replay == chosen:
            return chosen
    if isinstance(replay, bool) or not isinstance(replay, int | float) or not replay > 0:
        reason = f"must be 'instant', 'recorded' or a speed above 0, not {replay!r}"
        raise InvalidRequestError("replay", reason)
    return float(replay)
