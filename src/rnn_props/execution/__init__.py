"""How checks are run: worker processes, the runner, profiles, events, results."""
