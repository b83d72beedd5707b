"""Videos that are none, or not whole, or not what they say."""

import os
import struct
from pathlib import Path

import av
import numpy as np

from esv_jax.video import decode
from esv_jax.video.frames import Seconds
from tests.video.videos import rewrite_packets, write_video


def _read(path: str | Path) -> None:
    decode.sample_frames(path, 2)


def _read_text(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    _read(folder / name)


def _clip(folder: Path, suffix: str = "mp4", num_frames: int = 10) -> Path:
    return write_video(folder / f"clip.{suffix}", "mpeg4", num_frames)


def no_file(folder: Path) -> None:
    _read(folder / "none.mp4")


def a_name_with_a_zero_byte(folder: Path) -> None:
    _read("clip\0.mp4")


def a_name_that_is_far_too_long(folder: Path) -> None:
    _read(folder / ("a" * 300 + ".mp4"))


def an_empty_file(folder: Path) -> None:
    (folder / "clip.mp4").touch()
    _read(folder / "clip.mp4")


def a_pipe(folder: Path) -> None:
    os.mkfifo(folder / "clip.mp4")
    _read(folder / "clip.mp4")


def a_device(folder: Path) -> None:
    _read("/dev/zero")


def an_address(folder: Path) -> None:
    _read("https://example.org/clip.mp4")


def noise(folder: Path) -> None:
    (folder / "clip.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    _read(folder / "clip.mp4")


def the_page_of_a_failed_download(folder: Path) -> None:
    _read_text(folder, "clip.mp4", "<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>")


def a_pointer_of_git_lfs(folder: Path) -> None:
    _read_text(folder, "clip.mp4", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n")


def a_playlist_of_ffmpeg(folder: Path) -> None:
    _clip(folder)
    _read_text(folder, "list.mp4", "ffconcat version 1.0\nfile clip.mp4\n")


def a_playlist_of_hls(folder: Path) -> None:
    _clip(folder, "ts")
    _read_text(folder, "list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.4,\nclip.ts\n#EXT-X-ENDLIST\n")


def a_manifest_of_dash(folder: Path) -> None:
    _read_text(folder, "list.mpd", '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>')


def a_session_description(folder: Path) -> None:
    _read_text(folder, "session.mp4", "v=0\nc=IN IP4 127.0.0.1\nm=video 45678 RTP/AVP 96\na=rtpmap:96 H264/90000\n")


def subtitles(folder: Path) -> None:
    _read_text(folder, "clip.srt", "1\n00:00:01,000 --> 00:00:02,000\nHello\n")


def letters_to_be_drawn(folder: Path) -> None:
    (folder / "art.ans").write_bytes(bytes(range(1, 256)) * 20)
    _read(folder / "art.ans")


def a_mp4_that_was_cut(folder: Path) -> None:
    path = _clip(folder)
    path.write_bytes(path.read_bytes()[:-400])
    _read(path)


def a_packet_of_zeros(folder: Path) -> None:
    whole = write_video(folder / "whole.avi", "mjpeg", 10)
    _read(rewrite_packets(whole, folder / "clip.avi", lambda i, packet: bytes(len(packet)) if i == 4 else packet))


def a_header_of_65535_by_65535_pixels(folder: Path) -> None:
    (folder / "clip.y4m").write_bytes(b"YUV4MPEG2 W65535 H65535 F25:1 C420jpeg\nFRAME\n" + bytes(1000))
    _read(folder / "clip.y4m")


def pictures_of_65500_by_65500_pixels(folder: Path) -> None:
    path = write_video(folder / "clip.avi", "mjpeg", 3)
    head = path.read_bytes().index(b"\xff\xc0") + 5
    size = path.read_bytes()[head : head + 4]
    path.write_bytes(path.read_bytes().replace(size, struct.pack(">HH", 65500, 65500)))
    _read(path)


def a_hundred_million_frames_in_a_header(folder: Path) -> None:
    path = write_video(folder / "clip.mp4", "libx264", 5)
    content = bytearray(path.read_bytes())
    for box, number in ((b"stsz", 8), (b"stsz", 12), (b"stsc", 16), (b"stts", 12)):
        at = content.index(box) + number - 4 + 4
        content[at : at + 4] = struct.pack(">I", 1 if (box, number) == (b"stsz", 8) else 100_000_000)
    path.write_bytes(content)
    _read(path)


def sound_alone(folder: Path) -> None:
    with av.open(str(folder / "sound.wav"), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        file.mux(stream.encode(frame))
    _read(folder / "sound.wav")


def fewer_frames_than_are_asked_for(folder: Path) -> None:
    decode.sample_frames(_clip(folder), 11)


def a_frame_behind_the_end(folder: Path) -> None:
    decode.read_frames(_clip(folder), [3, 10])


def a_part_behind_the_end(folder: Path) -> None:
    list(decode.iter_frames(_clip(folder), 5, 11))


def a_part_before_the_beginning(folder: Path) -> None:
    list(decode.iter_frames(_clip(folder), -1, 5))


def a_time_behind_the_end(folder: Path) -> None:
    list(decode.iter_frames(_clip(folder), Seconds(0.1), Seconds(0.5)))


def a_part_between_two_frames(folder: Path) -> None:
    list(decode.iter_frames(_clip(folder), Seconds(0.041), Seconds(0.042)))
