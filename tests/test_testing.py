"""The fixture library: what is in it works on torch's modules, and says what is wrong where something is."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from torch import nn

from rnn_props import testing, zoo
from rnn_props.contracts import ShapeRuleError
from rnn_props.devices import sim


def test_a_seeded_module_follows_from_the_seed_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two = (testing.seeded(nn.GRU, 3, 4, seed=7, dtype=torch.float64) for _ in range(2))
    other = testing.seeded(nn.GRU, 3, 4, seed=8, dtype=torch.float64)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.weight_ih_l0, two.weight_ih_l0)
    assert not torch.equal(one.weight_ih_l0, other.weight_ih_l0)
    assert (one.training, one.weight_ih_l0.dtype) == (False, torch.float64)
    with pytest.raises(TypeError, match=r"must give a torch\.nn\.Module"):
        testing.seeded(lambda: 3)  # type: ignore[arg-type, return-value]


def test_tensors_and_states_come_from_rules() -> None:
    x = testing.tensor("B T I", B=2, T=5, I=3, dtype=torch.float64, layout="transposed")
    assert (x.shape, x.is_contiguous()) == ((2, 5, 3), False)
    assert torch.equal(x, testing.tensor("B T I", B=2, T=5, I=3, dtype=torch.float64))
    h, c = testing.state(("L*D B P", "L*D B H"), L=2, D=2, B=3, P=1, H=4, seed=1)
    assert (h.shape, c.shape) == ((4, 3, 1), (4, 3, 4))
    assert not torch.equal(h.flatten()[:4], c.flatten()[:4])
    with pytest.raises(ShapeRuleError, match="uses 'I', which has no size here"):
        testing.tensor("T B I", T=1, B=1)
    with pytest.raises(ValueError, match="fill must be one of"):
        testing.tensor("T", T=1, fill="noise")


@pytest.mark.skipif(sim.why_not() is not None, reason="no simulated device")
def test_values_are_the_same_on_a_device() -> None:
    x = testing.tensor("T B I", T=2, B=2, I=3, device="sim")
    assert x.device.type == "sim"
    testing.assert_close(x, testing.tensor("T B I", T=2, B=2, I=3), within=0.0)
    module = testing.seeded(nn.LSTM, 3, 4, device="sim")
    output, _ = module(x)
    testing.assert_close(output, testing.seeded(nn.LSTM, 3, 4)(x.cpu())[0])


def test_rows_are_packed_by_their_lengths() -> None:
    padded = testing.tensor("B T I", B=3, T=4, I=2)
    packed = testing.packed(padded, (2, 4, 1), batch_first=True)
    assert packed.batch_sizes.tolist() == [3, 2, 1, 1]
    assert packed.sorted_indices is not None
    assert testing.packed(padded, (4, 2, 1), batch_first=True).sorted_indices is None


def test_results_that_differ_are_told_by_leaf_and_worst_element() -> None:
    one = {"output": torch.zeros(4, 2, 3), "state": (torch.ones(1, 2), torch.ones(1, 2))}
    two = {"output": torch.zeros(4, 2, 3), "state": (torch.ones(1, 2), torch.ones(1, 2))}
    two["state"][1][0, 1] = 1.5
    testing.assert_close(one, one)
    with pytest.raises(AssertionError, match=r"result\['state'\]\[1\]\[0, 1\]: expected 1.5, got 1 \("):
        testing.assert_close(one, two)
    with pytest.raises(AssertionError, match=r"y\[T=0, B=1, H=0\]: expected 2, got 0"):
        testing.assert_close(torch.zeros(1, 2, 1), torch.tensor([[[0.0], [2.0]]]), name="y", rules="T B H")
    with pytest.raises(AssertionError, match="expected a tuple of 2, got a tuple of 1"):
        testing.assert_close((one["output"],), (one["output"], one["output"]))
    with pytest.raises(AssertionError, match=r"expected shape \(2,\), got shape \(3,\)"):
        testing.assert_close(torch.zeros(3), torch.zeros(2))
    with pytest.raises(AssertionError, match="got nan"):
        testing.assert_close(torch.tensor([float("nan")]), torch.ones(1), within=1.0)


def test_the_tolerance_passes_rounding_and_nothing_more() -> None:
    module = testing.seeded(nn.LSTM, 3, 4, num_layers=2)
    x = testing.tensor("T B I", T=6, B=2, I=3)
    bound = testing.tolerance(module, x)
    exact = testing.seeded(nn.LSTM, 3, 4, num_layers=2, dtype=torch.float32).double()(x.double())
    testing.assert_close(module(x), exact, within=bound)
    assert 0 < bound.allowed < 1e-4
    with pytest.raises(AssertionError, match="allowed"):
        testing.assert_close(module(x * 1.001), exact, within=bound)
    packed = testing.packed(x, (6, 3))
    assert testing.tolerance(module, packed, call=lambda m, given, hx: m(given, hx)[0].data).allowed > 0


def test_a_run_that_shows_nothing_is_an_error() -> None:
    chaotic = testing.Bound(sensitivity=1.0, scale=1.0, unit=1e-7)
    with pytest.raises(ValueError, match="ill-conditioned"):
        testing.assert_close(torch.zeros(1), torch.ones(1), within=chaotic)


def test_a_run_in_chunks_is_the_whole_run() -> None:
    module = testing.seeded(nn.LSTM, 3, 4, batch_first=True, dtype=torch.float64)
    x = testing.tensor("B T I", B=2, T=5, I=3, dtype=torch.float64)
    whole = module(x)
    testing.assert_close(testing.run_in_chunks(module, x, splits=(1, 4), time_axis=1), whole)
    with pytest.raises(ValueError, match=r"splits must increase and lie in 1\.\.4 \(got \(3, 3\)\)"):
        testing.run_in_chunks(module, x, splits=(3, 3), time_axis=1)


class TorchStreams(testing.StreamMachine):
    def build(self) -> nn.Module:
        return nn.GRU(3, 4, num_layers=2)


class BuggyStreams(testing.StreamMachine):
    def build(self) -> nn.Module:
        return zoo.ReturnsOldCellState(3, 4)


class NoBuild(testing.StreamMachine):
    pass


_FEW = settings(max_examples=30, stateful_step_count=8, deadline=None, database=None)


def test_the_state_machine_passes_torch_and_finds_a_bug() -> None:
    run_state_machine_as_test(TorchStreams, settings=_FEW)
    with pytest.raises(AssertionError, match="chunks"):
        run_state_machine_as_test(BuggyStreams, settings=_FEW)
    with pytest.raises(NotImplementedError, match="NoBuild needs a method `build`"):
        NoBuild()


def test_fixtures_run_a_test_on_every_device_and_dtype(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from rnn_props import testing
        from torch import nn

        def test_place(rnn_props_device):
            x = testing.tensor("T B I", T=2, B=2, I=3, device=rnn_props_device)
            assert testing.seeded(nn.GRU, 3, 4, device=rnn_props_device)(x)[0].device.type == rnn_props_device

        def test_kind(rnn_props_dtype, rnn_props_seed):
            x = testing.tensor("T B I", T=2, B=2, I=3, dtype=rnn_props_dtype, seed=rnn_props_seed)
            assert testing.seeded(nn.GRU, 3, 4, dtype=rnn_props_dtype)(x)[0].dtype == rnn_props_dtype
            assert rnn_props_seed == 12
        """
    )
    arguments = ("--rnn-props-device", "cpu", "--rnn-props-device", "sim", "--rnn-props-device", "cuda:7")
    result = pytester.runpytest_subprocess(*arguments, "--hypothesis-seed=12", "-rs", "-v")
    result.stdout.fnmatch_lines(["*::test_kind[[]bfloat16] PASSED*"])
    outcome = result.parseoutcomes()
    assert (outcome["passed"], outcome["skipped"]) == (6, 1)
