"""Names of the data sets that multirate knows; imports nothing, so that the command line answers at once."""

DATA_NAMES: dict[str, str] = {
    "digits": "1,797 handwritten digits, 8x8, binary, in scikit-learn: nothing to download",
    "mnist": "70,000 handwritten digits, 28x28, static binary by a fixed generator",
    "mnist-larochelle": "the same digits, 28x28, as binarized once by Larochelle and Murray (.amat files)",
    "fashion-mnist": "70,000 articles of clothing, 28x28, grayscale",
    "omniglot": "32,460 handwritten characters of 50 alphabets, 28x28, static binary by a fixed generator",
    "cifar10": "60,000 photographs of 10 classes, 3x32x32",
    "svhn": "99,289 street view house numbers, cropped digits, 3x32x32",
    "celeba": "202,599 aligned faces, centre crop of 148, 3x64x64: files to be fetched by hand",
    "dsprites": "737,280 sprites of 6 known factors, 64x64, binary: drawn here unless fetched",
    "ptb": "49,199 sentences of the Wall Street Journal (Penn Treebank), 10,000 words with unknown and end",
    "yahoo": "120,000 questions with an answer (Yahoo Answers), 20,000 different words",
}
