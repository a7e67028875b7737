#!/usr/bin/env bash
# A linear multi-rate VAE on MNIST against its closed-form optimum, three seeds. About five minutes of one CPU core.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p results/mnist-linear
for seed in 0 1 2; do
    run=runs/mnist-linear-$seed
    multirate train --data mnist --model linear --epochs 30 --seed "$seed" --out "$run" --resume
    multirate plot "$run" --optimum
    cp "$run/optimum.json" "results/mnist-linear/optimum-seed-$seed.json"
done
cp runs/mnist-linear-0/figures/optimum.png results/mnist-linear/
