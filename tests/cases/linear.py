"""Linear-layer cases: input shape and number of outputs."""

CASES = [
    ((1, 1), 1),
    ((1, 400), 120),
    ((4, 120), 84),
    ((5, 84), 10),
    ((32, 256), 120),
    ((33, 17), 65),
    ((300, 7), 3),
    ((1000, 30), 40),
    ((7, 130), 200),
    ((3, 1), 5),
    ((2, 3, 19), 23),
    ((19,), 4),
    # Whole vectors of inputs: read as they lie up to 64 rows, in stretches of 1024.
    ((2, 48), 5),
    ((7, 2064), 13),
    ((64, 1024), 3),
    ((65, 32), 30),
    ((7, 1029), 10),  # rows of weights read as they lie, with ends
    ((5, 200), 9),
    ((64, 2049), 5),
    ((33, 193), 6),
]
