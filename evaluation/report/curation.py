"""The page of a curation: what became of the clips of a crawl, step by step, and why. Like the report it is one HTML
file that needs nothing else; it knows nothing of what is done with the clips afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
import yaml

from evaluation.report import filters, formats, media
from evaluation.report.captions import facts_stated, judge_captions, sample
from evaluation.report.filters import Funnel
from evaluation.report.funnel import LABELS, funnel_chart
from evaluation.report.histograms import MOTION, QUALITY, SIGNALS, histograms
from evaluation.report.inputs import Inputs
from evaluation.report.lineage import Lineage
from evaluation.report.templates import render
from hummingbird.layout import Layout
from hummingbird.params import Params

SECTIONS = ("seed", "curation", "download", "measure", "vqa_filter", "motion_filter", "recaption", "encode")
CAPTIONS = 12
PAIRS = 8  # of duplicates that are shown


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Clips that repeat an earlier one: how many, how many of them byte for byte, and some with their originals."""

    clips: int
    exact: int
    pairs: list[tuple[str, str]]


def render_curation(inputs: Inputs, layout: Layout, params: Params, lineage: Lineage) -> str:
    """The page as HTML, from what the stages of the curation have left below ``layout.root``. A step that has not run
    is not on it."""
    funnel = filters.funnel(inputs.tables)
    docs = layout.reports / "data_docs" / "index.html"
    return render(
        "curation.html",
        format=formats,
        lineage=lineage,
        source=params.download.source,
        crawl=funnel,
        funnel_chart=funnel_chart(funnel) if funnel else None,
        labels=LABELS,
        tiles=_tiles(inputs, funnel) if funnel else [],
        **_truth(inputs),
        charts={
            "Quality": histograms(inputs.tables, QUALITY, params),
            "Motion": histograms(inputs.tables, MOTION, params),
            "Cheap signals": histograms(inputs.tables, SIGNALS, params),
        },
        cameras=_counts(inputs.tables, "motion_filter", "camera"),
        sheets_by_filter=media.filter_sheets(layout, funnel),
        captions=sample(inputs.tables["recaption"], CAPTIONS).to_dicts() if "recaption" in inputs.tables else [],
        mended=_mended(inputs.tables.get("download")),
        duplicates=_duplicates(inputs.tables.get("download")),
        data_docs="data_docs/index.html" if docs.is_file() else "",
        settings=_settings(params),
    )


def _tiles(inputs: Inputs, funnel: Funnel) -> list[tuple[str, str, str]]:
    """Key figures: number, caption, detail."""
    last = inputs.tables[[step.stage for step in funnel.steps][-1]]
    kept = last.filter(pl.col("kept"))
    tiles = [
        (formats.count(funnel.crawled), "clips crawled", ""),
        (formats.count(funnel.kept), "clips kept", formats.percent(funnel.kept / max(1, funnel.crawled))),
        (formats.hours(float(kept["duration_s"].sum())), "of video kept", ""),
    ]
    if funnel.steps[-1].stage == "recaption":
        step = funnel.steps[-1]
        share = formats.percent(step.left / funnel.kept if funnel.kept else None)
        tiles.append((formats.count(step.left), "new captions", f"{share} of the kept clips"))
    return tiles


def _truth(inputs: Inputs) -> dict[str, Any]:
    """The filters and the captions against the truth, where there is one."""
    truth = inputs.truth if inputs.has_truth else None
    judged = truth is not None and {"download", "vqa_filter"} <= inputs.tables.keys()
    stated = truth is not None and "recaption" in inputs.tables
    return {
        "confusion": filters.confusion(inputs.tables, truth) if judged and truth is not None else None,
        "figures": filters.precision_and_recall(inputs.tables, truth),
        "facts": facts_stated(judge_captions(inputs.tables["recaption"], truth))
        if stated and truth is not None
        else None,
    }


def _counts(tables: Mapping[str, pl.DataFrame], stage: str, column: str) -> dict[str, int]:
    """How often each value occurs among the kept clips, the most frequent first."""
    if stage not in tables or column not in tables[stage].columns:
        return {}
    return dict(Counter(tables[stage].filter(pl.col("kept"))[column].drop_nulls()).most_common())


def _mended(table: pl.DataFrame | None) -> dict[str, int]:
    """How many clips were mended in each way; a clip may be mended in several. The first is those left as they were."""
    if table is None:
        return {}
    found = table.filter(pl.col("shard") != "")["transcoded"].fill_null("").to_list()
    codes = Counter(code for codes in found for code in codes.split(",") if code)
    return {"": found.count(""), **dict(codes.most_common())} if codes else {}


def _duplicates(table: pl.DataFrame | None) -> Duplicates | None:
    repeats = table.filter(pl.col("duplicate_of") != "") if table is not None else pl.DataFrame()
    if table is None or repeats.is_empty():
        return None
    originals = table.select(duplicate_of="clip_id", original="sha256")
    joined = repeats.join(originals, on="duplicate_of", how="left", maintain_order="left")
    exact = int((joined["sha256"] == joined["original"]).sum())
    pairs = list(joined.select("clip_id", "duplicate_of").head(PAIRS).iter_rows())
    return Duplicates(len(repeats), exact, pairs)


def _settings(params: Params) -> str:
    """The sections of the parameter file that curation reads."""
    values = params.model_dump(mode="json")
    return yaml.safe_dump({name: values[name] for name in SECTIONS}, sort_keys=False, width=120)
