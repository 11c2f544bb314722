"""The file that `rnn-props infer --adapter FILE` writes. It imports nothing of the target's."""

from __future__ import annotations

from pathlib import Path

_STUB = '''"""How rnn_props builds and calls {target}.

    rnn-props check {target} --adapter {file}
"""

from rnn_props import Adapter


class ADAPTER(Adapter):
    """Each method is as it would be without it: keep those that you change."""

    def build(self, target, **hyperparameters):
        """A module; the keywords are constructor arguments."""
        return target(**hyperparameters)

    def call(self, module, input, state):
        """Call it; a state of None means that none is given."""
        return module(input) if state is None else module(input, state)

    def initial_state(self, module, batch):
        """A state for this many rows, where the module can't do without one."""
        return None

    def split_state(self, value):
        """The output and the state in what `call` returned; None for what there is not."""
        output, state = value
        return output, state
'''


def stub(target: str, file: Path) -> str:
    """An adapter for a target, to be filled in."""
    return _STUB.format(target=target, file=file)
