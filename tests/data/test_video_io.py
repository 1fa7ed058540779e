from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from hummingbird.data import video_io, world
from hummingbird.data.video_io import VideoError, decode, encode_mp4, probe, write_mp4
from hummingbird.errors import UserError


def video(frames: int = 8, height: int = 32, width: int = 32) -> video_io.Video:
    """A smooth gradient that moves; no two frames are alike."""
    y, x, t = np.mgrid[:height, :width, :frames].astype(float)
    channels = [np.sin(x / 9 + t / 3), np.cos(y / 7), np.sin((x + y) / 11)]
    return (127 + 100 * np.stack(channels, -1)).astype(np.uint8).transpose(2, 0, 1, 3)


def audio_only() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 8000, 0, Fraction(1, 8000)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def test_the_colours_of_tiny_clips_survive() -> None:
    clip = world.make_clip(1, 2).video
    decoded, fps = decode(encode_mp4(clip, 8, crf=6))
    assert decoded.shape == clip.shape
    assert fps == 8
    assert np.abs(decoded.astype(int) - clip).mean() < 2.5


def test_the_same_frames_give_the_same_bytes() -> None:
    clip = world.make_clip(11, 3, spoilt_share=0.4).video
    assert len({encode_mp4(clip, 8) for _ in range(30)}) == 1


def test_written_files_are_what_browsers_play(tmp_path: Path) -> None:
    write_mp4(tmp_path / "out/clip.mp4", video(5, 31, 33), 7.5)
    with av.open(str(tmp_path / "out/clip.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
    decoded, fps = decode(tmp_path / "out/clip.mp4")
    assert decoded.shape == (5, 32, 34, 3)  # colour is stored at half size: sides are made even
    assert fps == pytest.approx(7.5)
    assert np.abs(decoded[:, :31, :33].astype(int) - video(5, 31, 33)).mean() < 4


def test_probe_counts_what_decodes() -> None:
    info = probe(encode_mp4(video(6, 24, 40), 12))
    assert info == video_io.VideoInfo(width=40, height=24, fps=12.0, num_frames=6)
    assert info.duration_s == 0.5


def test_decoding_may_stop_early_and_scale_on_the_way() -> None:
    data = encode_mp4(video(8, 48, 96), 8)
    assert len(decode(data, max_frames=3)[0]) == 3
    small = decode(data, cover=(16, 24))[0]
    assert small.shape == (8, 16, 24, 3)
    middle = decode(data)[0][:, :, 12:84]  # 96 wide covers 24 of 32 at a third
    expected = middle.reshape(8, 16, 3, 24, 3, 3).mean(axis=(2, 4))
    assert np.abs(small - expected).mean() < 4


def test_cover_keeps_a_clip_of_that_size_as_it_is() -> None:
    data = encode_mp4(video(), 8)
    assert np.array_equal(decode(data, cover=(32, 32))[0], decode(data)[0])


def test_rotation_metadata_is_honoured(project: Path) -> None:
    path = project.parent / "shared/clips/rot_90.mov"
    if not path.is_file():
        pytest.skip("the real clips are not part of the repository")
    assert probe(path).width == 320
    upright = decode(path)[0]
    assert upright.shape == (3, 568, 320, 3)
    with av.open(str(path)) as container:
        lying = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert np.array_equal(upright[0], np.rot90(lying, -1))
    assert decode(path, cover=(64, 48))[0].shape == (3, 64, 48, 3)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "empty file"),
        (b"this is no video at all" * 10, "cannot be decoded"),
        (encode_mp4(video(), 8)[:900], "cannot be decoded"),
        (audio_only(), "no video stream"),
    ],
    ids=["empty", "text", "truncated", "audio"],
)
def test_unusable_files_say_what_is_wrong(data: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    for use in (decode, probe):
        for source in (data, path):
            with pytest.raises(VideoError, match=problem):
                use(source)


def test_damage_in_the_middle_is_found() -> None:
    whole = encode_mp4(np.random.default_rng(0).integers(0, 256, (24, 64, 64, 3), dtype=np.uint8), 8)
    damaged = bytearray(whole)
    damaged[4000 : len(whole) // 2] = bytes(len(whole) // 2 - 4000)
    with pytest.raises(VideoError):
        probe(bytes(damaged))


def test_too_few_frames_are_an_error_where_a_number_is_asked_for() -> None:
    one = encode_mp4(video(1), 8)
    assert decode(one)[0].shape == (1, 32, 32, 3)
    with pytest.raises(VideoError, match="only 1 frames, at least 8 needed"):
        decode(one, min_frames=8)


@pytest.mark.parametrize(("shape", "dtype"), [((0, 8, 8, 3), "uint8"), ((2, 8, 8, 3), "float32"), ((8, 8, 3), "uint8")])
def test_only_videos_can_be_encoded(shape: tuple[int, ...], dtype: str) -> None:
    bad = np.zeros(shape, dtype)
    with pytest.raises(ValueError, match="expected uint8"):
        encode_mp4(bad, 8)


def test_a_file_where_the_folder_should_be_is_explained(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*clip\.mp4"):
        write_mp4(tmp_path / "taken/clip.mp4", video(), 8)
