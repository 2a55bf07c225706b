"""A list of models to look up by name; the one that is built in comes from `catalog.json`.

Its figures are those of genai-prices 0.2.3, of LiteLLM 1.109.1's list (both MIT) and of
tiktoken 0.14.0, put together by `tests/models/make_catalog.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ..types._json import Json
from .profile import ModelProfile

__all__ = ["BUILT_IN", "ModelRegistry"]

# What a provider's name may be called elsewhere.
_ALSO: Final = {
    "gemini": "google",
    "moonshot": "moonshotai",
    "together_ai": "together",
    "xai": "x-ai",
    "z-ai": "zai",
}
_DATE: Final = re.compile(r"(-\d{4}-\d{2}-\d{2}|[-@]\d{8}|-latest)$")
_TUPLES: Final = frozenset({"reads", "reasoning_efforts"})


class ModelRegistry:
    """Profiles by name. A value: it never changes, and `extended` returns another."""

    def __init__(self, profiles: Iterable[type[ModelProfile]] = ()) -> None:
        """Hold `profiles`; of two with the same provider and name the later one."""
        held = {(one.provider, one.model_name): one for one in profiles}
        self._profiles: tuple[type[ModelProfile], ...] = tuple(held.values())
        self._set = frozenset(self._profiles)
        self._names: dict[str, type[ModelProfile]] = {}
        for profile in self._profiles:
            # A bare name is its maker's, who stands before those that only serve the model.
            self._names.setdefault(profile.model_name, profile)
            if profile.provider:
                self._names[f"{profile.provider}/{profile.model_name}"] = profile

    def __iter__(self) -> Iterator[type[ModelProfile]]:
        """Yield every profile."""
        return iter(self._profiles)

    def __len__(self) -> int:
        """Return the number of profiles."""
        return len(self._profiles)

    def __contains__(self, profile: object) -> bool:
        """Return whether this very profile is held."""
        return profile in self._set

    def __repr__(self) -> str:
        """Return the number of profiles."""
        return f"<{type(self).__name__} of {len(self)} models>"

    def extended(self, *profiles: type[ModelProfile]) -> ModelRegistry:
        """Return a registry of these and `profiles`, which come first."""
        own = ModelRegistry(profiles)
        names = {(one.provider, one.model_name) for one in own}
        rest = [one for one in self if (one.provider, one.model_name) not in names]
        return ModelRegistry([*own, *rest])

    def find(self, name: str) -> type[ModelProfile] | None:
        """Return the profile that `name` means, or `None`; see `ModelProfile.get`."""
        provider, _, rest = name.partition("/")
        if provider in _ALSO:
            name = f"{_ALSO[provider]}/{rest}"
        undated = _DATE.sub("", name)
        for candidate in (name, undated, undated.partition(":")[0]):
            found = self._names.get(candidate)
            if found is not None:
                return found
        return None

    def names(self) -> list[str]:
        """Return every name under which a profile is found."""
        return sorted(self._names)


def _built_in() -> ModelRegistry:
    catalog = json.loads(Path(__file__).with_name("catalog.json").read_text(encoding="utf-8"))
    return ModelRegistry(
        _profile(provider, name, facts)
        for provider, models in catalog.items()
        for name, facts in models.items()
    )


def _profile(provider: str, name: str, facts: Mapping[str, Json]) -> type[ModelProfile]:
    fields: dict[str, Any] = {"model_name": name, "provider": provider}
    for field, value in facts.items():
        if field == "rejects":
            fields[field] = frozenset(value)
        elif field != "class":
            fields[field] = tuple(value) if field in _TUPLES else value
    title = facts.get("class") or re.sub(r"[^0-9A-Za-z]+", "_", name)
    own = {"__module__": __name__, "__doc__": f"`{name}` of {provider}."}
    return type(title, (ModelProfile,), {**own, **fields})


BUILT_IN: Final = _built_in()
"""The models that were current in November 2026, and their figures where they are published."""
