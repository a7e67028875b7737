#!/usr/bin/env bash
# One multi-rate ResNet and four dedicated beta-VAEs on static binary MNIST, 8 epochs each, all options the defaults, and their
# comparison. About two and a half hours of one CPU core. MULTIRATE_DATA may name a folder with mnist/; otherwise it is downloaded.
set -euo pipefail
cd "$(dirname "$0")/.."
run=runs/mnist-resnet

results/models-and-data.sh mnist-resnet
for beta in 0.01 0.1 1 10; do
    multirate train --data mnist --model resnet --epochs 8 --seed 0 --beta "$beta" --out "$run-dedicated/beta-$beta" --resume
    multirate evaluate "$run-dedicated/beta-$beta"
done
multirate compare "$run" "$run"-dedicated/beta-*
multirate plot "$run"

cp "$run"/comparison.json "$run"/baselines/*.json results/mnist-resnet/
cp "$run"/figures/{rate_distortion,against_beta,gaps}.png results/mnist-resnet/
