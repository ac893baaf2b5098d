"""The conformance kit: does a plugin keep the contract of its kind? Used in a plugin's own tests, with pytest.

    from aaclip_kit.testing import conformance

    @conformance("attention-stage", "my_attention", options={"tower": "vision", "after": [0]})
    def test_contract(check):
        check()

From the command line: `pytest --aakit attention-stage:my_attention`. Neither torch nor pytest is imported here.
"""

from .check import Broken, Check, checks_of, conformance
from .tiny import tiny_experiment

__all__ = ["Broken", "Check", "checks_of", "conformance", "tiny_experiment"]
