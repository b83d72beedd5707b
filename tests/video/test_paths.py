"""A path is a path, whatever its letters mean to ffmpeg, and a file opens no other."""

import contextlib
import shutil
import socket
import threading

import av
import pytest

from esv_jax.checks import InputError
from esv_jax.video import decode
from tests.video.videos import numbers_of, rewrite_packets, write_video

FAST = {"preset": "ultrafast", "crf": "18"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", "libx264", 8, options=FAST)


@pytest.mark.parametrize(
    "name",
    [
        "2022-01-26T20:57:04Z.mp4",
        "Room 1: take 2.mp4",
        "concat:other.mp4",
        "concatf:other.mp4",
        "file:other.mp4",
        "subfile,,start,0,end,9,,:other.mp4",
        "data:clip.mp4",
        "pipe:0.mp4",
        "http:clip.mp4",
        "50%d.mp4",
        "shot-%03d.mp4",
        "frame*?.mp4",
        "[1]#a&b.mp4",
        "back\\slash.mp4",
        "-i.mp4",
        " ünï cødé 视频 .mp4",
        b"\xff\xfe.mp4".decode("utf-8", "surrogateescape"),
        "CLIP.MP4",
        "no suffix",
        "another.suffix",
    ],
)
def test_every_name_is_that_of_a_file(tmp_path, monkeypatch, clip, name):
    shutil.copy(clip, tmp_path / name)
    write_video(tmp_path / "other.mp4", "libx264", 5, options=FAST)
    monkeypatch.chdir(tmp_path)
    for path in (name, tmp_path / name, str(tmp_path / name)):
        assert numbers_of(decode.sample_frames(path, 4).images) == [1, 3, 5, 7]
        assert numbers_of(decode.iter_frames(path)) == list(range(8))
        assert numbers_of(decode.iter_frames(path, 2, 4)) == [2, 3]


PLAYLISTS = {
    "ffconcat": "ffconcat version 1.0\nfile clip.mp4\n",
    "HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.3,\n{where}clip.ts\n#EXT-X-ENDLIST\n",
    "a list of HLS lists": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{where}list.m3u8\n",
    "DASH": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>clip.mp4</BaseURL></MPD>',
    "a session description": "v=0\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "m3u": "clip.mp4\n",
}


@pytest.mark.parametrize("suffix", ["mp4", "m3u8", "MPD", "sdp", "ffconcat", "txt"])
@pytest.mark.parametrize("playlist", PLAYLISTS)
def test_playlists_are_no_videos(tmp_path, monkeypatch, clip, playlist, suffix):
    shutil.copy(clip, tmp_path / "clip.mp4")
    write_video(tmp_path / "clip.ts", "libx264", 8, options=FAST)
    path = tmp_path / f"list.{suffix}"
    path.write_text(PLAYLISTS[playlist].format(where="", port=45678))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"list\.\w+ is not a video but a text file, which begins '"):
        decode.sample_frames(path, 2)


def test_no_playlist_calls_the_network(tmp_path):
    """Nobody knocks at the door that the playlist names, also where it does not look like a text."""
    calls = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)

        def listen():
            with contextlib.suppress(TimeoutError):
                calls.append(server.accept())

        listening = threading.Thread(target=listen)
        listening.start()
        where = f"http://127.0.0.1:{server.getsockname()[1]}/"
        path = tmp_path / "list.m3u8"
        path.write_bytes(PLAYLISTS["HLS"].format(where=where).encode() + b"#\0\n")
        with pytest.raises(InputError, match=r"list\.m3u8 is not a video that can be read"):
            decode.sample_frames(path, 2)
        listening.join()
    assert calls == []


def test_a_title_in_another_alphabet_does_not_matter(tmp_path):
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as file:
        file.metadata["title"] = "TITLE HERE"
        stream = file.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        file.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        file.mux(stream.encode(None))
    path.write_bytes(path.read_bytes().replace(b"TITLE HERE", b"Caf\xe9 \xff\xfe\xfd--"))
    assert decode.read_frames(path, [0]).num_frames_in_video == 1


# Bytes behind the end


def write_cut_video(path):
    """An edit list hides the first ten of its frames."""
    times = [40 * i - 400 for i in range(50)]
    container = {"avoid_negative_ts": "disabled"}
    return write_video(path, "libx264", 50, pts=times, options={"g": "12", "bf": "2"}, container=container)


@pytest.mark.parametrize("tail", [b"hello", b"https://example.org/where-this-was-downloaded" * 9, bytes(99)])
def test_bytes_behind_a_mp4_do_not_matter(tmp_path, tail):
    """Also where an edit list hides some of the frames that the header counts, and where it counts none."""
    cut = write_cut_video(tmp_path / "cut.mp4")
    fragments = {"movflags": "frag_keyframe+empty_moov"}
    live = write_video(tmp_path / "live.mp4", "libx264", 50, options={"g": "12"}, container=fragments)
    for path, first in ((cut, 10), (live, 0)):
        path.write_bytes(path.read_bytes() + tail)
        assert numbers_of(decode.iter_frames(path)) == list(range(first, 50))
        assert decode.sample_frames(path, 4).num_frames_in_video == 50 - first


def test_an_incomplete_box_behind_all_frames_does_not_matter(tmp_path):
    cut = write_cut_video(tmp_path / "cut.mp4")
    cut.write_bytes(cut.read_bytes() + (999).to_bytes(4, "big") + b"free" + bytes(9))
    assert decode.sample_frames(cut, 4).num_frames_in_video == 40


def test_a_cut_file_that_hides_frames_is_truncated_where_packets_are_missing(tmp_path):
    """As many frames as the header counts are not to be seen anyway, but the last packets are not there."""
    path = write_video(
        tmp_path / "cut.mp4",
        "libx264",
        50,
        pts=[40 * i - 400 for i in range(50)],
        options=FAST | {"g": "12"},
        container={"avoid_negative_ts": "disabled", "movflags": "faststart"},
    )
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"cut\.mp4 is truncated: \d+ frames of 50 can be decoded"):
        decode.sample_frames(path, 4)


def test_an_avi_whose_index_lacks_a_frame_is_read_in_its_order(tmp_path):
    """An avi holds no times: they are counted, by its index where frames are sought and else by what is read."""
    path = write_video(tmp_path / "clip.avi", "mjpeg", 30)
    content = path.read_bytes()
    at = content.index(b"idx1") + 4
    size, entry = int.from_bytes(content[at : at + 4], "little"), at + 4 + 16 * 10
    shorter = (size - 16).to_bytes(4, "little") + content[at + 4 : entry] + content[entry + 16 :] + bytes(16)
    path.write_bytes(content[:at] + shorter)
    assert numbers_of(decode.iter_frames(path)) == list(range(30))
    frames = decode.sample_frames(path, 10)
    assert frames.num_frames_in_video == 30
    assert numbers_of(frames.images) == frames.indices.tolist()


def test_a_packet_of_no_bytes_repeats_a_frame(tmp_path):
    """As recorders of avi files leave it where they missed one; the frame before is not counted again."""
    whole = write_video(tmp_path / "whole.avi", "mjpeg", 20)
    path = rewrite_packets(whole, tmp_path / "clip.avi", lambda i, packet: packet, pts=lambda i: 40 * (i + (i > 9)))
    frames = decode.sample_frames(path, 20)
    assert numbers_of(frames.images) == numbers_of(decode.iter_frames(path)) == list(range(20))
    assert frames.times[9:12] == pytest.approx([9 / 25, 11 / 25, 12 / 25])
