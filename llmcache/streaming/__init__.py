"""Streams: the events of an answer (`events`), and what to do with them (`adapters`)."""

__all__: list[str] = []
