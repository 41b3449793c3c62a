"""What cards do with the networks at full size: memory, traffic and waits, on the simulated GPU."""

import pytest

from .full_size import Card, one_step

STEPS = 1


def test_a_card_of_16_gib_keeps_all_for_the_next_picture():
    with Card(16) as card:
        first, second = (card.watch(one_step(1024)) for _ in range(2))
    assert first.files == second.files == 0
    assert first.up < 9.1  # 8.94 of weights
    assert second.up + second.down < 0.1
    assert first.waits <= 10  # tables come, once
    assert second.waits <= 4 + STEPS


@pytest.mark.parametrize("memory", ["auto", "stream"])
def test_a_card_of_8_gib_streams_what_it_cannot_hold(memory):
    with Card(8, memory=memory) as card:
        took = card.watch(one_step(1024))
    assert took.files == 0
    assert took.peak <= 7.0


def test_a_card_of_12_gib_needs_no_float8():
    with Card(12) as card:
        took = card.watch(one_step(1024))
    assert took.peak <= 11.0
    assert took.up < 9.1


def test_float8_halves_what_is_uploaded():
    with Card(8, weights="float8") as card:
        took = card.watch(one_step(1024))
    assert took.peak <= 7.0
    assert took.up < 5.6
