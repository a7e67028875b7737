"""Names of the data sets that multirate knows; imports nothing, so that the command line answers at once."""

DATA_NAMES: dict[str, str] = {
    "digits": "1,797 handwritten digits, 8x8, binary, in scikit-learn: nothing to download",
    "mnist": "70,000 handwritten digits, 28x28, static binary by a fixed generator",
    "mnist-larochelle": "the same digits, 28x28, as binarized once by Larochelle and Murray (.amat files)",
    "fashion-mnist": "70,000 articles of clothing, 28x28, grayscale",
    "omniglot": "32,460 handwritten characters of 50 alphabets, 28x28, static binary by a fixed generator",
}
