from __future__ import annotations

import hashlib
import io
import socket
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
import pytest

from hummingbird.data.preparation import Prepared, prepare
from hummingbird.data.video_io import VideoError, VideoInfo, decode
from hummingbird.params import Preparation
from tests.data.preparation.videos import Pictures, make_video, pictures, turned

ONE = pictures()


def only(video: bytes, settings: Preparation) -> Prepared:
    """The one clip of a video, which decodes to what is said of it."""
    [clip] = prepare(video, settings)
    frames, fps = decode(clip.video)
    assert frames.shape == (clip.info.num_frames, clip.info.height, clip.info.width, 3)
    assert fps == pytest.approx(clip.info.fps, rel=0.01)
    with av.open(io.BytesIO(clip.video)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
    return clip


def difference(clip: Prepared, expected: Pictures) -> float:
    return float(np.abs(decode(clip.video)[0].astype(int) - expected).mean())


def test_a_video_that_is_fine_keeps_its_bytes(settings: Preparation, tmp_path: Path) -> None:
    video = make_video(ONE)
    clip = only(video, settings)
    assert (clip.video, clip.info, clip.transcoded, clip.problem) == (video, VideoInfo(96, 64, 24.0, 24), "", "")
    (tmp_path / "clip.mp4").write_bytes(video)
    assert prepare(tmp_path / "clip.mp4", settings) == [clip]


@pytest.mark.parametrize("clockwise", [1, 2, 3])
def test_rotated_videos_come_out_upright(clockwise: int, settings: Preparation) -> None:
    clip = only(turned(make_video(ONE), clockwise), settings)
    assert clip.transcoded == "rotation"
    assert difference(clip, np.rot90(ONE, -clockwise, axes=(1, 2))) < 4
    with av.open(io.BytesIO(clip.video)) as container:
        assert next(container.decode(video=0)).rotation == 0


def test_large_videos_are_scaled_down_to_even_sides(settings: Preparation) -> None:
    large = pictures(8, 360, 634)
    clip = only(make_video(large), settings)
    assert clip.transcoded == "too_large"
    assert (clip.info.width, clip.info.height) == (422, 240)
    assert only(turned(make_video(large), 1), settings).info.width == 240


def test_of_240_frames_per_second_every_fourth_stays(settings: Preparation) -> None:
    ramp = np.repeat(np.arange(20, 140, dtype=np.uint8), 64 * 64 * 3).reshape(120, 64, 64, 3)
    clip = only(make_video(ramp, 240), settings)
    assert (clip.transcoded, clip.info.fps, clip.info.num_frames) == ("too_fast", 60.0, 30)
    assert np.abs(decode(clip.video)[0].mean(axis=(1, 2, 3)) - ramp[::4].mean(axis=(1, 2, 3))).max() < 3


def test_a_variable_rate_becomes_constant_and_keeps_its_time(settings: Preparation) -> None:
    times = np.cumsum(np.tile([0.04, 0.04, 0.04, 0.12], 12)) - 0.04
    ramp = np.repeat((20 + 60 * times).astype(np.uint8), 64 * 64 * 3).reshape(48, 64, 64, 3)
    clip = only(make_video(ramp, 25, times=times.tolist()), settings)
    assert (clip.transcoded, clip.info.fps) == ("variable_rate", 25.0)
    assert clip.info.duration_s == pytest.approx(times[-1], abs=0.15)
    shown = decode(clip.video)[0].mean(axis=(1, 2, 3))
    at = np.searchsorted(times, np.arange(len(shown)) / 25 + 1e-3, side="right") - 1
    assert np.abs(shown - ramp[at].mean(axis=(1, 2, 3))).max() < 4


def test_one_late_frame_in_a_hundred_is_left_alone(settings: Preparation) -> None:
    times = [number / 25 + (0.04 if number > 50 else 0) for number in range(100)]
    assert only(make_video(pictures(100), 25, times=times), settings).transcoded == ""


@pytest.mark.parametrize(("container", "fps"), [("matroska", 30), ("matroska", Fraction(24000, 1001)), ("mp4", 240)])
def test_a_coarse_clock_is_no_variable_rate(container: str, fps: float, settings: Preparation) -> None:
    fast = settings.model_copy(update={"max_fps": 300.0})
    clip = only(make_video(pictures(90), fps, container=container), fast)
    assert clip.transcoded == ("container" if container == "matroska" else "")
    assert clip.info.fps == pytest.approx(float(fps), rel=0.002)


def test_ten_bits_become_eight(settings: Preparation) -> None:
    clip = only(make_video(ONE, pixel_format="yuv420p10le"), settings)
    assert clip.transcoded == "10_bit"
    assert difference(clip, ONE) < 4
    with av.open(io.BytesIO(clip.video)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"


def test_hdr_is_mapped_to_the_usual_brightness(settings: Preparation) -> None:
    """PQ code 0.58 is 203 cd/m2, the white of ordinary video (ITU-R BT.2408); read as it is, it would be grey."""
    white = np.full((12, 64, 64, 3), round(0.58 * 255), np.uint8)
    clip = only(make_video(white, pixel_format="yuv420p10le", transfer=16), settings)
    assert clip.transcoded == "10_bit,hdr"
    assert decode(clip.video)[0].mean() > 165
    with av.open(io.BytesIO(clip.video)) as container:
        assert next(container.decode(video=0)).color_trc == 1  # BT.709


@pytest.mark.parametrize(("aspect", "size"), [(Fraction(4, 3), (128, 64)), (Fraction(1, 2), (96, 128))])
def test_pixels_become_square(aspect: Fraction, size: tuple[int, int], settings: Preparation) -> None:
    clip = only(make_video(ONE, pixel_aspect=aspect), settings)
    assert clip.transcoded == "anamorphic"
    assert (clip.info.width, clip.info.height) == size


def test_odd_sides_stay_unless_a_clip_is_encoded_again(settings: Preparation) -> None:
    odd = make_video(pictures(8, 31, 33), pixel_format="yuv444p")
    assert only(odd, settings).info == VideoInfo(33, 31, 24.0, 8)
    clip = only(turned(odd, 1), settings)
    assert (clip.info.width, clip.info.height) == (30, 32)
    assert difference(clip, np.rot90(pictures(8, 31, 33)[:, :30, :32], -1, axes=(1, 2))) < 4


def test_sound_is_dropped_and_the_pictures_are_not_touched(settings: Preparation) -> None:
    video = make_video(ONE, audio=True)
    clip = only(video, settings)
    assert clip.transcoded == "audio"
    assert np.array_equal(decode(clip.video)[0], decode(video)[0])


def test_another_container_is_left_with_its_packets(settings: Preparation) -> None:
    video = make_video(ONE, container="matroska", options={"bf": "2", "preset": "veryfast"})
    clip = only(video, settings)
    assert clip.transcoded == "container"
    assert np.array_equal(decode(clip.video)[0], decode(video)[0])
    with av.open(io.BytesIO(clip.video)) as container:
        assert "mp4" in container.format.name
        times = [frame.time for frame in container.decode(video=0)]
    assert np.abs(np.diff(times) - 1 / 24).max() < 1.1e-3  # Matroska counts milliseconds


def test_a_codec_that_mp4_cannot_hold_is_encoded_again(settings: Preparation) -> None:
    clip = only(make_video(ONE, container="avi", codec="ffv1"), settings)
    assert clip.transcoded == "codec,container"
    assert difference(clip, ONE) < 4


def test_a_file_without_timestamps_gets_them(settings: Preparation) -> None:
    clip = only(make_video(ONE, 25, container="h264"), settings)
    assert "variable_rate" in clip.transcoded
    assert (clip.info.num_frames, clip.info.fps) == (24, 25.0)


def test_videos_are_cut_where_the_scene_changes(settings: Preparation) -> None:
    video = np.concatenate([pictures(20), pictures(4, seed=1), pictures(30, seed=2)])
    clips = prepare(make_video(video), settings)
    assert [clip.info.num_frames for clip in clips] == [20, 4, 30]
    assert [clip.start_s for clip in clips] == [0.0, 20 / 24, 1.0]
    assert [clip.problem for clip in clips] == ["", "too_short: 4 frames, 0.17 s", ""]
    assert {clip.transcoded for clip in clips} == {"cut"}
    assert difference(clips[0], video[:20]) < 4
    assert difference(clips[2], video[24:]) < 4
    assert len({clip.phash for clip in clips}) == 3


def test_cuts_are_found_in_the_same_pass_as_all_else(settings: Preparation) -> None:
    video = np.concatenate([pictures(20), pictures(30, seed=2)])
    clips = prepare(turned(make_video(video, audio=True), 2), settings)
    assert [clip.info.num_frames for clip in clips] == [20, 30]
    assert {clip.transcoded for clip in clips} == {"rotation,audio,cut"}
    assert difference(clips[1], video[20:, ::-1, ::-1]) < 4


def test_fast_motion_and_a_flash_are_no_cuts(settings: Preparation) -> None:
    wild = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), dtype=np.uint8)
    assert len(prepare(make_video(wild), settings)) == 1
    flash = pictures(30)
    flash[15] = 255
    assert len(prepare(make_video(flash), settings)) == 1


