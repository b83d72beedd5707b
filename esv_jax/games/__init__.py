"""Games: what a coalition of frames is worth."""

from esv_jax.games.clips import clip_game as clip_game
from esv_jax.games.frame_mean import frame_mean_game as frame_mean_game
from esv_jax.games.frame_mean import tsn_game as tsn_game
from esv_jax.games.groups import grouped as grouped
from esv_jax.games.host import host_game as host_game
from esv_jax.games.multiscale import multiscale_game as multiscale_game
from esv_jax.games.multiscale import trn_game as trn_game
