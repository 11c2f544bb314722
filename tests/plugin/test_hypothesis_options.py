"""Hypothesis's own options and profiles, as the checks take them."""

from __future__ import annotations

import pytest
from small_models import QUICK, examples_of, run

from rnn_props.execution.profiles import PROFILES

_ONE = ("--rnn-props", "models:Leaky", "-k", "RP105")
_VERBOSE = ("--hypothesis-verbosity", "verbose")


@pytest.fixture
def profiles(pytester: pytest.Pytester) -> None:
    """A conftest with a profile for each of the settings that count."""
    pytester.makeconftest(
        """
        from hypothesis import Phase, Verbosity, settings

        settings.register_profile("short", max_examples=7)
        settings.register_profile("same", max_examples=7, derandomize=True)
        settings.register_profile("nowhere", max_examples=7, database=None)
        settings.register_profile("as-found", phases=[Phase.generate], max_examples=30, verbosity=Verbosity.verbose)
        """
    )


@pytest.mark.nightly
def test_verbosity_shows_cases_and_quiet_shows_the_first_line_alone(pytester: pytest.Pytester) -> None:
    quick = PROFILES["quick"]
    verbose = run(pytester, *_ONE, *QUICK, *_VERBOSE)
    assert len(examples_of(verbose)) == quick.covering + quick.random
    quiet = run(pytester, *_ONE, *QUICK, "--hypothesis-verbosity", "quiet")
    quiet.stdout.fnmatch_lines(["RP105 type.dtype: output: expected torch.float64, got torch.float32*"])
    assert "Case(" not in quiet.stdout.str()


@pytest.mark.nightly
@pytest.mark.usefixtures("profiles")
def test_seed_and_profile_decide_the_cases(pytester: pytest.Pytester) -> None:
    arguments = ("--rnn-props", "models:MyGRU", "-k", "RP107", "-rP", *_VERBOSE)
    short = examples_of(run(pytester, *arguments, "--hypothesis-seed", "1", "--hypothesis-profile", "short"))
    other = examples_of(run(pytester, *arguments, "--rnn-props-seed", "2", "--hypothesis-profile", "short"))
    again = examples_of(run(pytester, *arguments, "--rnn-props-seed", "1", "--rnn-props-max-examples", "7"))
    assert len(short) == len(other) == 7
    assert short == again != other


@pytest.mark.nightly
@pytest.mark.usefixtures("profiles")
def test_a_failure_is_replayed_unless_the_profile_says_otherwise(pytester: pytest.Pytester) -> None:
    earlier = []
    for profile in ("nowhere", "short", "short", "same"):
        arguments = (*_ONE, "--hypothesis-profile", profile, "--hypothesis-show-statistics")
        earlier.append("1 of them were failures of earlier runs" in run(pytester, *arguments).stdout.str())
    assert earlier == [False, False, True, False]  # the first failure is kept nowhere, the second is


@pytest.mark.nightly
@pytest.mark.usefixtures("profiles")
def test_a_profile_without_shrinking_shows_the_case_as_it_was_found_and_its_verbosity_counts(
    pytester: pytest.Pytester,
) -> None:
    whole = run(pytester, *_ONE, "--hypothesis-profile", "short", "--rnn-props-seed", "3")
    plain = run(pytester, *_ONE, "--hypothesis-profile", "as-found", "--rnn-props-seed", "3")
    assert examples_of(whole) == []
    assert len(examples_of(plain)) == 30
    smallest = "    Case(hyperparameters={'input_size': 1, 'hidden_size': 1, 'num_layers': 1, 'bias': True,"
    whole.stdout.fnmatch_lines([smallest])
    plain.stdout.no_fnmatch_line(smallest)


@pytest.mark.nightly
@pytest.mark.usefixtures("profiles")
def test_a_derandomized_profile_takes_no_new_seed_at_night(pytester: pytest.Pytester) -> None:
    arguments = ("--rnn-props", "models:MyGRU", "-k", "RP107", "-rP", "--rnn-props-profile", "nightly", *_VERBOSE)
    one, two = (examples_of(run(pytester, *arguments, "--hypothesis-profile", "same")) for _ in range(2))
    new = examples_of(run(pytester, *arguments, "--hypothesis-profile", "short"))
    assert len(one) == len(new) == 7
    assert one == two != new
