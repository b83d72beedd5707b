import h5py
import numpy as np
import pytest

from esv_jax.checks import InputError
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
