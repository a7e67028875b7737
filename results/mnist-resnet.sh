#!/usr/bin/env bash
# One multi-rate ResNet and four dedicated beta-VAEs on static binary MNIST, with the same budget, and their comparison.
# About two hours of two CPU cores. MULTIRATE_DATA may name a folder with mnist/; otherwise the files are downloaded.
set -euo pipefail
cd "$(dirname "$0")/.."
run=runs/mnist-resnet
options=(--data mnist --model resnet --epochs 4 --channels-last --seed 0)

multirate train "${options[@]}" --out "$run" --resume
multirate evaluate "$run" --betas 20
for beta in 0.01 0.1 1 10; do
    multirate train "${options[@]}" --beta "$beta" --out "$run-dedicated/beta-$beta" --resume
    multirate evaluate "$run-dedicated/beta-$beta"
done
multirate compare "$run" "$run"-dedicated/beta-*
multirate plot "$run"
multirate report "$run"

mkdir -p results/mnist-resnet
cp "$run"/{curve,comparison}.json "$run"/baselines/*.json results/mnist-resnet/
cp "$run"/figures/{rate_distortion,against_beta,gaps,prior_samples,reconstructions}.png results/mnist-resnet/
