"""What the tables between stages must look like, as Great Expectations suites: the one place that says it. Their pages
(:mod:`hummingbird.ops.data_docs`) list them in words.

A suite asks for what every later stage relies on, and never for what a crawl happens to hold: captions may be of any
length and script, clips of any size and rate. Expectations on some rows only are a suite of their own: Great
Expectations would look for these rows anew three times for each of them.

Imported only when a table is checked: Great Expectations takes seconds to import.
"""

from __future__ import annotations

import great_expectations.expectations as gxe
import polars as pl
from great_expectations.expectations.expectation import Expectation

from hummingbird.data.clips import SCHEMA

Suite = list[Expectation]

CLIP_TABLES = ("download", "vqa_filter", "motion_filter", "recaption")
# Named again, and compared by a test: the modules that define them import torch, which a gate can do without.
SIGNALS = ("highlights", "shadows", "black", "frozen", "bars", "blockiness")
QUALITY = ("aesthetic", "technical", "overall")
MOTION = (
    *("camera_pan", "camera_zoom", "camera_rotation", "jitter"),
    *("forward", "subject_motion", "static", "dolly_zoom"),
)
LATENTS_INDEX = {
    **{"clip_id": "String", "shard": "String", "frame_offset": "Int64", "num_frames": "Int32"},
    **{"text_row": "Int32", "fps": "Float64", "caption": "String"},
}
CAMERA = ("fixed", "pan", "zoom", "rotation", "forward", "backward")
REWRITTEN_LENGTH = (3, 500)  # characters
READABLE_SHARE = 0.9  # of the clips, which all decoded when they were downloaded
#: Added to a clip table before it is checked: what `duplicate_of` says if no other clip has that id, else "".
UNKNOWN_ORIGINAL = "unknown_original"

ALL, KEPT, DROPPED, READABLE = "", "kept clips", "dropped clips", "clips that can be read"
REWRITTEN, LEFT = "captions that were rewritten", "captions that were left as they came"
#: Which rows a suite is about. `recaption_reason` is null where the clip was dropped.
ROWS: dict[str, pl.Expr] = {
    ALL: pl.lit(True),
    KEPT: pl.col("kept"),
    DROPPED: ~pl.col("kept"),
    READABLE: pl.col("problem") == "",
    REWRITTEN: pl.col("recaption_reason") == "",
    LEFT: pl.col("kept") & (pl.col("recaption_reason") != ""),
}
#: Of the scores of motion. `forward` is a difference of shares, which were rounded.
_RANGES: dict[str, tuple[float | None, float | None]] = {
    **dict.fromkeys(MOTION, (None, None)),
    **dict.fromkeys(("camera_pan", "jitter", "subject_motion"), (0.0, None)),
    **dict.fromkeys(("static", "dolly_zoom"), (0.0, 1.0)),
    "forward": (-1.001, 1.001),
}
_CODE = ("^[a-z0-9_]+(?::|$)", "is a code of small letters, with or without a detail after a colon")


def columns_of(stage: str) -> dict[str, str]:
    """The columns that the table of ``stage`` must have, with their types."""
    if stage == "encode":
        return LATENTS_INDEX
    if stage == "measure":
        scores = dict.fromkeys((*SIGNALS, *QUALITY, *MOTION), "Float64")
        return {**dict.fromkeys(("clip_id", "shard", "problem"), "String"), **scores}
    columns = {name: str(kind) for name, kind in SCHEMA.items()}
    at = CLIP_TABLES.index(stage)
    if at >= 1:
        columns |= dict.fromkeys((*SIGNALS, *QUALITY), "Float64")
    if at >= 2:
        columns |= {**dict.fromkeys(MOTION, "Float64"), "camera": "String"}
    if at >= 3:
        columns |= dict.fromkeys(("raw_caption", "recaption_reason"), "String")
    return columns


def column_suite(stage: str) -> Suite:
    """Expectations on the list of columns: a table with a row for each, ``column`` and ``type``."""
    pairs = list(columns_of(stage).items())
    return [gxe.ExpectColumnPairValuesToBeInSet(column_A="column", column_B="type", value_pairs_set=pairs)]


def suites_for(stage: str, min_kept: float = 0.0) -> dict[str, Suite]:
    """Expectations on the rows that ``stage`` writes, by which of :data:`ROWS` they are about: on a clip table, on
    scores after ``measure``, or on the index of latents after ``encode``.

    ``min_kept``: least share of a clip table's rows that are kept.
    """
    if stage == "measure":
        return _scores()
    if stage == "encode":
        return {ALL: _latents_index()}
    at = CLIP_TABLES.index(stage)
    suites = {ALL: _clip_table(min_kept), DROPPED: [_pattern("reason", *_CODE)], KEPT: _usable()}
    if at >= 1:
        suites[KEPT] += [it for column in (*SIGNALS, *QUALITY) for it in _between(column, 0, 1)]
    if at >= 2:
        suites[KEPT] += _motion()
    return suites | _captions(suites) if at >= 3 else suites


