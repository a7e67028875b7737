import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from multirate.data.source import DatasetSource, Source, TensorSource, as_source, tensor_of
from multirate.errors import DataError, UsageError

N = 40
INDICES = torch.tensor([3, 0, 39, 3, 17])
GENERATOR = np.random.default_rng(0)
UNIT = torch.from_numpy(GENERATOR.random((N, 1, 4, 5), dtype=np.float32))
BITS = torch.from_numpy(GENERATOR.integers(0, 2, (N, 1, 4, 5)))
BYTES = torch.from_numpy(GENERATOR.integers(0, 256, (N, 1, 4, 5), dtype=np.uint8))

# values, what a batch must be, scale, likelihood
KINDS = {
    "floats": (UNIT, UNIT, 1, "gaussian"),
    "double floats": (UNIT.double(), UNIT, 1, "gaussian"),
    "half floats": (UNIT.half(), UNIT.half().float(), 1, "gaussian"),
    "negative floats": (UNIT - 5, UNIT - 5, 1, "gaussian"),
    "floats 0 and 1": (BITS.float(), BITS.float(), 1, "bernoulli"),
    "integers 0 and 1": (BITS, BITS.float(), 1, "bernoulli"),
    "counts": (BITS * 1000, BITS.float() * 1000, 1, "gaussian"),
    "booleans": (BITS.bool(), BITS.float(), 1, "bernoulli"),
    "bytes 0 and 1": (BITS.to(torch.uint8), BITS.float(), 1, "bernoulli"),
    "bytes": (BYTES, BYTES.float() / 255, 255, "gaussian"),
    "not contiguous": (UNIT.transpose(2, 3), UNIT.transpose(2, 3), 1, "gaussian"),
}


