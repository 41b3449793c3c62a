"""What is left of a caption."""

import pytest

from supir_core.captions.text import clean


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("The image shows a boat.\n\nThe sky is red. ", "A boat. The sky is red."),
        ("This photograph depicts two dogs on grass.", "Two dogs on grass."),
        ("In this image, we can see a cat.", "A cat."),
        ("In the picture there are three men.", "Three men."),
        ("Sure! Here is a detailed description of the image: A harbour at dusk.", "A harbour at dusk."),
        ("This is a black and white photo of a man.", "This is a black and white photo of a man."),
        ("This is a photo of a man.", "A man."),
        ("The image is a close-up of a leaf.", "A close-up of a leaf."),
        ("## Description\n\n- **Sky**: blue\n- sea", "Description Sky: blue sea"),
        ("<think>what is it?</think>\nA house.", "A house."),
        ('"A house."', "A house."),
        ("The image shows", "The image shows"),
        ("A sign that says: the image shows nothing.", "A sign that says: the image shows nothing."),
        ("", ""),
    ],
)
def test_only_what_is_to_be_seen_is_left(said, kept):
    assert clean(said) == kept


def test_a_fragment_is_left_out_where_the_model_was_stopped():
    said = "A boat. A red sky over the har"
    assert clean(said, finished=False) == "A boat."
    assert clean(said) == said
    assert clean("A boat. The sky.", finished=False) == "A boat. The sky."
    assert clean("A red sky over the har", finished=False) == "A red sky over the har"
    assert clean('A sign: "Open." Behind it a ho', finished=False) == 'A sign: "Open."'


def test_cleaning_twice_changes_nothing():
    once = clean("The image shows the photo of a boat.\nIn this image, a dog.")
    assert clean(once) == once
