"""A page to look at a whole results store in a browser: files that need no server, and ask for nothing elsewhere."""

from esv_jax.results.page.build import MOST_IN_ONE_FILE as MOST_IN_ONE_FILE
from esv_jax.results.page.build import Made as Made
from esv_jax.results.page.build import write as write
from esv_jax.results.page.build import write_one as write_one
