"""Which of the texts that wait are read together: those about as long as the one that has waited longest."""

from collections.abc import Sequence


def next_batch(lengths: Sequence[int], budget: int) -> list[int]:
    """Places of the texts to read now, shortest first. The first text is always among them, so none waits for ever.

    lengths: tokens of each text, in the order of arrival, at least one text. budget: the largest number of texts times
    the longest of them. Grows from the first text to its neighbours in length, the one that costs less padding first.
    """
    order = sorted(range(len(lengths)), key=lambda place: (lengths[place], place))
    low = high = order.index(0)
    while True:
        size, longest = high - low + 1, lengths[order[high]]
        fits_below = low > 0 and (size + 1) * longest <= budget
        fits_above = high + 1 < len(order) and (size + 1) * lengths[order[high + 1]] <= budget
        if not (fits_below or fits_above):
            return order[low : high + 1]
        below = longest - lengths[order[low - 1]] if fits_below else 0
        above = size * (lengths[order[high + 1]] - longest) if fits_above else 0
        if fits_above and (not fits_below or above <= below):
            high += 1
        else:
            low -= 1
