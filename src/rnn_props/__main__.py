"""`python -m rnn_props` is `rnn-props`."""

from __future__ import annotations

from rnn_props.cli import main

if __name__ == "__main__":  # worker processes import this module again, and must not start a run
    main()
