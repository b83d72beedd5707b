"""An object store (S3) on this machine."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

FILES = ("store.json", "clips.csv", "features.bin")


@contextlib.contextmanager
def serving() -> Iterator[Callable[[str, bytes], None]]:
    """Gives what puts a content under a name of the bucket "lab"; the environment says where it is."""
    pytest.importorskip("obstore")
    server, boto3 = pytest.importorskip("moto.server"), pytest.importorskip("boto3")
    served = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    served.start()
    _, port = served.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "REGION": "us-east-1"}.items():
            patch.setenv(f"AWS_{name}", value)
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        client = boto3.client("s3")
        client.create_bucket(Bucket="lab")
        try:
            yield lambda name, content: client.put_object(Bucket="lab", Key=name, Body=content)
        finally:
            served.stop()


def put_store(put: Callable[[str, bytes], None], folder: Path, name: str) -> None:
    """Puts the files of a feature store there."""
    for file in FILES:
        put(f"{name}/{file}", (folder / file).read_bytes())
