"""Which frames made a video model say that? Element Shapley Values in JAX (Price & Damen, ACCV 2020)."""

from esv_jax import models as models
from esv_jax import results as results
from esv_jax.base import Attribution as Attribution
from esv_jax.base import Estimator as Estimator
from esv_jax.base import Game as Game
from esv_jax.base import Level as Level
from esv_jax.base import Plan as Plan
from esv_jax.checks import InputError as InputError
from esv_jax.estimators import exact as exact
from esv_jax.estimators import orderings as orderings
from esv_jax.estimators import recommended as recommended
from esv_jax.estimators import regression as regression
from esv_jax.estimators import stratified as stratified
from esv_jax.estimators import stratified_paired as stratified_paired
from esv_jax.estimators import surrogate as surrogate
from esv_jax.estimators.subset_sums import subset_sums as subset_sums
from esv_jax.explaining.explain import explain as explain
from esv_jax.explaining.until import Progress as Progress
from esv_jax.explaining.until import explain_until as explain_until
from esv_jax.games import clip_game as clip_game
from esv_jax.games import frame_mean_game as frame_mean_game
from esv_jax.games import multiscale_game as multiscale_game
from esv_jax.games import trn_game as trn_game
from esv_jax.games import tsn_game as tsn_game
