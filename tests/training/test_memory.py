"""What training at full size takes of a card, counted."""

from .full_size import adaptor_step


def test_an_adaptor_learns_at_512_pixels_on_a_card_of_24_gib():
    memory, _ = adaptor_step(512)
    assert memory.learnt == 1_298_176_320
    assert memory.peak() <= 23