def test_long_scenes_are_cut_too_and_nothing_is_lost(settings: Preparation) -> None:
    short = settings.model_copy(update={"max_clip_s": 1.0})
    clips = prepare(make_video(pictures(60)), short)
    assert [clip.info.num_frames for clip in clips] == [24, 24, 12]
    assert difference(clips[2], pictures(60)[48:]) < 4


def test_a_whole_video_may_be_too_short(settings: Preparation) -> None:
    clip = only(make_video(ONE[:4]), settings)
    assert clip.problem == "too_short: 4 frames, 0.17 s"
    assert clip.transcoded == ""


def test_the_same_bytes_come_out_in_any_process(settings: Preparation) -> None:
    wide = settings.model_copy(update={"max_short_side": 48})
    video = make_video(np.concatenate([pictures(20), pictures(30, seed=2)]), audio=True)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        elsewhere = pool.submit(prepare, video, wide).result()
    assert elsewhere == prepare(video, wide)


def _cut_off(container: str, codec: str = "libx264", left: float = 0.6) -> bytes:
    video = make_video(ONE, container=container, codec=codec)
    return video[: int(left * len(video))]


def _damaged() -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (24, 64, 64, 3), dtype=np.uint8)
    video = bytearray(make_video(noise))
    video[4000 : len(video) // 2] = bytes(len(video) // 2 - 4000)
    return bytes(video)


def _audio_only() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 8000, 0, Fraction(1, 8000)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _size_changes() -> bytes:
    return make_video(ONE, container="h264") + make_video(pictures(24, 96, 64), container="h264")


@pytest.mark.parametrize(
    ("video", "problem"),
    [
        (b"", "empty: no bytes"),
        (b"This page was not found.\n" * 40, "corrupt: "),
        (np.random.default_rng(0).bytes(100_000), "corrupt: "),
        (_damaged(), "corrupt: "),
        (_cut_off("mp4"), "truncated: "),
        (_cut_off("mp4", left=0.01), "truncated: "),
        (_cut_off("matroska"), "truncated: "),
        (_cut_off("avi", "mpeg4"), "truncated: "),
        (_audio_only(), "no_video_stream: only audio"),
        (_size_changes(), "size_changes: from 96x64 yuv420p to 64x96 yuv420p at frame 24"),
    ],
    ids=["empty", "text", "random", "damaged", "mp4", "mp4-head", "mkv", "avi", "audio", "sizes"],
)
def test_what_is_no_clip_says_why(video: bytes, problem: str, settings: Preparation, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(video)
    for source in (video, tmp_path / "clip.mp4"):
        with pytest.raises(VideoError) as caught:
            prepare(source, settings)
        assert str(caught.value).startswith(problem)


@pytest.mark.parametrize(
    ("times", "problem"),
    [
        ([0, 3000, 7000, 9000, 11000, 13000, 14000], "bad_timestamps: frames 2000 s apart"),
        ([0, 1, 2, 3, 20_000], "bad_timestamps: 20000 s from the first frame to the last"),
        ([0, 1e9, 2e9, 3e9], "bad_timestamps: 3e+09 s from the first frame to the last"),
        ([*(n / 25 for n in range(16)), 1000, 2000, 3000, 4000], "bad_timestamps: more than 2000 frames"),
    ],
    ids=["slow", "long", "endless", "gaps"],
)
def test_gaps_in_time_are_not_filled_without_end(times: list[float], problem: str, settings: Preparation) -> None:
    video = make_video(pictures(len(times)), 25, container="matroska", times=times)
    assert len(video) < 100_000
    with pytest.raises(VideoError) as caught:
        prepare(video, settings)
    assert str(caught.value).startswith(problem)


def test_a_pause_in_a_recording_is_filled(settings: Preparation) -> None:
    """Ten seconds in which the screen did not change, between frames at the usual rate."""
    times = [*(n / 25 for n in range(12)), *(10 + n / 25 for n in range(12))]
    [clip] = prepare(make_video(pictures(24), 25, times=times), settings)
    assert (clip.transcoded, clip.info.num_frames) == ("variable_rate", 262)


def test_a_missing_file_says_so(settings: Preparation, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="missing: No such file"):
        prepare(tmp_path / "none.mp4", settings)


def test_a_playlist_fetches_nothing(settings: Preparation, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/inside.ts"
        lists = [
            f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}\n#EXT-X-ENDLIST\n",
            f"ffconcat version 1.0\nfile {address}\n",
        ]
        for text in lists:
            (tmp_path / "clip.mp4").write_text(text)
            with pytest.raises(VideoError, match="corrupt"):
                prepare(tmp_path / "clip.mp4", settings)
        with pytest.raises(TimeoutError):
            server.accept()


_PEAK = """
import resource, sys
from pathlib import Path
from hummingbird.data.preparation import prepare
from hummingbird.params import Preparation
prepare(Path(sys.argv[1]), Preparation(max_short_side=64, max_clip_s=60.0))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    def peak_mb(frames: int) -> int:
        path = tmp_path / f"{frames}.mp4"
        path.write_bytes(make_video(np.broadcast_to(pictures(1, 360, 480), (frames, 360, 480, 3))))
        run = subprocess.run([sys.executable, "-c", _PEAK, path], capture_output=True, text=True, check=True)
        return int(run.stdout)

    assert peak_mb(500) < peak_mb(50) + 30  # 450 more frames are 117 MB


def test_the_real_clips(project: Path) -> None:
    folder = project.parent / "shared/clips"
    if not folder.is_dir():
        pytest.skip("the real clips are not part of the repository")
    videos = sorted(path for path in folder.iterdir() if path.suffix != ".csv")
    found: dict[str, str] = {}
    clips: dict[str, list[Prepared]] = {}
    for path in videos:
        try:
            clips[path.name] = prepare(path, Preparation())
            found[path.name] = clips[path.name][0].problem
        except VideoError as error:
            found[path.name] = str(error)
    assert len(videos) == 27
    assert {name: why.split(":")[0] for name, why in found.items() if why} == {
        "corrupted.mp4": "corrupt",
        "error_test.mp4": "empty",
        "rot_90.mov": "too_short",
        "unordered.mov": "too_short",
    }
    assert {name: len(parts) for name, parts in clips.items() if len(parts) > 1} == {
        "dj_video1.mp4": 3,  # two cuts between scenes of a cartoon
        "dj_video4.mp4": 2,  # 22.5 s
    }
    [upright] = clips["rot_90.mov"]
    lying, _ = decode(folder / "rot_90.mov")  # `decode` turns it as players do
    assert (upright.info.width, upright.info.height) == (320, 568)
    assert difference(upright, lying) < 4
    assert clips["motorcycle.mp4"][0].transcoded == "too_large"
    assert (
        hashlib.sha256(clips["fox.mp4"][0].video).digest() == hashlib.sha256((folder / "fox.mp4").read_bytes()).digest()
    )
