"""The split of changes into requests, and the discovered limit of their size."""

from controller.consul.client import MAX_TRANSACTION_BYTES, Operation
from controller.publish.batches import LIMIT_LIFETIME, SizeLimit, batches, body_size, halves
from tests.support.recorders import FakeClock


def get(key: str) -> list[Operation]:
    return [Operation("get", key)]


def test_the_largest_size_that_passed_below_a_refused_one_is_used() -> None:
    limit = SizeLimit(FakeClock())
    limit.passed(10_000)
    assert limit.most() == MAX_TRANSACTION_BYTES
    for size in (400_000, 200_000, 100_000):
        limit.refused(size)
    for size in (40_000, 50_000, 30_000, 200_000):
        limit.passed(size)
    assert limit.most() == 50_000
    limit.refused(45_000)
    assert limit.most() == MAX_TRANSACTION_BYTES
    limit.passed(40_000)
    assert limit.most() == 40_000


def test_a_larger_size_is_tried_again_after_the_lifetime_of_the_limit() -> None:
    clock = FakeClock()
    limit = SizeLimit(clock)
    limit.refused(100_000)
    limit.passed(50_000)
    clock.advance(LIMIT_LIFETIME / 2)
    limit.refused(80_000)
    clock.advance(LIMIT_LIFETIME / 2 - 1)
    assert limit.most() == 50_000
    clock.advance(1)
    assert limit.most() == MAX_TRANSACTION_BYTES


def test_a_batch_has_at_most_64_operations_and_as_many_bytes_as_the_limit_says() -> None:
    limit = SizeLimit(FakeClock())
    keys = [f"key{number}" for number in range(150)]
    assert [len(part) for part in batches(keys, get, limit)] == [64, 64, 22]
    limit.refused(body_size([step for key in keys for step in get(key)]))
    limit.passed(body_size([*get("key10"), *get("key11"), *get("key12")]))
    assert {len(part) for part in batches(keys[10:40], get, limit)} == {3}
    limit.refused(500)
    limit.passed(10)
    assert list(batches(["a", "b"], get, limit)) == [["a"], ["b"]]


def test_halves_are_in_the_order_for_a_stack() -> None:
    assert halves([1, 2, 3]) == [[2, 3], [1]]
