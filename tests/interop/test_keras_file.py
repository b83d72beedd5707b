import io
import zipfile

import h5py
import numpy as np
import pytest

from esv_jax.checks import InputError
from esv_jax.interop import keras_file
from esv_jax.interop.keras_file import read_arrays

ARRAYS = {
    "conv1/kernel": np.arange(12.0).reshape(1, 3, 2, 2),
    "conv1_bn/gamma": np.ones(2),
    "conv_dw_1/depthwise_kernel": np.zeros((3, 3, 2, 1)),
}


def write_h5(path, inside=""):
    """As Keras 2 saves weights: a group a layer, in it the tensors by their full names; empty layers too."""
    with h5py.File(path, "w") as file:
        group = file.create_group(inside) if inside else file
        group.attrs["layer_names"] = [b"input_1", *(name.split("/")[0].encode() for name in ARRAYS)]
        group.create_group("input_1").attrs["weight_names"] = []
        for name, values in ARRAYS.items():
            layer, tensor = name.split("/")
            group[f"{layer}/{layer}/{tensor}:0"] = values
        if inside:
            file["optimizer_weights/training/iterations:0"] = np.ones(1)


@pytest.mark.parametrize("inside", ["", "model_weights"])
def test_keras_own_files(tmp_path, inside):
    write_h5(tmp_path / "w.h5", inside)
    arrays = read_arrays(tmp_path / "w.h5")
    assert sorted(arrays) == sorted(ARRAYS)
    for name, values in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], values)


def test_npz_files_of_the_same_names(tmp_path):
    np.savez(tmp_path / "w.npz", **ARRAYS)
    arrays = read_arrays(tmp_path / "w.npz")
    np.testing.assert_array_equal(arrays["conv1/kernel"], ARRAYS["conv1/kernel"])
    assert sorted(arrays) == sorted(ARRAYS)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"none\.h5 cannot be read as an npz or h5 file: there is none"):
        read_arrays(tmp_path / "none.h5")
    for name in ("text.h5", "text.npz"):
        (tmp_path / name).write_text("these are no weights")
        with pytest.raises(InputError, match=rf"{name} cannot be read as"):
            read_arrays(tmp_path / name)


def test_hdf5_is_known_by_what_it_holds(tmp_path):
    write_h5(tmp_path / "WEIGHTS.H5")
    assert sorted(read_arrays(tmp_path / "WEIGHTS.H5")) == sorted(ARRAYS)


@pytest.mark.parametrize("how", ["external link", "soft link", "of the root", "raw storage", "virtual"])
def test_tensors_of_other_files_are_not_read(tmp_path, how):
    write_h5(tmp_path / "other.h5", "model_weights")
    (tmp_path / "raw").write_bytes(bytes(16))
    with h5py.File(tmp_path / "w.h5", "w") as file:
        group = file.create_group("conv1/conv1")
        if how == "external link":
            group["kernel:0"] = h5py.ExternalLink("other.h5", "/model_weights/conv1/conv1/kernel:0")
        elif how == "of the root":
            file["model_weights"] = h5py.ExternalLink("other.h5", "/model_weights")
        elif how == "soft link":
            group["kernel:0"] = h5py.SoftLink("/elsewhere")
        elif how == "raw storage":
            group.create_dataset("kernel:0", (2,), np.float64, external=[(str(tmp_path / "raw"), 0, 16)])
        else:
            layout = h5py.VirtualLayout((1, 3, 2, 2), np.float64)
            layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "model_weights/conv1/conv1/kernel:0", (1, 3, 2, 2))
            group.create_virtual_dataset("kernel:0", layout)
    with pytest.raises(InputError, match=r"w\.h5 has '.*' from another place or file, which is not followed"):
        read_arrays(tmp_path / "w.h5")


def test_a_name_that_two_tensors_have(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["conv1/a/kernel:0"] = file["conv1/b/kernel:0"] = np.ones(1)
    with pytest.raises(InputError, match=r"w\.h5 has several tensors 'conv1/kernel'"):
        read_arrays(tmp_path / "w.h5")


def test_more_than_fits_is_not_unpacked(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_dataset("conv1/conv1/kernel:0", (2**40,), np.float32, chunks=(2**10,))
    with pytest.raises(InputError, match=r"should take at most 1,073,741,824 bytes, found 4,398,046,511,104"):
        read_arrays(tmp_path / "w.h5")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**40,)})
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("conv1/kernel.npy", header.getvalue())
    with pytest.raises(InputError, match=r"w\.npz is damaged: 'conv1/kernel.npy' says that it is larger than it is"):
        read_arrays(tmp_path / "w.npz")
    np.savez_compressed(tmp_path / "zeros.npz", a=np.zeros(1000, np.float32))
    monkeypatch.setattr(keras_file, "_MAX_BYTES", 3000)
    with pytest.raises(InputError, match=r"should take at most 3,000 bytes, found 4,\d+"):
        read_arrays(tmp_path / "zeros.npz")
