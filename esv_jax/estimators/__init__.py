"""Estimators: from the worths of a plan's coalitions to a value for every frame."""

from esv_jax.estimators.exact import exact as exact
from esv_jax.estimators.orderings import orderings as orderings
from esv_jax.estimators.recommended import recommended as recommended
from esv_jax.estimators.regression import regression as regression
from esv_jax.estimators.stratified import stratified as stratified
from esv_jax.estimators.stratified_paired import stratified_paired as stratified_paired
from esv_jax.estimators.subset_sums import subset_sums as subset_sums
from esv_jax.estimators.surrogate import surrogate as surrogate
