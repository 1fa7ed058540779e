"""Whether a file ends before its own headers say it does, from the sizes that containers write down.

FFmpeg reads a cut-off Matroska or AVI file to where it ends and reports nothing, and calls a cut-off MP4 merely
invalid.
"""

from __future__ import annotations

from typing import BinaryIO

_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"sidx", b"moof", b"uuid"}
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def ends_early(file: BinaryIO) -> bool:
    """Whether an MP4, QuickTime, Matroska, WebM or AVI file was cut off; False for all others. ``file``: seekable."""
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(12)
    if head[:4] == _EBML:
        return _matroska_end(file) > size
    if head[:4] == b"RIFF":
        return 8 + int.from_bytes(head[4:8], "little") > size
    if head[4:8] in _BOXES:
        return _boxes_end(file, size) > size
    return False


def _boxes_end(file: BinaryIO, size: int) -> int:
    """Where the last box ends (ISO/IEC 14496-12, 4.2: size, type and, after size 1, a size of 64 bits)."""
    position = 0
    while position < size:
        file.seek(position)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length == 0:  # to the end of the file
            return size
        if length < 8:  # not a box
            return position
        position += length
    return position


def _matroska_end(file: BinaryIO) -> int:
    """Where the segment ends (RFC 9559, 4.5); 0 if it does not say, as in live streams."""
    file.seek(len(_EBML))
    header = _variable_int(file)
    if header is None:
        return 0
    file.seek(header, 1)
    if file.read(4) != _SEGMENT:
        return 0
    length = _variable_int(file)
    return 0 if length is None else file.tell() + length


def _variable_int(file: BinaryIO) -> int | None:
    """The next EBML data size (RFC 8794, 6); None if it is unknown or cut off."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()  # bytes after the first
    rest = file.read(more)
    value = int.from_bytes(bytes([first[0] & (0xFF >> (more + 1))]) + rest, "big")
    unknown = (1 << 7 * (more + 1)) - 1  # all ones
    return None if len(rest) < more or value == unknown else value
