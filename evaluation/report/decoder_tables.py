"""The light decoder's tables in the report."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from evaluation.report import formats
from evaluation.report.summary import Tree
from evaluation.report.tables import Format, Row, cell

COLUMNS = ["VAE's decoder", "light decoder", "ratio"]


def fidelity(tree: Tree) -> list[Row]:
    """How near the light decoder comes to the VAE's."""
    about: dict[str, tuple[str, str, Callable[..., str], int]] = {
        "psnr_db": ("PSNR", "dB, mean over clips; higher is nearer", formats.decimal, 2),
        "ssim": ("SSIM", "1 = the same", formats.decimal, 4),
        "flicker": ("Flicker", "excess over the VAE's, 0 to 1; below 0: smoother", formats.signed, 4),
    }
    rows = []
    for name, (label, note, form, digits) in about.items():
        found = tree["decoder"][name]
        between = formats.interval(found["low"], found["high"], digits)
        rows.append(Row(label, note, [cell(tree, f"decoder.{name}.value", partial(form, digits=digits), between)]))
    return rows


def cost(tree: Tree) -> list[Row]:
    """What the two decoders cost."""
    labels: dict[str, tuple[str, str, Format]] = {
        "params": ("Parameters", "", formats.count),
        "gflop": ("GFLOP", "one clip, counted", partial(formats.decimal, digits=3)),
        "decode_s": ("Decoding", "median, one clip, in turns", formats.seconds),
        "end_to_end_s": ("Student, prompt to pixels", "median, batch 1, in turns", formats.seconds),
    }
    rows = []
    for name, (label, note, write) in labels.items():
        cells = [cell(tree, f"decoder.{name}.{which}", write) for which in ("original", "light")]
        low, high = tree["decoder"]["ratio_ci"].get(name) or (None, None)
        cells.append(cell(tree, f"decoder.ratio.{name}", _times, formats.interval(low, high, 2), strong=True))
        rows.append(Row(label, note, cells))
    return rows


def _times(value: float | None) -> str:
    return formats.DASH if value is None else f"{value:.2f}{formats.TIMES}"
