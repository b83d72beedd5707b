import importlib
import inspect
import pkgutil

import pytest

from esv_jax.checks import InputError
from tests import bad_inputs

LONGEST = 500


def _kinds():
    for found in pkgutil.iter_modules(bad_inputs.__path__):
        module = importlib.import_module(f"{bad_inputs.__name__}.{found.name}")
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and not name.startswith("_"):
                yield pytest.param(function, id=f"{found.name}: {name.replace('_', ' ')}")


KINDS = list(_kinds())


@pytest.mark.parametrize("give", KINDS)
def test_a_kind_of_bad_input_is_one_sentence(give, tmp_path):
    with pytest.raises(InputError) as told:
        give(tmp_path)
    sentence = str(told.value)
    assert 0 < len(sentence.replace(str(tmp_path), "")) <= LONGEST
    assert sentence.isprintable(), sentence
