import jax
import jax.numpy as jnp
import numpy as np

from esv_jax.coalitions import masks

MEMBERS = np.array([[0, 2], [1, 4], [3, 4]])
MASK = np.array([[1, 0, 1, 0, 0], [0, 1, 0, 0, 1], [0, 0, 0, 1, 1]], bool)


def test_masks_and_members_say_the_same():
    np.testing.assert_array_equal(masks.of_members(MEMBERS, 5), MASK)
    on_host = masks.members_of(MASK, 2)
    on_device = jax.jit(masks.members_of, static_argnums=1)(MASK, 2)
    assert isinstance(on_host, np.ndarray)
    for found in (on_host, on_device):
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, MEMBERS)
    assert masks.of_members(np.zeros((2, 0), int), 3).tolist() == [[False] * 3] * 2


def test_a_mask_in_numbers():
    found = masks.as_float(MASK, jnp.float32)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, MASK.astype(float))
