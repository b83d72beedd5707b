"""The game of larger players: of any other game, its frames taken together."""

import dataclasses
import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from esv_jax import batches, checks, fingerprints
from esv_jax.base import Array, Game, Host, Masks, Player, Scales
from esv_jax.coalitions import joint, masks
from esv_jax.games import players as of_players


def grouped(game: Game, players: Iterable[Any]) -> Game:
    """The game in which `players` are shown or removed together: v(S) of what the players in S have between them.

    Archives of host games serve every grouping of a video. Modalities of which no player has a part are always shown.

    Args:
      game: of `esv_jax.games`, not yet grouped. One of the form `Subsets` is then one on the host: it works neither
        under jax.jit nor under jax.vmap.
      players: of `esv_jax.players` (segments, between, tubelets, each, joined with +), or any (name, [(modality,
        indices), ...]); the modality of a video that is one array is "frames".

    Raises:
      InputError: players that are not such, have entries in common, or leave some of a modality out (told when the
        video is seen).
    """
    checked = of_players.checked(players)
    form = game.form
    if is_grouped(game) or (isinstance(form, Host) and form.players is not None):
        raise checks.InputError("game should be of single frames, found one that is grouped already")
    count = _Count(checked)
    if isinstance(form, Host):
        of_entries = dataclasses.replace(form, players=checked, num_entries=game.num_players)
        return game._replace(num_players=count, form=of_entries)
    if isinstance(form, Masks | Scales):
        prepare, logits = _traceable(game.prepare, game.logits, game.num_players, form, checked)
        return game._replace(prepare=prepare, logits=logits, form=Masks(), num_players=count, exact=None)
    about = f"grouped {fingerprints.of_function(game.logits)}"
    code = fingerprints.of_code(game.logits)
    on_host = Host(about=about, code=code, players=checked, num_entries=game.num_players)
    prepare, logits = _of_sizes(game.prepare, game.logits)
    return game._replace(prepare=prepare, logits=logits, form=on_host, num_players=count, exact=None)


def is_grouped(game: Game) -> bool:
    """Whether the game was made by `grouped`: even groups of one frame each may stand in another order."""
    return isinstance(game.num_players, _Count)


@dataclasses.dataclass(frozen=True)
class _Count:
    """`num_players` of a grouped game; equal for equal players, as compiled programs are found by it."""

    players: tuple[Player, ...]

    def __call__(self, video: Any) -> int:
        return len(self.players)


# Cached, so that a game made again is the same to jit's cache.
@functools.lru_cache(maxsize=64)
def _traceable(
    prepare: Any, logits: Any, num_entries: Callable[[Any], int], form: Masks | Scales, players: tuple[Player, ...]
) -> tuple[Any, Any]:
    def prepared_of(params: Any, video: Any) -> Any:
        members, _ = of_players.membership(players, {of_players.FRAMES: num_entries(video)})
        return prepare(params, video), jnp.asarray(members)

    def logits_of(prepared: Any, mask: Array) -> jax.Array:
        inner, members = prepared
        entries = jnp.any(jnp.asarray(mask)[:, :, None] & members[None], axis=1)
        if isinstance(form, Scales):
            joined = joint.of_masks(functools.partial(logits, inner), form.num_scales, entries)
            return joint.tempered(form, inner, joined, entries)
        return logits(inner, entries)

    return prepared_of, logits_of


@functools.lru_cache(maxsize=64)
def _of_sizes(prepare: Any, logits: Any) -> tuple[Any, Any]:
    """Of a game of the form `Subsets`, one on the host: rows of one size a call, filled up to a power of two."""

    @jax.jit
    def of_members(params: Any, video: Any, members: jax.Array) -> jax.Array:
        return logits(prepare(params, video), members)

    def logits_of(prepared: Any, mask: np.ndarray) -> np.ndarray:
        sizes = mask.sum(axis=1)

        def of_rows(rows: np.ndarray) -> np.ndarray:
            filled = np.resize(rows, 2 ** (len(rows) - 1).bit_length())
            members = masks.members_of(mask[filled], int(sizes[rows[0]]))
            return np.asarray(of_members(*prepared, members))[: len(rows)]

        return batches.by_kind(sizes, of_rows)

    return _params_and_video, logits_of


def _params_and_video(params: Any, video: Any) -> Any:
    return checks.own("params", params), video
