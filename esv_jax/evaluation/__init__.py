"""How good attributions and estimators are."""
