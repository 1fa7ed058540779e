"""What the tables between stages must look like, as Great Expectations suites. Imported only when a table is checked:
Great Expectations takes seconds to import."""

from __future__ import annotations

import great_expectations.expectations as gxe
from great_expectations.expectations.conditions import Column
from great_expectations.expectations.expectation import Expectation

Suite = list[Expectation]

CLIP_COLUMNS = (
    "clip_id",
    "shard",
    "key",
    "caption",
    "duration_s",
    "fps",
    "width",
    "height",
    "num_frames",
    "sha256",
    "source",
    "kept",
    "reason",
)
# Lowest share of clips that may be left. Below it the filter, or the crawl, is broken: nobody throws away nineteen
# clips of twenty and trains on the rest without having looked.
KEPT_SHARE = {"download": 0.5, "vqa_filter": 0.1, "motion_filter": 0.05, "recaption": 0.05}
SIGNALS = ("highlights", "shadows", "black", "frozen", "bars", "blockiness")
READABLE_SHARE = 0.9  # of the clips, which all decoded when they were downloaded
READABLE = Column("problem") == ""
KEPT = Column("kept") == True  # noqa: E712 - builds a condition
REJECTED = Column("kept") == False  # noqa: E712


def suite_for(stage: str) -> Suite:
    """Expectations on the table that ``stage`` writes: a clip table, scores after ``measure``, or the index of latents
    after ``encode``."""
    special = {"measure": _scores, "encode": _latents_index}
    return special[stage]() if stage in special else _clip_table(stage)


def _clip_table(stage: str) -> Suite:
    """Every clip is there once and is kept or rejected for a reason; what is kept can be decoded and has a caption."""
    longest = 500 if stage == "recaption" else 5000  # characters; crawled captions may be whole paragraphs
    return [
        gxe.ExpectTableRowCountToBeBetween(min_value=1),
        *(gxe.ExpectColumnToExist(column=column) for column in CLIP_COLUMNS),
        gxe.ExpectColumnValuesToNotBeNull(column="clip_id"),
        gxe.ExpectColumnValuesToBeUnique(column="clip_id"),
        gxe.ExpectColumnValuesToNotBeNull(column="kept"),
        gxe.ExpectColumnMeanToBeBetween(column="kept", min_value=KEPT_SHARE[stage], max_value=1.0),
        gxe.ExpectColumnValuesToBeInSet(column="reason", value_set=[""], row_condition=KEPT),
        gxe.ExpectColumnValueLengthsToBeBetween(column="reason", min_value=1, row_condition=REJECTED),
        *_kept_between("duration_s", 0.1, 3600),
        *_kept_between("fps", 1, 240),
        *_kept_between("width", 16, 8192),
        *_kept_between("height", 16, 8192),
        *_kept_between("num_frames", 2, 1_000_000),
        gxe.ExpectColumnValuesToMatchRegex(column="sha256", regex="^[0-9a-f]{64}$", row_condition=KEPT),
        gxe.ExpectColumnValuesToNotBeNull(column="caption", row_condition=KEPT),
        gxe.ExpectColumnValueLengthsToBeBetween(column="caption", min_value=3, max_value=longest, row_condition=KEPT),
    ]


def _scores() -> Suite:
    """Every clip was measured once; each score is in its range, and empty only where the clip could not be read or the
    cheap signals condemned it."""
    shares = (*SIGNALS, "aesthetic", "technical", "overall", "static", "dolly_zoom")
    return [
        *_latents_index(),
        gxe.ExpectColumnValuesToNotBeNull(column="problem"),
        gxe.ExpectColumnValuesToBeInSet(column="problem", value_set=[""], mostly=READABLE_SHARE),
        *(gxe.ExpectColumnValuesToBeBetween(column=column, min_value=0, max_value=1) for column in shares),
        *(gxe.ExpectColumnValuesToNotBeNull(column=column, row_condition=READABLE) for column in SIGNALS),
        gxe.ExpectColumnValuesToBeBetween(column="forward", min_value=-1.001, max_value=1.001),  # a sum of shares
        *(
            gxe.ExpectColumnValuesToBeBetween(column=column, min_value=0)
            for column in ("camera_pan", "jitter", "subject_motion")
        ),
    ]


def _latents_index() -> Suite:
    return [
        gxe.ExpectTableRowCountToBeBetween(min_value=1),
        gxe.ExpectColumnToExist(column="clip_id"),
        gxe.ExpectColumnValuesToNotBeNull(column="clip_id"),
        gxe.ExpectColumnValuesToBeUnique(column="clip_id"),
    ]


def _kept_between(column: str, low: float, high: float) -> Suite:
    return [
        gxe.ExpectColumnValuesToNotBeNull(column=column, row_condition=KEPT),
        gxe.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high, row_condition=KEPT),
    ]