class Items(Dataset):
    """A dataset that gives whatever items it was made of."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


class Many(Items):
    """A dataset that fetches a whole batch at once and counts how often."""

    calls = 0

    def __getitems__(self, indices):
        self.calls += 1
        return [self.items[i] for i in indices]


class Stream(IterableDataset):
    """A dataset that can only be gone through."""

    def __iter__(self):
        return iter(())


@pytest.mark.parametrize(("values", "expected", "scale", "likelihood"), KINDS.values(), ids=KINDS.keys())
def test_a_batch_equals_its_examples_one_by_one(values, expected, scale, likelihood):
    source = as_source(values, name="mine", split="test")

    batch = source.batch(INDICES)

    assert batch.dtype == torch.float32
    assert torch.equal(batch, torch.stack([expected[int(i)] for i in INDICES]))
    assert (len(source), source.shape) == (N, tuple(values.shape[1:]))
    assert (source.name, source.split, source.likelihood, source.details["scale"]) == (
        "mine",
        "test",
        likelihood,
        scale,
    )


@pytest.mark.parametrize(("values", "expected", "scale", "likelihood"), KINDS.values(), ids=KINDS.keys())
def test_a_dataset_equals_the_tensor_it_holds(values, expected, scale, likelihood):
    source = as_source(Items([(x, 7) for x in values]))

    assert isinstance(source, DatasetSource)
    assert torch.equal(source.batch(INDICES), expected[INDICES])
    assert (len(source), source.shape) == (N, tuple(values.shape[1:]))
    assert (source.likelihood, source.details["scale"]) == (likelihood, scale)


@pytest.mark.parametrize(("values", "expected", "scale", "likelihood"), KINDS.values(), ids=KINDS.keys())
def test_an_array_equals_the_tensor_of_it(values, expected, scale, likelihood):
    source = as_source(values.numpy())

    assert torch.equal(source.batch(INDICES), expected[INDICES])
    assert source.likelihood == likelihood


def test_a_batch_is_a_copy():
    values = UNIT.clone()
    source = as_source(values)
    source.batch(INDICES).zero_()
    assert torch.equal(values, UNIT)
    assert torch.equal(source.batch(INDICES), UNIT[INDICES])


def test_bytes_stay_bytes_in_memory_and_bits_stay_bits():
    assert TensorSource(BYTES)._values.dtype == torch.uint8
    assert TensorSource(BITS.float())._values.dtype == torch.bool


def test_a_float32_tensor_is_not_copied():
    assert TensorSource(UNIT)._values.data_ptr() == UNIT.data_ptr()


def test_a_source_is_its_own_source():
    source = as_source(UNIT)
    assert as_source(source, name="other") is source


def test_a_tensor_dataset_is_taken_as_its_first_tensor():
    source = as_source(TensorDataset(UNIT, torch.arange(N)))
    assert isinstance(source, TensorSource)
    assert torch.equal(source.batch(INDICES), UNIT[INDICES])


def test_a_subset_is_fetched_by_its_own_indices():
    source = as_source(Subset(TensorDataset(UNIT), [5, 6, 7]))
    assert torch.equal(source.batch(torch.tensor([2, 0])), UNIT[[7, 5]])


def test_a_dataset_that_fetches_batches_is_asked_once_a_batch():
    dataset = Many(list(UNIT))
    source = as_source(dataset)
    before = dataset.calls
    assert torch.equal(source.batch(INDICES), UNIT[INDICES])
    assert dataset.calls == before + 1


def test_items_may_be_arrays_or_mappings():
    assert torch.equal(as_source(Items(list(UNIT.numpy()))).batch(INDICES), UNIT[INDICES])
    source = DatasetSource(Items([{"image": x, "label": 0} for x in UNIT]), key="image")
    assert torch.equal(source.batch(INDICES), UNIT[INDICES])


def test_the_likelihood_and_the_scale_can_be_chosen():
    assert as_source(UNIT, likelihood="bernoulli").likelihood == "bernoulli"
    assert as_source(BITS, likelihood="gaussian").likelihood == "gaussian"
    assert torch.equal(TensorSource(BYTES, scale=1).batch(INDICES), BYTES[INDICES].float())


def test_labels_go_with_the_examples():
    assert TensorSource(UNIT, labels=torch.arange(N)).labels.tolist() == list(range(N))
    with pytest.raises(DataError, match=r"40 examples but labels of shape \[3\]"):
        TensorSource(UNIT, labels=torch.arange(3))


def with_value(value):
    values = UNIT.double()
    values[2, 0, 1, 1] = value
    return values


BAD_VALUES = {
    "NaN": (with_value(float("nan")), "1 of 40 examples hold NaN"),
    "infinity": (with_value(float("inf")), "1 of 40 examples hold NaN, infinity"),
    "too large for float32": (with_value(1e300), "too large for float32"),
    "no examples": (torch.zeros(0, 3), r"got shape \[0, 3\]"),
    "no numbers": (torch.zeros(3, 0), r"got shape \[3, 0\]"),
    "one axis": (torch.zeros(3), r"got shape \[3\]"),
    "a number": (torch.tensor(3.0), r"got shape \[\]"),
    "complex": (torch.zeros(3, 2, dtype=torch.complex64), "complex64"),
    "sparse": (torch.zeros(3, 2).to_sparse(), "sparse"),
    "objects": (np.array([[None, 1]], dtype=object), "an array of object"),
    "text": (np.array([["a"]]), "an array of <U1"),
    "complex array": (np.zeros((2, 2), dtype=complex), "an array of complex128"),
    "float array of NaN": (np.full((2, 2), np.nan), "2 of 2 examples hold NaN"),
    "array too large for float32": (np.full((2, 2), 1e300), "too large for float32"),
}


@pytest.mark.parametrize(("values", "message"), BAD_VALUES.values(), ids=BAD_VALUES.keys())
def test_values_that_are_no_data_are_refused(values, message):
    with pytest.raises(DataError, match=message) as caught:
        as_source(values, name="mine")
    assert str(caught.value).startswith("mine: ")
    assert "\n" not in str(caught.value)


NOT_DATA = {
    "a list": ([1, 2], "a list is no data"),
    "a name": ("mnist", "a str is no data"),
    "None": (None, "a NoneType is no data"),
    "a loader": (DataLoader(TensorDataset(UNIT)), "cannot fetch by index from a DataLoader"),
    "a stream": (Stream(), "cannot fetch by index from a Stream"),
}


@pytest.mark.parametrize(("value", "message"), NOT_DATA.values(), ids=NOT_DATA.keys())
def test_what_is_no_data_is_refused(value, message):
    with pytest.raises(UsageError, match=message):
        as_source(value)


BAD_ITEMS = {
    "empty": ([], "is empty"),
    "mixed shapes": ([torch.zeros(3), torch.zeros(4)], r"items differ: \[3\] torch.float32 and \[4\]"),
    "mixed types": ([torch.zeros(3), torch.zeros(3, dtype=torch.uint8)], "items differ"),
    "numbers": ([torch.tensor(1.0)], r"an item has shape \[\]"),
    "text": (["a"], "an example is str"),
    "empty tuples": ([()], "an example is tuple"),
    "mappings": ([{"image": torch.zeros(3)}], r"items have the keys \['image'\]"),
    "object arrays": ([np.array([None])], "an array of object"),
    "complex": ([torch.zeros(3, dtype=torch.complex64)], "an example is torch.complex64"),
}


@pytest.mark.parametrize(("items", "message"), BAD_ITEMS.values(), ids=BAD_ITEMS.keys())
def test_a_dataset_with_bad_items_is_refused(items, message):
    with pytest.raises(DataError, match=message):
        as_source(Items(items))


def test_a_dataset_without_length_is_refused():
    class Endless(Dataset):
        def __getitem__(self, index):
            return torch.zeros(3)

    with pytest.raises(DataError, match="Endless has no length"):
        as_source(Endless())


LATE = {
    "NaN": (torch.full((3,), torch.nan), None, "NaN or infinity"),
    "another shape": (torch.zeros(4), None, r"items of shape \[3\] and \[4\]"),
    "not in [0, 1]": (torch.full((3,), 2.0), "bernoulli", "needs values in"),
}


@pytest.mark.parametrize(("item", "likelihood", "message"), LATE.values(), ids=LATE.keys())
def test_a_bad_item_that_was_not_looked_at_is_refused_in_its_batch(item, likelihood, message):
    items = [torch.zeros(3) for _ in range(1000)]
    items[500] = item
    source = as_source(Items(items), likelihood=likelihood)
    source.batch(torch.tensor([0, 999]))
    with pytest.raises(DataError, match=message):
        source.batch(torch.tensor([500]))


def test_bernoulli_refuses_values_outside_0_to_1():
    with pytest.raises(DataError, match=r"got -4.9997 to -4.00193; rescale them"):
        as_source(UNIT - 5, likelihood="bernoulli")
    with pytest.raises(DataError, match="use likelihood gaussian"):
        TensorSource(BYTES, scale=100, likelihood="bernoulli")


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_a_scale_that_is_not_positive_is_refused(scale):
    with pytest.raises(UsageError, match="above 0"):
        TensorSource(UNIT, scale=scale)


def test_an_unknown_likelihood_is_refused():
    with pytest.raises(
        UsageError, match="unknown likelihood 'poisson'; choose one of bernoulli, gaussian, categorical"
    ):
        as_source(UNIT, likelihood="poisson")


def test_indices_outside_are_refused():
    with pytest.raises(IndexError):
        as_source(UNIT).batch(torch.tensor([N]))


def test_arrays_of_any_memory_layout_become_tensors():
    array = np.arange(24, dtype=np.float64).reshape(2, 3, 4)
    frozen = array.astype(np.float32)
    frozen.flags.writeable = False
    for variant in (
        array,
        array.astype(">f8"),
        np.asfortranarray(array),
        array[::-1][::-1],
        frozen,
        array.astype(np.uint16),
    ):
        assert torch.equal(tensor_of(variant), torch.arange(24.0).reshape(2, 3, 4))


def test_a_source_of_ones_own_is_a_source():
    class Constant(Source):
        def __init__(self):
            super().__init__((2,), name="constant", split="train", likelihood="gaussian")

        def __len__(self):
            return 5

        def batch(self, indices):
            return torch.ones(len(indices), 2)

    source = as_source(Constant())
    assert source.batch(INDICES).shape == (5, 2)
    assert "5 examples of shape [2], gaussian" in repr(source)


@pytest.mark.parametrize("make", [as_source, lambda x: DatasetSource(Items(list(x)))], ids=["tensor", "dataset"])
@pytest.mark.parametrize("x", [UNIT * 100, BYTES.float(), UNIT - 0.5], ids=["to 100", "to 255", "from -0.5"])
def test_a_bernoulli_likelihood_is_refused_for_values_outside_0_to_1(make, x):
    source = make(x)
    source.check_likelihood("gaussian")
    low, high = source.value_range
    assert (low, high) == pytest.approx((x.min().item(), x.max().item()), abs=1.0, rel=0.05)
    remedy = "" if low < 0 else "divide them by scale=.* or "
    with pytest.raises(UsageError, match=rf'values from .* to .* needs \[0, 1\]; {remedy}use likelihood="gaussian"'):
        source.check_likelihood("bernoulli")


@pytest.mark.parametrize("x", [UNIT, BITS, BYTES, BITS.bool(), BITS.to(torch.uint8) * 255], ids=str)
def test_a_bernoulli_likelihood_suits_values_from_0_to_1(x):
    as_source(x).check_likelihood("bernoulli")
    assert as_source(x).value_range == pytest.approx((0, 1), abs=0.01)


def test_a_source_of_unknown_range_suits_every_likelihood():
    class Unknown(Source):
        def __len__(self):
            return 1

        def batch(self, indices):
            return torch.full((len(indices), 1), 9.0)

    Unknown((1,), name="own", split="train", likelihood="gaussian").check_likelihood("bernoulli")


def test_bad_values_are_named_by_file_and_first_index():
    x = UNIT.clone()
    x[7, 0, 0, 0] = float("nan")
    x[9, 0, 0, 0] = float("inf")
    with pytest.raises(DataError, match=r"^there/x\.npy: 2 of 40 .* the first at index 7"):
        TensorSource(x, name="x", details={"path": "there/x.npy"})
    with pytest.raises(DataError, match=r"^own: 2 of 40"):
        TensorSource(x, name="own")


@pytest.mark.parametrize("scale", ["255", True, [2]])
def test_a_scale_that_is_no_number_is_refused(scale):
    with pytest.raises(UsageError, match="scale must be a number"):
        TensorSource(UNIT, scale=scale)


# More examples than are looked at together.
MANY = torch.arange(10_000).remainder(2).to(torch.uint8).view(-1, 1)


@pytest.mark.parametrize("values", [MANY.mul(255), MANY.float(), MANY.float() / 2], ids=["bytes", "bits", "floats"])
def test_values_are_compared_a_few_examples_at_a_time(values, monkeypatch):
    compared = []

    def equal(self, other):
        compared.append(len(self))
        return torch.eq(self, other)

    monkeypatch.setattr("multirate.data.source._CHUNK", 4096)
    monkeypatch.setattr(torch.Tensor, "__eq__", equal)
    TensorSource(values)
    assert 0 < max(compared) <= 4096


@pytest.mark.parametrize("place", [0, 4095, 4096, 9999])
@pytest.mark.parametrize("chunk", [4096, 1 << 22])
def test_one_value_among_many_decides(place, chunk, monkeypatch):
    monkeypatch.setattr("multirate.data.source._CHUNK", chunk)
    assert TensorSource(MANY.mul(255)).likelihood == TensorSource(MANY.float()).likelihood == "bernoulli"
    for values, other in ((MANY.mul(255), 7), (MANY.float(), 0.5)):
        assert TensorSource(values.index_fill(0, torch.tensor([place]), other)).likelihood == "gaussian"
    with pytest.raises(DataError, match=f"1 of 10,000 examples hold NaN.*the first at index {place};"):
        TensorSource(MANY.float().index_fill(0, torch.tensor([place]), float("nan")))


def test_an_array_of_bytes_that_is_mapped_to_be_written_to_stays_on_disk(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (N, 3, 4), dtype=np.uint8)
    np.save(tmp_path / "mine.npy", values)
    mapped = np.load(tmp_path / "mine.npy", mmap_mode="c")
    source = as_source(mapped)
    assert torch.equal(source.batch(torch.arange(N)), torch.from_numpy(values).float() / 255)
    assert np.shares_memory(source._values.numpy(), mapped)
    assert not np.shares_memory(as_source(np.load(tmp_path / "mine.npy", mmap_mode="r"))._values.numpy(), mapped)
