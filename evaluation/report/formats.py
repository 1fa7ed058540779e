"""Numbers for people: a missing one is a dash, never a zero."""

from __future__ import annotations

DASH = "–"  # noqa: RUF001 - the typographer's dash for an empty cell
MINUS = "−"  # noqa: RUF001 - as wide as the plus
TIMES = "×"  # noqa: RUF001


def percent(share: float | None, digits: int = 1) -> str:
    return DASH if share is None else _minus(f"{100 * share:.{digits}f} %")


def decimal(value: float | None, digits: int = 3) -> str:
    return DASH if value is None else _minus(f"{value:.{digits}f}")


def signed(value: float | None, digits: int = 3) -> str:
    return DASH if value is None else _minus(f"{value:+.{digits}f}")


def count(value: float | None) -> str:
    """A whole number in groups of three digits."""
    return DASH if value is None else f"{value:,.0f}"


def times(ratio: float | None) -> str:
    return DASH if ratio is None else f"{ratio:.1f}{TIMES}"


def seconds(value: float | None) -> str:
    """Time in the unit that suits it: ``812 µs``, ``31.2 ms``, ``1.08 s``, ``4 min 05 s``."""
    if value is None:
        return DASH
    if value >= 120:
        return f"{int(value // 60)} min {int(value % 60):02d} s"
    if value >= 1:
        return f"{value:.2f} s"
    return f"{value * 1e3:.3g} ms" if value >= 1e-3 else f"{value * 1e6:.0f} µs"


def bytes_(value: float | None) -> str:
    """Memory in binary units, as the operating system counts it."""
    if value is None:
        return DASH
    return f"{value / 2**30:.2f} GiB" if value >= 2**30 else f"{value / 2**20:.0f} MiB"


def interval(low: float | None, high: float | None, digits: int = 3, scale: float = 1.0) -> str:
    """``low to high``; empty where it is not known."""
    if low is None or high is None:
        return ""
    return _minus(f"{scale * low:.{digits}f} to {scale * high:.{digits}f}")


def words(name: str, most: int = 60) -> str:
    """A code as words, printable and not too long, whoever made it."""
    text = "".join(letter if letter.isprintable() else " " for letter in name.replace("_", " "))
    return text if len(text) <= most else f"{text[: most - 1]}…"


def excerpt(text: str, most: int = 300) -> str:
    """A caption as it may stand in a table: its beginning, with its length where that is not all."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text[:most])
    return shown if len(text) <= most else f"{shown}… ({len(text):,} characters)"


def hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds / 60:,.1f} min"


def _minus(text: str) -> str:
    return text.replace("-", MINUS)
