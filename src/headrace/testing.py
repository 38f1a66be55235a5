"""Test a function without deploying it: `from headrace.testing import ...`.

The code lives in `runtime/testing.py`; this module only gives it its public name.
"""

from headrace.runtime.testing import *  # noqa: F403
from headrace.runtime.testing import __all__ as __all__
