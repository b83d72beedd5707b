"""What is kept of attributions: files, tables and pictures of one video; a store for a whole set."""

from esv_jax.results import page as page
from esv_jax.results.frame_table import frame_table as frame_table
from esv_jax.results.in_memory import write as write
from esv_jax.results.store import num_frames_stored as num_frames_stored
from esv_jax.results.store import open as open
from esv_jax.results.store import open_common as open_common