def _ids() -> Suite:
    return [
        gxe.ExpectTableRowCountToBeBetween(min_value=1),
        gxe.ExpectColumnValuesToNotBeNull(column="clip_id"),
        gxe.ExpectColumnValuesToBeUnique(column="clip_id"),
    ]


def _clip_table(min_kept: float) -> Suite:
    """Every clip is there once and is kept or dropped for a reason."""
    return [
        *_ids(),
        gxe.ExpectColumnValuesToNotBeNull(column="kept"),
        gxe.ExpectColumnMeanToBeBetween(column="kept", min_value=min_kept, max_value=1.0),
        *(_present(column) for column in ("reason", "source", "source_id", "duplicate_of")),
        gxe.ExpectColumnValuesToBeInSet(
            column=UNKNOWN_ORIGINAL, value_set=[""], description="names another clip of this table, if any"
        ),
        _pattern("phash", "^[0-9a-f]{16}$", "is 16 hexadecimal digits, where there is one"),
        _pattern("transcoded", "^(?:[a-z0-9_]+(?:,[a-z0-9_]+)*)?$", "is a list of codes, or empty"),
    ]


def _usable() -> Suite:
    """What is kept lies in a shard, can be decoded and has a caption."""
    return [
        gxe.ExpectColumnValuesToBeInSet(column="reason", value_set=[""]),
        *(_length(column, 1) for column in ("shard", "key", "caption")),
        *(_present(column) for column in ("caption", "transcoded")),
        gxe.ExpectCompoundColumnsToBeUnique(column_list=["shard", "key"]),
        *_between("duration_s", 0, 86_400, strict_min=True),
        *_between("fps", 0, 1000, strict_min=True),
        *_between("width", 2, 65_536),
        *_between("height", 2, 65_536),
        *_between("num_frames", 1, 10_000_000),
        *_between("start_s", 0, None),
        _present("sha256"),
        _pattern("sha256", "^[0-9a-f]{64}$", "is 64 hexadecimal digits"),
    ]


def _motion() -> Suite:
    """What the motion filter kept has every score it was judged by."""
    return [
        *(it for column in MOTION for it in _between(column, *_RANGES[column])),
        _present("camera"),
        gxe.ExpectColumnValuesToBeInSet(column="camera", value_set=list(CAMERA)),
    ]


def _captions(suites: dict[str, Suite]) -> dict[str, Suite]:
    """A rewritten caption is a sentence; one that was left as it came is just that, and the reason is there."""
    return {
        KEPT: [*suites[KEPT], _present("raw_caption"), _present("recaption_reason")],
        DROPPED: [*suites[DROPPED], gxe.ExpectColumnValuesToBeNull(column="recaption_reason")],
        REWRITTEN: [_length("caption", *REWRITTEN_LENGTH)],
        LEFT: [
            _pattern("recaption_reason", *_CODE),
            gxe.ExpectColumnPairValuesToBeEqual(column_A="caption", column_B="raw_caption"),
        ],
    }


def _scores() -> dict[str, Suite]:
    """Every clip was measured once; each score is in its range, and empty only where the clip could not be read or the
    cheap signals condemned it."""
    ranges = {**dict.fromkeys((*SIGNALS, *QUALITY), (0.0, 1.0)), **_RANGES}
    return {
        ALL: [
            *_ids(),
            _present("problem"),
            gxe.ExpectColumnValuesToBeInSet(column="problem", value_set=[""], mostly=READABLE_SHARE),
            *(_range(column, low, high) for column, (low, high) in ranges.items() if (low, high) != (None, None)),
        ],
        READABLE: [_present(column) for column in SIGNALS],
    }


def _latents_index() -> Suite:
    return [
        *_ids(),
        *(_present(column) for column in ("shard", "caption")),
        *(_range(column, 0, None) for column in ("frame_offset", "text_row")),
        _range("num_frames", 1, None),
        _range("fps", 0, 1000, strict_min=True),
    ]


def _between(column: str, low: float | None, high: float | None, *, strict_min: bool = False) -> Suite:
    """Not missing, and in a range if there is one."""
    if low is None and high is None:
        return [_present(column)]
    return [_present(column), _range(column, low, high, strict_min=strict_min)]


def _present(column: str) -> Expectation:
    return gxe.ExpectColumnValuesToNotBeNull(column=column)


def _range(column: str, low: float | None, high: float | None, *, strict_min: bool = False) -> Expectation:
    return gxe.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high, strict_min=strict_min)


def _length(column: str, low: int, high: int | None = None) -> Expectation:
    return gxe.ExpectColumnValueLengthsToBeBetween(column=column, min_value=low, max_value=high)


def _pattern(column: str, regex: str, text: str) -> Expectation:
    return gxe.ExpectColumnValuesToMatchRegex(column=column, regex=regex, description=text)
