"""Keys: from a wire body to the name of its answer. Pure functions; see `rules` for the tables."""

from .explain import component_differences, components, differences, similarity
from .request import KEY_VERSION, Request, key_of_identity, normalize_endpoint
from .rules import DEFAULT_RULES, OPT_IN, TABLES, KeyRules, Verdict
from .secrets import has_secret_url

__all__ = [
    "DEFAULT_RULES",
    "KEY_VERSION",
    "OPT_IN",
    "TABLES",
    "KeyRules",
    "Request",
    "Verdict",
    "component_differences",
    "components",
    "differences",
    "has_secret_url",
    "key_of_identity",
    "normalize_endpoint",
    "similarity",
]
