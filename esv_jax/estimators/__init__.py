"""Estimators: from the worths of a plan's coalitions to a value for every frame."""

from esv_jax.estimators.exact import exact as exact
from esv_jax.estimators.stratified import stratified as stratified
