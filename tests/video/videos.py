"""Video files whose every frame shows its own number, as 12 black or white blocks: what is read back can be proved."""

from fractions import Fraction

import av
import numpy as np
from PIL import Image

from esv_jax.video import video_file

WIDTH, HEIGHT, BLOCK = 64, 48, 16
MILLISECOND = Fraction(1, 1000)


def numbered_image(number):
    """uint8 [48, 64, 3]: bit b of the number is the block in row b // 4, column b % 4."""
    bits = (number >> np.arange(12)) & 1
    image = np.kron(bits.reshape(3, 4), np.ones((BLOCK, BLOCK))) * 255
    return np.repeat(image[..., None], 3, axis=2).astype(np.uint8)


def number_of(image):
    """The number that an image shows."""
    centres = image[BLOCK // 2 :: BLOCK, BLOCK // 2 :: BLOCK, 1].reshape(-1)
    return int(((centres > 127) << np.arange(12)).sum())


def numbers_of(images):
    return [number_of(image) for image in images]


def write_video(path, codec, num_frames, *, fps=25, options=None, container=None, pts=None, format=None):
    """Encodes frames 0..num_frames-1; `pts` [num_frames] in milliseconds overrides the constant rate."""
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    with av.open(str(path), "w", options=container or {}, format=format) as file:
        stream = file.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt, stream.options = WIDTH, HEIGHT, pix_fmt, options or {}
        if pts is not None:
            stream.codec_context.time_base = MILLISECOND
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(numbered_image(number), format="rgb24")
            if pts is not None:
                frame.pts, frame.time_base = int(pts[number]), MILLISECOND
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def write_streams(path, streams):
    """A file with several video streams: (first number, size, is the default) of each; four frames."""
    with av.open(str(path), "w") as file:
        made = []
        for first, (width, height), is_default in streams:
            stream = file.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "18"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.disposition = av.stream.Disposition.default.value if is_default else 0
            made.append((stream, first))
        for number in range(4):
            for stream, first in made:
                frame = av.VideoFrame.from_ndarray(numbered_image(first + number), format="rgb24")
                frame = frame.reformat(stream.width, stream.height)
                frame.pts, frame.time_base = number, Fraction(1, 25)
                file.mux(stream.encode(frame))
        for stream, _ in made:
            file.mux(stream.encode(None))
    return path


def write_images(folder, names, numbers=None):
    """Pictures that show these numbers, or 0, 1, ..."""
    folder.mkdir()
    for number, name in zip(numbers or range(len(names)), names, strict=True):
        Image.fromarray(numbered_image(number)).save(folder / name)
    return folder


def rewrite_packets(source, target, change, pts=None):
    """Copies the video packets; `change(number, bytes) -> bytes`; `pts(number)` in milliseconds, where given."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        packets = [p for p in old.demux(stream) if p.size]
        for number, packet in enumerate(packets):
            changed = av.Packet(change(number, bytes(packet)))
            changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
            if pts is not None:
                changed.pts, changed.dts, changed.time_base = pts(number), pts(number), MILLISECOND
            changed.is_keyframe = packet.is_keyframe
            changed.stream = copy
            new.mux(changed)
    return target


def check_by_decoding(monkeypatch, num_frames):
    """Lets no more than the first frames of a video be decoded to check what its packets say."""
    monkeypatch.setattr(video_file, "_DECODED_TO_CHECK", num_frames)
    video_file._index_of_version.cache_clear()
